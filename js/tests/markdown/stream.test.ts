// @vitest-environment jsdom
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { MarkdownView, renderMarkdown } from "../../src/markdown";

interface Example {
  markdown: string;
  number: number;
}

const require = createRequire(import.meta.url);
const { tests: examples } = require("commonmark-spec") as { tests: Example[] };

/** The text given at once. */
function whole(text: string): string {
  const root = document.createElement("div");
  root.append(renderMarkdown(text));
  return root.innerHTML;
}

/** The text given in pieces. */
function streamed(pieces: Iterable<string>): string {
  const root = document.createElement("div");
  const view = new MarkdownView(root);
  for (const piece of pieces) view.append(piece);
  view.end();
  const html = root.innerHTML;
  view.destroy();
  return html;
}

describe("a text that is streamed character by character is drawn like the whole text", () => {
  it("for all of CommonMark's examples", () => {
    const different = examples.filter(({ markdown }) => {
      const text = markdown.replaceAll("→", "\t");
      return streamed(text.split("")) !== whole(text);
    });
    expect(different.map(({ number }) => number)).toEqual([]);
  }, 120_000);

  it("for all of them as one text, split anywhere", () => {
    const text = examples.map(({ markdown }) => markdown.replaceAll("→", "\t")).join("\n\n");
    const expected = whole(text);
    for (const size of [50, 1000]) {
      const pieces = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
      expect(streamed(pieces) === expected, `in pieces of ${size}`).toBe(true);
    }
  }, 120_000);
});

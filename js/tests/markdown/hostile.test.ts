// @vitest-environment jsdom
import { describe, expect, it } from "vitest";
import { maths } from "../../src/entries/math";
import { MarkdownView, renderMarkdown } from "../../src/markdown";
import { hostile } from "../hostile";

const ATTRIBUTES = new Set(
  "href rel target title src alt class start tabindex role aria-label type disabled checked".split(
    " ",
  ),
);
const MATHS_ATTRIBUTES = /^(?:class|display|displaystyle|math\w+|[a-z]+)$/;

/** Return everything in an element that should not be there. */
function faults(root: ParentNode): string[] {
  const found: string[] = [];
  for (const element of Array.from(root.querySelectorAll("*"))) {
    const inMaths = element.closest("math") !== null;
    for (const { name, value } of Array.from(element.attributes)) {
      const known = inMaths ? MATHS_ATTRIBUTES.test(name) : ATTRIBUTES.has(name);
      if (!known || /^(?:on|data-|id$|name$|style$)/.test(name)) found.push(`${name}=${value}`);
      if (name === "href" && !/^(?:https?:\/\/|mailto:)/.test(value)) found.push(value);
      if (name === "src" && !/^data:image\/(?:png|jpeg|gif|webp)[;,]/.test(value)) {
        found.push(value.slice(0, 80));
      }
      if (name === "class" && !value.split(" ").every((c) => /^(?:nbc-|language-)/.test(c))) {
        found.push(`class=${value}`);
      }
    }
    if (/^(?:script|style|iframe|object|embed|svg|form|link|meta|base)$/.test(element.localName)) {
      found.push(element.localName);
    }
    if (element.localName === "a" && element.getAttribute("rel") !== "noopener noreferrer") {
      found.push("a link that tells where it was followed");
    }
  }
  return found;
}

describe("hostile text", () => {
  it("is at least 150 payloads of 20 kinds", () => {
    expect(hostile.length).toBeGreaterThanOrEqual(150);
    expect(new Set(hostile.map(({ kind }) => kind)).size).toBeGreaterThanOrEqual(20);
  });

  it.each(Array.from(new Set(hostile.map(({ kind }) => kind))))(
    "leaves nothing behind when given whole: %s",
    (kind) => {
      for (const { text } of hostile.filter((payload) => payload.kind === kind)) {
        expect(faults(renderMarkdown(text)), text.slice(0, 100)).toEqual([]);
      }
    },
  );

  it.each(Array.from(new Set(hostile.map(({ kind }) => kind))))(
    "leaves nothing behind at any moment of a stream, and ends as when whole: %s",
    (kind) => {
      for (const { text } of hostile.filter((payload) => payload.kind === kind)) {
        const root = document.createElement("div");
        const view = new MarkdownView(root);
        // Longer ones are bombs rather than tricks: their prefixes are all alike.
        const step = text.length > 500 ? Math.ceil(text.length / 20) : 1;
        for (let i = 0; i < text.length; i += step) {
          view.append(text.slice(i, i + step));
          expect(faults(root), text.slice(0, i + step).slice(-100)).toEqual([]);
        }
        view.end();
        const expected = document.createElement("div");
        expected.append(renderMarkdown(text));
        expect(root.innerHTML === expected.innerHTML, text.slice(0, 100)).toBe(true);
        view.destroy();
      }
    },
    60_000,
  );

  it("yields only MathML in formulas", async () => {
    for (const { text } of hostile.filter(({ kind }) => kind === "formula")) {
      const root = document.createElement("div");
      const view = new MarkdownView(root, { loadMath: async () => maths });
      view.reset(text, true);
      await view.settled();
      expect(faults(root), text.slice(0, 100)).toEqual([]);
      view.destroy();
    }
  });
});

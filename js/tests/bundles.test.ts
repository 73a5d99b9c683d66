/** What is built and committed: how much of it a page needs at first, and that nothing is missing in it. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { JSDOM } from "jsdom";
import { expect, test, vi } from "vitest";
import aliases from "../aliases.json";
import { createParser } from "../src/markdown/parser";
import { trim } from "../trim.mjs";
import { hostile } from "./hostile";

const require = createRequire(import.meta.url);
const { tests: commonMark } = require("commonmark-spec") as { tests: { markdown: string }[] };
const STATIC = join(import.meta.dirname, "..", "..", "nbchat", "static");
/** What a page has to load before it shows a conversation, at most. */
const CORE_BYTES = 64 * 1024;

function gzipped(name: string): number {
  return gzipSync(readFileSync(join(STATIC, name)), { level: 9 }).length;
}

test("the bundles that every page loads have at most 64 KB, compressed", () => {
  expect(gzipped("hub.js") + gzipped("view.js")).toBeLessThanOrEqual(CORE_BYTES);
});

test("the reduced Markdown parser of the bundle gives the same result as the whole one", async () => {
  const { outputFiles } = await build({
    absWorkingDir: join(import.meta.dirname, ".."),
    stdin: {
      contents: 'export { createParser } from "./src/markdown/parser";',
      resolveDir: join(import.meta.dirname, ".."),
      loader: "ts",
    },
    bundle: true,
    format: "esm",
    alias: aliases,
    plugins: [trim],
    write: false,
  });
  // esbuild does not run where a document is; the browser's table of character references is in one.
  vi.stubGlobal("document", new JSDOM().window.document);
  const text = outputFiles[0]?.text ?? "";
  const bundled = await import(
    /* @vite-ignore */ `data:text/javascript,${encodeURIComponent(text)}`
  );
  const parsers = [createParser(true), bundled.createParser(true)];
  const texts = [...commonMark.map(({ markdown }) => markdown), ...hostile.map(({ text }) => text)];
  for (const markdown of texts.filter((text) => text.length < 10_000)) {
    const [whole, left] = parsers.map((parser) =>
      JSON.stringify(parser.parse(markdown, { references: {}, footnotes: {}, open: false })),
    );
    expect(left, markdown).toBe(whole);
  }
  vi.unstubAllGlobals();
});

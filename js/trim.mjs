/**
 * Leaves out of the bundle what markdown-it has and nbchat never asks for.
 *
 * markdown-it is one module whose parser names every rule in a table, so that no bundler finds out that
 * raw HTML, typographic quotes, its own links and its renderer to HTML are not used here: tokens become
 * elements in `build.ts`. Each source of it stands in a region of its own. The names of those that are
 * left out stay, as classes: whoever calls one after all gets a TypeError, and the text is shown as it is.
 * `tests/bundles.test.ts` compares what is left with the whole.
 */
import { readFile } from "node:fs/promises";

const UNUSED = [
  "common/html_blocks",
  "common/html_re",
  "renderer",
  "rules_block/html_block",
  "rules_core/linkify",
  "rules_core/normalize",
  "rules_core/replacements",
  "rules_core/smartquotes",
  "rules_inline/html_inline",
  "rules_inline/linkify",
];

/** An esbuild plugin. */
export const trim = {
  name: "trim",
  setup(build) {
    build.onLoad({ filter: /markdown-it\.mjs$/ }, async ({ path }) => ({
      contents: trimmed(await readFile(path, "utf8")),
      loader: "js",
    }));
  },
};

function trimmed(source) {
  const left = new Set(UNUSED.map((name) => `src/${name}.ts`));
  const [head, ...regions] = source.split(/^\/\/#region (.*)$/m);
  let result = head;
  for (let i = 0; i < regions.length; i += 2) {
    result += left.delete(regions[i]) ? namesOf(regions[i + 1]) : regions[i + 1];
  }
  if (left.size > 0) throw new Error(`markdown-it has no ${[...left].join(", ")} any more`);
  return result;
}

/** Return a declaration of every name that a region declares. */
function namesOf(region) {
  const names = region.matchAll(/^(?:function|var|const|let|class) ([\w$]+)/gm);
  return `\nvar ${[...names].map(([, name]) => `${name} = class {}`).join(", ")};\n`;
}

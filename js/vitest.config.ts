import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Import a style sheet as its text, as `build.mjs` does, instead of letting Vite inject it. */
function cssAsText(): Plugin {
  const prefix = "\0css-text:";
  return {
    name: "css-as-text",
    enforce: "pre",
    resolveId(source, importer) {
      if (!source.endsWith(".css") || importer === undefined) return null;
      // The name must not end in `.css`, or Vite's own CSS plugin takes it after all.
      return `${prefix}${resolve(dirname(importer), source)}.js`;
    },
    load(id) {
      if (!id.startsWith(prefix)) return null;
      const path = id.slice(prefix.length, -".js".length);
      return `export default ${JSON.stringify(readFileSync(path, "utf8"))};`;
    },
  };
}

/** What stands in for packages that the browser makes superfluous, in tests as in `build.mjs`. */
const aliases = Object.fromEntries(
  Object.entries<string>(
    JSON.parse(readFileSync(`${import.meta.dirname}/aliases.json`, "utf8")),
  ).map(([name, path]) => [name, resolve(import.meta.dirname, path)]),
);

/** Tests run in plain Node; one that needs a document begins with `// @vitest-environment jsdom`. */
export default defineConfig({
  plugins: [cssAsText()],
  resolve: { alias: aliases },
  test: {
    include: ["tests/**/*.test.ts"],
    // So that the aliases hold inside of it too.
    server: { deps: { inline: ["markdown-it"] } },
    // A busy machine is slow; no test waits for this.
    testTimeout: 60_000,
    // `.only` and a file without tests are mistakes, on a desk as in CI.
    allowOnly: false,
    passWithNoTests: false,
    restoreMocks: true,
  },
});

/** The structure of `src/`: which folder may import which, and how large a file gets. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { expect, test } from "vitest";

const SRC = join(import.meta.dirname, "..", "src");
const FILES: readonly string[] = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.replaceAll("\\", "/"))
  .sort();
const TEXTS = new Map(FILES.map((file) => [file, readFileSync(join(SRC, file), "utf8")]));

/** Folders and files at the top of `src/`, lowest first: each imports from itself and from lower ones. */
const LAYERS = [
  "assets.d.ts",
  "protocol.ts",
  "ids.ts",
  "later.ts",
  "i18n",
  "markdown",
  "state",
  "jupyter",
  "types.ts",
  "wire",
  "view",
  "entries",
];

const IMPORT = /(?:\bfrom|^import|\bimport\()\s*"(\.[^"]*)"/gm;

/** Return the modules that a file imports, type-only imports included. */
function importsOf(file: string): string[] {
  return Array.from((TEXTS.get(file) ?? "").matchAll(IMPORT), ([, path]) => {
    const target = posix.join(dirname(file), path ?? "");
    if (target.endsWith(".css")) return "";
    const found = [`${target}.ts`, posix.join(target, "index.ts")].find((name) => TEXTS.has(name));
    expect(found, `${file} imports ${path}`).toBeDefined();
    return found ?? "";
  }).filter(Boolean);
}

const layerOf = (file: string): string => file.split("/", 1)[0] ?? "";

test("imports, type-only ones included, form no cycle", () => {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      expect.fail(`cycle: ${[...path.slice(path.indexOf(file)), file].join(" → ")}`);
    }
    if (done.has(file)) return;
    for (const target of importsOf(file)) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of FILES) visit(file, []);
  expect(done.size).toBe(FILES.length);
});

test("every folder imports from lower ones only", () => {
  for (const file of FILES) {
    const own = LAYERS.indexOf(layerOf(file));
    expect(own, file).toBeGreaterThanOrEqual(0);
    for (const target of importsOf(file)) {
      expect(LAYERS.indexOf(layerOf(target)), `${file} imports ${target}`).toBeLessThanOrEqual(own);
    }
  }
});

test("private members are `#private`, and no file has more than 500 lines", () => {
  for (const [file, text] of TEXTS) {
    if (file === "protocol.ts") continue; // generated
    // A constructor cannot be `#private`.
    expect(text.match(/^\s*private (?!constructor).*$/m)?.[0], file).toBeUndefined();
    expect(text.split("\n").length - 1, file).toBeLessThanOrEqual(500);
  }
});

test("no class has more than 400 lines", () => {
  for (const [file, text] of TEXTS) {
    for (const [whole, name] of text.matchAll(/^(?:export )?class (\w+)[\s\S]*?^\}/gm)) {
      expect(whole.split("\n").length, `${file}: ${name}`).toBeLessThanOrEqual(400);
    }
  }
});

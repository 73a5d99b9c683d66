import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { definitionsAfter, parse } from "../../src/markdown/parser";

const path = new URL("../../../tests/export/maths.json", import.meta.url);
const cases = JSON.parse(readFileSync(path, "utf8")) as { text: string; formulas: string[] }[];

it.each(cases)("formulas are those that the exports find: $text", ({ text, formulas }) => {
  const found: string[] = [];
  const groups = parse(text, definitionsAfter(null), false);
  for (const token of groups.flatMap(({ tokens }) => tokens)) {
    for (const { type, content } of [token, ...(token.children ?? [])]) {
      if (type.startsWith("math_")) found.push(content);
    }
  }
  expect(found).toEqual(formulas);
});

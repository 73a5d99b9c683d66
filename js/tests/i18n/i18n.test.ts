/** The catalogues of words. */
import { expect, test } from "vitest";
import { chooseLocale, en } from "../../src/i18n";
import { allStrings } from "../../src/i18n/extras";
import { strings as zh } from "../../src/i18n/zh-CN";

type Entries = Readonly<Record<string, unknown>>;

/** Return every entry as `path: text`; functions are called with what they take, roughly. */
function texts(entries: Entries, path = ""): Map<string, string> {
  const found = new Map<string, string>();
  for (const [key, value] of Object.entries(entries)) {
    const here = `${path}${key}`;
    if (typeof value === "function") found.set(here, String(value(3, 4, 5)));
    else if (typeof value === "string") found.set(here, value);
    else for (const [k, v] of texts(value as Entries, `${here}.`)) found.set(k, v);
  }
  return found;
}

const catalogues = { en: allStrings(en), "zh-CN": zh };
const english = texts(catalogues.en);

test.each(Object.entries(catalogues))("%s has every entry, and none is empty", (_, catalogue) => {
  const own = texts(catalogue);
  expect([...own.keys()].sort()).toEqual([...english.keys()].sort());
  const empty = [...own].filter(([key, text]) => text.trim() === "" && key !== "state.idle");
  expect(empty).toEqual([]);
});

test("every Chinese entry is translated", () => {
  const same = [...texts(zh)].filter(
    ([key, text]) => english.get(key) === text && /[a-z]/i.test(text),
  );
  expect(same).toEqual([]);
});

test.each([
  ["", ["zh-TW", "en"], "zh-CN"],
  ["", ["de", "zh"], "zh-CN"],
  ["", ["fr"], "en"],
  ["", [], "en"],
  ["zh-CN", ["en"], "zh-CN"],
  ["en", ["zh"], "en"],
] as const)(
  "with the locale %o and the browser's %o, the language is %s",
  (wanted, preferred, locale) => {
    expect(chooseLocale(wanted, preferred)).toBe(locale);
  },
);

// @vitest-environment jsdom
/** The listbox that `@` opens in the composer, by its keys. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { en as t } from "../../src/i18n";
import type { Attachment, Described, Variables } from "../../src/protocol";
import type { Context } from "../../src/types";
import { mentionsIn, showSent, suggestVariables } from "../../src/view/variables";

const VARIABLES = [
  ["add", "int", ""],
  ["dates", "Series", "3"],
  ["df", "DataFrame", "1,000,000 × 40"],
].map(([name, kind, size]) => ({ name, kind, size })) as Variables["variables"];

let field: HTMLTextAreaElement;
let context: Context;
let attached: Attachment[];
let end: AbortController;
let listed: number;
let described: string[];

beforeEach(() => {
  end = new AbortController();
  field = document.body.appendChild(document.createElement("textarea"));
  attached = [];
  listed = 0;
  described = [];
  const variables = {
    list: async (): Promise<Variables> => {
      listed += 1;
      return { type: "variables", to: "", id: "", variables: VARIABLES };
    },
    describe: async (name: string): Promise<Described> => {
      described.push(name);
      const part = { type: "file", kind: "variable", name, text: `text of ${name}` } as const;
      return { type: "described", to: "", id: "", parts: name === "add" ? [] : [part] };
    },
  };
  context = {
    t,
    root: document.body,
    signal: end.signal,
    runtime: { variables },
  } as unknown as Context;
});
afterEach(() => {
  end.abort();
  document.body.replaceChildren();
});

const failed = vi.fn();

async function write(text: string, caret = text.length): Promise<void> {
  field.value = text;
  field.setSelectionRange(caret, caret);
  field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  await suggestVariables(context, field, (parts) => {
    parts.then((read) => attached.push(...read), failed);
  });
}

function press(key: string, more: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  field.dispatchEvent(event);
  return event;
}

const options = (): string[] =>
  [...document.querySelectorAll("[role=listbox] [role=option]")].map(
    (one) => one.textContent ?? "",
  );
const selected = (): string =>
  document.querySelector("[role=option][aria-selected=true]")?.textContent ?? "";
const names = (): string[] => attached.map(({ name }) => name);

describe("the listbox", () => {
  test("shows name, type and size, those first that begin with what is written", async () => {
    await write("why is @d");
    expect(options()).toEqual(["dates, Series, 3", "df, DataFrame, 1,000,000 × 40", "add, int"]);
    expect(document.querySelector("[role=listbox]")?.getAttribute("aria-label")).toBe("Variables");
    expect(field.getAttribute("aria-activedescendant")).toBe(
      document.querySelector("[role=option][aria-selected=true]")?.id,
    );
  });

  test.each(["Enter", "Tab"])("is walked by arrows, and %s attaches the variable", async (key) => {
    await write("why is @d");
    press("ArrowDown");
    expect(selected()).toMatch(/^df/);
    press("ArrowUp");
    press("ArrowUp");
    expect(selected()).toMatch(/^add/);
    press("ArrowDown");
    press("ArrowDown");
    expect(press(key).defaultPrevented).toBe(true);
    expect(field.value).toBe("why is @df ");
    expect(options()).toEqual([]);
    await vi.waitFor(() => expect(names()).toEqual(["df"]));
    expect(described).toEqual(["df"]);
  });

  test("is closed by Escape until another name is begun, and then keys are the composer's", async () => {
    await write("@d");
    press("Escape");
    expect(options()).toEqual([]);
    await write("@da");
    expect(options()).toEqual([]);
    expect(press("Enter").defaultPrevented).toBe(false);
    await write("@da @d");
    expect(options()).not.toEqual([]);
  });

  test("takes no key while an input method composes", async () => {
    await write("@d");
    expect(press("Enter", { isComposing: true }).defaultPrevented).toBe(false);
    expect(field.value).toBe("@d");
    field.dispatchEvent(new CompositionEvent("compositionstart"));
    await write("@d");
    expect(options()).toEqual([]);
    await write("@df is");
    expect(described).toEqual([]);
    await write("@d");
    field.dispatchEvent(new CompositionEvent("compositionend"));
    await vi.waitFor(() => expect(options()).not.toEqual([]));
  });

  test.each(["mail me@d", "\\@d", "`x` `@d`", "```\n@d", "@nothing"])(
    "stays closed for %j",
    async (text) => {
      await write(text, text.endsWith("`") ? text.length - 1 : text.length);
      expect(options()).toEqual([]);
    },
  );

  test("is asked for when it opens, and not at every key", async () => {
    await write("@");
    await write("@d");
    expect(listed).toBe(1);
    await write("@other and");
    await write("@other and more");
    expect(listed).toBe(1);
    await write("@other and more @");
    expect(listed).toBe(2);
  });
});

describe("a name written in full", () => {
  test("is attached when it ends, once", async () => {
    await write("@df");
    expect(described).toEqual([]);
    await write("@df is");
    await write("@df is @df and");
    await vi.waitFor(() => expect(names()).toEqual(["df"]));
    expect(described).toEqual(["df"]);
  });

  test("is attached again in the next question, and after it was deleted", async () => {
    await write("@df is");
    await write("@");
    await write("@df was");
    await write("");
    await write("pasted: @df ");
    await vi.waitFor(() => expect(described).toEqual(["df", "df", "df"]));
  });

  test("that is no variable, or is in code, is not attached", async () => {
    await write("@other `@df` \\@df a@df (@df)");
    expect(described).toEqual([]);
  });

  test("that cannot be described is an error", async () => {
    await write("@add it");
    await vi.waitFor(() => expect(failed).toHaveBeenCalled());
    expect(String(failed.mock.lastCall?.[0])).toContain("Can't read the variable add.");
  });
});

test("mentions are those that the kernel finds", () => {
  const found = (text: string): string[] => mentionsIn(text).map(({ name }) => name);
  expect(found("why is @df so sparse?")).toEqual(["df"]);
  expect(found("@df and @other, then @df again")).toEqual(["df", "other", "df"]);
  expect(found("`@df` and ``a ` @df``")).toEqual([]);
  expect(found("```\n@df\n```\n@other")).toEqual(["other"]);
  expect(found("~~~\n@df")).toEqual([]);
  expect(found("(@df) `code`@df me@df.org")).toEqual([]);
  expect(found("@df.head()\n@größe")).toEqual(["df", "größe"]);
});

test("the preview is the text that is sent", () => {
  const text = "pandas DataFrame, 3 rows\n- a <b>";
  showSent(context, field, { type: "file", kind: "variable", name: "df", text });
  const dialog = document.querySelector("[role=dialog]");
  expect(dialog?.getAttribute("aria-label")).toBe("What is sent of df");
  expect(dialog?.querySelector("pre")?.textContent).toBe(text);
});

// @vitest-environment jsdom
/** The listbox that `@` opens in the composer, by its keys. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { en as t } from "../../src/i18n";
import type { Attachment, FilePart, Variables } from "../../src/protocol";
import type { Context } from "../../src/types";
import {
  mentionsIn,
  readyToSend,
  showSent,
  suggestVariables,
  withoutEscapes,
} from "../../src/view/variables";

const VARIABLES = [
  ["add", "int", ""],
  ["dates", "Series", "3"],
  ["df", "DataFrame", "1,000,000 × 40"],
  ["error", "ZeroDivisionError", ""],
  ["cell", "", "[12]"],
  ["cell:12", "df.plot()", ""],
  ["cell:11", "df = load()", ""],
].map(([name, kind, size]) => ({ name, kind, size })) as Variables["variables"];

let field: HTMLTextAreaElement;
let context: Context;
let attached: Attachment[];
let end: AbortController;
let listed: number;
let described: string[];
const failed = vi.fn();
/** Characters of other descriptions, as of each request. */
let used: number[];
/** The kernel's descriptions; those of other names are made up. */
let texts: Record<string, string>;

const variable = (name: string, text = texts[name] ?? `text of ${name}`): FilePart => ({
  type: "file",
  kind: "variable",
  name,
  text,
});

beforeEach(() => {
  end = new AbortController();
  field = document.body.appendChild(document.createElement("textarea"));
  attached = [];
  listed = 0;
  described = [];
  used = [];
  texts = {};
  failed.mockClear();
  const askVariables = async (request: {
    type: string;
    name?: string;
    used?: number;
  }): Promise<unknown> => {
    if (request.type === "want_variables") {
      listed += 1;
      return { type: "variables", to: "", id: "", variables: VARIABLES };
    }
    const name = request.name ?? "";
    described.push(name);
    used.push(request.used ?? -1);
    const error = name.startsWith("cell:9") ? "there is no such cell." : "";
    const parts = name === "add" || error ? [] : [variable(name.replace(":", " "), texts[name])];
    return { type: "described", to: "", id: "", parts, error };
  };
  context = {
    t,
    root: document.body,
    signal: end.signal,
    runtime: {
      askVariables,
      drafts: {
        attached: () => attached,
        attach: (_id: string, parts: Attachment[]) => {
          attached = parts;
        },
      },
    },
  } as unknown as Context;
});
afterEach(() => {
  end.abort();
  document.body.replaceChildren();
});

async function write(text: string, caret = text.length): Promise<void> {
  field.value = text;
  field.setSelectionRange(caret, caret);
  field.dispatchEvent(new InputEvent("input", { bubbles: true }));
  await suggestVariables(context, field, "s1", (work) => work.catch(failed));
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

  test.each(["Enter", "Tab"])(
    "is navigated by arrows, and %s attaches the variable",
    async (key) => {
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
    },
  );

  test("offers the last error and the last cell, and single cells after `@cell:`", async () => {
    await write("@e");
    expect(options()[0]).toBe("error, ZeroDivisionError");
    await write("@ce");
    expect(options()).toEqual(["cell, [12]"]);
    press("Enter");
    await vi.waitFor(() => expect(names()).toEqual(["cell"]));
    await write("@cell:");
    expect(options()).toEqual(["cell:12, df.plot()", "cell:11, df = load()"]);
    press("ArrowDown");
    press("Enter");
    expect(field.value).toBe("@cell:11 ");
    await vi.waitFor(() => expect(names()).toEqual(["cell", "cell 11"]));
  });

  test("is closed by Escape until another name begins; keys then go to the composer", async () => {
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

  test("is requested when it opens, not at every key", async () => {
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
  test("is attached once, when the name ends", async () => {
    await write("@df");
    expect(described).toEqual([]);
    await write("@df is");
    await write("@df is @df and");
    await vi.waitFor(() => expect(names()).toEqual(["df"]));
    expect(described).toEqual(["df"]);
  });

  test("replaces its earlier description, and no file or picture of the user's own", async () => {
    const file = { type: "file", kind: "file", name: "df", text: "a" } as const;
    const picture = { type: "image", name: "df.png", text: "data:image/png;base64,AA==" } as const;
    attached = [picture, file, variable("df", "old"), picture];
    texts = { df: "new" };
    await write("why is @df so");
    await vi.waitFor(() => expect(attached).toEqual([picture, file, variable("df", "new")]));
  });

  test("is attached again in the next question, and after it was deleted", async () => {
    await write("@df is");
    await write("@");
    await write("@df was");
    await write("");
    await write("pasted: @df ");
    await vi.waitFor(() => expect(described).toEqual(["df", "df", "df"]));
  });

  test("may name a cell by its number, and one that does not exist is an error", async () => {
    await write("@cell:3 and @error and @cell: all");
    await vi.waitFor(() => expect(names()).toEqual(["cell 3", "error", "cell"]));
    await write("@cell:99 ");
    await vi.waitFor(() => expect(failed).toHaveBeenCalled());
    expect(String(failed.mock.lastCall?.[0])).toContain("there is no such cell.");
  });

  test("is described in the room that earlier descriptions leave", async () => {
    texts = { df: "x".repeat(100), dates: "y".repeat(30) };
    await write("@df @dates @cell ");
    await vi.waitFor(() => expect(names()).toEqual(["df", "dates", "cell"]));
    expect(used).toEqual([0, 100, 130]);
    await write("");
    await write("@dates "); // again: its own text counts no more
    await vi.waitFor(() => expect(names()).toEqual(["df", "cell", "dates"]));
    expect(used.at(-1)).toBe(100 + "text of cell".length);
  });

  test("that is not a variable, or is in code, is not attached", async () => {
    await write("@other `@df` \\@df a@df (@df)");
    expect(described).toEqual([]);
  });

  test("that cannot be described is an error", async () => {
    await write("@add it");
    await vi.waitFor(() => expect(failed).toHaveBeenCalled());
    expect(String(failed.mock.lastCall?.[0])).toContain("Can't read the variable add.");
  });
});

test("the page finds the same mentions as the kernel", () => {
  const found = (text: string): string[] => mentionsIn(text).map(({ name }) => name);
  expect(found("why is @df so sparse?")).toEqual(["df"]);
  expect(found("@df and @other, then @df again")).toEqual(["df", "other", "df"]);
  expect(found("`@df` and ``a ` @df``")).toEqual([]);
  expect(found("```\n@df\n```\n@other")).toEqual(["other"]);
  expect(found("~~~\n@df")).toEqual([]);
  expect(found("(@df) `code`@df me@df.org")).toEqual([]);
  expect(found("@df.head()\n@größe")).toEqual(["df", "größe"]);
});

test("an escaped mention is sent without its backslash, outside code", () => {
  for (const [text, sent] of [
    ["\\@df", "@df"],
    ["why \\@df and\n\\@größe?", "why @df and\n@größe?"],
    ["`\\@df` \\@df", "`\\@df` @df"],
    ["```\n\\@df\n```\n\\@df", "```\n\\@df\n```\n@df"],
    ["a\\@df \\\\@df \\@ \\@1", "a\\@df \\\\@df \\@ \\@1"],
  ] as const) {
    expect(withoutEscapes(text)).toBe(sent);
    expect(mentionsIn(text)).toEqual([]);
  }
});

describe("what is sent", () => {
  const text = "pandas DataFrame, 3 rows\n- a <b>";
  const file = { type: "file", kind: "file", name: "a.txt", text: "a" } as const;
  const picture = { type: "image", name: "fig.png", text: "data:image/png;base64,AA==" } as const;
  const send = (): ReturnType<typeof readyToSend> =>
    readyToSend(context, "s1", { text: "why \\@x @df", attachments: attached });

  test("is what the preview shows", async () => {
    attached = [variable("df", text), file];
    texts = { df: text };
    showSent(context, field, attached[0] as Attachment);
    const dialog = document.querySelector("[role=dialog]");
    expect(dialog?.getAttribute("aria-label")).toBe("What is sent of df");
    expect(dialog?.querySelector("pre")?.textContent).toBe(text);
    expect(await send()).toEqual({ text: "why @x @df", attachments: [variable("df", text), file] });
  });

  test("is described when it is sent, if the user has not looked at it", async () => {
    attached = [variable("cell 3", "old"), file, variable("df", text), picture];
    texts = { "cell 3": "new cell", df: "new" };
    expect((await send()).attachments).toEqual([
      variable("cell 3", "new cell"),
      file,
      variable("df", "new"),
      picture,
    ]);
    expect(described).toEqual(["cell 3", "df"]);
    expect(used).toEqual([0, "new cell".length]);
  });

  test("is never another text than the one that the user looked at", async () => {
    attached = [variable("df", text)];
    showSent(context, field, attached[0] as Attachment);
    texts = { df: "new" };
    await expect(send()).rejects.toThrow("df changed after you looked at what is sent.");
    expect(attached).toEqual([variable("df", "new")]);
    expect((await send()).attachments).toEqual([variable("df", "new")]);
  });

  test("stays the previewed text through a failed attempt", async () => {
    attached = [variable("df", text)];
    showSent(context, field, attached[0] as Attachment);
    texts = { df: text };
    attached = (await send()).attachments as Attachment[]; // sent again after an error
    texts = { df: "new" };
    await expect(send()).rejects.toThrow("df changed");
  });

  test("has one picture of a figure, and keeps other pictures", async () => {
    const other = { ...picture, name: "other.png" };
    attached = [other, variable("fig"), picture, other];
    expect((await send()).attachments).toEqual([other, variable("fig"), other]);
  });

  test.each([
    ["in front of the figure", () => [picture, variable("fig")]],
    ["after another part", () => [variable("fig"), file, picture]],
    ["after the figure's picture", () => [variable("fig"), picture, picture]],
  ])("includes the user's own picture with a figure's name, %s", async (_, parts) => {
    attached = parts();
    const sent = (await send()).attachments;
    expect(sent.filter((part) => part.name === "fig.png")).toEqual([picture]);
  });

  test("is refused if a variable is gone or the kernel does not answer", async () => {
    attached = [variable("add", "old")];
    await expect(send()).rejects.toThrow("Can't read the variable add.");
  });
});

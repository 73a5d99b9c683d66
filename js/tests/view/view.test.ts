// @vitest-environment jsdom
/** The view over a kernel in the page: what a user sees and does, by role and name. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { PageRuntime } from "../../src/entries/runtime";
import type { AnyModel } from "../../src/jupyter";
import { mountView } from "../../src/view/index";
import { cause, type FakeKernel } from "../../testing/kernel";
import { FakeModel } from "../../testing/model";
import { FakePage } from "../../testing/page";

/** Stands in for the Markdown renderer: shows the text as it is, and counts what it was told. */
class Plain {
  appended = 0;
  resets = 0;
  constructor(readonly element: HTMLElement) {}
  append(text: string): void {
    this.appended += 1;
    this.element.append(text);
  }
  reset(text: string): void {
    this.resets += 1;
    this.element.textContent = text;
  }
  end(): void {}
  destroy(): void {}
}

let page: FakePage;
let kernel: FakeKernel;
let model: FakeModel;
let host: HTMLElement;
let dispose: () => void;
let markdown: Plain[];

beforeEach(async () => {
  localStorage.clear();
  sessionStorage.clear();
  page = await new FakePage().connected();
  kernel = page.kernel;
  model = new FakeModel();
  markdown = [];
});
afterEach(() => {
  dispose?.();
  page.close();
  document.body.replaceChildren();
});

function mount(kind = "tabs", parent: ParentNode & Node = document.body): void {
  host = parent.appendChild(document.createElement("div"));
  dispose = mountView(page.runtime, kind, model, host, (element) => {
    const plain = new Plain(element);
    markdown.push(plain);
    return plain;
  });
}

/** Elements by role and accessible name, as far as these tests need the rules. */
function all(role: string, name?: string, within: ParentNode = document): HTMLElement[] {
  const tags: Record<string, string> = {
    button: "button, [role=button]",
    textbox: "textarea, input:not([type=file]):not([type=search])",
    region: "section[aria-label]",
    article: "article",
  };
  return [...within.querySelectorAll<HTMLElement>(tags[role] ?? `[role=${role}]`)].filter(
    (element) => {
      if (element.closest("[hidden]")) return false;
      const own = element.getAttribute("aria-label") ?? element.textContent ?? "";
      return name === undefined || own === name;
    },
  );
}

function one(role: string, name?: string, within: ParentNode = document): HTMLElement {
  const found = all(role, name, within);
  expect(found, `${role} ${name ?? ""}`).toHaveLength(1);
  return found[0] as HTMLElement;
}

const box = (): HTMLTextAreaElement => one("textbox", "Message") as HTMLTextAreaElement;

function type(text: string, into: HTMLTextAreaElement = box()): void {
  into.value = text;
  into.dispatchEvent(new InputEvent("input", { bubbles: true }));
}

function press(
  key: string,
  more: KeyboardEventInit = {},
  target: Element = document.activeElement ?? box(),
): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  target.dispatchEvent(event);
  return event;
}

const status = (): string => one("status").textContent ?? "";

const tabs = (): string[] => all("tab").map((tab) => tab.getAttribute("aria-label") ?? "");
const settled = (check: () => void): Promise<void> =>
  vi.waitFor(check, { interval: 5, timeout: 20_000 });

test("in a shadow root, the view has its styles there, and a menu takes presses and keys", async () => {
  kernel.create("geo");
  const shadow = document.body.appendChild(document.createElement("div")).attachShadow({
    mode: "open",
  });
  mount("tabs", shadow);
  expect(shadow.querySelector("style[data-nbchat]")?.textContent).not.toBe("");
  await settled(() => expect(all("tab", undefined, shadow)).toHaveLength(1));
  const tab = all("tab", undefined, shadow)[0] as HTMLElement;
  tab.dispatchEvent(new MouseEvent("contextmenu", { bubbles: true, composed: true }));
  await settled(() => expect(shadow.querySelectorAll("[role=menuitem]").length).toBeGreaterThan(1));
  const [first, second] = shadow.querySelectorAll<HTMLElement>("[role=menuitem]");
  first?.dispatchEvent(new MouseEvent("pointerdown", { bubbles: true, composed: true }));
  expect(first?.isConnected).toBe(true);
  first?.focus();
  press("ArrowDown", { composed: true }, first);
  expect(shadow.activeElement).toBe(second);
  document.body.dispatchEvent(new MouseEvent("pointerdown", { bubbles: true, composed: true }));
  expect(first?.isConnected).toBe(false);
});

describe("tabs", () => {
  test("every session has a tab with its title and state", async () => {
    const geo = kernel.create("geo");
    kernel.create("code");
    mount();
    await settled(() => expect(tabs()).toEqual(["geo", "code"]));
    kernel.ask(geo, "Rivers?");
    await settled(() => expect(tabs()).toEqual(["geo, streaming", "code"]));
    const tab = one("tab", "geo, streaming");
    expect(tab.getAttribute("data-session-id")).toBe(geo);
    expect(tab.getAttribute("data-run-state")).toBe("connecting");
    expect(tab.querySelector("[data-badge=streaming]")?.closest("[hidden]")).toBeNull();
    one("region", "Chat sessions");
    one("tablist", "Sessions");
    kernel.text(geo, kernel.state(geo).runs[0]?.id ?? "", "The Seine crosses Paris.");
    await settled(() => expect(tab.title).toMatch(/^geo\n24 characters · 0\.\d s$/));
  });

  test("invisible characters in a title are shown, and a long title is truncated", async () => {
    kernel.create(`bill\u202Egnp.exe ${"x".repeat(300)}`);
    mount();
    await settled(() => expect(tabs()[0]).toMatch(/^bill⟦U\+202E⟧gnp\.exe x+…x+…$/));
    expect(Array.from(tabs()[0] ?? "").length).toBeLessThanOrEqual(64);
  });

  test("similar titles are told apart by their ends, and a tab has one badge", async () => {
    const titles = ["first", "second"].map((end) => `Rivers that cross the city of Paris: ${end}`);
    const [one_] = titles.map((title) => kernel.create(title));
    kernel.tweak(one_ ?? "", { state: "failed", unread: true });
    mount();
    await settled(() => expect(all("tab")).toHaveLength(2));
    const shown = all("tab").map((tab) => [
      tab.querySelector(".nbchat-title-end")?.textContent,
      tab.title,
      [...tab.querySelectorAll("[data-badge]")].filter((badge) => !badge.closest("[hidden]"))
        .length,
    ]);
    expect(shown).toEqual([
      ["s: first", titles[0], 1],
      [": second", titles[1], 0],
    ]);
  });

  test("arrows, Home and End select tabs; one tab is in the tab order", async () => {
    for (const title of ["a", "b", "c"]) kernel.create(title);
    mount();
    await settled(() => expect(tabs()).toHaveLength(3));
    one("tab", "a").focus();
    press("ArrowRight");
    expect(document.activeElement).toBe(one("tab", "b"));
    expect(one("tab", "b").getAttribute("aria-selected")).toBe("true");
    press("End");
    expect(document.activeElement).toBe(one("tab", "c"));
    press("ArrowRight");
    expect(document.activeElement).toBe(one("tab", "a"));
    press("ArrowLeft");
    press("Home");
    expect(all("tab").map((tab) => tab.tabIndex)).toEqual([0, -1, -1]);
    const panel = one("tabpanel");
    expect(one("tab", "a").getAttribute("aria-controls")).toBe(panel.id);
    expect(panel.getAttribute("aria-labelledby")).toBe(one("tab", "a").id);
  });

  test("a tab that the user moved is in its place at once, and the kernel gets the order", async () => {
    for (const title of ["a", "b", "c", "d"]) kernel.create(title);
    let free = (): void => {};
    kernel.gate = new Promise((resolve) => {
      free = resolve;
    });
    mount();
    await settled(() => expect(tabs()).toEqual(["a", "b", "c", "d"]));
    one("tab", "d").focus();
    press("ArrowLeft", { shiftKey: true });
    press("ArrowLeft", { shiftKey: true });
    expect(tabs()).toEqual(["a", "d", "b", "c"]);
    expect(document.activeElement).toBe(one("tab", "d"));
    free();
    await settled(() =>
      expect(kernel.commands.filter(({ type }) => type === "move")).toHaveLength(2),
    );
    dispose();
    document.body.replaceChildren();
    mount();
    kernel.create("e");
    await settled(() => expect(tabs()).toEqual(["a", "d", "b", "c", "e"]));
  });

  test("a tab whose move is refused returns to its place", async () => {
    for (const title of ["a", "b"]) kernel.create(title);
    mount();
    await settled(() => expect(tabs()).toEqual(["a", "b"]));
    kernel.refuse = () => cause("the session is gone");
    one("tab", "b").focus();
    press("ArrowLeft", { shiftKey: true });
    expect(tabs()).toEqual(["b", "a"]);
    await settled(() => expect(tabs()).toEqual(["a", "b"]));
    expect(host.textContent).toContain("The session is gone");
  });

  test("the kernel is notified which tab is shown, and a cell can show another", async () => {
    const a = kernel.create("a");
    const b = kernel.create("b");
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "b").click();
    expect(model.get("active")).toBe(b);
    model.set("active", a);
    expect(one("tab", "a").getAttribute("aria-selected")).toBe("true");
    await settled(() => expect(kernel.viewing).toEqual([a]));
  });

  test("another view of the same model keeps its own tab", async () => {
    kernel.create("a");
    kernel.create("b");
    mount();
    const first = dispose;
    mount();
    await settled(() => expect(all("tab")).toHaveLength(4));
    all("tab", "b")[0]?.click();
    expect(all("tab", "b").map((tab) => tab.getAttribute("aria-selected"))).toEqual([
      "true",
      "false",
    ]);
    first();
  });

  test("a selected tab and a changed list are sent as messages, not on the widget's comm", async () => {
    const [a, b, c] = ["a", "b", "c"].map((title) => kernel.create(title));
    model = new FakeModel({ sessions: [a, b, c] });
    mount();
    await settled(() => expect(tabs()).toEqual(["a", "b", "c"]));
    one("tab", "b").click();
    one("tab", "b").focus();
    press("ArrowRight", { shiftKey: true });
    await settled(() => expect(tabs()).toEqual(["a", "c", "b"]));
    await settled(() =>
      expect(kernel.commands).toMatchObject([
        { type: "set_view", view_id: "view-1", active: b, session_ids: null },
        { type: "set_view", view_id: "view-1", session_ids: [a, c, b] },
      ]),
    );
    expect([model.get("active"), model.get("sessions")]).toEqual([b, [a, c, b]]);
  });

  test("a session that a cell made active is shown as soon as it is known", async () => {
    kernel.create("a");
    model.set("active", "s_later");
    mount();
    await settled(() => expect(tabs()).toEqual(["a"]));
    kernel.create("later", "s_later");
    await settled(() => expect(one("tab", "later").getAttribute("aria-selected")).toBe("true"));
  });

  test("the answer of a closed tab continues, and a notice offers Stop and Reopen", async () => {
    const geo = kernel.create("geo");
    kernel.create("code");
    kernel.ask(geo, "Rivers?");
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "geo, streaming").focus();
    press("Delete");
    await settled(() => expect(tabs()).toEqual(["code"]));
    expect(document.body.textContent).toContain(
      "Closed “geo”. Its answer continues in the background.",
    );
    expect(kernel.state(geo).runs[0]?.state).toBe("connecting");
    one("button", "Reopen").click();
    await settled(() => expect(tabs()).toEqual(["geo, streaming", "code"]));
    expect(one("tab", "geo, streaming").getAttribute("aria-selected")).toBe("true");
  });

  test("F2 renames in place; Escape does not", async () => {
    const geo = kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toEqual(["geo"]));
    one("tab", "geo").focus();
    press("F2");
    const input = one("textbox", "Title") as HTMLInputElement;
    input.value = "geography";
    press("Escape", {}, input);
    expect(kernel.state(geo).settings.title).toBe("geo");
    one("tab", "geo").focus();
    press("F2");
    (one("textbox", "Title") as HTMLInputElement).value = "geography";
    press("Enter", {}, one("textbox", "Title"));
    await settled(() => expect(tabs()).toEqual(["geography"]));
  });

  test("deleting can be undone", async () => {
    kernel.create("geo");
    kernel.create("code");
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    one("button", "Session menu").click();
    one("menuitem", "Delete").click();
    await settled(() => expect(tabs()).toEqual(["code"]));
    one("button", "Undo").click();
    await settled(() => expect(tabs()).toEqual(["geo", "code"]));
  });

  test("New session shows the new session with the focus in its composer", async () => {
    kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toEqual(["geo"]));
    one("button", "New session").click();
    await settled(() => expect(tabs()).toEqual(["geo", "New chat"]));
    await settled(() => expect(one("tab", "New chat").getAttribute("aria-selected")).toBe("true"));
    expect(document.activeElement).toBe(box());
  });

  test("All sessions finds closed ones and opens them again", async () => {
    const geo = kernel.create("geo");
    kernel.create("code");
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "geo").focus();
    press("Delete");
    await settled(() => expect(tabs()).toEqual(["code"]));
    one("button", "All sessions").click();
    const search = one("dialog", "All sessions").querySelector("input") as HTMLInputElement;
    search.value = "GE";
    search.dispatchEvent(new InputEvent("input", { bubbles: true }));
    press("Enter", {}, search);
    await settled(() => expect(tabs()).toContain("geo"));
    expect(kernel.state(geo).settings.closed).toBe(false);
  });
});

describe("coming back", () => {
  test("a page that finds live answers announces once that they continue without it", async () => {
    const geo = kernel.create("geo");
    kernel.ask(geo, "Rivers?");
    kernel.tweak(geo, { started_at: Date.now() / 1000 - 60 });
    mount();
    await settled(() => expect(status()).toContain("1 answer continued in the background."));
    expect(one("button", "Stop").title).toContain("continues in the kernel when you leave");
    kernel.ask(kernel.create("later"), "Lakes?");
    await settled(() => expect(tabs()).toHaveLength(2));
    expect(status().match(/continued in/g)).toHaveLength(1);
  });

  test("an answer that begins after the page has opened is not announced", async () => {
    kernel.ask(kernel.create("geo"), "Rivers?");
    mount();
    await settled(() => expect(tabs()).toEqual(["geo, streaming"]));
    expect(status()).not.toContain("continued in the background");
  });
});

describe("the search", () => {
  test("finds a message in any session and scrolls to it", async () => {
    kernel.window = 20; // it has to be loaded first, in several steps
    kernel.create("geo");
    const code = kernel.create("code");
    kernel.message(code, "user", "How does the *needle* get into the hay?");
    for (let i = 0; i < 80; i += 1) kernel.message(code, "user", `Straw ${i}`);
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    one("button", "All sessions").click();
    const search = one("dialog", "All sessions").querySelector("input") as HTMLInputElement;
    search.value = "NEEDLE";
    search.dispatchEvent(new InputEvent("input", { bubbles: true }));
    await settled(() => expect(document.querySelector("mark")?.textContent).toBe("needle"));
    document.querySelector("mark")?.closest("button")?.click();
    await settled(() => expect(one("tab", "code").getAttribute("aria-selected")).toBe("true"));
    await settled(() =>
      expect(document.querySelector(".nbchat-found")?.textContent).toContain("the *needle* get"),
    );
  });
});

describe("writing", () => {
  let geo: string;
  beforeEach(async () => {
    geo = kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toEqual(["geo"]));
    box().focus();
  });
  const sent = () => kernel.commands.filter(({ type }) => type === "send");

  test("Enter sends, and the composer is cleared when the kernel acknowledges it", async () => {
    let open = (): void => {};
    kernel.gate = new Promise((resolve) => {
      open = resolve;
    });
    type("Rivers?");
    expect(press("Enter").defaultPrevented).toBe(true);
    expect(box().value).toBe("Rivers?");
    open();
    await settled(() => expect(box().value).toBe(""));
    await settled(() =>
      expect(all("article").map((a) => a.getAttribute("data-role"))).toEqual(["user", "assistant"]),
    );
    expect(status()).toBe("answering");
  });

  test("a double click on Send sends one question", async () => {
    type("Rivers?");
    one("button", "Send").click();
    one("button", "Send").click();
    await settled(() => expect(box().value).toBe(""));
    one("button", "Send").click();
    expect(sent()).toHaveLength(1);
  });

  test("text that is typed while a message is being sent is kept", async () => {
    let open = (): void => {};
    kernel.gate = new Promise((resolve) => {
      open = resolve;
    });
    type("Rivers?");
    press("Enter");
    type("Rivers? And");
    open();
    await settled(() => expect(box().value).toBe(" And"));
  });

  test("a refused message stays in the composer, with the reason", async () => {
    kernel.refuse = () => cause("session 'geo' is full.", { hint: "Start a new session." });
    type("Rivers?");
    press("Enter");
    await settled(() =>
      expect(host.textContent).toContain("Not sent: session 'geo' is full. Start a new session."),
    );
    expect(box().value).toBe("Rivers?");
    expect(box().getAttribute("aria-invalid")).toBe("true");
    type("Rivers");
    expect(host.textContent).not.toContain("Not sent");
  });

  test("Enter of an input method does not send", () => {
    type("河");
    press("Enter", { isComposing: true });
    press("Enter", { keyCode: 229 });
    expect(sent()).toHaveLength(0);
  });

  test.each([
    ["enter", {}, true],
    ["enter", { shiftKey: true }, false],
    ["enter", { ctrlKey: true }, false],
    ["shift-enter", {}, false],
    ["shift-enter", { shiftKey: true }, true],
    ["ctrl-enter", { ctrlKey: true }, true],
    ["ctrl-enter", { metaKey: true }, true],
    ["ctrl-enter", {}, false],
  ])("with %s, Enter and %o sends: %s", (habit, keys, does) => {
    model.set("send_key", habit);
    type("Rivers?");
    press("Enter", keys);
    expect(sent()).toHaveLength(does ? 1 : 0);
  });

  test("each session has its own draft", async () => {
    kernel.create("code");
    await settled(() => expect(tabs()).toHaveLength(2));
    type("half a thou");
    one("tab", "code").click();
    expect(box().value).toBe("");
    one("tab", "geo").click();
    expect(box().value).toBe("half a thou");
    expect(page.runtime.drafts.get(geo)).toBe("half a thou");
  });

  test("a file is shown as a chip, sent with the text, and folded in the message", async () => {
    const rows = `name,km\n${"Seine,775\n".repeat(2_000)}`;
    const file = { type: "file", kind: "file", name: "rivers.csv", text: rows } as const;
    page.runtime.drafts.attach(geo, [
      file,
      { type: "file", kind: "file", name: "b.txt", text: "b" },
    ]);
    kernel.create("code");
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "code").click();
    expect(all("group", "Attachments")).toEqual([]);
    one("tab", "geo").click();
    expect(one("group", "Attachments").textContent).toContain(
      "rivers.csv19.5 KB, about 5,002 tokens",
    );
    one("button", "Remove b.txt").click();
    press("Enter", {}, box());
    await settled(() => expect(all("article")).not.toHaveLength(0));
    expect(sent().at(-1)).toMatchObject({ text: "", attachments: [file] });
    expect(all("group", "Attachments")).toEqual([]);

    const card = all("article")[0]?.querySelector("details") as HTMLDetailsElement;
    expect(card.open).toBe(false);
    expect(card.querySelector("summary")?.textContent).toBe("File rivers.csv 19.5 KB");
    expect(card.querySelector("pre")?.textContent).toHaveLength(8_001);
    one("button", "Show all", card).click();
    expect(card.querySelector("pre")?.textContent).toBe(rows);
  });

  test("an unsent question is restored to the composer with its files", async () => {
    const file = { type: "file", kind: "file", name: "rivers.csv", text: "Seine" } as const;
    kernel.ask(geo, "First?");
    const run_id = kernel.ask(geo, "Which?", [file]);
    kernel.fail(geo, run_id, cause("the queue was lost"));
    await settled(() => expect(host.textContent).toContain("Which? [rivers.csv]"));
    one("button", "Restore to composer").click();
    expect(box().value).toBe("Which?");
    expect(one("group", "Attachments").textContent).toContain("rivers.csv");
  });

  test("a message of more than 50,000 tokens is sent when Send is pressed again, unless it changed", async () => {
    const file = {
      type: "file",
      kind: "file",
      name: "long.txt",
      text: "x".repeat(200_000),
    } as const;
    page.runtime.drafts.attach(geo, [file]);
    type("Which?");
    press("Enter");
    await settled(() => expect(host.textContent).toContain("About 50,002 tokens"));
    type("Which river?");
    press("Enter");
    await settled(() => expect(host.textContent).toContain("About 50,003 tokens"));
    expect(sent()).toHaveLength(0);
    press("Enter");
    await settled(() => expect(sent()).toHaveLength(1));
    expect(sent()[0]).toMatchObject({ text: "Which river?", attachments: [file] });
  });

  test("a variable is described again when it is sent, and a previewed text is not replaced unseen", async () => {
    let text = "3 rows";
    const ask = vi.spyOn(page.runtime, "askVariables").mockImplementation(async (request) => {
      const part = { type: "file", kind: "variable", name: "df", text } as const;
      return request.type === "want_described"
        ? ({ type: "described", to: "", id: "", parts: [part], error: "" } as never)
        : ({
            type: "variables",
            to: "",
            id: "",
            variables: [{ name: "df", kind: "DataFrame", size: "" }],
          } as never);
    });
    type("\\@df is not @df now");
    box().setSelectionRange(0, 0);
    const chips = (): string => all("group", "Attachments")[0]?.textContent ?? "";
    await settled(() => expect(chips()).toContain("3 rows"));
    one("button", "Show what is sent of df").click();
    await settled(() => expect(one("dialog").textContent).toBe("3 rows"));
    text = "4 rows";
    press("Enter", {}, box());
    await settled(() => expect(host.textContent).toContain("df changed after you looked"));
    expect(chips()).toContain("4 rows");
    expect(sent()).toHaveLength(0);
    expect(box().value).toBe("\\@df is not @df now");
    text = "5 rows"; // not looked at since
    press("Enter", {}, box());
    await settled(() => expect(sent()).toHaveLength(1));
    expect(sent()[0]).toMatchObject({
      text: "@df is not @df now",
      attachments: [{ name: "df", text: "5 rows" }],
    });
    await settled(() => expect(box().value).toBe(""));
    expect(all("group", "Attachments")).toEqual([]);
    ask.mockRestore();
  });

  test("a text larger than the limit of one message is refused in the page", async () => {
    type("x".repeat(16 * 1024 * 1024));
    press("Enter");
    await settled(() => expect(host.textContent).toContain("the limit is 16.0 MB"));
    expect(sent()).toHaveLength(0);
  });

  test("a table from an office program is pasted as text, a picture is attached", async () => {
    const paste = (data: Readonly<Record<string, string>>): Event => {
      const event = new Event("paste", { bubbles: true, cancelable: true });
      const files = [new File(["x"], "image.png", { type: "image/png" })];
      const clipboardData = { files, getData: (type: string) => data[type] ?? "" };
      box().dispatchEvent(Object.assign(event, { clipboardData }));
      return event;
    };
    const attached = () => page.runtime.drafts.attached(geo).length;
    const table = { "text/plain": "1\t2", "text/html": "<table></table>" };
    expect(paste(table).defaultPrevented).toBe(false);
    expect(paste({ "text/html": "<img>" }).defaultPrevented).toBe(true);
    await settled(() => expect(attached()).toBe(1));
    expect(paste({ "text/plain": "image.png" }).defaultPrevented).toBe(true);
    await settled(() => expect(attached()).toBe(2));
  });

  test("a file that is dropped anywhere in the view is attached and not opened by the browser", async () => {
    for (const target of [one("log"), one("tablist"), box()]) {
      const before = page.runtime.drafts.attached(geo).length;
      const over = new Event("dragover", { bubbles: true, cancelable: true });
      target.dispatchEvent(over);
      const drop = new Event("drop", { bubbles: true, cancelable: true });
      const dataTransfer = { files: [new File(["a,b"], "a.csv", { type: "text/csv" })] };
      target.dispatchEvent(Object.assign(drop, { dataTransfer }));
      expect([over.defaultPrevented, drop.defaultPrevented]).toEqual([true, true]);
      await settled(() => expect(page.runtime.drafts.attached(geo)).toHaveLength(before + 1));
    }
  });

  test("Up recalls the last question, Down the draft", async () => {
    kernel.ask(geo, "First?");
    kernel.ask(geo, "Second?");
    await settled(() => expect(all("article")).toHaveLength(2));
    type("dr");
    box().setSelectionRange(0, 0);
    press("ArrowUp");
    expect(box().value).toBe("Second?");
    press("ArrowUp");
    expect(box().value).toBe("First?");
    press("ArrowDown");
    press("ArrowDown");
    expect(box().value).toBe("dr");
  });

  test("recalling a question keeps the draft, whatever the user does next", async () => {
    kernel.ask(geo, "First?");
    const code = kernel.create("code");
    await settled(() => expect(tabs()).toEqual(["geo, streaming", "code"]));
    type("draft");
    box().setSelectionRange(0, 0);
    press("ArrowUp");
    expect(box().value).toBe("First?");
    one("tab", "code").click();
    one("tab", "geo, streaming").click();
    expect(box().value).toBe("draft");
    box().focus();
    box().setSelectionRange(0, 0);
    press("ArrowUp");
    expect(box().value).toBe("First?");
    press("Enter");
    await settled(() => expect(box().value).toBe("draft"));
    expect(sent().at(-1)).toMatchObject({ text: "First?" });
    expect(page.runtime.drafts.get(geo)).toBe("draft");
    expect(page.runtime.drafts.get(code)).toBe("");
  });

  test("Stop and Pause are shown exactly while a run is live, Resume while it is paused", async () => {
    const names = () =>
      ["Stop", "Pause", "Resume"].filter((name) => all("button", name).length > 0);
    expect(names()).toEqual([]);
    kernel.ask(geo, "Rivers?");
    await settled(() => expect(names()).toEqual(["Stop", "Pause"]));
    one("button", "Pause").click();
    await settled(() => expect(names()).toEqual(["Stop", "Resume"]));
    expect(status()).toBe("paused");
    one("button", "Resume").click();
    await settled(() => expect(names()).toEqual(["Stop", "Pause"]));
    one("button", "Stop").click();
    await settled(() => expect(names()).toEqual([]));
    expect(status()).toBe("stopped");
  });

  test("Escape stops the run, but not while the composer has text", async () => {
    kernel.ask(geo, "Rivers?");
    await settled(() => one("button", "Stop"));
    type("half");
    press("Escape", {}, box());
    expect(kernel.commands.some((c) => c.type === "stop")).toBe(false);
    type("");
    press("Escape", {}, box());
    await settled(() => expect(status()).toBe("stopped"));
  });

  test("queued questions can be changed and removed", async () => {
    kernel.ask(geo, "First?");
    kernel.ask(geo, "Second?");
    const list = () => document.querySelector("[aria-label='Queued questions']");
    await settled(() => expect(list()?.textContent).toContain("Second?"));
    one("button", "Change").click();
    type("Better?", one("textbox", "Edited text") as HTMLTextAreaElement);
    press("Enter", {}, one("textbox", "Edited text"));
    expect(kernel.commands.at(-1)).toMatchObject({ type: "edit", text: "Better?" });
  });

  test("an unfinished change of a queued question is kept when the user switches tabs", async () => {
    kernel.ask(geo, "First?");
    kernel.ask(geo, "Second?");
    await settled(() => one("button", "Change").focus()); // as a pointer does
    one("button", "Change").click();
    const editor = one("textbox", "Edited text") as HTMLTextAreaElement;
    type("Better?", editor);
    box().focus();
    await settled(() =>
      expect(kernel.commands.at(-1)).toMatchObject({ type: "edit", text: "Better?" }),
    );
    expect(all("textbox", "Edited text")).toHaveLength(0);
    await settled(() => one("button", "Change").click());
    press("Escape", {}, one("textbox", "Edited text"));
    expect(kernel.commands.filter(({ type }) => type === "edit")).toHaveLength(1);
  });

  test("a change of a question that has already started goes to the composer", async () => {
    const first = kernel.ask(geo, "First?");
    kernel.ask(geo, "Second?");
    await settled(() => one("button", "Change").click());
    type("Better?", one("textbox", "Edited text") as HTMLTextAreaElement);
    kernel.refuse = ({ type }) => (type === "edit" ? cause("It has been asked already.") : null);
    kernel.complete(geo, first);
    await settled(() => expect(box().value).toBe("Better?"));
    expect(host.textContent).toContain("It has been asked already.");
  });

  test("editing keys do not reach the notebook; chords do", () => {
    const seen: string[] = [];
    const listen = (event: KeyboardEvent): void => {
      const held =
        event.target instanceof Element && event.target.closest("[data-lm-suppress-shortcuts]");
      if (!held) seen.push(event.key);
    };
    document.addEventListener("keydown", listen, true);
    for (const key of ["a", "d", "Enter", "ArrowDown", "Escape"]) press(key, {}, box());
    press("c", { ctrlKey: true }, box());
    press("Enter", { ctrlKey: true }, box());
    press("s", { ctrlKey: true }, box());
    press("b", { metaKey: true }, box());
    document.removeEventListener("keydown", listen, true);
    expect(seen).toEqual(["s", "b"]);
  });
});

describe("messages", () => {
  let geo: string;
  let run: string;
  beforeEach(async () => {
    geo = kernel.create("geo");
    run = kernel.ask(geo, "Which *rivers*?");
    mount();
    await settled(() => expect(all("article")).toHaveLength(2));
  });
  const answer = (): HTMLElement => all("article").at(-1) as HTMLElement;
  const buttons = (within: ParentNode = answer()) =>
    all("button", undefined, within).map((b) => b.getAttribute("aria-label") ?? b.textContent);

  test("text is appended without a redraw, and every message keeps its element", async () => {
    const before = answer();
    for (const word of ["The ", "Seine ", "of course."]) {
      kernel.text(geo, run, word);
      await settled(() => expect(before.textContent).toContain(word));
    }
    expect(answer()).toBe(before);
    expect(markdown).toHaveLength(1);
    expect(markdown[0]).toMatchObject({ appended: 3, resets: 0 });
    expect(before.textContent).toContain("The Seine of course.");
    kernel.complete(geo, run);
    await settled(() => expect(status()).toBe("done"));
  });

  test("the log is not a live region", () => {
    expect(one("log").getAttribute("aria-live")).toBe("off");
    expect(one("status").getAttribute("aria-live")).toBe("polite");
  });

  test("the user's text is shown verbatim", () => {
    expect(all("article")[0]?.textContent).toContain("Which *rivers*?");
  });

  test("reasoning is folded, with its duration", async () => {
    kernel.text(geo, run, "hm", "reasoning");
    await settled(() => expect(answer().querySelector("summary")?.textContent).toBe("Thinking…"));
    kernel.text(geo, run, "The Seine");
    await settled(() =>
      expect(answer().querySelector("summary")?.textContent).toBe("Thought for 2.4 s"),
    );
    expect(answer().querySelector("details")?.open).toBe(false);
  });

  test("tool arguments and results are shown as text", async () => {
    kernel.text(geo, run, '{"q": "<img src=x onerror=alert(1)>"}', "tool_call");
    await settled(() => expect(answer().textContent).toContain("lookup"));
    expect(answer().querySelector("img")).toBeNull();
    expect(answer().querySelector("pre")?.textContent).toContain("<img src=x");
  });

  test("an interrupted answer shows its cause and the choices", async () => {
    kernel.text(geo, run, "The Sei");
    const error = cause("the connection broke", { hint: "Continue or regenerate." });
    kernel.interrupt(geo, run, error);
    await settled(() =>
      expect(answer().textContent).toContain("The connection broke. Continue or regenerate."),
    );
    expect(buttons()).toEqual([
      "Continue",
      "Regenerate",
      "Retry",
      "Keep",
      "Discard",
      "Copy",
      "Fork",
      "Details",
    ]);
    expect(status()).toBe("interrupted");
    one("button", "Keep", answer()).click();
    await settled(() => expect(answer().textContent).not.toContain("The connection broke."));
    expect(buttons()).toEqual(["Copy", "Regenerate", "Continue", "Fork", "Details"]);
  });

  test("Resume is offered where the server can continue", async () => {
    kernel.append(geo, {
      type: "run_answering",
      run_id: run,
      model: "m",
      response_id: "resp_1",
      sequence: 1,
      server: null,
      from_cache: false,
    });
    kernel.text(geo, run, "The Sei");
    kernel.interrupt(geo, run);
    await settled(() => one("button", "Resume", answer()));
    one("button", "Resume", answer()).click();
    expect(kernel.commands.at(-1)).toMatchObject({ type: "resume", run_id: run });
  });

  test("a continued answer continues in the same text", async () => {
    kernel.text(geo, run, "```python\nprint(");
    kernel.interrupt(geo, run);
    await settled(() => one("button", "Continue", answer()));
    one("button", "Continue", answer()).click();
    await settled(() => expect(kernel.state(geo).runs).toHaveLength(2));
    const again = kernel.state(geo).runs[1]?.id ?? "";
    kernel.text(geo, again, "where was I", "reasoning");
    kernel.text(geo, again, "1)\n```");
    await settled(() =>
      expect(markdown.at(-1)?.element.textContent).toBe("```python\nprint(1)\n```"),
    );
    expect(markdown).toHaveLength(1);
  });

  test("a failed question shows its cause and offers Retry", async () => {
    const error = cause("The server refused the key (401).", { hint: "Check OPENAI_API_KEY." });
    kernel.fail(geo, run, error);
    await settled(() => expect(answer().textContent).toContain("Check OPENAI_API_KEY."));
    expect(buttons()).toContain("Retry");
    expect(one("tab").getAttribute("aria-label")).toBe("geo, failed");
  });

  test("a refused question says that it is left out, and offers Retry and Edit", async () => {
    kernel.fail(geo, run, cause("Too long.", { code: "context_too_long", http_status: 400 }));
    await settled(() => expect(answer().textContent).toContain("Too long."));
    const question = all("article")[0] as HTMLElement;
    expect(question.textContent).toContain("not sent with later questions");
    expect(all("button", "Retry")).toHaveLength(1);
    expect(one("button", "Edit", question)).toBeTruthy();
    one("button", "Retry", question).click();
    expect(kernel.commands.at(-1)).toMatchObject({
      type: "retry",
      message_id: question.dataset["messageId"],
    });
  });

  test("sources are a numbered list, and only addresses of the web are links", async () => {
    kernel.text(geo, run, "In France [1].");
    const say = (sources: readonly { title: string; url: string }[]) =>
      kernel.append(geo, {
        type: "run_completed",
        run_id: run,
        at: 1,
        finish_reason: "stop",
        usage: null,
        sources: [...sources],
        notices: [],
      });
    say([
      { title: "<b>Seine</b>", url: "https://example.org/seine" },
      { title: "google.com", url: "https://elsewhere.example/" },
      { title: "", url: "http://example.org/\u202egpj" },
      { title: "rivers.pdf", url: "" },
      { title: "click", url: "javascript:alert(1)" },
      { title: "data", url: "data:text/html,<script>alert(1)</script>" },
      { title: "mail", url: "mailto:a@example.org" },
      { title: "relative", url: "/api/contents" },
      { title: "other", url: "//elsewhere.example/" },
    ]);
    await settled(() => one("group", "Sources", answer()));
    const list = one("group", "Sources", answer());
    expect(list.querySelectorAll("ol > li")).toHaveLength(9);
    const links = [...list.querySelectorAll("a")];
    expect(links.map((link) => link.getAttribute("href"))).toEqual([
      "https://example.org/seine",
      "https://elsewhere.example/",
      "http://example.org/%E2%80%AEgpj",
    ]);
    for (const link of links) {
      expect(link.rel).toBe("noopener noreferrer");
      expect(link.target).toBe("_blank");
    }
    expect(list.querySelector("b, script, img")).toBeNull();
    expect(list.textContent).toContain("<b>Seine</b>");
    expect(list.textContent).toContain("elsewhere.example");
    expect(list.textContent).not.toContain("\u202e");
  });

  test("a thought at the beginning of a text is drawn as reasoning, however it arrives", async () => {
    const text = "<think>\nhm, yes\n</think>\n\nThe Seine.";
    for (const character of text) kernel.text(geo, run, character);
    await settled(() => expect(markdown.at(-1)?.element.textContent).toBe("The Seine."));
    const details = answer().querySelector("details.nbchat-reasoning");
    expect(details?.querySelector(".nbchat-plain")?.textContent).toBe("hm, yes");
    expect(details?.querySelector("summary")?.textContent).toBe("Thought");
    expect(answer().textContent).not.toContain("think>");
    expect(
      kernel.state(geo).messages[kernel.state(geo).runs[0]?.message_id ?? ""]?.parts,
    ).toMatchObject([{ type: "text", text }]);
  });

  test("reasoning without an end tag is shown as unfinished", async () => {
    kernel.text(geo, run, "<think>hm</thi");
    await settled(() => expect(answer().querySelector("summary")?.textContent).toBe("Thinking…"));
    expect(answer().querySelector(".nbchat-plain")?.textContent).toBe("hm");
  });

  test("a generated image is drawn, and one of an unsafe type is not", async () => {
    const part = (index: number, text: string) =>
      kernel.append(geo, {
        type: "part_started",
        run_id: run,
        at: 1,
        part_index: index,
        part: { type: "image", text, name: "" },
      });
    part(0, "data:image/png;base64,iVBORw0KGgo=");
    part(1, "data:image/svg+xml;base64,PHN2Zz4=");
    await settled(() => expect(answer().querySelectorAll("img")).toHaveLength(1));
    expect(answer().querySelector("img")?.alt).toBe("Generated image");
    expect(answer().textContent).toContain("Generated image");
  });

  test("notices are shown below their answer", async () => {
    kernel.text(geo, run, "Here.");
    kernel.append(geo, {
      type: "run_completed",
      run_id: run,
      at: 1,
      finish_reason: "stop",
      usage: null,
      sources: [],
      notices: ["1 item of type <b>x</b> is not shown."],
    });
    await settled(() => expect(answer().textContent).toContain("of type <b>x</b> is not shown."));
    expect(answer().querySelector("b")).toBeNull();
  });

  test("an answer whose continuation failed can be continued, copied and regenerated", async () => {
    kernel.text(geo, run, "The Sei");
    kernel.interrupt(geo, run);
    await settled(() => one("button", "Continue", answer()));
    one("button", "Continue", answer()).click();
    await settled(() => expect(kernel.state(geo).runs).toHaveLength(2));
    const again = kernel.state(geo).runs[1]?.id ?? "";
    kernel.fail(geo, again, cause("Not there."));
    await settled(() => expect(answer().textContent).toContain("Not there."));
    expect(buttons()).toEqual(
      expect.arrayContaining(["Retry", "Continue", "Regenerate", "Discard", "Copy", "Fork"]),
    );
  });

  test("Resume is not offered for an answer that a limit of the kernel cut off", async () => {
    kernel.append(geo, {
      type: "run_answering",
      run_id: run,
      model: "m",
      response_id: "resp_1",
      sequence: 1,
      server: null,
      from_cache: false,
    });
    kernel.text(geo, run, "The Sei");
    const error = cause("The answer reached its limit.", { code: "limit_exceeded" });
    kernel.interrupt(geo, run, error);
    await settled(() => one("button", "Continue", answer()));
    expect(buttons()).not.toContain("Resume");
  });

  test("a delayed retry shows the remaining time and the attempt", async () => {
    const error = cause("The server asks to wait (429).");
    const retry_at = Date.now() / 1000 + 30;
    kernel.append(geo, { type: "run_retrying", run_id: run, attempt: 1, of: 2, retry_at, error });
    await settled(() =>
      expect(answer().textContent).toMatch(
        /Retrying in (30|29) s \(attempt 2 of 3\): The server asks/,
      ),
    );
    expect(one("tab").getAttribute("aria-label")).toBe("geo, waiting");
  });

  test("an answer that does not match its schema is replaced when the corrected one begins", async () => {
    kernel.text(geo, run, "The Seine is 775 km long.");
    await settled(() => expect(answer().textContent).toContain("775 km"));
    const error = cause("The answer does not match the schema.", { code: "answer_invalid" });
    const retry_at = Date.now() / 1000;
    kernel.append(geo, { type: "run_retrying", run_id: run, attempt: 1, of: 1, retry_at, error });
    kernel.append(geo, { type: "run_connecting", run_id: run });
    await settled(() => expect(one("tab").getAttribute("data-run-state")).toBe("connecting"));
    expect(answer().textContent).toContain("775 km");
    expect(all("button", "Try now", answer())).toEqual([]);
    const part = { type: "text", text: "" } as const;
    kernel.append(geo, { type: "part_started", run_id: run, at: 1, part_index: 0, part });
    kernel.text(geo, run, '{"km": 775}');
    await settled(() => expect(answer().textContent).toContain('{"km": 775}'));
    expect(answer().textContent).not.toContain("775 km");
    kernel.complete(geo, run);
    await settled(() => expect(one("tab").getAttribute("data-run-state")).toBe("completed"));
    expect(answer().textContent).toContain('{"km": 775}');
    expect(answer().textContent).not.toContain("775 km");
  });

  test("Try now ends the delay before a retry, and is shown only during it", async () => {
    const error = cause("The server asks to wait (429).");
    const retry_at = Date.now() / 1000 + 118;
    expect(all("button", "Try now", answer())).toEqual([]);
    kernel.append(geo, { type: "run_retrying", run_id: run, attempt: 1, of: 2, retry_at, error });
    await settled(() => one("button", "Try now", answer()));
    expect(one("button", "Try now", answer()).title).toMatch(/without waiting/);
    one("button", "Try now", answer()).click();
    await settled(() => expect(all("button", "Try now", answer())).toEqual([]));
    expect(answer().textContent).toContain("Connecting…");
  });

  test("an answer cut off by its length can be continued", async () => {
    kernel.text(geo, run, "The Sei");
    kernel.append(geo, {
      type: "run_incomplete",
      run_id: run,
      at: 1,
      finish_reason: "length",
      usage: null,
      sources: [],
      notices: [],
    });
    await settled(() => expect(answer().textContent).toContain("length limit"));
    one("button", "Continue", answer());
  });

  test("the user can switch between versions", async () => {
    kernel.text(geo, run, "One.");
    kernel.complete(geo, run);
    await settled(() => one("button", "Regenerate", answer()));
    one("button", "Regenerate", answer()).click();
    await settled(() => expect(answer().textContent).toContain("2 / 2"));
    const again = kernel.state(geo).runs[1]?.id ?? "";
    kernel.text(geo, again, "Two.");
    kernel.complete(geo, again);
    await settled(() =>
      expect(one("button", "Previous version", answer())).toHaveProperty("disabled", false),
    );
    one("button", "Previous version", answer()).focus();
    one("button", "Previous version", answer()).click();
    await settled(() => expect(answer().textContent).toContain("One."));
    expect(answer().textContent).toContain("1 / 2");
    expect(all("article")).toHaveLength(2);
    // The first has none before it; who came by keyboard goes on with its other button.
    expect(document.activeElement).toBe(one("button", "Next version", answer()));
    one("button", "Next version", answer()).click();
    await settled(() => expect(answer().textContent).toContain("2 / 2"));
    expect(document.activeElement).toBe(one("button", "Previous version", answer()));
  });

  test("a question can be edited in place", async () => {
    kernel.complete(geo, run);
    const question = all("article")[0] as HTMLElement;
    one("button", "Edit", question).click();
    const editor = one("textbox", "Edited text") as HTMLTextAreaElement;
    expect(editor.value).toBe("Which *rivers*?");
    one("button", "Send edit", question);
    one("button", "Send"); // the composer's, which alone has this name
    type("Which lakes?", editor);
    press("Enter", {}, editor);
    await settled(() => expect(all("article")[0]?.textContent).toContain("Which lakes?"));
    expect(kernel.commands.at(-1)).toMatchObject({ type: "edit", text: "Which lakes?" });
  });

  test("an edit without text cannot be sent", () => {
    kernel.complete(geo, run);
    const question = all("article")[0] as HTMLElement;
    one("button", "Edit", question).click();
    const send = one("button", "Send edit", question) as HTMLButtonElement;
    expect(send.disabled).toBe(false);
    type("  ", one("textbox", "Edited text") as HTMLTextAreaElement);
    expect(send.disabled).toBe(true);
  });

  test("an open edit survives a switch to another session", async () => {
    kernel.complete(geo, run);
    kernel.create("code");
    await settled(() => expect(tabs()).toHaveLength(2));
    one("button", "Edit", all("article")[0]).click();
    type("Which lakes?", one("textbox", "Edited text") as HTMLTextAreaElement);
    one("tab", "code").click();
    expect(all("textbox", "Edited text")).toHaveLength(0);
    const geoTab = all("tab")[0] as HTMLElement;
    geoTab.click();
    const editor = one("textbox", "Edited text") as HTMLTextAreaElement;
    expect(editor.value).toBe("Which lakes?");
    press("Escape", {}, editor);
    one("tab", "code").click();
    geoTab.click();
    expect(all("textbox", "Edited text")).toHaveLength(0);
  });

  test("the editor of a question sends with the same keys as the composer", async () => {
    model.set("send_key", "ctrl-enter");
    kernel.complete(geo, run);
    await settled(() => one("button", "Edit", all("article")[0]).click());
    const editor = one("textbox", "Edited text") as HTMLTextAreaElement;
    type("Which lakes?", editor);
    press("Enter", {}, editor);
    expect(kernel.commands.some(({ type }) => type === "edit")).toBe(false);
    press("Enter", { ctrlKey: true }, editor);
    await settled(() => expect(kernel.commands.at(-1)).toMatchObject({ type: "edit" }));
  });

  test("Copy copies the Markdown", async () => {
    const written: string[] = [];
    vi.stubGlobal("navigator", {
      languages: ["en"],
      clipboard: { writeText: async (text: string) => void written.push(text) },
    });
    kernel.text(geo, run, "The **Seine**");
    await settled(() => expect(answer().textContent).toContain("Seine"));
    one("button", "Copy", answer()).click();
    await settled(() => expect(status()).toContain("copied"));
    expect(written).toEqual(["The **Seine**"]);
    vi.unstubAllGlobals();
  });

  test("one choice is primary, and each tooltip states what happens to the text", async () => {
    kernel.text(geo, run, "The Sei");
    kernel.interrupt(geo, run);
    await settled(() => one("button", "Continue", answer()));
    const choices = [...answer().querySelectorAll<HTMLElement>(".nbchat-choices button")];
    expect(choices.map((choice) => choice.classList.contains("nbchat-primary"))).toEqual([
      true,
      ...choices.slice(1).map(() => false),
    ]);
    for (const choice of choices) expect(choice.title).toMatch(/\.$/);
  });

  test("an answer that was stopped before any text has a note and offers Retry", async () => {
    one("button", "Stop").click();
    await settled(() => expect(answer().textContent).toContain("Stopped before any text arrived."));
    expect(buttons()).toEqual(["Retry", "Details"]);
  });

  test("a slow answer shows its model, the time so far and the time limit", async () => {
    const WAITING = "Waiting for demo-tour… 12 s (gives up after 120 s)";
    const began = Date.now();
    await settled(() => expect(answer().textContent).toContain("Connecting…"));
    vi.spyOn(Date, "now").mockReturnValue(began + 12_500);
    kernel.tweak(geo, { unread: true });
    await vi.waitFor(() => expect(answer().textContent).toContain(WAITING), {
      interval: 5,
      timeout: 10_000,
    });
  });

  test("Fork shows the new session", async () => {
    kernel.complete(geo, run);
    await settled(() => one("button", "Fork", answer()));
    one("button", "Fork", answer()).click();
    const title = "Rivers (fork)";
    await settled(() => expect(one("tab", title).getAttribute("aria-selected")).toBe("true"));
  });

  test("text of one session is never shown in another", async () => {
    const code = kernel.create("code");
    const other = kernel.ask(code, "Code?");
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "code, streaming").click();
    kernel.text(geo, run, "AAAA");
    kernel.text(code, other, "BBBB");
    await settled(() => expect(one("log").textContent).toContain("BBBB"));
    expect(one("log").textContent).not.toContain("AAAA");
    one("tab", "geo, streaming").click();
    expect(one("log").textContent).toContain("AAAA");
    expect(one("log").textContent).not.toContain("BBBB");
  });

  test("only the end of a long conversation is drawn; earlier messages are drawn on demand", async () => {
    const long = kernel.create("long");
    for (let i = 0; i < 150; i += 1) kernel.message(long, "user", `Question ${i}`);
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "long").click();
    expect(all("article")).toHaveLength(2);
    await settled(() => expect(all("article").length).toBeGreaterThanOrEqual(50));
    const before = all("article").length;
    one("button", "Show earlier messages").click();
    expect(all("article")).toHaveLength(before + 50);
    expect(all("article").at(-1)?.textContent).toContain("Question 149");
  });
});

describe("a window of a long conversation", () => {
  test("earlier messages are requested until the conversation is complete", async () => {
    kernel.window = 30;
    const long = kernel.create("long");
    for (let i = 0; i < 100; i += 1) kernel.message(long, "user", `Question ${i}`);
    mount();
    await settled(() => expect(all("article")).toHaveLength(30));
    for (const count of [60, 90, 100]) {
      one("button", "Show earlier messages").click();
      await settled(() => expect(all("article")).toHaveLength(count));
    }
    expect(all("button", "Show earlier messages")).toHaveLength(0);
    expect(all("article").map((a) => a.querySelector(".nbchat-plain")?.textContent)).toEqual(
      Array.from({ length: 100 }, (_, i) => `Question ${i}`),
    );
  });
});

describe("the view as a whole", () => {
  test("a single session is a region named by its title, without tabs", async () => {
    const geo = kernel.create("geo");
    model.set("sessions", [geo]);
    mount("session");
    await settled(() => one("region", "geo"));
    expect(all("tablist")).toHaveLength(0);
    expect(box()).toBeTruthy();
  });

  test("a view with its own list shows those sessions in their order", async () => {
    const a = kernel.create("a");
    kernel.create("b");
    const c = kernel.create("c");
    model.set("sessions", [c, a]);
    mount();
    await settled(() => expect(tabs()).toEqual(["c", "a"]));
    one("tab", "c").focus();
    press("ArrowRight", { shiftKey: true });
    await settled(() => expect(tabs()).toEqual(["a", "c"]));
    expect(model.get("sessions")).toEqual([a, c]);
  });

  test("a lost connection and the demo server are shown", async () => {
    kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toHaveLength(1));
    expect(host.textContent).toContain("demo");
    page.host.connectionStatusChanged.emit("connecting");
    const lost = () => expect(host.textContent).toContain("Lost connection to the kernel.");
    await vi.waitFor(lost, { interval: 5, timeout: 10_000 });
    page.host.connectionStatusChanged.emit("connected");
    await settled(() => expect(host.textContent).not.toContain("Lost connection to the kernel."));
  });

  test("nothing is drawn until a kernel has answered", async () => {
    const silent = {
      get: (name: string) => ({ epoch: "k1", version: "0" })[name],
      set() {},
      save_changes() {},
      on() {},
      off() {},
      send() {},
    } as unknown as AnyModel;
    const saved = new PageRuntime("0", undefined, () => () => {});
    saved.attach(silent);
    expect(saved.hasKernel).toBe(false);
    const place = document.body.appendChild(document.createElement("div"));
    const remove = mountView(saved, "tabs", model, place, (element) => new Plain(element));
    const view = place.querySelector<HTMLElement>(".nbchat");
    expect(view?.hidden).toBe(true);
    expect(view?.hasAttribute("data-welcomed")).toBe(false);
    saved.store.reset("k1");
    saved.store.connection = "live";
    await settled(() => expect(view?.hidden).toBe(false));
    expect(view?.hasAttribute("data-welcomed")).toBe(true);
    remove();
    saved.release(silent);
    place.remove();

    mount();
    expect(page.runtime.hasKernel).toBe(true);
    expect(host.querySelector<HTMLElement>(".nbchat")?.hidden).toBe(false);
  });

  test("in a host that cannot write the file, the view shows where sessions are kept", async () => {
    kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toHaveLength(1));
    const banner = () => host.querySelector<HTMLElement>(".nbchat-banner");
    page.store.setSaving({ type: "saving", state: "saved", error: null });
    await settled(() => expect(banner()?.textContent).toContain("only in a journal"));
    expect(banner()?.hidden).toBe(false);
    page.store.setSaving({ type: "saving", state: "off", error: null });
    await settled(() => expect(banner()?.textContent).toContain("lost when the kernel stops"));
    document.body.dataset["voila"] = "voila"; // as in the pages of Voilà
    page.store.setSaving({ type: "saving", state: "off", error: null });
    await settled(() => expect(banner()?.textContent).toContain("lost when this page is reloaded"));
    delete document.body.dataset["voila"];
    page.store.setSaving({ type: "saving", state: "unsaved", error: cause("The disk is full.") });
    await settled(() => expect(banner()?.textContent).toContain("disk is full"));
    expect(banner()?.getAttribute("data-tone")).toBeNull();
  });

  test("after the kernel is gone no run is shown as live", async () => {
    const geo = kernel.create("geo");
    kernel.ask(geo, "Rivers?");
    kernel.ask(geo, "Lakes?");
    mount();
    await settled(() => expect(all("article")).toHaveLength(2));
    page.host.statusChanged.emit("restarting");
    await settled(() => expect(all("article").at(-1)?.textContent).toContain("interrupted"));
    expect(document.querySelector("[aria-busy=true]")).toBeNull();
    expect(document.querySelector("[data-run-state=streaming]")).toBeNull();
    expect([...all("button", "Stop"), ...all("button", "Change")]).toHaveLength(0);
    one("button", "Restore to composer").click();
    expect((one("textbox", "Message") as HTMLTextAreaElement).value).toBe("Lakes?");
  });

  test("the demo badge is hidden for a session with another provider", async () => {
    const [named, usual] = [kernel.create("named"), kernel.create("usual")];
    const { settings } = kernel.state(named);
    kernel.append(named, { type: "settings_changed", settings: { ...settings, provider: "acme" } });
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    const label = () => host.querySelector(".nbchat-demo")?.closest("[hidden]");
    expect(label()).not.toBeNull();
    one("tab", "usual").click();
    expect(label()).toBeNull();
    kernel.tweak(usual, { own_provider: true });
    await settled(() => expect(label()).not.toBeNull());
  });

  test("an answer from the cache is marked as such", async () => {
    const geo = kernel.create("geo");
    for (const from_cache of [false, true]) {
      const run = kernel.ask(geo, "Which rivers?");
      kernel.append(geo, {
        type: "run_answering",
        run_id: run,
        model: "m",
        response_id: null,
        sequence: 0,
        server: null,
        from_cache,
      });
      kernel.text(geo, run, "The Seine.");
      kernel.complete(geo, run);
    }
    mount();
    await settled(() => expect(all("article")).toHaveLength(4));
    const marks = all("article").map((article) => article.textContent?.includes("from cache"));
    expect(marks).toEqual([false, false, false, true]);
  });

  test("the foot shows the tokens of the last answer and its cost, once it is known", async () => {
    const geo = kernel.create("geo");
    const run = kernel.ask(geo, "Which rivers?");
    kernel.text(geo, run, "The Seine.");
    kernel.complete(geo, run);
    mount();
    await settled(() => expect(host.textContent).toContain("345 tokens"));
    expect(host.textContent).not.toContain("about");
    kernel.tweak(geo, { cost: "$0.012" });
    await settled(() => expect(host.textContent).toContain("345 tokens · about $0.012"));
  });

  test("with a runner, the foot shows whether a session ends with its kernel", async () => {
    const usual = kernel.create("usual");
    mount();
    await settled(() => one("textbox", "Message"));
    expect(host.textContent).not.toContain("without the kernel");
    kernel.say({ type: "runner", to: page.runtime.page, person: "" });
    await settled(() => expect(host.textContent).toContain("continues without the kernel"));
    kernel.tweak(usual, { own_provider: true });
    await settled(() => expect(host.textContent).toContain("ends with this kernel"));
    kernel.tweak(usual, { own_provider: false, tools: [{ name: "pay", on: false }] });
    await settled(() => expect(host.textContent).toContain("continues without the kernel"));
    kernel.tweak(usual, { tools: [{ name: "pay", on: true }] });
    await settled(() => expect(host.textContent).toContain("ends with this kernel"));
  });

  test("in a service, questions of others have their names, and the user's own are theirs", async () => {
    const geo = kernel.create("geo");
    kernel.say({ type: "runner", to: page.runtime.page, person: "ada" });
    mount();
    await settled(() => expect(page.store.person).toBe("ada"));
    const hostile = `<img src=x onerror=alert(1)>\u202e${"x".repeat(500)}`;
    for (const author of ["ada", "bob", hostile]) {
      kernel.complete(geo, kernel.ask(geo, "Why?", [], { author }));
    }
    kernel.ask(geo, "Live?", [], { author: "bob" });
    kernel.ask(geo, "Queued?", [], { author: "bob" });
    const names = () => all("article").map((article) => article.getAttribute("aria-label"));
    await settled(() => expect(names()).toHaveLength(8));
    expect(names().filter((name) => name !== "Assistant")).toEqual([
      "You",
      "bob",
      "<img src=x onerror=alert(1)>⟦U+202E⟧xxx…",
      "bob",
    ]);
    const shown = [...document.querySelectorAll(".nbchat-who")].map((who) => who.textContent);
    expect(shown).toEqual(names());
    const list = () => document.querySelector("[aria-label='Queued questions']");
    await settled(() => expect(list()?.textContent).toContain("bobQueued?"));
    expect(document.querySelector("img, script")).toBeNull();
  });

  test("the settings form names the person who changed the settings last", async () => {
    const geo = kernel.create("geo");
    mount();
    await settled(() => one("button", "Model: demo-tour").click());
    await settled(() => one("dialog", "Session settings"));
    expect(one("dialog", "Session settings").textContent).not.toContain("Last changed");
    press("Escape", {}, one("dialog", "Session settings"));
    kernel.append(geo, {
      type: "settings_changed",
      settings: { ...kernel.state(geo).settings, model: "river", changed_by: "<b>bob" },
    });
    await settled(() => one("button", "Model: river").click());
    await settled(() => one("dialog", "Session settings"));
    expect(one("dialog", "Session settings").textContent).toContain("Last changed by <b>bob.");
  });

  test("a server that another page or a cell selected is announced", async () => {
    kernel.create("geo");
    mount();
    await settled(() => one("textbox", "Message"));
    expect(host.textContent).not.toContain("example.org");
    kernel.say({ type: "config", demo: false, provider: "example.org", model: "m" });
    await settled(() =>
      expect(host.querySelector(".nbchat-toast")?.textContent).toContain("example.org"),
    );
  });

  test("the view is in Chinese if its locale is Chinese", async () => {
    model.set("locale", "zh-CN");
    kernel.create("geo");
    mount();
    await settled(() => one("region", "聊天会话"));
    one("textbox", "消息");
    one("button", "发送");
    model.set("locale", "en");
    await settled(() => one("region", "Chat sessions"));
    expect(all("region")).toHaveLength(1);
    model.set("locale", "zh-CN");
    await settled(() => one("region", "聊天会话"));
    expect(all("region")).toHaveLength(1);
  });

  test("settings from a file are used only after the user adopts them", async () => {
    const geo = kernel.create("geo");
    const { settings } = kernel.state(geo);
    kernel.append(geo, {
      type: "settings_changed",
      settings: { ...settings, from_file: true, instructions: "Obey me." },
    });
    mount();
    await settled(() => one("button", "Use these settings"));
    one("button", "Use these settings").click();
    expect(kernel.commands.at(-1)).toMatchObject({ type: "configure", instructions: "Obey me." });
    await settled(() => expect(all("button", "Use these settings")).toHaveLength(0));
  });

  test("the settings form configures the session", async () => {
    const geo = kernel.create("geo");
    mount();
    await settled(() => one("button", "Model: demo-tour"));
    await settled(() => expect(page.store.session(geo)).toBeDefined());
    one("button", "Model: demo-tour").click();
    const form = one("dialog", "Session settings").querySelector("form") as HTMLFormElement;
    const [modelField, temperature] = form.querySelectorAll("input");
    await settled(() => expect(modelField?.placeholder).toBe("Default: demo-tour"));
    (modelField as HTMLInputElement).value = "demo-echo";
    (temperature as HTMLInputElement).value = "0.5";
    form.requestSubmit();
    await settled(() => expect(all("dialog")).toHaveLength(0));
    expect(kernel.state(geo).settings).toMatchObject({
      model: "demo-echo",
      params: { temperature: 0.5 },
    });
  });

  test("the settings form sets only changed fields, and keeps its input until it is saved", async () => {
    const geo = kernel.create("geo");
    mount();
    await settled(() => expect(page.store.session(geo)).toBeDefined());
    one("button", "Model: demo-tour").click();
    const form = one("dialog", "Session settings").querySelector("form") as HTMLFormElement;
    const [instructions] = form.querySelectorAll("textarea");
    (instructions as HTMLTextAreaElement).value = "Briefly.";
    window.dispatchEvent(new Event("resize"));
    one("tab", "geo").dispatchEvent(new Event("pointerdown", { bubbles: true }));
    const { settings } = kernel.state(geo);
    const params = { temperature: 0.5 };
    kernel.append(geo, {
      type: "settings_changed",
      settings: { ...settings, model: "demo-echo", params },
    });
    await settled(() => one("button", "Model: demo-echo"));
    form.requestSubmit();
    await settled(() => expect(all("dialog")).toHaveLength(0));
    const wanted = { model: "demo-echo", instructions: "Briefly.", params };
    expect(kernel.state(geo).settings).toMatchObject(wanted);
    one("button", "Model: demo-echo").click();
    one("tab", "geo").dispatchEvent(new Event("pointerdown", { bubbles: true }));
    expect(all("dialog"), "nothing was changed in it").toHaveLength(0);
  });

  test("a double click sends one command", async () => {
    kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toHaveLength(1));
    for (const detail of [1, 2]) {
      one("button", "New session").dispatchEvent(
        new MouseEvent("click", { bubbles: true, detail }),
      );
    }
    await settled(() => expect(tabs()).toHaveLength(2));
    expect(kernel.commands.filter(({ type }) => type === "new_session")).toHaveLength(1);
  });

  test("closing the last tab disables its menu and focuses New session, which then focuses the new composer", async () => {
    kernel.create("geo");
    mount();
    await settled(() => one("tab", "geo").focus());
    press("Delete", {}, one("tab", "geo"));
    await settled(() => expect(document.activeElement).toBe(one("button", "New session")));
    const menu = one("button", "Session menu") as HTMLButtonElement;
    expect(menu.disabled).toBe(true);
    one("button", "New session").click();
    await settled(() => expect(document.activeElement?.getAttribute("aria-label")).toBe("Message"));
    expect(menu.disabled).toBe(false);
  });

  test("two sessions are shown side by side, each with its own composer", async () => {
    const geo = kernel.create("geo");
    const code = kernel.create("code");
    mount();
    await settled(() => expect(tabs()).toHaveLength(2));
    one("tab", "code").dispatchEvent(
      new MouseEvent("contextmenu", { bubbles: true, cancelable: true }),
    );
    one("menuitemcheckbox", "Show in side view").click();
    expect(all("log")).toHaveLength(2);
    await settled(() => expect(kernel.viewing).toEqual([geo, code]));
    one("button", "Close side view").click();
    expect(all("log")).toHaveLength(1);
  });

  test("disposing of the view leaves no elements or listeners", async () => {
    kernel.create("geo");
    mount();
    await settled(() => expect(tabs()).toHaveLength(1));
    dispose();
    expect(host.childElementCount).toBe(0);
    expect(model.listening).toBe(0);
    await settled(() => expect(kernel.viewing).toEqual([]));
    kernel.create("later");
    await new Promise((resolve) => requestAnimationFrame(resolve));
    expect(host.childElementCount).toBe(0);
  });
});

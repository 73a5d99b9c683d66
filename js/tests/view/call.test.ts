// @vitest-environment jsdom
/** Cards of tool calls: what is approved is what is shown. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import * as zh from "../../src/i18n/zh-CN";
import type { Decide, Event } from "../../src/protocol";
import { crc32 } from "../../src/state/crc32";
import { displayed } from "../../src/view/call";
import { mountView } from "../../src/view/index";
import { cause, type FakeKernel } from "../../testing/kernel";
import { FakeModel } from "../../testing/model";
import { FakePage } from "../../testing/page";

let page: FakePage;
let kernel: FakeKernel;
let model: FakeModel;
let dispose: () => void;
let session: string;
let run: string;
let clock: number;

const settled = (check: () => void): Promise<void> =>
  vi.waitFor(check, { interval: 5, timeout: 20_000 });
const cards = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>("[data-call-id]")];
const card = (id: string): HTMLElement =>
  document.querySelector(`[data-call-id="${id}"]`) as HTMLElement;
const shownButtons = (id: string): HTMLButtonElement[] =>
  [...card(id).querySelectorAll("button")].filter((one) => !one.closest("[hidden]"));
const named = (id: string, name: string): HTMLButtonElement =>
  shownButtons(id).find((one) => one.textContent === name) as HTMLButtonElement;
const preview = (id: string): HTMLElement =>
  card(id).querySelector("[class*=call-preview]") as HTMLElement;
const decisions = (): Decide[] =>
  kernel.commands.filter((command): command is Decide => command.type === "decide");
const wait = (ms: number): void => {
  clock += ms;
};

function append(...events: object[]): void {
  kernel.append(session, ...(events.map((event) => ({ run_id: run, at: 1, ...event })) as Event[]));
}

const call = (call_id: string, text: string, name = "rate"): void =>
  kernel.call(session, run, call_id, name, text);
const result = (call_id: string, text: string, images: string[] = [], is_error = false): void =>
  kernel.result(session, run, call_id, text, images, is_error);
const ask = (...call_ids: string[]): void => append({ type: "run_awaiting_approval", call_ids });
const act = (...call_ids: string[]): void => append({ type: "run_acting", call_ids, by: "user" });

beforeEach(async () => {
  localStorage.clear();
  sessionStorage.clear();
  clock = 10_000;
  page = await new FakePage().connected();
  kernel = page.kernel;
  model = new FakeModel();
  session = kernel.create("geo");
  run = kernel.ask(session, "Rates?");
  const host = document.body.appendChild(document.createElement("div"));
  dispose = mountView(page.runtime, "tabs", model, host, (element) => ({
    append: (text: string) => element.append(text),
    reset: (text: string) => {
      element.textContent = text;
    },
    end() {},
    destroy() {},
  }));
  vi.spyOn(performance, "now").mockImplementation(() => clock);
});
afterEach(() => {
  vi.restoreAllMocks();
  dispose();
  page.close();
  document.body.replaceChildren();
});

test("a call is shown whole, and Run approves the arguments that are shown", async () => {
  const text = '{"currency":"USD"}';
  call("c1", text);
  await settled(() => expect(card("c1")?.getAttribute("data-call-state")).toBe("arriving"));
  expect(shownButtons("c1")).toEqual([]);
  ask("c1");
  await settled(() => expect(shownButtons("c1")).toHaveLength(3));
  expect(card("c1").getAttribute("role")).toBe("group");
  expect(card("c1").getAttribute("aria-label")).toBe("rate wants to run");
  expect(shownButtons("c1").map((one) => one.textContent)).toEqual([
    "Run",
    "Run all in this answer",
    "Don't run",
  ]);
  expect(card("c1").querySelector("pre")?.textContent).toBe('{\n  "currency": "USD"\n}');
  wait(500);
  named("c1", "Run").click();
  named("c1", "Run").click();
  await settled(() => expect(decisions()).toHaveLength(1));
  expect(decisions()[0]).toMatchObject({
    session_id: session,
    run_id: run,
    call_id: "c1",
    decision: "run",
    shown: crc32(text),
  });
});

test("Pause is disabled while a call waits for approval or runs", async () => {
  const disabled = (): (string | null)[] =>
    [...document.querySelectorAll("button")]
      .filter(({ textContent }) => textContent === "Pause")
      .map((one) => one.getAttribute("aria-disabled"));
  call("c1", "{}");
  await settled(() => expect(disabled()).toEqual([null]));
  ask("c1");
  await settled(() => expect(disabled()).toEqual(["true"]));
  act("c1");
  await settled(() => expect(card("c1").getAttribute("data-call-state")).toBe("running"));
  expect(disabled()).toEqual(["true"]);
});

test.each([
  ["Run all in this answer", "run_all"],
  ["Don't run", "refuse"],
])("%s sends the decision %s", async (name, decision) => {
  call("c1", "{}");
  ask("c1");
  await settled(() => expect(shownButtons("c1")).toHaveLength(3));
  wait(500);
  named("c1", name).click();
  await settled(() => expect(decisions()).toMatchObject([{ decision }]));
});

describe("a press", () => {
  test("is ignored for 500 ms after the buttons have appeared or may have moved", async () => {
    call("c1", "{}");
    call("c2", "{}");
    ask("c1", "c2");
    await settled(() => expect(shownButtons("c2")).toHaveLength(3));
    wait(499);
    named("c2", "Run").click();
    wait(10);
    act("c1"); // its buttons are gone, and those of the other card have moved up
    await settled(() => expect(named("c1", "Run")).toBeUndefined());
    named("c2", "Run").click();
    wait(499);
    named("c2", "Run").click();
    wait(1);
    named("c2", "Don't run").click();
    await settled(() => expect(decisions()).toMatchObject([{ decision: "refuse" }]));
  });

  test("that is refused can be repeated, and the reason is shown", async () => {
    kernel.refuse = () => cause("the arguments have changed.");
    call("c1", "{}");
    ask("c1");
    await settled(() => expect(shownButtons("c1")).toHaveLength(3));
    wait(500);
    named("c1", "Run").click();
    await settled(() => expect(document.body.textContent).toContain("The arguments have changed."));
    expect(named("c1", "Run").getAttribute("aria-disabled")).toBeNull();
  });
});

test("the focus stays where it is when buttons appear, and on the card when they go", async () => {
  const box = document.querySelector("textarea") as HTMLTextAreaElement;
  await settled(() => {
    box.focus();
    expect(document.activeElement).toBe(box);
  });
  call("c1", "{}");
  ask("c1");
  await settled(() => expect(shownButtons("c1")).toHaveLength(3));
  expect(document.activeElement).toBe(box);
  named("c1", "Run").focus();
  act("c1");
  await settled(() => expect(named("c1", "Run")).toBeUndefined());
  expect(document.activeElement).toBe(card("c1"));
});

test("while a call waits, the status is announced and the tab has a badge", async () => {
  call("c1", "{}");
  ask("c1");
  const status = document.querySelector("[role=status]");
  await settled(() => expect(status?.textContent).toContain("waiting for your approval"));
  expect(document.querySelector("[role=tab]")?.getAttribute("aria-label")).toContain("waiting");
});

describe("a card", () => {
  test("follows its call to the result, with its pictures", async () => {
    call("c1", '{"code":"print(1)"}', "python");
    ask("c1");
    act("c1");
    await settled(() => expect(card("c1")?.getAttribute("aria-label")).toBe("python is running"));
    const png = "data:image/png;base64,iVBORw0KGgo=";
    result("c1", "1\n", [png, "data:image/svg+xml;base64,PHN2Zz4="]);
    await settled(() => expect(card("c1").getAttribute("aria-label")).toBe("python ran"));
    expect(cards()).toHaveLength(1);
    const details = card("c1").querySelector("details");
    expect(details?.querySelector("summary")?.textContent).toBe("Result");
    expect(details?.querySelector("pre")?.textContent).toBe("1\n");
    const pictures = [...card("c1").querySelectorAll("img")];
    expect(pictures.map(({ alt, src }) => [alt, src])).toEqual([["Picture 1 of python", png]]);
  });

  test("shows what was not run, and what may have been", async () => {
    call("c1", "{}");
    call("c2", "{}");
    call("c3", "{}");
    ask("c1", "c2", "c3");
    act("c1");
    result("c2", "The user refused this call.", [], true);
    kernel.interrupt(session, run);
    await settled(() => expect(card("c1")?.getAttribute("data-call-state")).toBe("unknown"));
    expect(cards().map((one) => one.getAttribute("aria-label"))).toEqual([
      "rate has an unknown outcome",
      "rate was not run",
      "rate was not run",
    ]);
    expect(["c1", "c2", "c3"].map((id) => named(id, "Run"))).toEqual(Array(3).fill(undefined));
    expect(card("c2").querySelector("details pre")?.textContent).toContain("refused");
    expect(card("c3").querySelector("details")?.hidden).toBe(true);
  });

  test("shows hidden characters of names, arguments and results, and runs no markup", async () => {
    call("c1", '{"code":"x = 1 # \u202e\u0000<img src=x onerror=alert(1)>"}', "pyt\u200bhon");
    result("c1", "\u001b[31m<b>red</b>\u2066");
    await settled(() => expect(card("c1")?.querySelector("details")?.hidden).toBe(false));
    const text = card("c1").textContent ?? "";
    for (const mark of ["⟦U+202E⟧", "⟦U+0000⟧", "⟦U+200B⟧", "⟦U+001B⟧", "⟦U+2066⟧", "<b>red"]) {
      expect(text).toContain(mark);
    }
    expect(card("c1").querySelector("img, b")).toBeNull();
  });

  test("shows the beginning of a long result, and all of it on demand", async () => {
    call("c1", "{}");
    result("c1", "x".repeat(20_000));
    await settled(() => expect(card("c1")?.querySelector("details")?.hidden).toBe(false));
    const pre = card("c1").querySelector("details pre") as HTMLElement;
    expect(pre.textContent?.length).toBe(8001);
    named("c1", "Show all").click();
    expect(pre.textContent?.length).toBe(20_000);
  });
});

describe("the session's head", () => {
  test("has the text that look would send, which is shown above the buttons", async () => {
    call("c1", '{"name":"df"}', "look");
    kernel.tweak(session, {
      calls: [{ call_id: "c1", preview: "DataFrame <b>\u202e", queued: false }],
    });
    ask("c1");
    await settled(() => expect(shownButtons("c1")).toHaveLength(3));
    await settled(() => expect(preview("c1").hidden).toBe(false));
    expect(preview("c1").textContent).toBe("This would be sent:DataFrame <b>⟦U+202E⟧");
    expect(preview("c1").compareDocumentPosition(named("c1", "Run"))).toBe(
      Node.DOCUMENT_POSITION_FOLLOWING,
    );
    wait(500);
    // Another text moves the buttons.
    kernel.tweak(session, { calls: [{ call_id: "c1", preview: "changed", queued: false }] });
    await settled(() => expect(preview("c1").textContent).toContain("changed"));
    named("c1", "Run").click();
    act("c1");
    await settled(() => expect(card("c1").getAttribute("data-call-state")).toBe("running"));
    expect(preview("c1").hidden).toBe(true);
    expect(decisions()).toEqual([]);
  });

  test("of another run shows nothing in this one", async () => {
    call("c1", "{}", "look");
    kernel.tweak(session, {
      run_id: "run_other",
      calls: [{ call_id: "c1", preview: "df", queued: false }],
    });
    ask("c1");
    await settled(() => expect(shownButtons("c1")).toHaveLength(3));
    expect(preview("c1").hidden).toBe(true);
  });

  test("names a call that waits for the running cell, in its card and in the status", async () => {
    const status = (): string | null =>
      document.querySelector("[role=status]")?.textContent ?? null;
    call("c1", "{}", "python");
    act("c1");
    kernel.tweak(session, { calls: [{ call_id: "c1", preview: null, queued: true }] });
    const title = "python is waiting for the running cell";
    await settled(() => expect(card("c1")?.getAttribute("aria-label")).toBe(title));
    expect(card("c1").getAttribute("data-call-state")).toBe("running");
    await settled(() => expect(status()).toContain("waiting for the running cell"));
    kernel.tweak(session, { calls: [] });
    await settled(() => expect(card("c1").getAttribute("aria-label")).toBe("python is running"));
    await settled(() => expect(status()).toContain("running tools"));
  });
});

test("after the results, the page shows that it waits for the model again", async () => {
  call("c1", "{}");
  act("c1");
  result("c1", "1.08");
  append({ type: "run_connecting" });
  await settled(() =>
    expect(document.querySelector("article:last-of-type")?.textContent).toMatch(/Connecting…/),
  );
});

test("the menu Tools switches the session's tools off and on, and is there only if it has some", async () => {
  const button = (): HTMLElement =>
    [...document.querySelectorAll("button")].find(
      (one) => one.textContent === "Tools",
    ) as HTMLElement;
  const items = (): (string | null)[][] =>
    [...document.querySelectorAll("[role=menuitemcheckbox]")].map((item) => [
      item.textContent,
      item.getAttribute("aria-checked"),
    ]);
  await settled(() => expect(button()?.hidden).toBe(true));
  const tools = [
    { name: "rate", on: true },
    { name: "pyt\u200bhon", on: true },
  ];
  kernel.tweak(session, { tools });
  await settled(() => expect(button().hidden).toBe(false));
  button().click();
  expect(items()).toEqual([
    ["rate", "true"],
    ["pyt⟦U+200B⟧hon", "true"],
  ]);
  document.querySelector<HTMLElement>("[role=menuitemcheckbox]")?.click();
  await settled(() => {
    expect(kernel.commands.at(-1)).toMatchObject({ type: "switch_tool", name: "rate", on: false });
    button().click();
    expect(items()[0]).toEqual(["rate", "false"]);
  });
});

describe("arguments", () => {
  test("of python are shown as its code", () => {
    const code = 'import os\nprint("é")';
    expect(displayed("python", JSON.stringify({ code }))).toEqual({
      text: code,
      language: "python",
    });
    expect(displayed("python", '{"code": "a \\u003c b"}').text).toBe("a < b");
    expect(displayed("python", '{"code":"a","timeout":1}').language).toBe("json");
  });

  test("are shown as received if indenting would change a value", () => {
    for (const text of [
      '{"id":12345678901234567890}',
      '{"x":1e400}',
      '{"code":"safe","code":"evil"}',
      '{"a":1.0}',
      '{"b":1,',
    ]) {
      expect(displayed("python", text)).toEqual({ text, language: "json" });
    }
    expect(displayed("rate", ' {"a" : [ 1, "x y" ]} ').text).toBe(
      '{\n  "a": [\n    1,\n    "x y"\n  ]\n}',
    );
  });
});

test("the card is in Chinese in a Chinese page", async () => {
  expect(zh.strings.call.asking("rate")).toBe("rate 请求运行");
  model.set("locale", "zh-CN");
  call("c1", "{}");
  ask("c1");
  await settled(() => expect(card("c1")?.getAttribute("aria-label")).toBe("rate 请求运行"));
  expect(shownButtons("c1").map((one) => one.textContent)).toEqual([
    "运行",
    "运行此回答中的全部调用",
    "不运行",
  ]);
});

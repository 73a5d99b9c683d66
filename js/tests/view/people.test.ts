// @vitest-environment jsdom
/** Other people in a service: who is here, and who is typing. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Person } from "../../src/protocol";
import { mountView } from "../../src/view/index";
import { FakeModel } from "../../testing/model";
import { FakePage } from "../../testing/page";

let page: FakePage;
let host: HTMLElement;
let geo: string;
let dispose: () => void;

beforeEach(async () => {
  page = await new FakePage().connected();
  geo = page.kernel.create("geo");
  host = document.body.appendChild(document.createElement("div"));
  dispose = mountView(page.runtime, "tabs", new FakeModel(), host, (element) => ({
    append: (text) => element.append(text),
    reset: (text) => element.replaceChildren(text),
    end: () => {},
    destroy: () => {},
  }));
  await settled(() => expect(box().disabled).toBe(false));
});
afterEach(() => {
  vi.useRealTimers();
  dispose();
  page.close();
  document.body.replaceChildren();
});

const settled = (check: () => void): Promise<void> =>
  vi.waitFor(check, { interval: 5, timeout: 20_000 });
const box = (): HTMLTextAreaElement =>
  host.querySelector("textarea.nbchat-input") as HTMLTextAreaElement;
const shown = (): string[] =>
  [...host.querySelectorAll(".nbchat-presence:not([hidden]) li")].map(
    (one) => one.textContent ?? "",
  );
const typing = (): string => host.querySelector(".nbchat-typing")?.textContent ?? "";

/** Sessions in which the page reported typing, oldest first. */
const reported = (): string[] =>
  page.kernel.heard.flatMap((one) => (one.type === "typing" ? [one.session_id] : []));

function say(...others: readonly Person[]): void {
  page.kernel.say({ type: "runner", to: page.runtime.page, person: "ada" });
  page.kernel.say({ type: "people", people: [me, ...others] });
}

function type(text: string): void {
  box().value = text;
  box().dispatchEvent(new InputEvent("input", { bubbles: true }));
}

const me = { name: "ada", role: "owner", typing: null };
const bob = { name: "bob", role: "editor", typing: null };

test("nothing is shown to a user who is alone, or has no service", async () => {
  type("a");
  say();
  await settled(() => expect(page.store.people).toHaveLength(1));
  expect(host.querySelector(".nbchat-presence")).toBeNull();
  type("b");
  say(bob);
  await settled(() => expect(shown()).toHaveLength(1));
  expect(reported()).toEqual([]);
  say();
  await settled(() => expect(shown()).toEqual([]));
});

test("others are shown by initials with their name and role, and many are counted", async () => {
  say(bob, { name: "eve.de-la-cruz", role: "viewer", typing: null });
  await settled(() => expect(shown()).toEqual(["Bbob (editor)", "ECeve.de-la-cruz (viewer)"]));
  expect(host.querySelector("ul[aria-label='Also here']")).not.toBeNull();
  const hostile = `<img src=x onerror=alert(1)>\u202e${"x".repeat(500)}`;
  say(
    bob,
    { name: hostile, role: "owner", typing: null },
    { name: "c", role: "", typing: null },
    { name: "d", role: "viewer", typing: null },
  );
  await settled(() => expect(shown()).toHaveLength(3));
  expect(shown()[1]).toMatch(/^IX?.{0,2}<img src=x onerror=alert\(1\)>⟦U\+202E⟧x+… \(owner\)$/);
  expect(shown()[2]).toBe("+2c, d (viewer)");
  expect(host.querySelector("img")).toBeNull();
});

test("it is shown who is typing in this session", async () => {
  const other = page.kernel.create("other");
  say({ ...bob, typing: other });
  await settled(() => expect(shown()).toHaveLength(1));
  expect(typing()).toBe("");
  say({ ...bob, typing: geo });
  await settled(() => expect(typing()).toBe("bob is typing…"));
  say({ ...bob, typing: geo }, { name: "eve", role: "editor", typing: geo });
  await settled(() => expect(typing()).toBe("bob and 1 other are typing…"));
  say({ ...bob, typing: null });
  await settled(() => expect(typing()).toBe(""));
});

test("typing is reported every three seconds while it is shown, and once when the text is empty", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  say(bob);
  await settled(() => expect(shown()).toHaveLength(1));
  const begun = Date.now();
  type("a");
  expect(reported()).toEqual([geo]);
  page.kernel.say({ type: "people", people: [{ ...me, typing: geo }, bob] });
  await settled(() => expect(page.store.people[0]?.typing).toBe(geo));
  vi.setSystemTime(begun + 2999);
  type("ab");
  type("abc");
  expect(reported()).toEqual([geo]);
  vi.setSystemTime(begun + 3000);
  type("abcd");
  expect(reported()).toEqual([geo, geo]);
  type("");
  type("");
  type("e");
  expect(reported()).toEqual([geo, geo, "", geo]);
});

test("typing is reported again soon after a message was sent", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  say(bob);
  await settled(() => expect(shown()).toHaveLength(1));
  const begun = Date.now();
  type("a");
  box().dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  await settled(() => expect(box().value).toBe(""));
  vi.setSystemTime(begun + 100);
  type("b");
  expect(reported()).toEqual([geo]);
  vi.setSystemTime(begun + 600);
  await settled(() => expect(reported()).toEqual([geo, geo]));
});

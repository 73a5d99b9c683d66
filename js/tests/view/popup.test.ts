// @vitest-environment jsdom
/** Menus and other popups. */
import { afterEach, expect, test } from "vitest";
import { openMenu } from "../../src/view/popup";

const end = new AbortController();
afterEach(() => {
  end.abort();
  document.body.replaceChildren();
});

test("a scroll closes a menu if it moves the button, also after one that moved nothing", () => {
  const anchor = document.body.appendChild(document.createElement("button"));
  let top = 100;
  anchor.getBoundingClientRect = () => new DOMRect(0, top, 20, 20);
  openMenu({ root: document.body, signal: end.signal }, anchor, "Session menu", [
    { label: "Rename", run: () => {} },
  ]);
  const menu = document.querySelector("[role=menu]");
  document.dispatchEvent(new Event("scroll")); // of a scroll that ended before the press
  expect(menu?.isConnected).toBe(true);
  top = 60;
  document.dispatchEvent(new Event("scroll"));
  expect(menu?.isConnected).toBe(false);
});

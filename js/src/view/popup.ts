/** Popups and menus: one at a time, closed by Escape or a press outside. */

import type { Context } from "../types";
import { focusedIn, h, installStyles, rootOf } from "./dom";
import css from "./extras.css";

/** The view that a popup belongs to. */
type Place = Pick<Context, "root" | "signal">;

export interface Popup {
  readonly element: HTMLElement;
  close(): void;
}

let current: Popup | null = null;

/**
 * Show `element` below `anchor`, in the browser's top layer if it has one.
 *
 * The element is appended to `root`, so that its keys are guarded and its styles apply. Closing restores the
 * focus, unless `closed` moves it.
 *
 * @param closed called once it is closed.
 * @param keeps returns whether it contains input that a press outside must not discard.
 */
export function openPopup(
  { root, signal: ended }: Place,
  anchor: Element,
  element: HTMLElement,
  closed: () => void = () => {},
  keeps: () => boolean = () => false,
): Popup {
  installStyles(root, css);
  current?.close();
  const { activeElement } = rootOf(root);
  const gone = new AbortController();
  const { signal } = gone;
  const popup: Popup = {
    element,
    close() {
      if (signal.aborted) return;
      gone.abort();
      if (current === popup) current = null;
      const hadFocus = focusedIn(element);
      element.remove();
      if (hadFocus && activeElement instanceof HTMLElement && activeElement.isConnected) {
        activeElement.focus({ preventScroll: true });
      }
      closed();
    },
  };
  current = popup;
  ended.addEventListener("abort", () => popup.close(), { signal });
  element.classList.add("nbchat-popup");
  root.append(element);
  if (typeof element.showPopover === "function") {
    element.popover = "manual";
    element.showPopover();
  }
  put(anchor, element);
  const { top, left } = anchor.getBoundingClientRect();

  element.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      popup.close();
    },
    { signal },
  );
  const view = root.ownerDocument.defaultView ?? window;
  const outside = (event: Event): void => {
    // Outside of a shadow root, `target` is its host.
    const [target] = event.composedPath();
    if (target instanceof Node && !element.contains(target) && !keeps()) popup.close();
  };
  view.addEventListener("pointerdown", outside, { capture: true, signal });
  view.addEventListener("focusin", outside, { capture: true, signal });
  view.addEventListener("resize", () => put(anchor, element), { signal });
  view.addEventListener(
    "scroll",
    (event) => {
      if (!(event.target instanceof Node && event.target.contains(anchor))) return;
      // The event of a scroll before the popup was opened can arrive after it.
      const now = anchor.getBoundingClientRect();
      if (now.top === top && now.left === left) return;
      if (keeps()) put(anchor, element);
      else popup.close();
    },
    { capture: true, signal },
  );
  return popup;
}

function put(anchor: Element, element: HTMLElement): void {
  const view = element.ownerDocument.defaultView ?? window;
  const at = anchor.getBoundingClientRect();
  const size = element.getBoundingClientRect();
  const below = view.innerHeight - at.bottom;
  const top = below < size.height + 8 && at.top > below ? at.top - size.height - 4 : at.bottom + 4;
  const left = Math.min(Math.max(8, at.right - size.width), view.innerWidth - size.width - 8);
  element.style.top = `${Math.max(8, Math.min(top, view.innerHeight - size.height - 8))}px`;
  element.style.left = `${Math.max(8, left)}px`;
}

/** An item of a menu; with `checked` it is a checkbox, and null is a separator. */
export interface MenuItem {
  readonly label: string;
  readonly checked?: boolean;
  run(): void;
}

/** Show a menu below `anchor`, with the keys of the ARIA pattern: arrows, Home, End, first letters. */
export function openMenu(
  place: Place,
  anchor: Element,
  label: string,
  items: readonly (MenuItem | null)[],
): void {
  const menu = h("div", { role: "menu", class: "menu", "aria-label": label });
  const entries = items.map((item) => {
    if (item === null) return menu.appendChild(h("div", { role: "separator", class: "rule" }));
    return menu.appendChild(
      h("div", {
        role: item.checked === undefined ? "menuitem" : "menuitemcheckbox",
        "aria-checked": item.checked === undefined ? null : String(item.checked),
        class: "menu-item",
        tabindex: -1,
        text: item.label,
      }),
    );
  });
  anchor.setAttribute("aria-expanded", "true");
  const popup = openPopup(place, anchor, menu, () => anchor.setAttribute("aria-expanded", "false"));
  const choices = entries.filter((_, i) => items[i] !== null);
  const focus = (index: number): void => {
    choices.at(index % choices.length)?.focus();
  };
  const choose = (target: EventTarget | null): void => {
    const item = items[entries.indexOf(target as HTMLDivElement)];
    if (!item) return;
    popup.close();
    item.run();
  };
  menu.addEventListener("click", (event) => choose(event.target));
  menu.addEventListener("pointermove", (event) => {
    if (event.target instanceof HTMLElement && choices.includes(event.target as HTMLDivElement)) {
      event.target.focus({ preventScroll: true });
    }
  });
  menu.addEventListener("keydown", (event) => {
    const here = choices.indexOf(focusedIn(menu) as HTMLDivElement);
    const { key } = event;
    if (key === "ArrowDown") focus(here + 1);
    else if (key === "ArrowUp") focus(here <= 0 ? -1 : here - 1);
    else if (key === "Home") focus(0);
    else if (key === "End") focus(-1);
    else if (key === "Enter" || key === " ") choose(event.target);
    else if (key === "Tab") popup.close();
    else if (key.length === 1) {
      const letter = key.toLowerCase();
      const order = [...choices.slice(here + 1), ...choices];
      order.find((entry) => entry.textContent?.toLowerCase().startsWith(letter))?.focus();
    } else return;
    event.preventDefault();
  });
  focus(0);
}

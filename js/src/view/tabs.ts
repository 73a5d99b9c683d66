/** `Tabs`: the tab list, by the ARIA pattern: one tab stop, arrows move, Delete closes, F2 renames. */

import type { Head } from "../protocol";
import { isOver } from "../state/session";
import type { Context } from "../types";
import { arrange, focusedIn, h, setAttribute, setText } from "./dom";
import { progressOf } from "./progress";
import { halves, label, shortTitle } from "./text";

/** Badges by the state of the run; other states have no badge. */
export const BADGES: Readonly<Record<string, "streaming" | "waiting" | "paused" | "failed">> = {
  queued: "waiting",
  connecting: "streaming",
  streaming: "streaming",
  stopping: "streaming",
  retrying: "waiting",
  awaiting_approval: "waiting",
  acting: "streaming",
  paused: "paused",
  failed: "failed",
  interrupted: "failed",
};

/** Actions of the tab list that the view carries out. */
export interface TabActions {
  show(sessionId: string, focus: boolean): void;
  close(sessionId: string): void;
  rename(sessionId: string, title: string): void;
  menu(sessionId: string, anchor: Element): void;
  move(sessionId: string, before: string | null): void;
}

interface Tab {
  readonly element: HTMLElement;
  /** Beginning and end of the title; a long title is shortened between them. */
  readonly start: HTMLElement;
  readonly end: HTMLElement;
  readonly badge: HTMLElement;
  readonly unread: HTMLElement;
  head: Head | null;
}

/** Return the title that is shown for a session. */
export function titleOf(head: Head, t: Context["t"]): string {
  return shortTitle(head.title) || t.untitled;
}

export class Tabs {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #actions: TabActions;
  readonly #panelId: string;
  readonly #prefix: string;
  readonly #tabs = new Map<string, Tab>();
  #shown = "";
  #dragged = "";
  #watched: HTMLElement | undefined;
  readonly #observer: ResizeObserver | null;

  constructor(context: Context, actions: TabActions, panelId: string) {
    const { t, signal } = context;
    this.#context = context;
    this.#actions = actions;
    this.#panelId = panelId;
    this.#prefix = `${panelId}-tab-`;
    this.element = h("div", {
      role: "tablist",
      class: "tabs",
      "aria-label": t.sessions,
      "aria-orientation": "horizontal",
    });
    this.#observer =
      typeof ResizeObserver === "function"
        ? new ResizeObserver(() => {
            if (this.#watched) this.#reveal(this.#watched);
          })
        : null;
    const on = <K extends keyof HTMLElementEventMap>(
      type: K,
      run: (event: HTMLElementEventMap[K]) => void,
    ) => this.element.addEventListener(type, run, { signal });
    on("click", (event) => {
      const id = idOf(event.target);
      if (!id) return;
      if (event.target instanceof Element && event.target.closest(".nbchat-tab-close")) {
        this.#actions.close(id);
      } else this.#actions.show(id, true);
    });
    on("auxclick", (event) => {
      const id = idOf(event.target);
      if (id && event.button === 1) this.#actions.close(id);
    });
    on("dblclick", (event) => {
      const id = idOf(event.target);
      if (id) this.rename(id);
    });
    on("contextmenu", (event) => {
      const id = idOf(event.target);
      if (!id || !(event.target instanceof Element)) return;
      event.preventDefault();
      event.stopPropagation();
      this.#actions.menu(id, event.target.closest('[role="tab"]') ?? this.element);
    });
    on("keydown", (event) => this.#key(event));
    // A vertical wheel scrolls the tab list horizontally.
    on("wheel", (event) => {
      if (event.deltaX !== 0 || this.element.scrollWidth <= this.element.clientWidth) return;
      event.preventDefault();
      this.element.scrollLeft += event.deltaY;
    });
    on("dragstart", (event) => {
      this.#dragged = idOf(event.target) ?? "";
      event.dataTransfer?.setData("text/plain", "");
    });
    on("dragover", (event) => {
      if (!this.#dragged) return;
      event.preventDefault();
      event.stopPropagation();
    });
    on("drop", (event) => {
      if (!this.#dragged) return;
      event.preventDefault();
      event.stopPropagation();
      const over = event.target instanceof Element && event.target.closest('[role="tab"]');
      const box = over ? over.getBoundingClientRect() : null;
      const after = box !== null && event.clientX > box.left + box.width / 2;
      const next = over && after ? over.nextElementSibling : over || null;
      this.#actions.move(this.#dragged, next ? idOf(next) : null);
      this.#dragged = "";
    });
    on("dragend", () => {
      this.#dragged = "";
    });
  }

  /** Show these sessions in this order, `shown` selected. */
  update(heads: readonly Head[], shown: string): void {
    const ids = new Set(heads.map(({ id }) => id));
    for (const [id, { element }] of this.#tabs) {
      if (ids.has(id)) continue;
      element.remove();
      this.#tabs.delete(id);
    }
    const moved = this.#shown !== shown;
    this.#shown = shown;
    const elements = heads.map((head) => {
      let tab = this.#tabs.get(head.id);
      if (!tab) {
        tab = this.#create(head.id);
        this.#tabs.set(head.id, tab);
      }
      if (tab.head !== head) this.#draw(tab, head);
      const selected = head.id === shown;
      setAttribute(tab.element, "aria-selected", String(selected));
      setAttribute(tab.element, "tabindex", selected ? 0 : -1);
      setAttribute(tab.element, "aria-controls", selected ? this.#panelId : null);
      return tab.element;
    });
    arrange(this.element, elements);
    const tab = this.#tabs.get(shown)?.element;
    if (moved || this.#watched !== tab) this.#watch(tab);
  }

  /** Keep a tab in view, also when its width or that of the list changes. */
  #watch(tab: HTMLElement | undefined): void {
    this.#watched = tab;
    this.#observer?.disconnect();
    if (!tab) return;
    this.#reveal(tab);
    if (!this.#observer) return;
    this.#observer.observe(tab);
    this.#observer.observe(this.element);
  }

  #reveal(tab: HTMLElement): void {
    // Only the list: `scrollIntoView` would scroll the notebook as well when a cell shows a session.
    const at = tab.getBoundingClientRect();
    const strip = this.element.getBoundingClientRect();
    this.element.scrollLeft +=
      Math.min(0, at.left - strip.left) + Math.max(0, at.right - strip.right);
  }

  /** Return the id of a session's tab, which labels its panel. */
  idOf(sessionId: string): string {
    return this.#prefix + sessionId;
  }

  focus(sessionId: string): void {
    this.#tabs.get(sessionId)?.element.focus({ preventScroll: true });
  }

  get hasFocus(): boolean {
    return focusedIn(this.element) !== null;
  }

  /** Edit a title in place. */
  rename(sessionId: string): void {
    this.#context.extras(({ openRename }) => {
      const tab = this.#tabs.get(sessionId);
      if (!tab?.head) return;
      openRename(this.#context, tab.element, tab.head.title, (title, byKey) => {
        if (title !== null && this.#tabs.has(sessionId)) this.#actions.rename(sessionId, title);
        if (byKey) this.focus(sessionId);
      });
    });
  }

  #create(id: string): Tab {
    const start = h("span", { class: "title-start" });
    const end = h("span", { class: "title-end" });
    const title = h("bdi", { class: "tab-title" }, start, end);
    const badge = h("span", { class: "badge", "aria-hidden": "true", hidden: true });
    const unread = h("span", {
      class: "badge",
      "data-badge": "unread",
      "aria-hidden": "true",
      hidden: true,
    });
    const element = h(
      "div",
      {
        role: "tab",
        class: "tab",
        id: this.#prefix + id,
        "data-session-id": id,
        draggable: "true",
      },
      badge,
      title,
      unread,
      // For pointers only; the key is Delete, and the menu has an item with a name.
      h("span", { class: "tab-close", "aria-hidden": "true", title: this.#context.t.close }),
    );
    return { element, start, end, badge, unread, head: null };
  }

  #draw(tab: Tab, head: Head): void {
    const { t } = this.#context;
    tab.head = head;
    const title = titleOf(head, t);
    const badge = BADGES[head.state];
    const [start, end] = halves(title);
    setText(tab.start, start);
    setText(tab.end, end);
    setAttribute(tab.element, "data-run-state", head.state);
    setAttribute(tab.element, "data-pinned", head.pinned);
    setAttribute(tab.element, "data-unread", head.unread);
    tab.badge.hidden = badge === undefined;
    setAttribute(tab.badge, "data-badge", badge);
    setAttribute(tab.badge, "title", badge && t.badge[badge]);
    // One badge at a time; an unread title is bold as well.
    tab.unread.hidden = !head.unread || badge !== undefined;
    setAttribute(tab.unread, "title", t.badge.unread);
    const words = [
      badge && t.badge[badge],
      head.unread && t.badge.unread,
      head.pinned && t.badge.pinned,
    ].filter(Boolean);
    setAttribute(tab.element, "aria-label", [title, ...words].join(", "));
    const progress = isOver(head.state) ? "" : progressOf(this.#context, head);
    const whole = label(head.title, 300) || title;
    setAttribute(tab.element, "title", progress ? `${whole}\n${progress}` : whole);
  }

  #key(event: KeyboardEvent): void {
    const id = idOf(event.target);
    if (!id) return;
    const ids = this.#order();
    const here = ids.indexOf(id);
    const { key } = event;
    const chord = event.ctrlKey || event.metaKey || event.altKey;
    if (event.shiftKey && !chord && (key === "ArrowLeft" || key === "ArrowRight")) {
      const before = key === "ArrowLeft" ? ids[here - 1] : (ids[here + 2] ?? null);
      if (before === undefined || (key === "ArrowRight" && here === ids.length - 1)) return;
      this.#actions.move(id, before);
      this.focus(id);
    } else if (event.shiftKey && key === "F10") this.#menu(id);
    else if (chord || event.shiftKey) return;
    else if (key === "ArrowRight") this.#go(ids[(here + 1) % ids.length]);
    else if (key === "ArrowLeft") this.#go(ids.at(here - 1));
    else if (key === "Home") this.#go(ids[0]);
    else if (key === "End") this.#go(ids.at(-1));
    else if (key === "Enter" || key === " ") this.#go(id);
    else if (key === "Delete") this.#actions.close(id);
    else if (key === "F2") this.rename(id);
    else if (key === "ContextMenu") this.#menu(id);
    else return;
    event.preventDefault();
  }

  #go(id: string | undefined): void {
    if (id) this.#actions.show(id, true);
  }

  #menu(id: string): void {
    this.#actions.menu(id, this.#tabs.get(id)?.element ?? this.element);
  }

  #order(): string[] {
    return Array.from(this.element.children, (element) => idOf(element) ?? "");
  }
}

function idOf(target: EventTarget | null): string | null {
  const tab = target instanceof Element ? target.closest('[role="tab"]') : null;
  return tab?.getAttribute("data-session-id") ?? null;
}

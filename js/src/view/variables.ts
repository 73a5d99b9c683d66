/** Variables in the composer: the listbox that `@` opens, and the preview of what is sent. */

import { allStrings } from "../i18n/extras";
import type { Attachment, Variable } from "../protocol";
import type { Context } from "../types";
import { h, setAttribute, uniqueId } from "./dom";
import { isComposing } from "./keys";
import { openPopup, type Popup } from "./popup";
import { label, reveal } from "./text";

/** Options that are shown at a time. */
const SHOWN = 50;
const NAME = String.raw`[\p{L}_][\p{L}\p{N}_]*`;
const AT_CARET = new RegExp(String.raw`(?:^|\s)@(${NAME})?$`, "u");
const MENTION = new RegExp(String.raw`(?:^|(?<=\s))@(${NAME})`, "gu");
/** As in `nbchat/context/mentions.py`. */
const CODE = /^(`{3,}|~{3,})[\s\S]*?(?:^\1|$(?![\s\S]))|(`+)(?!`)[\s\S]+?(?<!`)\2(?!`)/gm;

/** Attach what `parts` resolves to, to the session that the composer writes for at this moment. */
type Attach = (parts: Promise<readonly Attachment[]>) => void;

const open = new WeakMap<HTMLTextAreaElement, Suggestions>();

/** React to an input in a text that contains `@`. */
export function suggestVariables(
  context: Context,
  field: HTMLTextAreaElement,
  attach: Attach,
): Promise<void> {
  let suggestions = open.get(field);
  if (!suggestions) {
    suggestions = new Suggestions(context, field);
    open.set(field, suggestions);
  }
  return suggestions.update(attach);
}

/** Show what is sent of a variable. */
export function showSent(
  context: Pick<Context, "t" | "root" | "signal">,
  anchor: Element,
  part: Attachment,
): void {
  const text = h("pre", { class: "sent", tabindex: 0, text: reveal(part.text) });
  const dialog = h(
    "div",
    {
      role: "dialog",
      class: "sent-of",
      "aria-label": allStrings(context.t).sentOf(label(part.name, 24)),
    },
    text,
  );
  openPopup(context, anchor, dialog);
  text.focus({ preventScroll: true });
}

/** Return the places of names that a text mentions outside code, with the index of each name's end. */
export function mentionsIn(text: string): { name: string; end: number }[] {
  const code = Array.from(text.matchAll(CODE), (match) => [
    match.index,
    match.index + match[0].length,
  ]) as [number, number][];
  return Array.from(text.matchAll(MENTION), (match) => ({
    name: match[1] as string,
    start: match.index,
    end: match.index + match[0].length,
  })).filter(({ start }) => !code.some(([from, to]) => from <= start && start < to));
}

class Suggestions {
  readonly #context: Context;
  readonly #field: HTMLTextAreaElement;
  readonly #element: HTMLElement;
  /** Variables as of the last answer; asked for again whenever the list opens. */
  #variables: readonly Variable[] = [];
  #asked: Promise<void> | null = null;
  /** Names in the text that were looked up; one whose variable was removed is not attached again. */
  readonly #seen = new Set<string>();
  #options: HTMLElement[] = [];
  #shown: readonly Variable[] = [];
  #active = 0;
  #popup: Popup | null = null;
  /** The start of a name at which Escape closed the list. */
  #dismissed = -1;
  /** An input method is composing: no list is open, and nothing is attached. */
  #composing = false;
  #attach: Attach = () => {};

  constructor(context: Context, field: HTMLTextAreaElement) {
    this.#context = context;
    this.#field = field;
    this.#element = h("div", {
      role: "listbox",
      id: uniqueId("variables"),
      class: "menu variables",
      "aria-label": allStrings(context.t).variables,
    });
    const { signal } = context;
    // Before the composer's own keys.
    field.addEventListener("keydown", (event) => this.#key(event), { signal, capture: true });
    field.addEventListener("blur", () => this.#close(), { signal });
    const composes = (composing: boolean): void => {
      this.#composing = composing;
      void this.update(this.#attach);
    };
    field.addEventListener("compositionstart", () => composes(true), { signal });
    field.addEventListener("compositionend", () => composes(false), { signal });
  }

  async update(attach: Attach): Promise<void> {
    this.#attach = attach;
    const names = new Set(mentionsIn(this.#field.value).map(({ name }) => name));
    for (const name of this.#seen) if (!names.has(name)) this.#seen.delete(name);
    const written = this.#written();
    if (!written) this.#dismissed = -1;
    if (!this.#popup && (written || [...names].some((name) => !this.#seen.has(name)))) {
      this.#asked ??= this.#list();
      await this.#asked;
    }
    if (!this.#field.isConnected || this.#composing) {
      this.#close();
      return;
    }
    this.#takeWritten();
    this.#draw();
  }

  async #list(): Promise<void> {
    const answer = await this.#context.runtime.variables.list();
    this.#variables = answer?.variables ?? [];
    this.#asked = null;
  }

  /** The name that is being written at the caret: its start, and what of it is there. */
  #written(): { start: number; name: string } | null {
    const { value, selectionStart, selectionEnd } = this.#field;
    if (selectionStart !== selectionEnd) return null;
    const match = AT_CARET.exec(value.slice(0, selectionStart));
    if (!match) return null;
    const name = match[1] ?? "";
    const start = selectionStart - name.length;
    // A name inside code mentions nothing; one without letters yet is tried with one.
    const tried = `${value.slice(0, start)}x`;
    return mentionsIn(tried).some(({ end }) => end === tried.length) ? { start, name } : null;
  }

  /** Attach the variables whose names are written in full. */
  #takeWritten(): void {
    const caret = this.#written() === null ? -1 : this.#field.selectionStart;
    for (const { name, end } of mentionsIn(this.#field.value)) {
      if (end === caret || this.#seen.has(name)) continue;
      this.#seen.add(name);
      if (this.#variables.some((variable) => variable.name === name)) this.#choose(name);
    }
  }

  #draw(): void {
    const written = this.#written();
    const name = written?.name.toLowerCase() ?? "";
    const found = this.#variables.filter((one) => one.name.toLowerCase().includes(name));
    // Names that begin with what is written come first.
    found.sort(
      (a, b) =>
        Number(b.name.toLowerCase().startsWith(name)) -
        Number(a.name.toLowerCase().startsWith(name)),
    );
    if (!written || written.start === this.#dismissed || found.length === 0) {
      this.#close();
      return;
    }
    const before = this.#shown[this.#active]?.name;
    this.#shown = found.slice(0, SHOWN);
    this.#active = Math.max(
      0,
      this.#shown.findIndex((one) => one.name === before),
    );
    this.#options = this.#shown.map(({ name, kind, size }, i) => {
      const option = h("div", {
        role: "option",
        id: uniqueId("variable"),
        class: "menu-item",
        text: [label(name, 60), label(kind, 40), size].filter(Boolean).join(", "),
      });
      // The text keeps the focus.
      option.addEventListener("pointerdown", (event) => event.preventDefault());
      option.addEventListener("click", () => this.#accept(i));
      return option;
    });
    this.#element.replaceChildren(...this.#options);
    if (!this.#popup) this.#open();
    this.#mark();
  }

  #open(): void {
    const list = this.#element;
    // As wide as the text, so that it is below its beginning.
    list.style.width = `${this.#field.getBoundingClientRect().width}px`;
    this.#popup = openPopup(this.#context, this.#field, list, () => {
      this.#popup = null;
      for (const name of ["aria-controls", "aria-activedescendant", "aria-autocomplete"]) {
        this.#field.removeAttribute(name);
      }
    });
    setAttribute(this.#field, "aria-controls", list.id);
    setAttribute(this.#field, "aria-autocomplete", "list");
  }

  #mark(): void {
    this.#options.forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === this.#active));
    });
    const active = this.#options[this.#active];
    setAttribute(this.#field, "aria-activedescendant", active?.id ?? null);
    active?.scrollIntoView?.({ block: "nearest" });
  }

  #close(): void {
    this.#popup?.close();
  }

  #key(event: KeyboardEvent): void {
    if (!this.#popup || isComposing(event)) return;
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (key === "ArrowDown" || key === "ArrowUp") {
      const count = this.#options.length;
      this.#active = (this.#active + (key === "ArrowDown" ? 1 : count - 1)) % count;
      this.#mark();
    } else if (key === "Enter" || key === "Tab") {
      this.#accept(this.#active);
    } else if (key === "Escape") {
      this.#dismissed = this.#written()?.start ?? -1;
      this.#close();
    } else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }

  /** Write the chosen name in full, and attach its variable. */
  #accept(index: number): void {
    const chosen = this.#shown[index];
    const written = this.#written();
    this.#close();
    if (!chosen || !written) return;
    const { selectionStart, value } = this.#field;
    const space = /^\s/.test(value.slice(selectionStart)) ? "" : " ";
    this.#field.setRangeText(`${chosen.name}${space}`, written.start, selectionStart, "end");
    this.#seen.add(chosen.name);
    this.#choose(chosen.name); // chosen again, it is described again
    this.#field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #choose(name: string): void {
    this.#attach(
      this.#context.runtime.variables.describe(name).then((answer) => {
        if (answer?.parts.length) return answer.parts;
        throw new Error(allStrings(this.#context.t).notDescribed(label(name, 24)));
      }),
    );
  }
}

/** Variables in the composer: the listbox that `@` opens, the preview of what is sent, and what is sent. */

import { allStrings } from "../i18n/extras";
import type { Attachment, Described, Variable, Variables } from "../protocol";
import type { Context, Ready } from "../types";
import { isVariable } from "./chip";
import { h, setAttribute, uniqueId } from "./dom";
import { isComposing } from "./keys";
import { openPopup, type Popup } from "./popup";
import { label, reveal } from "./text";

/** Options that are shown at a time. */
const SHOWN = 50;
const WORD = String.raw`[\p{L}\p{N}_]`;
const NAME = String.raw`[\p{L}_]${WORD}*`;
const AT_CARET = new RegExp(String.raw`(?:^|\s)@(${NAME}(?::${WORD}*)?)?$`, "u");
const MENTION = new RegExp(String.raw`(?:^|(?<=\s))@(${NAME})(:${WORD}+)?`, "gu");
const ESCAPED = /(?:^|(?<=\s))\\(?=@[\p{L}_])/gu;
/** As in `nbchat/context/mentions.py`. */
const CODE = /^(`{3,}|~{3,})[\s\S]*?(?:^\1|$(?![\s\S]))|(`+)(?!`)[\s\S]+?(?<!`)\2(?!`)/gm;

/** Let sending wait until a variable is attached; a rejection is shown to the user. */
type Prepare = (attached: Promise<void>) => Promise<void>;

const open = new WeakMap<HTMLTextAreaElement, Suggestions>();
/** The parts whose text the user has looked at. */
const previewed = new WeakSet<Attachment>();

/** React to an input in a text that contains `@`, for the session that the composer writes for. */
export function suggestVariables(
  context: Context,
  field: HTMLTextAreaElement,
  sessionId: string,
  prepare: Prepare,
): Promise<void> {
  let suggestions = open.get(field);
  if (!suggestions) {
    suggestions = new Suggestions(context, field);
    open.set(field, suggestions);
  }
  return suggestions.update(sessionId, prepare);
}

/** Show what is sent of a variable. */
export function showSent(
  context: Pick<Context, "t" | "root" | "signal">,
  anchor: Element,
  part: Attachment,
): void {
  previewed.add(part);
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

/**
 * Return a message as it is sent: variables described at this moment, and `\@df` as `@df`.
 *
 * Rejects if a description that the user has looked at has changed; the new one is attached by then.
 */
export async function readyToSend(
  context: Pick<Context, "t" | "runtime">,
  sessionId: string,
  { text, attachments }: Ready,
): Promise<Ready> {
  const ready: Attachment[] = [];
  const changed: string[] = [];
  for (const [index, part] of attachments.entries()) {
    if (isPicture(part, index, attachments)) continue; // described again with its figure
    if (!isVariable(part)) {
      ready.push(part);
      continue;
    }
    const variable = part.name;
    const parts = await describe(context, variable, ready);
    const [now] = parts;
    if (previewed.has(part) && now) {
      if (now.text !== part.text) changed.push(variable);
      else previewed.add(now);
    }
    ready.push(...parts);
  }
  if (changed.length > 0) {
    context.runtime.drafts.attach(sessionId, ready);
    throw new Error(
      allStrings(context.t).changed(changed.map((name) => label(name, 24)).join(", ")),
    );
  }
  return { text: withoutEscapes(text), attachments: ready };
}

/** Return whether a part is the picture of a described figure, which directly follows the figure's text. */
function isPicture(part: Attachment, index: number, all: readonly Attachment[]): boolean {
  const before = all[index - 1];
  return (
    part.type === "image" && !!before && isVariable(before) && part.name === `${before.name}.png`
  );
}

/** Return the attachments without the variables of these names and without their pictures. */
function withoutVariables(all: readonly Attachment[], names: ReadonlySet<string>): Attachment[] {
  return all.filter((part, index) => {
    const owner = (isPicture(part, index, all) && all[index - 1]) || part;
    return !(isVariable(owner) && names.has(owner.name));
  });
}

/** Return the parts of a variable for a message that has these parts already. */
async function describe(
  { t, runtime }: Pick<Context, "t" | "runtime">,
  name: string,
  others: readonly Attachment[],
): Promise<readonly Attachment[]> {
  const used = others.filter(isVariable).reduce((sum, { text }) => sum + text.length, 0);
  const answer = await runtime.askVariables<Described>({ type: "want_described", name, used });
  if (answer?.parts.length) return answer.parts;
  throw new Error(answer?.error || allStrings(t).notDescribed(label(name, 24)));
}

/** A mention in a text, with the index of its end. */
interface Mention {
  readonly name: string;
  /** The mention as the kernel is asked for it: `cell:3`, else the name. */
  readonly asked: string;
  readonly end: number;
}

/** Return the mentions of a text outside code. */
export function mentionsIn(text: string): Mention[] {
  return outsideCode(text, MENTION).map(({ 0: all, 1: name = "", 2: argument = "", index }) => ({
    name,
    asked: name + argument,
    end: index + all.length,
  }));
}

/** Return the text as it is sent: outside code, `\@df` becomes `@df`. */
export function withoutEscapes(text: string): string {
  let at = 0;
  let out = "";
  for (const { index } of outsideCode(text, ESCAPED)) {
    out += text.slice(at, index);
    at = index + 1;
  }
  return out + text.slice(at);
}

/** Return the matches of a pattern that do not start inside a code span or a fenced block. */
function outsideCode(text: string, pattern: RegExp): RegExpExecArray[] {
  const code = Array.from(text.matchAll(CODE), ({ 0: all, index }) => [index, index + all.length]);
  return [...text.matchAll(pattern)].filter(
    ({ index }) => !code.some(([from = 0, to = 0]) => from <= index && index < to),
  );
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
  #sessionId = "";
  #prepare: Prepare = (attached) => attached;
  /** One variable is described at a time, since the room in a message depends on the others. */
  #attaching = Promise.resolve();

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
      void this.update(this.#sessionId, this.#prepare);
    };
    field.addEventListener("compositionstart", () => composes(true), { signal });
    field.addEventListener("compositionend", () => composes(false), { signal });
  }

  async update(sessionId: string, prepare: Prepare): Promise<void> {
    this.#sessionId = sessionId;
    this.#prepare = prepare;
    const names = new Set(mentionsIn(this.#field.value).map(({ asked }) => asked));
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
    const { runtime } = this.#context;
    const answer = await runtime.askVariables<Variables>({ type: "want_variables" });
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
    for (const { name, asked, end } of mentionsIn(this.#field.value)) {
      if (end === caret || this.#seen.has(asked)) continue;
      this.#seen.add(asked);
      if (this.#variables.some((variable) => variable.name === name)) this.#choose(asked);
    }
  }

  #draw(): void {
    const written = this.#written();
    const name = written?.name.toLowerCase() ?? "";
    // Single cells are offered after `@cell:`.
    const found = this.#variables.filter(
      (one) =>
        one.name.toLowerCase().includes(name) && (name.includes(":") || !one.name.includes(":")),
    );
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

  /** Attach a variable, in place of its earlier description. */
  #choose(name: string): void {
    const { drafts } = this.#context.runtime;
    const sessionId = this.#sessionId;
    const attach = async (): Promise<void> => {
      const others = withoutVariables(drafts.attached(sessionId), new Set([name]));
      const parts = await describe(this.#context, name, others);
      const names = new Set(parts.filter(isVariable).map((part) => part.name));
      const kept = withoutVariables(drafts.attached(sessionId), names);
      drafts.attach(sessionId, [...kept, ...parts]);
    };
    this.#attaching = this.#prepare(this.#attaching.then(attach));
  }
}

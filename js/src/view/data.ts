/** `DataCard` and `ResultText`: files and results of tools, shown as plain text. */

import { type AllStrings, allStrings } from "../i18n/extras";
import type { FilePart, Part, ToolResultPart } from "../protocol";
import type { Context, PartCard } from "../types";
import { button, h, installStyles, setText, show } from "./dom";
import css from "./extras.css";
import { cut, label, reveal, sizeOf } from "./text";

/** Characters that are shown before a click on "Show all". */
const SHOWN_CHARACTERS = 8_000;

/** A text of which only the beginning is shown until the user asks for all of it. */
class LongText {
  readonly elements: readonly HTMLElement[];
  readonly #pre = h("pre", { class: "card-data", tabindex: 0 });
  readonly #more: HTMLButtonElement;
  #text: string | null = null;

  constructor(t: AllStrings) {
    this.#more = button(null, t.showAll, { hidden: true });
    this.#more.addEventListener("click", () => this.#draw(this.#text ?? "", true));
    this.elements = [this.#pre, this.#more];
  }

  update(text: string): void {
    if (text === this.#text) return;
    this.#text = text;
    this.#draw(text, false);
  }

  #draw(text: string, all: boolean): void {
    const isCut = !all && text.length > SHOWN_CHARACTERS;
    setText(this.#pre, reveal(isCut ? `${cut(text, SHOWN_CHARACTERS)}…` : text));
    show(this.#more, isCut);
  }
}

/** The text of a tool's result, collapsed. */
export class ResultText {
  readonly element: HTMLElement;
  readonly #text: LongText;

  constructor(t: AllStrings) {
    this.#text = new LongText(t);
    this.element = h(
      "details",
      { class: "call-result", hidden: true },
      h("summary", { text: t.toolResult }),
      ...this.#text.elements,
    );
  }

  update(result: ToolResultPart | null): void {
    show(this.element, result !== null);
    this.#text.update(result?.text ?? "");
  }
}

/** An attached file, or a result whose call is missing. */
export class DataCard implements PartCard {
  readonly #t: AllStrings;
  readonly #element: HTMLElement;
  readonly #kind = h("span");
  readonly #name = h("bdi", { class: "card-name" });
  readonly #size = h("span", { class: "quiet-text" });
  readonly #text: LongText;

  constructor(context: Context, element: HTMLElement) {
    installStyles(context.root, css);
    this.#t = allStrings(context.t);
    this.#text = new LongText(this.#t);
    this.#element = h(
      "details",
      { class: "card" },
      h("summary", {}, this.#kind, " ", this.#name, " ", this.#size),
      ...this.#text.elements,
    );
    element.append(this.#element);
  }

  update([first]: readonly Part[]): void {
    const part = first as FilePart | ToolResultPart;
    const t = this.#t;
    if (part.type === "file") {
      setText(this.#kind, part.kind === "variable" ? t.variable : t.file);
      setText(this.#name, label(part.name));
      setText(this.#size, sizeOf(part.text));
    } else {
      setText(this.#kind, part.is_error ? t.toolError : t.toolResult);
    }
    this.#text.update(part.text);
  }

  destroy(): void {}
}

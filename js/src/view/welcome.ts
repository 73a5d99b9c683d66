/** `Welcome`: the first screen of an empty session, with what this is, three questions, and where answers come from. */

import { allStrings } from "../i18n/extras";
import type { Context } from "../types";
import { button, h, installStyles, setAttribute, setText, show } from "./dom";
import css from "./extras.css";
import { reveal } from "./text";

export class Welcome {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #questions: HTMLElement;
  readonly #source = h("p");

  constructor(context: Context) {
    const t = allStrings(context.t);
    installStyles(context.root, css);
    this.#context = context;
    this.#questions = h("div", { class: "suggestions", role: "group", "aria-label": t.suggest });
    this.element = h(
      "div",
      { class: "welcome", hidden: true },
      h("h2", { text: t.welcome }),
      h("p", { text: t.welcomeText }),
      this.#questions,
      this.#source,
      h("p", {}, button("connect", t.connect, { "aria-haspopup": "dialog" })),
    );
  }

  /**
   * Show or hide it.
   *
   * @param demo whether the demo server answers, which knows other questions than a model.
   * @param provider where answers come from; empty if that is not known.
   */
  update(empty: boolean, demo: boolean, provider: string): void {
    show(this.element, empty);
    if (!empty) return;
    const t = allStrings(this.#context.t);
    setText(this.#source, demo ? t.demoHint : provider && t.answersFrom(reveal(provider)));
    const texts = demo ? t.demoSuggestions : t.suggestions;
    if (this.#questions.getAttribute("data-first") === texts[0]) return;
    setAttribute(this.#questions, "data-first", texts[0]);
    this.#questions.replaceChildren(
      ...texts.map((text) => button("suggest", text, { "data-arg": text })),
    );
  }
}

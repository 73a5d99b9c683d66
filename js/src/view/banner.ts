/** `Banner`: the line above the messages that reports a lost connection or a journal that cannot be written; and the hint to save. */

import type { AnyModel } from "../jupyter";
import { Saves } from "../jupyter/saves";
import type { Context } from "../types";
import { h, setAttribute, setText, show } from "./dom";
import { causeOf, label, reveal } from "./text";

export class Banner {
  readonly element = h("div", { class: "banner", hidden: true });
  /** The hint to save. It is in the header, so that nothing moves when it comes and goes. */
  readonly hint: HTMLElement;
  readonly #context: Context;
  #said = "";
  #provider = "";

  readonly #saves: Saves;

  constructor(context: Context, model: AnyModel) {
    this.#context = context;
    const { saveToKeep: text, saveHint: title } = context.t;
    this.hint = h("span", { class: "save-hint", text, title, hidden: true });
    this.#saves = new Saves(context.runtime.host, model, context.signal, () => this.update());
  }

  /** Show the state of the connection and the journal, and announce a change of these or of the server. */
  update(): void {
    const { t, runtime, notify } = this.#context;
    // A cell, this page or another one can choose the server.
    const provider = runtime.store.config?.provider ?? this.#provider;
    if (this.#provider && provider !== this.#provider) notify(t.answersFrom(label(provider)));
    this.#provider = provider;
    const { connection, saving } = runtime.store;
    const unsaved = saving?.error ? `${t.notSaved} ${reveal(causeOf(saving.error))}` : "";
    // Each load of a page of Voilà starts a kernel, and its end stops it.
    const nowhere = document.body.dataset["voila"] ? t.savedInPage : t.savedNowhere;
    const outside = saving?.state === "off" ? nowhere : t.savedOutside;
    const notice = saving === null || runtime.host.savesInFile ? "" : outside;
    const text = t.connection[connection] ?? (unsaved || notice);
    setText(this.element, text);
    setAttribute(this.element, "data-connection", connection);
    setAttribute(this.element, "data-tone", unsaved === "" && text === notice ? "quiet" : null);
    show(this.element, text !== "");
    show(this.hint, this.#isAtRisk());
    if (connection === "connecting" || text === this.#said) return;
    this.#said = text;
    this.#context.say(text);
  }

  /** Whether there are messages, and a reload would remove the view. */
  #isAtRisk(): boolean {
    const { runtime, root } = this.#context;
    return (
      [...runtime.store.heads.values()].some(({ messages }) => messages > 0) &&
      this.#saves.isMissing(root)
    );
  }
}

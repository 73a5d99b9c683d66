/** `Banner`: the line above the messages that reports a lost connection, or a journal that cannot be written. */

import type { Context } from "../types";
import { h, setAttribute, setText, show } from "./dom";
import { causeOf, label, reveal } from "./text";

export class Banner {
  readonly element = h("div", { class: "banner", hidden: true });
  readonly #context: Context;
  #said = "";
  #provider = "";

  constructor(context: Context) {
    this.#context = context;
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
    const outside = saving?.state === "off" ? t.savedNowhere : t.savedOutside;
    const notice = saving === null || runtime.host.savesInFile ? "" : outside;
    const text = t.connection[connection] ?? (unsaved || notice);
    setText(this.element, text);
    setAttribute(this.element, "data-connection", connection);
    setAttribute(this.element, "data-tone", unsaved === "" && text === notice ? "quiet" : null);
    show(this.element, text !== "");
    if (connection === "connecting" || text === this.#said) return;
    this.#said = text;
    this.#context.say(text);
  }
}

/** `MessageActions`: carries out the buttons of a message, and the keys of its editor. */

import { copyText } from "../markdown/clipboard";
import type { CommandInput, Context } from "../types";
import { type Handlers, handleActions } from "./actions";
import type { Article } from "./article";
import { perform } from "./commands";
import { sends } from "./composer";
import { isComposing } from "./keys";
import type { Log } from "./log";
import { causeOf, sentence, textOf, thrown } from "./text";

/** How long a copy button shows that it has copied, in milliseconds. */
const COPIED_MS = 1500;

export class MessageActions {
  readonly #context: Context;
  readonly #log: Log;
  /** Called when an edited question has been sent. */
  readonly #edited: () => void;
  #copied: ReturnType<typeof setTimeout> | undefined;

  constructor(context: Context, log: Log, edited: () => void) {
    this.#context = context;
    this.#log = log;
    this.#edited = edited;
    const { signal } = context;
    handleActions<"message">(log.element, this.#handlers(), signal);
    log.element.addEventListener("keydown", (event) => this.#key(event), { signal });
    signal.addEventListener("abort", () => clearTimeout(this.#copied));
  }

  #handlers(): Handlers<"message"> {
    const ask = (command: CommandInput): void => void perform(this.#context, command);
    const onMessage =
      (type: "retry" | "regenerate" | "continue" | "discard") =>
      (target: Element): void => {
        const message_id = messageIdOf(target);
        ask({ type, session_id: this.#log.sessionId, message_id });
      };
    const onRun =
      (type: "resume" | "keep") =>
      (target: Element): void => {
        const run = this.#articleOf(target)?.turn?.run;
        if (run) ask({ type, session_id: this.#log.sessionId, run_id: run.id });
      };
    return {
      resume: onRun("resume"),
      keep: onRun("keep"),
      retry: onMessage("retry"),
      regenerate: onMessage("regenerate"),
      discard: onMessage("discard"),
      continue_: onMessage("continue"),
      version: (_, message_id) =>
        ask({ type: "select_version", session_id: this.#log.sessionId, message_id }),
      fork: (target) => void this.#fork(messageIdOf(target)),
      copy: (target) => void this.#copy(target),
      details: (target) => this.#articleOf(target)?.toggleDetails(),
      edit: (target) => this.#articleOf(target)?.edit(),
      "edit-cancel": (target) => this.#articleOf(target)?.endEdit(),
      "edit-send": (target) => void this.#sendEdit(target),
    };
  }

  #articleOf(target: Element): Article | undefined {
    return this.#log.article(messageIdOf(target));
  }

  async #fork(message_id: string): Promise<void> {
    const session_id = this.#log.sessionId;
    const ack = await perform(this.#context, { type: "fork", session_id, message_id, title: null });
    if (ack?.session_id) this.#context.go(ack.session_id, { focus: true });
  }

  async #copy(control: HTMLElement): Promise<void> {
    const turn = this.#articleOf(control)?.turn;
    if (!turn) return;
    const { t } = this.#context;
    const done = await copyText(textOf(turn.message));
    this.#context.say(done ? t.copied : t.copyFailed);
    if (!done) return;
    control.classList.add("nbchat-done");
    clearTimeout(this.#copied);
    this.#copied = setTimeout(() => control.classList.remove("nbchat-done"), COPIED_MS);
  }

  #key(event: KeyboardEvent): void {
    const { target } = event;
    if (!(target instanceof HTMLElement) || !target.matches(".nbchat-editor")) return;
    if (isComposing(event)) return;
    if (event.key === "Escape") this.#articleOf(target)?.endEdit();
    else if (event.key === "Enter" && sends(event, this.#context.sendKey()))
      void this.#sendEdit(target);
    else return;
    event.preventDefault();
  }

  async #sendEdit(target: Element): Promise<void> {
    const article = this.#articleOf(target);
    const text = article?.edited;
    const message_id = article?.turn?.message.id;
    if (!article || !message_id || !text?.trim()) return;
    const session_id = this.#log.sessionId;
    try {
      const ack = await this.#context.runtime.do({ type: "edit", session_id, message_id, text });
      if (ack.error) article.refuseEdit(sentence(causeOf(ack.error)));
      else {
        article.endEdit();
        this.#edited();
      }
    } catch (reason) {
      article.refuseEdit(thrown(reason));
    }
  }
}

function messageIdOf(target: Element): string {
  return target.closest("[data-message-id]")?.getAttribute("data-message-id") ?? "";
}

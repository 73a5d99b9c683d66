/** `Queue`: queued questions, which can be edited and removed, and unsent ones, which can be restored. */

import type { Message, RunRecord } from "../protocol";
import { isLive } from "../state/session";
import type { Context, QueueView } from "../types";
import { handleActions } from "./actions";
import { perform } from "./commands";
import { arrange, button, h, iconButton, installStyles, show } from "./dom";
import css from "./extras.css";
import { isComposing, sends } from "./keys";
import { authorOf, causeOf, isAttachment, label, reveal, textOf } from "./text";

/** A queued question in its editor. */
interface Editing {
  readonly session_id: string;
  readonly prompt: Message;
  readonly editor: HTMLTextAreaElement;
}

/** Longest text of a queued question that is shown. */
const LINE = 200;

export class Queue implements QueueView {
  readonly element: HTMLElement;
  readonly #context: Context;
  /** Puts a question into the composer, if there is one, and focuses the composer. */
  readonly #putBack: (prompt?: Message) => void;
  readonly #items = new Map<string, HTMLElement>();
  /** Runs that never started, and whose question was restored to the composer. */
  readonly #taken = new Set<string>();
  #editing: Editing | null = null;
  #sessionId = "";
  #runs: readonly RunRecord[] = [];

  constructor(context: Context, putBack: (prompt?: Message) => void) {
    this.#context = context;
    this.#putBack = putBack;
    installStyles(context.root, css);
    this.element = h("ul", { class: "queue", "aria-label": context.t.queue, hidden: true });
    const { signal } = context;
    handleActions<"queue">(
      this.element,
      {
        "queue-edit": (target) => this.#edit(target),
        "queue-remove": (target) => this.#remove(target),
        "queue-back": (target) => this.#takeBack(target),
      },
      signal,
    );
    this.element.addEventListener("keydown", (event) => this.#key(event), { signal });
    const left = ({ target }: Event): void => {
      if (target === this.#editing?.editor) void this.#keepEdit();
    };
    this.element.addEventListener("focusout", left, { signal });
  }

  /** Show the queued and the unsent questions of a session. */
  update(sessionId: string, runs: readonly RunRecord[]): void {
    this.#sessionId = sessionId;
    this.#runs = runs;
    const items = new Map<string, HTMLElement>();
    for (const run of runs) {
      if (!run.prompt || run.started_at !== null || this.#taken.has(run.id)) continue;
      const lost = run.state === "failed" || (run.state === "interrupted" && !run.acknowledged);
      if (!isLive(run) && !lost) continue;
      const key = `${run.id} ${lost} ${run.prompt.author} ${textOf(run.prompt)}`;
      items.set(key, this.#items.get(key) ?? this.#create(run, lost));
    }
    this.#items.clear();
    for (const [key, item] of items) this.#items.set(key, item);
    arrange(this.element, [...items.values()]);
    show(this.element, items.size > 0);
    if (this.#editing?.editor.isConnected === false) void this.#keepEdit();
  }

  #create(run: RunRecord, lost: boolean): HTMLElement {
    const { t } = this.#context;
    const parts = run.prompt?.parts ?? [];
    const texts = parts.map((part) => (isAttachment(part) ? `[${part.name}]` : part.text));
    const line = h("span", {
      class: "queue-text",
      dir: "auto",
      text: label(texts.join(" "), LINE),
    });
    const item = h("li", { class: "queue-item", "data-run-id": run.id });
    const author = run.prompt ? authorOf(run.prompt, this.#context.runtime.store.person) : "";
    if (author) item.append(h("bdi", { class: "queue-author", text: author }));
    if (lost) {
      item.append(h("span", { text: t.notAsked }), line);
      if (run.error) {
        item.append(h("span", { class: "cause-text", text: reveal(causeOf(run.error)) }));
      }
      item.append(button("queue-back", t.useAgain));
    } else {
      item.append(
        line,
        iconButton("queue-edit", "edit", t.change),
        iconButton("queue-remove", "close", t.remove),
      );
    }
    return item;
  }

  #runOf(target: Element): RunRecord | undefined {
    const id = target.closest("[data-run-id]")?.getAttribute("data-run-id");
    return this.#runs.find((run) => run.id === id);
  }

  #remove(target: Element): void {
    const run = this.#runOf(target);
    if (!run) return;
    const { id: run_id } = run;
    void perform(this.#context, { type: "stop", session_id: this.#sessionId, run_id });
    this.#putBack();
  }

  #takeBack(target: Element): void {
    const run = this.#runOf(target);
    if (!run?.prompt) return;
    this.#taken.add(run.id);
    this.#putBack(run.prompt);
    this.update(this.#sessionId, this.#runs);
  }

  #edit(target: Element): void {
    const prompt = this.#runOf(target)?.prompt;
    const item = target.closest("[data-run-id]");
    if (!prompt) return;
    const editor = h("textarea", {
      class: "editor",
      "aria-label": this.#context.t.editLabel,
      dir: "auto",
      rows: 2,
    });
    editor.value = textOf(prompt);
    this.#editing = { session_id: this.#sessionId, prompt, editor };
    item?.prepend(editor);
    item?.setAttribute("data-editing", "");
    editor.focus();
  }

  /** Close the editor and return what it held. */
  #endEdit(): Editing | null {
    const editing = this.#editing;
    this.#editing = null;
    editing?.editor.parentElement?.removeAttribute("data-editing");
    editing?.editor.remove();
    return editing;
  }

  /** Close the editor and send the change. If the question has started meanwhile, the text goes to the composer. */
  async #keepEdit(): Promise<void> {
    const editing = this.#endEdit();
    if (!editing) return;
    const { session_id, prompt } = editing;
    const text = editing.editor.value;
    if (!text.trim() || text === textOf(prompt)) return;
    const command = { type: "edit", session_id, message_id: prompt.id, text } as const;
    if (await perform(this.#context, command)) return;
    const { drafts } = this.#context.runtime;
    const parts = prompt.parts.slice(0, 1).map((part) => ({ ...part, text }));
    if (session_id === this.#sessionId) this.#putBack({ ...prompt, parts });
    else drafts.set(session_id, drafts.get(session_id) || text);
  }

  #key(event: KeyboardEvent): void {
    if (event.target !== this.#editing?.editor || isComposing(event)) return;
    const keeps = event.key === "Enter" && sends(event, this.#context.sendKey());
    if (event.key !== "Escape" && !keeps) return;
    event.preventDefault();
    event.stopPropagation();
    if (keeps) void this.#keepEdit();
    else this.#endEdit();
    this.#putBack();
  }
}

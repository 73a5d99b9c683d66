/** `Article`: one message, with its parts, its outcome and its buttons. */

import type { Message, RunRecord } from "../protocol";
import { isLive } from "../state/session";
import type { Context, EditForm, Turn } from "../types";
import { button, focusedIn, h, iconButton, setAttribute, setText, show } from "./dom";
import { type BlockView, blocksOf, createBlock } from "./parts";
import { authorOf, causeOf, label, reveal, textOf } from "./text";

/** Seconds without an answer after which they are counted. */
const SLOW_S = 2;

export class Article {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #body = h("div", { class: "body" });
  readonly #stateText = h("span");
  readonly #tryNow: HTMLButtonElement;
  readonly #state: HTMLElement;
  readonly #cause = h("div", { class: "cause", hidden: true });
  readonly #footer = h("div", { class: "actions" });
  #blocks: BlockView[] = [];
  #turn: Turn | null = null;
  #footerKey = "";
  #causeKey = "";
  #details: HTMLElement | null = null;
  #sources: HTMLElement | null = null;
  #editor: EditForm | null = null;

  constructor(context: Context, message: Message) {
    this.#context = context;
    const { t } = context;
    this.#tryNow = button("retry-now", t.retryNow, { title: t.retryNowHint, hidden: true });
    this.#state = h("div", { class: "state", hidden: true }, this.#stateText, this.#tryNow);
    const who =
      message.role === "user"
        ? authorOf(message, context.runtime.store.person) || t.you
        : t[message.role];
    this.element = h(
      "article",
      {
        class: `message from-${message.role}`,
        "data-message-id": message.id,
        "data-role": message.role,
        "aria-label": who,
      },
      h("div", { class: "who", "aria-hidden": "true", text: who }),
      this.#body,
      this.#state,
      this.#cause,
      this.#footer,
    );
  }

  get turn(): Turn | null {
    return this.#turn;
  }

  /** Show the current state of the message. */
  update(turn: Turn): void {
    const before = this.#turn;
    this.#turn = turn;
    if (before && same(before, turn)) return;
    const grows = before?.generation === turn.generation;
    if (before?.message.parts !== turn.message.parts || before.run !== turn.run) {
      this.#updateBody(turn, grows);
    }
    setAttribute(this.element, "data-run-state", turn.run?.state);
    setAttribute(this.element, "aria-busy", isLive(turn.run) ? "true" : null);
    if (before?.message.sources !== turn.message.sources) this.#updateSources(turn);
    this.#updateCause(turn);
    this.#updateFooter(turn);
    this.tick();
    if (this.#details) this.#fillDetails();
  }

  /** Show what changes with time alone. */
  tick(): void {
    const turn = this.#turn;
    const text = turn ? this.#waiting(turn) : "";
    setText(this.#stateText, text);
    show(this.#state, text !== "");
    show(this.#tryNow, isDelayed(turn?.run ?? null));
  }

  /** Whether `tick` changes anything. */
  get ticks(): boolean {
    const state = this.#turn?.run?.state;
    return state === "retrying" || state === "connecting";
  }

  destroy(): void {
    for (const block of this.#blocks) block.destroy();
    this.element.remove();
  }

  #updateBody(turn: Turn, grows: boolean): void {
    const blocks = blocksOf(turn.message, turn.seams);
    const live = isLive(turn.run);
    blocks.forEach((block, index) => {
      let view = this.#blocks[index];
      if (view?.type !== block.type) {
        const fresh = createBlock(this.#context, turn.message, block);
        // A block in between (the reasoning of a continuation) does not rebuild the others.
        const next = blocks[index + 1];
        if (view && next?.type !== view.type) this.#drop(index);
        this.#body.insertBefore(fresh.element, this.#blocks[index]?.element ?? null);
        this.#blocks.splice(index, 0, fresh);
        view = fresh;
      }
      view.update(block, live && block.newest, grows, turn);
    });
    this.#drop(blocks.length);
  }

  #updateSources({ message }: Turn): void {
    this.#sources?.remove();
    this.#sources = null;
    if (message.sources.length === 0) return;
    this.#context.extras(({ sourceList }) => {
      if (this.#turn?.message.sources !== message.sources) return;
      this.#sources = sourceList(this.#context, message.sources);
      this.#body.after(this.#sources);
    });
  }

  #drop(from: number): void {
    for (const block of this.#blocks.splice(from)) {
      block.destroy();
      block.element.remove();
    }
  }

  #waiting({ message, run, sessionId }: Turn): string {
    const { t, runtime } = this.#context;
    if (!run || !isLive(run)) return "";
    if (run.state === "retrying" && run.retry_at !== null) {
      const left = Math.ceil(run.retry_at - Date.now() / 1000);
      const wait =
        left > 0
          ? t.waitingRetry(left, run.attempt + 1, run.attempts + 1)
          : t.retryingNow(run.attempt + 1, run.attempts + 1);
      return run.error ? `${wait}: ${reveal(causeOf(run.error))}` : wait;
    }
    if (run.state === "paused") return t.pausedNote;
    if (message.parts.length > Math.max(run.first_part, run.round_part)) return "";
    if (run.state === "stopping") return `${t.state[run.state]}…`;
    const head = runtime.store.heads.get(sessionId);
    const since = head?.waiting_since ?? Number.POSITIVE_INFINITY;
    const seconds = Math.floor(Date.now() / 1000 - since);
    const model = label(run.model ?? message.model ?? "", 40);
    return seconds >= SLOW_S && model
      ? t.waitingFor(model, seconds, head?.first_token_s ?? null)
      : t.connecting;
  }

  /** Show how the answer ended, and what can be done about it. */
  #updateCause(turn: Turn): void {
    const key = outcomeKey(turn);
    if (key === this.#causeKey) return;
    this.#causeKey = key;
    if (key === "") {
      this.#cause.replaceChildren();
      show(this.#cause, false);
      return;
    }
    this.#context.extras(({ showOutcome }) => {
      if (this.#causeKey !== key) return;
      showOutcome(this.#context, this.#cause, turn);
      this.#updateFooter(turn);
    });
  }

  #updateFooter({ message, run, versions, busy, last }: Turn): void {
    const { t } = this.#context;
    const live = isLive(run);
    const offered = this.#cause.querySelector('[data-act="regenerate"]') !== null;
    const index = versions.findIndex(({ id }) => id === message.id);
    const user = message.role === "user";
    const empty = run !== null && run.state !== "completed" && message.parts.length === 0;
    const fromCache = run?.from_cache ?? false;
    const key = [live, offered, busy, last, empty, index, versions.length, fromCache].join();
    if (key === this.#footerKey) return;
    this.#footerKey = key;
    const focused = focusedIn(this.#footer)?.getAttribute("data-act");
    const items: (Node | false)[] = [];
    if (versions.length > 1) {
      items.push(
        h(
          "span",
          { class: "versions" },
          iconButton("version", "previous", t.previousVersion, {
            "data-arg": versions[index - 1]?.id,
            disabled: index <= 0 || busy,
          }),
          h("span", {
            role: "img",
            "aria-label": t.version(index + 1, versions.length),
            text: `${index + 1} / ${versions.length}`,
          }),
          iconButton("version", "next", t.nextVersion, {
            "data-arg": versions[index + 1]?.id,
            disabled: index >= versions.length - 1 || busy,
          }),
        ),
      );
    }
    items.push(
      !empty && iconButton("copy", "copy", t.copy),
      user && iconButton("edit", "edit", t.edit),
      !user &&
        !live &&
        !offered &&
        !empty &&
        message.role === "assistant" &&
        iconButton("regenerate", "regenerate", t.regenerate, { disabled: busy }),
      run?.state === "interrupted" &&
        run.acknowledged &&
        last &&
        iconButton("continue_", "continue", t.continue_, { disabled: busy }),
      !live && !empty && iconButton("fork", "fork", t.fork),
      !live &&
        !user &&
        iconButton("details", "details", t.details, {
          "aria-expanded": String(this.#details !== null),
        }),
      fromCache && h("span", { class: "versions", text: t.fromCache }),
    );
    this.#footer.replaceChildren(...items.filter((item): item is Node => item !== false));
    if (focused) this.#footer.querySelector<HTMLElement>(`[data-act="${focused}"]`)?.focus();
  }

  /** Show or hide the details of the answer. */
  toggleDetails(): void {
    if (this.#details) {
      this.#details.remove();
      this.#details = null;
    } else {
      this.#details = h("dl", { class: "details" });
      this.element.append(this.#details);
      this.#fillDetails();
    }
    const toggle = this.#footer.querySelector('[data-act="details"]');
    if (toggle) setAttribute(toggle, "aria-expanded", String(this.#details !== null));
  }

  #fillDetails(): void {
    this.#context.extras(({ detailsOf }) => {
      if (this.#turn) this.#details?.replaceChildren(...detailsOf(this.#context, this.#turn));
    });
  }

  /** Replace the question by an editor. With `text`, restore an earlier editor, without the focus. */
  edit(text?: string): void {
    this.#context.extras(({ editForm }) => {
      if (this.#editor || !this.#turn) return;
      this.#editor = editForm(this.#context, text ?? textOf(this.#turn.message));
      this.#body.hidden = this.#footer.hidden = true;
      this.#body.after(this.#editor.element);
      if (text === undefined) this.#editor.focus();
    });
  }

  /** The text in the editor, or null if it is closed. */
  get edited(): string | null {
    return this.#editor?.field.value ?? null;
  }

  /** Show beside the editor why the change was refused. */
  refuseEdit(why: string): void {
    this.#editor?.refuse(why);
  }

  /** Close the editor and show the message again. */
  endEdit(): void {
    this.#editor?.element.remove();
    this.#editor = null;
    this.#body.hidden = this.#footer.hidden = false;
    this.#footer.querySelector<HTMLElement>('[data-act="edit"]')?.focus();
  }
}

/** Whether the run waits for its next attempt. */
function isDelayed(run: RunRecord | null): boolean {
  return run?.state === "retrying" && (run.retry_at ?? 0) > Date.now() / 1000;
}

function same(a: Turn, b: Turn): boolean {
  return (
    a.message === b.message &&
    a.run === b.run &&
    a.refused === b.refused &&
    a.last === b.last &&
    a.busy === b.busy &&
    a.versions.length === b.versions.length &&
    a.versions.every((version, i) => version.id === b.versions[i]?.id) &&
    a.seams.length === b.seams.length
  );
}

/** Return a text that differs whenever the outcome of two turns does; empty if it needs no words. */
function outcomeKey({ message, run, refused, last, busy }: Turn): string {
  const over = run !== null && !isLive(run);
  const noted = over && (run.state !== "completed" || !run.saved || message.notices.length > 0);
  if (!noted && !(refused && message.role === "user")) return "";
  return [
    run?.id,
    run?.state,
    run?.acknowledged,
    run?.saved,
    refused,
    last,
    busy,
    message.parts.length > 0,
    message.notices.length,
  ].join();
}

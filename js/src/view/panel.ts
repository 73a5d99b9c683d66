/** One session on the page: its log, its status, what waits, and the composer. */

import { isOver } from "../fold";
import type { Head, RunRecord } from "../protocol";
import type { CommandInput } from "../runtime";
import type { SessionView } from "../store";
import { isLive, textOf } from "./article";
import { Composer } from "./composer";
import { type Context, causeOf, thrown } from "./context";
import { arrange, button, h, iconButton, setAttribute, setText, show } from "./dom";
import { Log } from "./log";
import { openSettings } from "./settings";
import { inSeconds, label, reveal } from "./text";

/** How long a passing remark stands in the status line. */
const SAID_MS = 5000;

export class Panel {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #log: Log;
  readonly #composer: Composer;
  readonly #state = h("span");
  readonly #said = h("span", { class: "unseen" });
  readonly #status = h(
    "span",
    { role: "status", "aria-live": "polite", "aria-atomic": "false", class: "status" },
    this.#state,
    this.#said,
  );
  readonly #progress = h("span", { class: "progress" });
  readonly #model: HTMLButtonElement;
  readonly #demo: HTMLElement;
  readonly #queue: HTMLElement;
  readonly #fromFile: HTMLElement;
  readonly #suggestions: HTMLElement;
  readonly #waiting = new Map<string, HTMLElement>();
  readonly #putBack = new Set<string>();
  #sessionId = "";
  #head: Head | undefined;
  #session: SessionView | undefined;
  #copied: ReturnType<typeof setTimeout> | undefined;
  #silence: ReturnType<typeof setTimeout> | undefined;

  constructor(context: Context, attributes: Readonly<Record<string, string | number>> = {}) {
    const { t, signal } = context;
    this.#context = context;
    this.#log = new Log(context);
    this.#composer = new Composer(
      context,
      (sessionId) => {
        if (sessionId === this.#sessionId) this.#log.latest();
      },
      () => this.#questions(),
    );
    this.#queue = h("ul", { class: "queue", "aria-label": t.queue, hidden: true });
    this.#fromFile = h(
      "div",
      { class: "note", hidden: true },
      h("span", { text: t.fromFile }),
      button("adopt", t.adopt),
      button("settings", t.review, { "aria-haspopup": "dialog" }),
    );
    this.#suggestions = h("div", {
      class: "suggestions",
      role: "group",
      "aria-label": t.suggest,
      hidden: true,
    });
    this.#model = button("settings", "", {
      class: "button quiet model",
      "aria-haspopup": "dialog",
    });
    this.#demo = h("span", { class: "demo", title: t.demoHint, text: t.demo, hidden: true });
    this.element = h(
      "div",
      { class: "panel", ...attributes },
      this.#fromFile,
      this.#log.element,
      this.#suggestions,
      this.#queue,
      h(
        "div",
        { class: "foot" },
        this.#status,
        this.#progress,
        h("span", { class: "space" }),
        this.#demo,
        this.#model,
      ),
      this.#composer.element,
    );
    this.element.addEventListener("click", (event) => this.#click(event), { signal });
    this.element.addEventListener("keydown", (event) => this.#key(event), { signal });
    signal.addEventListener("abort", () => {
      clearTimeout(this.#copied);
      clearTimeout(this.#silence);
    });
  }

  get sessionId(): string {
    return this.#sessionId;
  }

  /** Show another session. */
  open(sessionId: string): void {
    if (sessionId === this.#sessionId) return;
    this.#sessionId = sessionId;
    this.say("");
    for (const item of this.#waiting.values()) item.remove();
    this.#waiting.clear();
    const { runtime } = this.#context;
    if (sessionId) runtime.want(sessionId);
    this.#composer.open(sessionId);
    this.#log.open(sessionId, sessionId ? runtime.store.session(sessionId) : undefined);
    this.update();
  }

  /** Show what has changed. */
  update(): void {
    const { t, runtime } = this.#context;
    const { store } = runtime;
    const id = this.#sessionId;
    this.#head = store.heads.get(id);
    const session = id ? store.session(id) : undefined;
    if (session !== this.#session || !session) {
      this.#session = session;
      this.#log.update(session);
      this.#updateQueue(session?.state.runs ?? []);
    }
    this.#composer.update(this.#head);
    this.#updateStatus();
    const chosen = this.#head?.model ?? session?.state.settings.model ?? store.config?.model ?? "";
    const name = label(chosen, 40);
    setText(this.#model, name || t.model);
    setAttribute(this.#model, "aria-label", `${t.model}: ${name || "?"}`);
    show(this.#demo, store.config?.demo === true);
    const settings = session?.state.settings;
    show(this.#fromFile, settings?.from_file === true);
    this.#suggest(session?.path.length === 0 && session.state.runs.length === 0);
    this.tick();
  }

  /** Show what changes with time alone; tell whether there is such. */
  tick(): boolean {
    const head = this.#head;
    const live = head !== undefined && !isOver(head.state);
    setText(this.#progress, live ? this.#progressOf(head) : this.#last());
    if (this.#log.ticks) this.#log.tick();
    return live;
  }

  /** Say something once, to those who listen; those who look see it elsewhere. */
  say(text: string): void {
    clearTimeout(this.#silence);
    setText(this.#said, text);
    if (text) this.#silence = setTimeout(() => setText(this.#said, ""), SAID_MS);
  }

  focusComposer(): void {
    this.#composer.focus();
  }

  /** Go to a message. */
  reveal(messageId: string): void {
    this.#log.reveal(messageId);
  }

  /** Offer ways to begin; the demo server knows other things than a model does. */
  #suggest(empty: boolean): void {
    const { t, runtime } = this.#context;
    show(this.#suggestions, empty);
    if (!empty) return;
    const texts = runtime.store.config?.demo ? t.demoSuggestions : t.suggestions;
    if (this.#suggestions.getAttribute("data-first") === texts[0]) return;
    setAttribute(this.#suggestions, "data-first", texts[0]);
    this.#suggestions.replaceChildren(
      ...texts.map((text) => button("suggest", text.trim(), { "data-text": text })),
    );
  }

  #updateStatus(): void {
    const state = this.#head?.state;
    setText(this.#state, state ? (this.#context.t.state[state] ?? state) : "");
    setAttribute(this.#status, "data-run-state", state);
  }

  #progressOf(head: Head): string {
    const { t } = this.#context;
    const facts: string[] = [];
    if (head.position !== null) facts.push(t.place(head.position));
    if (head.characters > 0) facts.push(t.characters(head.characters));
    if (head.started_at !== null && head.state !== "paused") {
      const seconds = Math.max(0, Date.now() / 1000 - head.started_at);
      facts.push(elapsed(this.#context, seconds));
      if (head.characters > 0 && seconds >= 1) {
        facts.push(t.perSecond(Math.round(head.characters / seconds)));
      }
    }
    if (head.queued > 0) facts.push(t.queuedBehind(head.queued));
    return facts.join(" · ");
  }

  /** What the last answer took, quietly. */
  #last(): string {
    const run = this.#session?.state.runs.at(-1);
    if (!run?.ended_at || !run.started_at || isLive(run)) return "";
    const facts = [elapsed(this.#context, Math.max(0, run.ended_at - run.started_at))];
    const { t, locale } = this.#context;
    if (typeof run.usage?.output_tokens === "number") {
      facts.push(`${t.tokensOut}: ${run.usage.output_tokens.toLocaleString(locale)}`);
    }
    return facts.join(" · ");
  }

  /** Show the questions that wait outside of the transcript. */
  #updateQueue(runs: readonly RunRecord[]): void {
    const items: HTMLElement[] = [];
    const seen = new Set<string>();
    for (const run of runs) {
      if (!run.prompt || run.started_at !== null || this.#putBack.has(run.id)) continue;
      const lost = run.state === "failed" || (run.state === "interrupted" && !run.acknowledged);
      if (!isLive(run) && !lost) continue;
      const key = `${run.id} ${lost} ${textOf(run.prompt)}`;
      seen.add(key);
      let item = this.#waiting.get(key);
      if (!item) {
        item = this.#waitingItem(run, lost);
        this.#waiting.set(key, item);
      }
      items.push(item);
    }
    for (const key of this.#waiting.keys()) if (!seen.has(key)) this.#waiting.delete(key);
    arrange(this.#queue, items);
    show(this.#queue, items.length > 0);
  }

  #waitingItem(run: RunRecord, lost: boolean): HTMLElement {
    const { t } = this.#context;
    const text = run.prompt ? textOf(run.prompt) : "";
    const line = h("span", { class: "queue-text", dir: "auto", text: label(text, 200) });
    if (!lost) {
      return h(
        "li",
        { class: "queue-item", "data-run-id": run.id },
        line,
        iconButton("queue-edit", "edit", t.change),
        iconButton("queue-remove", "close", t.remove),
      );
    }
    const why = run.error
      ? h("span", { class: "cause-text", text: reveal(causeOf(run.error)) })
      : "";
    return h(
      "li",
      { class: "queue-item", "data-run-id": run.id },
      h("span", { text: t.notAsked }),
      line,
      why,
      button("queue-back", t.useAgain),
    );
  }

  #questions(): readonly string[] {
    const session = this.#session;
    if (!session) return [];
    const asked = session.path.filter(({ role }) => role === "user").map(textOf);
    for (const run of session.state.runs) {
      if (run.prompt && isLive(run)) asked.push(textOf(run.prompt));
    }
    return asked.filter((text, i) => text !== "" && text !== asked[i - 1]);
  }

  #key(event: KeyboardEvent): void {
    const article = this.#articleOf(event.target);
    if (event.target instanceof HTMLElement && event.target.matches(".nbchat-editor")) {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape") article?.endEdit();
      else if (event.key === "Enter" && !event.shiftKey) void this.#sendEdit(event.target);
      else return;
      event.preventDefault();
      return;
    }
    if (event.key !== "Escape" || event.isComposing || event.keyCode === 229) return;
    const writing = this.#composer.contains(document.activeElement) && !this.#composer.empty;
    if (!writing && this.#head && !isOver(this.#head.state)) {
      event.preventDefault();
      this.#stop();
    }
  }

  #click(event: MouseEvent): void {
    const target =
      event.target instanceof Element && event.target.closest<HTMLElement>("[data-act]");
    if (!target || target.getAttribute("aria-disabled") === "true") return;
    const messageId = target.closest("[data-message-id]")?.getAttribute("data-message-id") ?? "";
    const session_id = this.#sessionId;
    const article = this.#log.article(messageId);
    const run = article?.turn?.run;
    const runId = this.#head?.run_id;
    const act = target.getAttribute("data-act");
    switch (act) {
      case "send":
        void this.#composer.send();
        break;
      case "attach":
        this.#composer.chooseFiles();
        break;
      case "detach":
        this.#composer.removeImage(Number(target.getAttribute("data-i")));
        break;
      case "stop":
        this.#stop();
        break;
      case "pause":
        if (runId) void this.#do({ type: "pause", session_id, run_id: runId });
        break;
      case "resume-run":
        if (runId) void this.#do({ type: "resume", session_id, run_id: runId });
        break;
      case "resume":
        if (run) void this.#do({ type: "resume", session_id, run_id: run.id });
        break;
      case "keep":
        if (run) void this.#do({ type: "keep", session_id, run_id: run.id });
        break;
      case "retry":
      case "regenerate":
      case "discard":
        void this.#do({ type: act, session_id, message_id: messageId });
        break;
      case "continue_":
        void this.#do({ type: "continue", session_id, message_id: messageId });
        break;
      case "version":
        void this.#do({
          type: "select_version",
          session_id,
          message_id: target.getAttribute("data-to") ?? "",
        });
        break;
      case "fork":
        void this.#fork(messageId);
        break;
      case "copy":
        if (article?.turn) void this.#copy(textOf(article.turn.message), target);
        break;
      case "details":
        article?.toggleDetails();
        break;
      case "edit":
        article?.edit();
        break;
      case "edit-cancel":
        article?.endEdit();
        break;
      case "edit-send":
        void this.#sendEdit(target);
        break;
      case "earlier":
        this.#log.earlier();
        break;
      case "latest":
        this.#log.latest();
        break;
      case "suggest":
        this.#composer.put(target.getAttribute("data-text") ?? "");
        break;
      case "settings":
        this.openSettings(target);
        break;
      case "adopt":
        this.#adopt();
        break;
      case "queue-remove":
      case "queue-back":
      case "queue-edit":
        this.#queued(act, target);
        break;
    }
  }

  /** Show the session's settings. */
  openSettings(anchor: Element = this.#model): void {
    if (this.#session) {
      openSettings(this.#context, anchor, this.#sessionId, this.#session.state.settings);
    }
  }

  /** Ask the kernel, and say where it refuses. */
  async #do(command: CommandInput): Promise<boolean> {
    try {
      const { error } = await this.#context.runtime.do(command);
      if (!error) return true;
      this.#context.notify(reveal(causeOf(error)));
    } catch (reason) {
      this.#context.notify(reveal(thrown(reason)));
    }
    return false;
  }

  #stop(): void {
    const runId = this.#head?.run_id;
    if (runId) void this.#do({ type: "stop", session_id: this.#sessionId, run_id: runId });
  }

  async #fork(messageId: string): Promise<void> {
    try {
      const ack = await this.#context.runtime.do({
        type: "fork",
        session_id: this.#sessionId,
        message_id: messageId,
      });
      if (ack.error) this.#context.notify(reveal(causeOf(ack.error)));
      else if (ack.session_id) this.#context.go(ack.session_id, true);
    } catch (reason) {
      this.#context.notify(reveal(thrown(reason)));
    }
  }

  #adopt(): void {
    const settings = this.#session?.state.settings;
    if (!settings) return;
    const { model, instructions, params } = settings;
    void this.#do({ type: "configure", session_id: this.#sessionId, model, instructions, params });
  }

  async #copy(text: string, control: HTMLElement): Promise<void> {
    const { t } = this.#context;
    const done = await copyText(text);
    this.say(done ? t.copied : t.copyFailed);
    if (!done) return;
    control.classList.add("nbchat-done");
    clearTimeout(this.#copied);
    this.#copied = setTimeout(() => control.classList.remove("nbchat-done"), 1500);
  }

  #articleOf(target: EventTarget | null) {
    const element = target instanceof Element ? target.closest("[data-message-id]") : null;
    return this.#log.article(element?.getAttribute("data-message-id") ?? "");
  }

  async #sendEdit(target: Element): Promise<void> {
    const article = this.#articleOf(target);
    const text = article?.edited;
    const messageId = article?.turn?.message.id;
    if (!article || !messageId || !text?.trim()) return;
    try {
      const ack = await this.#context.runtime.do({
        type: "edit",
        session_id: this.#sessionId,
        message_id: messageId,
        text,
      });
      if (ack.error) article.refuseEdit(causeOf(ack.error));
      else {
        article.endEdit();
        this.#log.latest();
        this.#composer.focus();
      }
    } catch (reason) {
      article.refuseEdit(thrown(reason));
    }
  }

  #queued(act: "queue-remove" | "queue-back" | "queue-edit", target: HTMLElement): void {
    const item = target.closest<HTMLElement>("[data-run-id]");
    const runId = item?.getAttribute("data-run-id") ?? "";
    const session_id = this.#sessionId;
    const run = this.#session?.state.runs.find(({ id }) => id === runId);
    if (!item || !run?.prompt) return;
    if (act === "queue-remove") {
      void this.#do({ type: "stop", session_id, run_id: runId });
      this.#composer.focus();
    } else if (act === "queue-back") {
      this.#putBack.add(runId);
      this.#composer.put(textOf(run.prompt));
      this.#updateQueue(this.#session?.state.runs ?? []);
    } else {
      this.#editQueued(item, run.prompt.id, textOf(run.prompt));
    }
  }

  #editQueued(item: HTMLElement, messageId: string, text: string): void {
    const { t } = this.#context;
    const input = h("textarea", {
      class: "editor",
      "aria-label": t.editLabel,
      dir: "auto",
      rows: 2,
    });
    input.value = text;
    const before = [...item.childNodes];
    item.replaceChildren(input);
    input.focus();
    const end = (): void => {
      if (item.contains(input)) item.replaceChildren(...before);
    };
    input.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Escape") {
        end();
        this.#composer.focus();
      } else if (event.key === "Enter" && !event.shiftKey) {
        const changed = input.value;
        if (changed.trim() && changed !== text) {
          void this.#do({
            type: "edit",
            session_id: this.#sessionId,
            message_id: messageId,
            text: changed,
          });
        }
        end();
        this.#composer.focus();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    input.addEventListener("blur", end);
  }
}

function elapsed({ t }: Context, seconds: number): string {
  if (seconds < 60)
    return t.seconds(seconds < 10 ? inSeconds(seconds) : String(Math.round(seconds)));
  return t.minutes(Math.floor(seconds / 60), Math.floor(seconds % 60));
}

/** Copy text; also where the clipboard's own interface is not there (plain HTTP). */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = h("textarea", { "aria-hidden": "true", style: "position:fixed;opacity:0" });
    area.value = text;
    const { activeElement } = document;
    document.body.append(area);
    area.select();
    const done = document.execCommand?.("copy") ?? false;
    area.remove();
    if (activeElement instanceof HTMLElement) activeElement.focus({ preventScroll: true });
    return done;
  }
}

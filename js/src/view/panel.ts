/** One session on the page: its log, its status, what waits, and the composer. */

import type { Head } from "../protocol";
import type { SessionView } from "../state/replica";
import { isLive, isOver } from "../state/session";
import type { CommandInput, Context } from "../types";
import { copyText } from "./clipboard";
import { isSecond, perform } from "./commands";
import { Composer, sends } from "./composer";
import { button, h, setAttribute, setText, show } from "./dom";
import { isComposing } from "./keys";
import { Log } from "./log";
import { elapsed, progressOf } from "./progress";
import { Queue } from "./queue";
import { causeOf, isAttachment, label, sentence, textOf, thrown } from "./text";

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
  readonly #queue: Queue;
  readonly #fromFile: HTMLElement;
  readonly #suggestions: HTMLElement;
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
    this.#queue = new Queue(context, (prompt) => {
      if (prompt) this.#composer.put(textOf(prompt), prompt.parts.filter(isAttachment));
      else this.#composer.focus();
    });
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
      this.#queue.element,
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
    this.element.addEventListener("drop", (event) => this.drop(event), { signal });
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
      this.#queue.update(id, session?.state.runs ?? []);
    }
    this.#composer.update(this.#head);
    this.#updateStatus();
    const chosen =
      this.#head?.model ??
      session?.state.settings.model ??
      (this.#isUsual ? store.config?.model : undefined) ??
      "";
    const name = label(chosen, 40);
    setText(this.#model, name || t.model);
    setAttribute(this.#model, "aria-label", `${t.model}: ${name || "?"}`);
    show(this.#demo, this.#isDemo);
    const settings = session?.state.settings;
    show(this.#fromFile, settings?.from_file === true);
    this.#suggest(session?.path.length === 0 && session.state.runs.length === 0);
    this.tick();
  }

  /** Show what changes with time alone; tell whether there is such. */
  tick(): boolean {
    const head = this.#head;
    const live = head !== undefined && !isOver(head.state);
    setText(this.#progress, live ? progressOf(this.#context, head) : this.#last());
    setAttribute(this.#progress, "title", live && this.#context.t.goesOn);
    if (this.#log.ticks) this.#log.tick();
    return live;
  }

  /** Say something once, to those who listen; those who look see it elsewhere. */
  say(text: string): void {
    clearTimeout(this.#silence);
    setText(this.#said, text);
    if (text) this.#silence = setTimeout(() => setText(this.#said, ""), SAID_MS);
  }

  /** Attach the files that were dropped here. */
  drop(event: DragEvent): void {
    this.#composer.take(event.dataTransfer, event);
  }

  focusComposer(): void {
    this.#composer.focus();
  }

  /** Go to a message. */
  reveal(messageId: string): void {
    this.#log.reveal(messageId);
  }

  /** Whether the configured provider answers here: a session may have, or name, one of its own. */
  get #isUsual(): boolean {
    return !this.#head?.own_provider && !this.#session?.state.settings.provider;
  }

  /** Whether the demo server answers here. */
  get #isDemo(): boolean {
    if (this.#isUsual) return this.#context.runtime.store.config?.demo === true;
    return !this.#head?.own_provider && this.#session?.state.settings.provider === "demo";
  }

  /** Offer ways to begin; the demo server knows other things than a model does. */
  #suggest(empty: boolean): void {
    const { t } = this.#context;
    show(this.#suggestions, empty);
    if (!empty) return;
    const texts = this.#isDemo ? t.demoSuggestions : t.suggestions;
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
      if (isComposing(event)) return;
      if (event.key === "Escape") article?.endEdit();
      else if (event.key === "Enter" && sends(event, this.#context.sendKey()))
        void this.#sendEdit(event.target);
      else return;
      event.preventDefault();
      return;
    }
    if (event.key !== "Escape" || isComposing(event)) return;
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
    const act = target.getAttribute("data-act") ?? "";
    if (isSecond(event, act)) return;
    switch (act) {
      case "send":
        void this.#composer.send();
        break;
      case "attach":
        this.#composer.chooseFiles();
        break;
      case "detach":
        this.#composer.detach(Number(target.getAttribute("data-i")));
        break;
      case "stop":
        this.#stop();
        break;
      case "pause":
        if (runId) this.#ask({ type: "pause", session_id, run_id: runId });
        break;
      case "resume-run":
        if (runId) this.#ask({ type: "resume", session_id, run_id: runId });
        break;
      case "resume":
        if (run) this.#ask({ type: "resume", session_id, run_id: run.id });
        break;
      case "keep":
        if (run) this.#ask({ type: "keep", session_id, run_id: run.id });
        break;
      case "retry":
      case "regenerate":
      case "discard":
        this.#ask({ type: act, session_id, message_id: messageId });
        break;
      case "continue_":
        this.#ask({ type: "continue", session_id, message_id: messageId });
        break;
      case "version":
        this.#ask({
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
    }
  }

  /** Show the session's settings. */
  openSettings(anchor: Element = this.#model): void {
    this.#context.extras(({ openSettings }) => {
      const settings = this.#session?.state.settings;
      if (settings) openSettings(this.#context, anchor, this.#sessionId, settings);
    });
  }

  #stop(): void {
    const runId = this.#head?.run_id;
    if (runId) this.#ask({ type: "stop", session_id: this.#sessionId, run_id: runId });
  }

  #ask(command: CommandInput): void {
    void perform(this.#context, command);
  }

  async #fork(messageId: string): Promise<void> {
    const ack = await perform(this.#context, {
      type: "fork",
      session_id: this.#sessionId,
      message_id: messageId,
    });
    if (ack?.session_id) this.#context.go(ack.session_id, { focus: true });
  }

  #adopt(): void {
    const settings = this.#session?.state.settings;
    if (!settings) return;
    const { model, instructions, params } = settings;
    this.#ask({ type: "configure", session_id: this.#sessionId, model, instructions, params });
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
      if (ack.error) article.refuseEdit(sentence(causeOf(ack.error)));
      else {
        article.endEdit();
        this.#log.latest();
        this.#composer.focus();
      }
    } catch (reason) {
      article.refuseEdit(thrown(reason));
    }
  }
}

/** `Panel`: one session, with its messages, its status, its queue and the composer. */

import type { Head, RunRecord } from "../protocol";
import type { SessionView } from "../state/replica";
import { isLive, isOver } from "../state/session";
import type { Context, PeopleView, QueueView, SessionPanel, WelcomeScreen } from "../types";
import { deferred, type Handlers, handleActions } from "./actions";
import { perform } from "./commands";
import { Composer } from "./composer";
import { button, h, show } from "./dom";
import { Foot } from "./foot";
import { isComposing } from "./keys";
import { Log } from "./log";
import { isAttachment, textOf } from "./text";

export class Panel implements SessionPanel {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #log: Log;
  readonly #composer: Composer;
  readonly #foot: Foot;
  readonly #fromFile: HTMLElement;
  /** Undefined until it is needed, null while it is being loaded. */
  #welcome: WelcomeScreen | null | undefined;
  /** As the welcome. */
  #queue: QueueView | null | undefined;
  /** As the welcome. */
  #people: PeopleView | null | undefined;
  #sessionId = "";
  #head: Head | undefined;
  #session: SessionView | undefined;

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
    this.#foot = new Foot(context);
    this.#fromFile = h(
      "div",
      { class: "note", hidden: true },
      h("span", { text: t.fromFile }),
      button("adopt", t.adopt),
      button("settings", t.review, { "aria-haspopup": "dialog" }),
    );
    this.element = h(
      "div",
      { class: "panel", ...attributes },
      this.#fromFile,
      this.#log.element,
      this.#foot.element,
      this.#composer.element,
    );
    handleActions<"panel">(
      this.element,
      {
        stop: () => this.#askRun("stop"),
        pause: () => this.#askRun("pause"),
        "resume-run": () => this.#askRun("resume"),
        settings: (target) => this.openSettings(target),
        connect: (target) =>
          this.#context.extras(({ openConnect }) => openConnect(this.#context, target)),
        tools: (target) =>
          this.#context.extras(({ openTools }) =>
            openTools(this.#context, target, this.#sessionId),
          ),
        adopt: () => this.#adopt(),
        suggest: (_, text) => this.#composer.put(text),
      },
      signal,
    );
    handleActions(this.#log.element, this.#messageActions(), signal);
    this.element.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.element.addEventListener("drop", (event) => this.drop(event), { signal });
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
    const { store } = this.#context.runtime;
    const id = this.#sessionId;
    this.#head = store.heads.get(id);
    const session = id ? store.session(id) : undefined;
    if (session !== this.#session || !session) {
      this.#session = session;
      this.#log.update(session);
      const runs = session?.state.runs ?? [];
      if (this.#queue === undefined && runs.some(isUnsent)) this.#loadQueue();
      this.#queue?.update(id, runs);
    }
    this.#composer.update(this.#head);
    this.#foot.update(this.#head, session);
    show(this.#fromFile, session?.state.settings.from_file === true);
    const empty = session?.path.length === 0 && session.state.runs.length === 0;
    if (empty && this.#welcome === undefined) this.#loadWelcome();
    this.#welcome?.update(empty, this.#foot.isDemo, this.#foot.provider);
    const { people, person } = store;
    if (this.#people === undefined && people.some(({ name }) => name !== person)) {
      this.#loadPeople();
    }
    this.#people?.update(id);
    this.tick();
  }

  /** Show what changes with time alone; returns whether a run is live. */
  tick(): boolean {
    if (this.#log.ticks) this.#log.tick();
    return this.#foot.tick();
  }

  /** Announce a text once to screen readers. */
  say(text: string): void {
    this.#foot.say(text);
  }

  /** Attach the files that were dropped here. */
  drop(event: DragEvent): void {
    this.#composer.take(event.dataTransfer, event);
  }

  focusComposer(): void {
    this.#composer.focus();
  }

  /** Scroll to a message. */
  reveal(messageId: string): void {
    this.#log.reveal(messageId);
  }

  /** Show the session's settings. */
  openSettings(anchor: Element = this.#foot.settingsButton): void {
    this.#context.extras(({ openSettings }) => {
      const settings = this.#session?.state.settings;
      if (settings) openSettings(this.#context, anchor, this.#sessionId, settings);
    });
  }

  #loadWelcome(): void {
    this.#welcome = null;
    this.#context.extras(({ createWelcome }) => {
      this.#welcome = createWelcome(this.#context);
      this.#log.element.append(this.#welcome.element);
      this.update();
    });
  }

  #loadPeople(): void {
    this.#people = null;
    this.#context.extras(({ createPeople }) => {
      this.#people = createPeople(this.#context, this.element);
      this.#people.update(this.#sessionId);
    });
  }

  #loadQueue(): void {
    this.#queue = null;
    this.#context.extras(({ createQueue }) => {
      const queue = createQueue(this.#context, (prompt) => {
        if (prompt) this.#composer.put(textOf(prompt), prompt.parts.filter(isAttachment));
        else this.#composer.focus();
      });
      this.#queue = queue;
      this.#log.element.after(queue.element);
      queue.update(this.#sessionId, this.#session?.state.runs ?? []);
    });
  }

  #messageActions(): Handlers<"message"> {
    let handlers: Partial<Handlers<"message">> | undefined;
    const edited = (): void => {
      this.#log.latest();
      this.#composer.focus();
    };
    return deferred("message", (use) =>
      this.#context.extras(({ messageActions }) => {
        handlers ??= messageActions(this.#context, this.#log, edited);
        use(handlers);
      }),
    );
  }

  /** Return the questions of the session, oldest first. */
  #questions(): readonly string[] {
    const session = this.#session;
    if (!session) return [];
    const asked = session.path.filter(({ role }) => role === "user").map(textOf);
    for (const run of session.state.runs) {
      if (run.prompt && isLive(run)) asked.push(textOf(run.prompt));
    }
    return asked.filter((text, i) => text !== "" && text !== asked[i - 1]);
  }

  /** Escape stops the live run, unless it ends something else first. */
  #key(event: KeyboardEvent): void {
    if (event.key !== "Escape" || event.defaultPrevented || isComposing(event)) return;
    const writing = this.#composer.focused && !this.#composer.empty;
    if (writing || !this.#head || isOver(this.#head.state)) return;
    event.preventDefault();
    this.#askRun("stop");
  }

  #askRun(type: "stop" | "pause" | "resume"): void {
    const run_id = this.#head?.run_id;
    if (run_id) void perform(this.#context, { type, session_id: this.#sessionId, run_id });
  }

  /** Use the settings that came with the notebook file. */
  #adopt(): void {
    const settings = this.#session?.state.settings;
    if (!settings) return;
    const { model, instructions, params } = settings;
    const session_id = this.#sessionId;
    const command = { type: "configure", session_id, model, instructions, params } as const;
    void perform(this.#context, command);
  }
}

/** Return whether the question of a run has not been sent. */
function isUnsent({ prompt, started_at }: RunRecord): boolean {
  return prompt !== null && started_at === null;
}

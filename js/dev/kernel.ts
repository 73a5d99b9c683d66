/**
 * A kernel inside the page: sessions, runs and answers without Jupyter, for looking at the view and for
 * its tests. It writes the same events as the real one, and the real store folds them.
 */

import * as extras from "../src/entries/extras";
import * as highlight from "../src/entries/highlight";
import * as math from "../src/entries/math";
import * as zh from "../src/i18n/zh-CN";
import type { AnyModel } from "../src/jupyter";
import type {
  Ack,
  AssetName,
  Attachment,
  ErrorInfo,
  Event,
  Found,
  Head,
  Message,
  PartType,
  RunRecord,
  SessionState,
} from "../src/protocol";
import { applyEvent } from "../src/state/fold";
import { emptyState, isOver, liveRun, statusOf, transcript } from "../src/state/session";
import { Store } from "../src/state/store";
import type { AssetModule, CommandInput, Runtime, ViewChange } from "../src/types";
import { moved } from "../src/view/order";

/** Seconds since 1970. */
const now = (): number => Date.now() / 1000;

/** Return an error as the kernel would report it. */
export function cause(message: string, more: Partial<ErrorInfo> = {}): ErrorInfo {
  return {
    code: "stream_broken",
    message,
    stage: "stream",
    retryable: false,
    hint: "",
    http_status: null,
    request_id: null,
    partial_chars: 0,
    ...more,
  };
}

export class FakeKernel {
  readonly store = new Store();
  readonly runtime: Runtime;
  readonly commands: CommandInput[] = [];
  readonly viewing = new Map<symbol, readonly string[]>();
  /** Changes of views' traits, in order. */
  readonly viewChanges: (ViewChange & { readonly view: string })[] = [];
  /** Decides what becomes of a command before it is done; null: it is taken. */
  refuse: (command: CommandInput) => ErrorInfo | null = () => null;
  /** Messages of a transcript that a state carries. */
  window = 200;
  /** Acknowledgements wait for this. */
  gate: Promise<void> = Promise.resolve();
  readonly #states = new Map<string, SessionState>();
  readonly #drafts = new Map<string, string>();
  readonly #attached = new Map<string, readonly Attachment[]>();
  #packet = 0;
  #ids = 0;

  constructor() {
    const { store } = this;
    store.connection = "live";
    store.setConfig({ type: "config", demo: true, provider: "demo", model: "demo-tour" });
    const bundles: Record<AssetName, AssetModule> = { math, highlight, extras, "zh-CN": zh };
    this.runtime = {
      store,
      page: "page_1",
      want: (id: string) => {
        store.want(id);
        this.#send(id);
      },
      earlier: (id: string) => this.#earlier(id),
      do: (command: CommandInput) => this.#do(command),
      search: async (query: string) => (query ? this.#find(query) : null),
      viewing: (key: symbol, ids: string[]) => {
        this.viewing.set(key, ids);
      },
      setView: (view: string, change: ViewChange) => {
        this.viewChanges.push({ view, ...change });
      },
      drafts: {
        places: new Map(),
        edits: new Map(),
        get: (id: string) => this.#drafts.get(id) ?? "",
        set: (id: string, text: string) => {
          this.#drafts.set(id, text);
        },
        attached: (id: string) => this.#attached.get(id) ?? [],
        attach: (id: string, attachments: readonly Attachment[]) => {
          this.#attached.set(id, attachments);
        },
      },
      host: {},
      stats: store.stats,
      load: async (name: AssetName) => bundles[name],
      loaded: (name: AssetName) => bundles[name],
      mount: () => () => {},
    } as unknown as Runtime;
  }

  state(id: string): SessionState {
    const state = this.#states.get(id);
    if (!state) throw new Error(`no session ${id}`);
    return state;
  }

  /** Make a session and return its id. */
  create(title = "", id = this.#id("s")): string {
    this.#states.set(id, emptyState(id));
    const { settings } = emptyState(id);
    this.say(id, {
      type: "session_created",
      at: now(),
      settings: { ...settings, title },
      temporary: false,
      thread_id: null,
    });
    return id;
  }

  /** Let something happen in a session. */
  say(id: string, ...events: readonly Event[]): void {
    const before = this.state(id);
    this.#states.set(id, events.reduce(applyEvent, before));
    this.#packet += 1;
    this.#head(id);
    this.store.takeEvents(
      { type: "events", session_id: id, first_seq: before.seq + 1, events },
      this.#packet,
    );
  }

  /** Put a message into the transcript. */
  message(id: string, role: Message["role"], text: string): string {
    const path = transcript(this.state(id));
    const message = this.#message(role, text, path.at(-1)?.id ?? null);
    this.say(id, { type: "message_added", message });
    return message.id;
  }

  /** Ask, and let the answer begin; returns the run's id. */
  ask(id: string, prompt: string, attachments: readonly Attachment[] = []): string {
    const message = this.#message("user", prompt, null);
    const question = { ...message, parts: [...message.parts, ...attachments] };
    const run_id = this.#id("r");
    const idle = !liveRun(this.state(id));
    this.say(id, {
      type: "run_queued",
      run_id,
      at: now(),
      kind: "send",
      message_id: this.#id("m"),
      prompt: question,
      rooted: false,
      parent_id: null,
      replaces: null,
      params: {},
    });
    if (idle) this.start(id, run_id);
    return run_id;
  }

  /** Give a queued run its turn. */
  start(id: string, run_id: string): void {
    const run = this.run(id, run_id);
    const path = transcript(this.state(id));
    const parent_id = run.rooted ? run.parent_id : (path.at(-1)?.id ?? null);
    const prompt = run.prompt && {
      ...run.prompt,
      parent_id: run.rooted ? run.prompt.parent_id : parent_id,
    };
    const appends = run.message_id in this.state(id).messages;
    this.say(id, {
      type: "run_started",
      run_id,
      at: now(),
      prompt,
      answer: appends
        ? null
        : {
            ...this.#message("assistant", "", prompt?.id ?? parent_id),
            id: run.message_id,
            run_id,
            parts: [],
          },
      model: "demo-tour",
    });
  }

  /** Let text arrive. */
  text(id: string, run_id: string, text: string, type: PartType = "text"): void {
    const run = this.run(id, run_id);
    const parts = this.state(id).messages[run.message_id]?.parts ?? [];
    const last = parts.at(-1);
    const begins = last?.type !== type || parts.length <= run.first_part;
    const part_index = begins ? parts.length : parts.length - 1;
    if (begins) {
      const part = {
        type,
        text: "",
        seconds: null,
        call_id: "c1",
        name: "lookup",
        is_error: false,
      };
      if (last?.type === "reasoning") {
        this.say(id, {
          type: "part_ended",
          run_id,
          part_index: parts.length - 1,
          length: last.text.length,
          crc32: 0,
          seconds: 2.4,
          call_id: null,
          name: null,
        });
      }
      this.say(id, { type: "part_started", run_id, at: now(), part_index, part } as Event);
    }
    const offset = begins ? 0 : (last?.text.length ?? 0);
    this.say(id, { type: "part_delta", run_id, at: now(), part_index, offset, text });
  }

  complete(id: string, run_id: string): void {
    const usage = {
      input_tokens: 12,
      output_tokens: 345,
      reasoning_tokens: null,
      cached_tokens: null,
    };
    this.say(id, {
      type: "run_completed",
      run_id,
      at: now(),
      finish_reason: "stop",
      usage,
      sources: [],
      notices: [],
    });
    this.#next(id);
  }

  run(id: string, run_id: string): RunRecord {
    const run = this.state(id).runs.find((record) => record.id === run_id);
    if (!run) throw new Error(`no run ${run_id}`);
    return run;
  }

  /** Change what a tab shows without a reason in the log. */
  tweak(id: string, head: Partial<Head>): void {
    this.#head(id, head);
  }

  /** Stream an answer until it is whole, by pieces as a model gives them. */
  async stream(id: string, run_id: string, answer: string, pause = 20): Promise<void> {
    for (let at = 0; at < answer.length; at += 12) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      const run = this.run(id, run_id);
      if (isOver(run.state)) return;
      while (this.run(id, run_id).state === "paused") {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      this.text(id, run_id, answer.slice(at, at + 12));
    }
    if (!isOver(this.run(id, run_id).state)) this.complete(id, run_id);
  }

  /** What is answered to a question; the development page sets it. */
  answer: ((prompt: string) => string) | null = null;

  #id(prefix: string): string {
    this.#ids += 1;
    return `${prefix}_${String(this.#ids).padStart(4, "0")}`;
  }

  #message(role: Message["role"], text: string, parent_id: string | null): Message {
    return {
      id: this.#id("m"),
      role,
      parts: [{ type: "text", text }],
      created_at: now(),
      parent_id,
      run_id: null,
      model: null,
      finish_reason: null,
      usage: null,
      sources: [],
      notices: [],
    };
  }

  #head(id: string, more: Partial<Head> = {}): void {
    const state = this.state(id);
    const live = liveRun(state);
    const path = transcript(state);
    const first = path.find(({ role }) => role === "user");
    this.#packet += 1;
    const head: Head = {
      id,
      seq: state.seq,
      title:
        state.settings.title || (first?.parts[0]?.text ?? "").split(/\s+/).slice(0, 8).join(" "),
      state: statusOf(state),
      run_id: live?.id ?? null,
      model: state.settings.model,
      created_at: state.created_at,
      active_at: state.runs.at(-1)?.last_delta_at ?? state.created_at,
      started_at: live?.started_at ?? null,
      characters: live?.characters ?? 0,
      queued: state.runs.filter((run) => run.state === "queued" && run !== live).length,
      position: null,
      unread: state.unread,
      pinned: state.settings.pinned,
      rank: state.settings.rank ?? state.created_at,
      closed: state.settings.closed,
      archived: state.settings.archived,
      deleted: state.deleted,
      temporary: state.temporary,
      messages: path.length,
      own_provider: false,
      ...more,
    };
    this.store.takeHeads({ type: "heads", heads: [head], all: false }, this.#packet);
  }

  #send(id: string): void {
    const state = this.#states.get(id);
    if (!state) return;
    this.#packet += 1;
    const path = transcript(state);
    const omitted = Math.max(0, path.length - this.window);
    const shown = path.slice(omitted);
    const windowed = {
      ...state,
      messages: Object.fromEntries(shown.map((message) => [message.id, message])),
      selected: { ...state.selected, "": shown[0]?.id ?? "" },
    };
    this.store.takeState(
      { type: "state", state: omitted ? windowed : state, omitted, to: null },
      this.#packet,
    );
  }

  #earlier(id: string): void {
    const path = transcript(this.state(id));
    const known = this.store.session(id)?.path[0]?.id;
    const end = path.findIndex((message) => message.id === known);
    const messages = path.slice(Math.max(0, end - this.window), end);
    const selected = Object.fromEntries(
      [...messages.slice(1), path[end]].map((m) => [m?.parent_id ?? "", m?.id ?? ""]),
    );
    selected[""] = messages[0]?.id ?? "";
    this.store.takeEarlier({
      type: "earlier",
      to: this.runtime.page,
      session_id: id,
      messages,
      selected,
      omitted: Math.max(0, end - this.window),
    });
  }

  #find(query: string): Found {
    const hits = [...this.#states.values()].flatMap((state) =>
      transcript(state).flatMap(({ id, parts }) => {
        const text = parts.map((part) => part.text).join("");
        const at = text.toLowerCase().indexOf(query.toLowerCase());
        if (at < 0) return [];
        const [before, match] = [
          text.slice(Math.max(0, at - 24), at),
          text.slice(at, at + query.length),
        ];
        const after = text.slice(at + query.length, at + query.length + 80);
        return [{ session_id: state.id, message_id: id, before, match, after }];
      }),
    );
    const more = hits.length > 50;
    return { type: "found", to: this.runtime.page, id: "", hits: hits.slice(0, 50), more };
  }

  /** Give the next queued run its turn. */
  #next(id: string): void {
    const live = liveRun(this.state(id));
    if (live?.state !== "queued") return;
    this.start(id, live.id);
    this.#answer(id, live.id);
  }

  #answer(id: string, run_id: string): void {
    const { prompt_id } = this.run(id, run_id);
    const prompt = prompt_id === null ? undefined : this.state(id).messages[prompt_id];
    const answer = this.answer?.(prompt?.parts[0]?.text ?? "");
    if (answer) void this.stream(id, run_id, answer);
  }

  async #do(command: CommandInput): Promise<Ack> {
    this.commands.push(command);
    await this.gate;
    const ack: Ack = {
      type: "ack",
      id: this.#id("c"),
      error: this.refuse(command),
      session_id: null,
      run_id: null,
    };
    if (ack.error) return ack;
    return { ...ack, ...this.#obey(command) };
  }

  #obey(command: CommandInput): Partial<Ack> {
    const at = now();
    switch (command.type) {
      case "new_session":
        return { session_id: this.create(command.title) };
      case "send": {
        const run_id = this.ask(command.session_id, command.text, command.attachments);
        if (this.run(command.session_id, run_id).state === "connecting") {
          this.#answer(command.session_id, run_id);
        }
        return { run_id };
      }
      case "stop": {
        const { session_id: id, run_id } = command;
        this.say(
          id,
          { type: "stop_requested", run_id, at },
          { type: "run_stopped", run_id, at, usage: null, sources: [], notices: [] },
        );
        this.#next(id);
        return {};
      }
      case "pause":
        this.say(command.session_id, { type: "run_paused", run_id: command.run_id, at });
        return {};
      case "resume":
        this.say(command.session_id, { type: "run_resumed", run_id: command.run_id });
        return {};
      case "keep":
        this.say(command.session_id, { type: "run_acknowledged", run_id: command.run_id });
        return {};
      case "discard":
        this.say(command.session_id, { type: "message_removed", message_id: command.message_id });
        return {};
      case "select_version":
        this.say(command.session_id, { type: "message_selected", message_id: command.message_id });
        return {};
      case "regenerate":
      case "retry":
      case "continue": {
        const { session_id: id, message_id } = command;
        const run_id = this.#id("r");
        this.say(id, {
          type: "run_queued",
          run_id,
          at,
          kind: command.type,
          message_id: command.type === "continue" ? message_id : this.#id("m"),
          prompt: null,
          rooted: true,
          parent_id: this.state(id).messages[message_id]?.parent_id ?? null,
          replaces: command.type === "retry" ? message_id : null,
          params: {},
        });
        this.start(id, run_id);
        this.#answer(id, run_id);
        return { run_id };
      }
      case "edit": {
        const { session_id: id, message_id, text } = command;
        const old = this.state(id).messages[message_id];
        const run_id = this.#id("r");
        this.say(id, {
          type: "run_queued",
          run_id,
          at,
          kind: "send",
          message_id: this.#id("m"),
          prompt: this.#message("user", text, old?.parent_id ?? null),
          rooted: true,
          parent_id: null,
          replaces: null,
          params: {},
        });
        this.start(id, run_id);
        this.#answer(id, run_id);
        return { run_id };
      }
      case "fork": {
        const id = this.create("Fork");
        return { session_id: id };
      }
      case "rename":
        return this.#settings(command.session_id, { title: command.title });
      case "pin":
        return this.#settings(command.session_id, { pinned: command.pinned });
      case "move": {
        const heads = [...this.store.heads.values()];
        heads.sort((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1));
        const ids = heads.map(({ id }) => id);
        for (const [rank, id] of moved(ids, command.session_id, command.before).entries()) {
          this.#settings(id, { rank });
        }
        return {};
      }
      case "close":
        return this.#settings(command.session_id, { closed: command.closed });
      case "archive":
        return this.#settings(command.session_id, { archived: command.archived });
      case "configure": {
        const { model, instructions, params } = command;
        return this.#settings(command.session_id, {
          model,
          instructions,
          params,
          from_file: false,
        });
      }
      case "delete":
        this.say(command.session_id, { type: "session_deleted", at, deleted: command.deleted });
        return {};
      case "list_models":
        this.store.setModels({
          type: "models",
          models: ["demo-tour", "demo-echo"],
          model: "demo-tour",
          session_id: command.session_id,
          error: null,
        });
        return {};
      default:
        return {};
    }
  }

  #settings(id: string, changes: Partial<SessionState["settings"]>): Partial<Ack> {
    this.say(id, {
      type: "settings_changed",
      settings: { ...this.state(id).settings, ...changes },
    });
    return {};
  }
}

/** A widget's model without a widget. */
export class FakeModel implements AnyModel {
  readonly #values: Record<string, unknown>;
  readonly #listeners = new Map<string, Set<(...args: never[]) => void>>();

  constructor(values: Record<string, unknown> = {}) {
    this.#values = {
      kind: "tabs",
      view_id: "view-1",
      sessions: null,
      active: "",
      locale: "en",
      height: "",
      send_key: "enter",
      ...values,
    };
  }

  get(key: string): unknown {
    return this.#values[key];
  }

  set(key: string, value: unknown): void {
    if (this.#values[key] === value) return;
    this.#values[key] = value;
    for (const listener of [...(this.#listeners.get(`change:${key}`) ?? [])]) listener();
  }

  on(event: string, callback: (...args: never[]) => void): void {
    const known = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, known.add(callback));
  }

  off(event: string, callback?: ((...args: never[]) => void) | null): void {
    if (callback) this.#listeners.get(event)?.delete(callback);
    else this.#listeners.delete(event);
  }

  /** How many listeners there are. */
  get listening(): number {
    let count = 0;
    for (const listeners of this.#listeners.values()) count += listeners.size;
    return count;
  }

  save_changes(): void {
    throw new Error("a view's widget sends nothing: its comm disturbs the cell that runs");
  }
  send(): void {
    this.save_changes();
  }
}

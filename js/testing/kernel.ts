/**
 * `FakeKernel`: sessions, runs and answers without Jupyter, for the development page and for tests.
 *
 * It appends the events of the real kernel, and real pages receive them over the real wire.
 */

import type {
  Ack,
  Attachment,
  Command,
  ErrorInfo,
  Event,
  Message,
  Part,
  PartType,
  RunRecord,
  SessionState,
} from "../src/protocol";
import { emptyState, isOver, liveRun, transcript } from "../src/state/session";
import { moved } from "../src/view/order";
import { type KernelOptions, WireKernel } from "./wire-kernel";

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

export class FakeKernel extends WireKernel {
  /** Commands from pages, oldest first; `viewing` is kept apart. */
  readonly commands: Command[] = [];
  /** Sessions that pages show. */
  viewing: readonly string[] = [];
  /** Returns why a command is refused; null if it is executed. */
  refuse: (command: Command) => ErrorInfo | null = () => null;
  /** Commands are executed when this resolves. */
  gate: Promise<void> | null = null;
  /** Returns the answer to a question; runs end by themselves if it is set. */
  answer: ((prompt: string) => string) | null = null;
  #ids = 0;

  constructor(epoch = "k1", options: KernelOptions = {}) {
    super(epoch, () => {}, { eager: true, ...options });
  }

  /** Create a session and return its id. */
  create(title = "", id = this.#id("s")): string {
    const settings = { ...emptyState(id).settings, title };
    const at = now();
    const event = { type: "session_created", at, settings, temporary: false, thread_id: null };
    this.append(id, event as Event);
    return id;
  }

  /** Append a message to the transcript and return its id. */
  message(id: string, role: Message["role"], text: string): string {
    const path = transcript(this.state(id));
    const message = this.#message(role, text, path.at(-1)?.id ?? null);
    this.append(id, { type: "message_added", message });
    return message.id;
  }

  /** Ask a question; its run starts unless another one is live. Returns the run's id. */
  ask(
    id: string,
    prompt: string,
    attachments: readonly Attachment[] = [],
    more: Pick<Message, "author"> = {},
  ): string {
    const message = { ...this.#message("user", prompt, null), ...more };
    const idle = !liveRun(this.state(id));
    const run_id = this.#queue(id, {
      kind: "send",
      prompt: { ...message, parts: [...message.parts, ...attachments] },
    });
    if (idle) this.start(id, run_id);
    return run_id;
  }

  /** Start a queued run. */
  start(id: string, run_id: string): void {
    const run = this.run(id, run_id);
    const path = transcript(this.state(id));
    const parent_id = run.rooted ? run.parent_id : (path.at(-1)?.id ?? null);
    const prompt = run.prompt && {
      ...run.prompt,
      parent_id: run.rooted ? run.prompt.parent_id : parent_id,
    };
    const answer = {
      ...this.#message("assistant", "", prompt?.id ?? parent_id),
      id: run.message_id,
      run_id,
      parts: [],
    };
    const appends = run.message_id in this.state(id).messages;
    this.append(id, {
      type: "run_started",
      run_id,
      at: now(),
      prompt,
      answer: appends ? null : answer,
      model: "demo-tour",
    });
  }

  /** Append text to the answer of a run. */
  text(id: string, run_id: string, text: string, type: PartType = "text"): void {
    const run = this.run(id, run_id);
    const parts = this.state(id).messages[run.message_id]?.parts ?? [];
    const last = parts.at(-1);
    const begins = last?.type !== type || parts.length <= run.first_part;
    const part_index = begins ? parts.length : parts.length - 1;
    if (begins) {
      const more = {
        seconds: null,
        call_id: "c1",
        name: "lookup",
        is_error: false,
        started_at: null,
        images: [],
      };
      const part = { type, text: "", ...more };
      if (last?.type === "reasoning") {
        this.append(id, {
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
      this.append(id, { type: "part_started", run_id, at: now(), part_index, part } as Event);
    }
    const offset = begins ? 0 : (last?.text.length ?? 0);
    this.append(id, { type: "part_delta", run_id, at: now(), part_index, offset, text });
  }

  /** Append a tool call to the answer of a run. */
  call(id: string, run_id: string, call_id: string, name: string, text: string): void {
    const part = { type: "tool_call", call_id, name, text, started_at: null } as const;
    this.#part(id, run_id, part);
  }

  /** Append the result of a tool call to the answer of a run. */
  result(
    id: string,
    run_id: string,
    call_id: string,
    text: string,
    images: readonly string[] = [],
    is_error = false,
  ): void {
    this.#part(id, run_id, {
      type: "tool_result",
      call_id,
      text,
      images,
      is_error,
      not_run: false,
    });
  }

  #part(id: string, run_id: string, part: Part): void {
    const { message_id } = this.run(id, run_id);
    const part_index = this.state(id).messages[message_id]?.parts.length ?? 0;
    this.append(id, { type: "part_started", run_id, at: now(), part_index, part });
  }

  /** Let a run fail. */
  fail(id: string, run_id: string, error: ErrorInfo): void {
    this.append(id, { type: "run_failed", run_id, at: now(), error, usage: null });
  }

  /** Complete a run and start the next one. */
  complete(id: string, run_id: string): void {
    const tokens = { input_tokens: 12, output_tokens: 345 };
    const usage = { ...tokens, reasoning_tokens: null, cached_tokens: null };
    this.append(id, {
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

  /** Interrupt a run; its text is kept. */
  interrupt(id: string, run_id: string, error = cause("Gone.")): void {
    this.append(id, {
      type: "run_interrupted",
      run_id,
      at: now(),
      error,
      usage: null,
      sources: [],
      notices: [],
    });
  }

  run(id: string, run_id: string): RunRecord {
    const run = this.state(id).runs.find((record) => record.id === run_id);
    if (!run) throw new Error(`no run ${run_id}`);
    return run;
  }

  /** Stream an answer in pieces as a model does, unless the run ends before. */
  async stream(id: string, run_id: string, answer: string, pauseMs = 20): Promise<void> {
    const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    for (let at = 0; at < answer.length; at += 12) {
      await wait(pauseMs);
      if (isOver(this.run(id, run_id).state)) return;
      while (this.run(id, run_id).state === "paused") await wait(50);
      this.text(id, run_id, answer.slice(at, at + 12));
    }
    if (!isOver(this.run(id, run_id).state)) this.complete(id, run_id);
  }

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

  #queue(
    id: string,
    fields: Pick<Extract<Event, { type: "run_queued" }>, "kind"> &
      Partial<Extract<Event, { type: "run_queued" }>>,
  ): string {
    const run_id = this.#id("r");
    this.append(id, {
      type: "run_queued",
      run_id,
      at: now(),
      message_id: this.#id("m"),
      prompt: null,
      rooted: false,
      parent_id: null,
      replaces: null,
      params: {},
      ...fields,
    });
    return run_id;
  }

  /** Start the next queued run. */
  #next(id: string): void {
    const live = liveRun(this.state(id));
    if (live?.state === "queued") this.#begin(id, live.id);
  }

  /** Start a run, and stream its answer if there is one. */
  #begin(id: string, run_id: string): { readonly run_id: string } {
    if (this.run(id, run_id).state === "queued") this.start(id, run_id);
    const { prompt_id } = this.run(id, run_id);
    const prompt = prompt_id === null ? undefined : this.state(id).messages[prompt_id];
    const answer = this.answer?.(prompt?.parts[0]?.text ?? "");
    if (answer) void this.stream(id, run_id, answer);
    return { run_id };
  }

  protected override execute(command: Command): Partial<Ack> | Promise<Partial<Ack>> {
    if (command.type === "viewing") {
      this.viewing = command.session_ids;
      return {};
    }
    this.commands.push(command);
    const carryOut = (): Partial<Ack> => {
      const error = this.refuse(command);
      return error ? { error } : this.#carryOut(command);
    };
    return this.gate ? this.gate.then(carryOut) : carryOut();
  }

  #carryOut(command: Command): Partial<Ack> {
    const at = now();
    switch (command.type) {
      case "new_session":
        return { session_id: this.create(command.title) };
      case "send": {
        const { session_id: id } = command;
        const run_id = this.ask(id, command.text, command.attachments);
        return this.run(id, run_id).state === "queued" ? { run_id } : this.#begin(id, run_id);
      }
      case "stop": {
        const { session_id: id, run_id } = command;
        this.append(
          id,
          { type: "stop_requested", run_id, at },
          { type: "run_stopped", run_id, at, usage: null, sources: [], notices: [] },
        );
        this.#next(id);
        return {};
      }
      case "pause":
        this.append(command.session_id, { type: "run_paused", run_id: command.run_id, at });
        return {};
      case "resume":
        this.append(command.session_id, { type: "run_resumed", run_id: command.run_id });
        return {};
      case "keep":
        this.append(command.session_id, { type: "run_acknowledged", run_id: command.run_id });
        return {};
      case "discard":
        this.append(command.session_id, {
          type: "message_removed",
          message_id: command.message_id,
        });
        return {};
      case "select_version": {
        const { session_id, message_id } = command;
        this.append(session_id, { type: "message_selected", message_id });
        return {};
      }
      case "regenerate":
      case "retry":
      case "continue": {
        const { session_id: id, message_id, type: kind } = command;
        const run_id = this.#queue(id, {
          kind,
          ...(kind === "continue" && { message_id }),
          rooted: true,
          parent_id: this.state(id).messages[message_id]?.parent_id ?? null,
          replaces: kind === "retry" ? message_id : null,
        });
        return this.#begin(id, run_id);
      }
      case "edit": {
        const { session_id: id, message_id, text } = command;
        const { parent_id = null } = this.state(id).messages[message_id] ?? {};
        const prompt = this.#message("user", text, parent_id);
        return this.#begin(id, this.#queue(id, { kind: "send", prompt, rooted: true }));
      }
      case "fork":
        return { session_id: this.create(`Rivers (${command.word})`) };
      case "decide": {
        const { session_id: id, run_id, call_id, decision, reason } = command;
        if (decision === "refuse") {
          const refused = reason || "The user refused this call.";
          this.result(id, run_id, call_id, refused, [], true);
          return {};
        }
        const { asking } = this.run(id, run_id);
        const call_ids = decision === "run" ? [call_id] : asking;
        this.append(id, { type: "run_acting", run_id, at, call_ids, by: "user" });
        return {};
      }
      case "switch_tool": {
        const { session_id: id, name, on } = command;
        const tools = this.head(id).tools.map((tool) => (tool.name === name ? { name, on } : tool));
        this.tweak(id, { tools });
        return {};
      }
      case "retry_now":
        this.append(command.session_id, { type: "run_connecting", run_id: command.run_id });
        return {};
      case "rename":
        return this.#configure(command.session_id, { title: command.title });
      case "pin":
        return this.#configure(command.session_id, { pinned: command.pinned });
      case "move": {
        const heads = [...this.sessions.keys()].map((id) => this.head(id));
        heads.sort((a, b) => a.rank - b.rank || (a.id < b.id ? -1 : 1));
        const ids = heads.map(({ id }) => id);
        for (const [rank, id] of moved(ids, command.session_id, command.before).entries()) {
          this.#configure(id, { rank });
        }
        return {};
      }
      case "close":
        return this.#configure(command.session_id, { closed: command.closed });
      case "archive":
        return this.#configure(command.session_id, { archived: command.archived });
      case "configure": {
        const { model, instructions, params } = command;
        return this.#configure(command.session_id, {
          model,
          instructions,
          params,
          from_file: false,
        });
      }
      case "delete":
        this.append(command.session_id, { type: "session_deleted", at, deleted: command.deleted });
        return {};
      case "list_models":
        this.say({
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

  #configure(id: string, changes: Partial<SessionState["settings"]>): Partial<Ack> {
    const settings = { ...this.state(id).settings, ...changes };
    this.append(id, { type: "settings_changed", settings });
    return {};
  }
}

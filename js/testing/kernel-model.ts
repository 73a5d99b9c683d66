/**
 * A kernel for tests: the rules of `nbchat/wire/server.py` in a few lines, and a line that loses,
 * doubles and reorders what crosses it. All chance comes from a seed.
 */

import type { AnyModel, KernelConnection, Signal } from "../src/jupyter";
import type {
  Ack,
  Command,
  Event,
  Head,
  KernelMessage,
  Message,
  Packet,
  PageMessage,
  Part,
  SessionState,
} from "../src/protocol";
import { crc32 } from "../src/state/crc32";
import { applyEvent } from "../src/state/fold";
import { emptyState, isOver, liveRun, statusOf, transcript } from "../src/state/session";

const TICK_MS = 40;
const BEACONS_MS = [200, 200, 200, 200, 200, 500, 500, 1000, 2000, 5000, 10_000, 20_000];

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a line does to the messages on it. */
export interface Faults {
  /** Share of messages that are lost, that come twice, and that come late. */
  readonly drop: number;
  readonly double: number;
  readonly late: number;
}

export const PERFECT: Faults = { drop: 0, double: 0, late: 0 };

/** Delivers messages after a while, or not, or twice. */
export class Line<T> {
  faults: Faults = PERFECT;
  /** Looks at each message on its way, and may lose it. */
  lose: (message: T) => boolean = () => false;

  constructor(
    private readonly random: () => number,
    private readonly deliver: (message: T) => void,
  ) {}

  send(message: T): void {
    const { drop, double, late } = this.faults;
    if (this.lose(message) || this.random() < drop) return;
    const copies = this.random() < double ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const delay = this.random() < late ? 10 + this.random() * 200 : 5;
      setTimeout(() => this.deliver(message), delay);
    }
  }
}

interface Session {
  readonly log: Event[];
  /** The state after each event; `states[0]` is before the first. */
  readonly states: SessionState[];
  /** Events up to this one are folded away. */
  base: number;
  told: number;
  head: Head | null;
  headRev: number;
}

export type Wire = readonly [content: Record<string, unknown>, buffers: DataView[]];

export class KernelModel {
  readonly sessions = new Map<string, Session>();
  /** How often each command was carried out. */
  readonly done = new Map<string, number>();
  /** Everything that pages said, as it came. */
  readonly heard: PageMessage[] = [];
  n = 0;
  rev = 0;
  packets = 0;
  private readonly dirty = new Set<string>();
  private messages: KernelMessage[] = [];
  private tick: ReturnType<typeof setTimeout> | null = null;
  private beacon: ReturnType<typeof setTimeout> | undefined;
  private beaconsLeft: number[] = [];
  private readonly acks = new Map<string, Ack>();
  private lastPacket = Number.NEGATIVE_INFINITY;

  /**
   * @param pieceBytes Packets over this size are cut.
   * @param window Messages of a transcript that a state carries.
   */
  constructor(
    readonly epoch: string,
    private readonly broadcast: (wire: Wire) => void,
    private readonly pieceBytes = 224 * 1024,
    private readonly window = 200,
  ) {}

  // What happens in sessions.

  append(id: string, ...events: Event[]): void {
    const session = this.session(id);
    for (const event of events) {
      session.log.push(event);
      session.states.push(applyEvent(session.states.at(-1) as SessionState, event));
    }
    this.dirty.add(id);
    this.wake();
  }

  session(id: string): Session {
    let session = this.sessions.get(id);
    if (session === undefined) {
      const states = [emptyState(id)];
      session = { log: [], states, base: 0, told: 0, head: null, headRev: 0 };
      this.sessions.set(id, session);
    }
    return session;
  }

  state(id: string, seq = this.session(id).log.length): SessionState {
    return this.session(id).states[seq] as SessionState;
  }

  /** Take a session out of the directory. */
  forget(id: string): void {
    this.sessions.delete(id);
    this.dirty.delete(id);
    this.rev++;
    this.removedRev = this.rev;
    this.say({ type: "heads", heads: this.heads(), all: true });
  }

  private removedRev = 0;

  say(message: KernelMessage): void {
    this.messages.push(message);
    this.wake();
  }

  head(id: string): Head {
    const state = this.state(id);
    const run = liveRun(state);
    return {
      id,
      seq: state.seq,
      title: state.settings.title,
      state: statusOf(state),
      run_id: run?.id ?? null,
      model: null,
      created_at: state.created_at,
      active_at: state.runs.at(-1)?.ended_at ?? 0,
      started_at: run?.started_at ?? null,
      characters: run?.characters ?? 0,
      queued: state.runs.filter((other) => other.state === "queued" && other !== run).length,
      position: null,
      unread: state.unread,
      pinned: false,
      rank: 0,
      closed: false,
      archived: false,
      deleted: state.deleted,
      temporary: false,
      messages: transcript(state).length,
      own_provider: false,
    };
  }

  private heads(): Head[] {
    return [...this.sessions.values()].flatMap(({ head }) => (head === null ? [] : [head]));
  }

  // What is said.

  private wake(): void {
    const wait = Math.max(0, this.lastPacket + TICK_MS - performance.now());
    this.tick ??= setTimeout(() => {
      this.tick = null;
      this.lastPacket = performance.now();
      const messages = this.collect();
      if (messages.length === 0) return;
      this.n++;
      this.beaconsLeft = [...BEACONS_MS];
      this.pack(messages);
    }, wait);
  }

  private collect(): KernelMessage[] {
    const heads: Head[] = [];
    const news: KernelMessage[] = [];
    for (const id of this.dirty) {
      const session = this.session(id);
      const head = this.head(id);
      // Progress alone is said now and then, as in the kernel.
      const progress = { ...head, seq: 0, characters: 0 };
      const before = session.head && { ...session.head, seq: 0, characters: 0 };
      if (isOver(head.state) || JSON.stringify(progress) !== JSON.stringify(before)) {
        session.head = head;
        session.headRev = ++this.rev;
        heads.push(head);
      }
      const events = session.log.slice(session.told);
      if (events.length > 0) {
        news.push({ type: "events", session_id: id, first_seq: session.told + 1, events });
      }
      session.told = session.log.length;
    }
    this.dirty.clear();
    if (heads.length > 0) news.unshift({ type: "heads", heads, all: false });
    return [...news, ...this.messages.splice(0)];
  }

  private pack(messages: readonly KernelMessage[]): void {
    const { epoch, n, rev } = this;
    const packet: Packet = { epoch, n, rev, messages, protocol: 1, type: "packet" };
    for (const wire of cut(packet, `${n}`, this.pieceBytes)) this.broadcast(wire);
    this.packets++;
    clearTimeout(this.beacon);
    const next = this.beaconsLeft[0];
    if (next === undefined) return;
    this.beacon = setTimeout(() => {
      this.beaconsLeft.shift();
      this.pack([]);
    }, next);
  }

  /** End all timers. */
  close(): void {
    if (this.tick !== null) clearTimeout(this.tick);
    clearTimeout(this.beacon);
  }

  // What comes in.

  receive(message: PageMessage): void {
    this.heard.push(message);
    switch (message.type) {
      case "hello": {
        const same = message.epoch === this.epoch;
        this.say({
          type: "welcome",
          to: message.page,
          version: "0",
          demo: true,
          provider: "demo",
          model: null,
        });
        const none = Object.fromEntries(Object.keys(message.sessions).map((id) => [id, 0]));
        this.sync(message, same ? message.rev : 0, same ? message.sessions : none);
        break;
      }
      case "sync":
        if (message.epoch === this.epoch) this.sync(message, message.rev, message.sessions);
        else this.sync(message, 0, {});
        break;
      case "do":
        this.do(message.command);
        break;
      case "want_earlier":
        this.earlier(message.page, message.session_id, message.before);
        break;
      default:
        break;
    }
  }

  private sync(
    { id, page }: { id: string; page: string },
    rev: number,
    sessions: Readonly<Record<string, number>>,
  ): void {
    const all = rev === 0 || rev < this.removedRev || rev > this.rev;
    const heads = [...this.sessions.values()].flatMap(({ head, headRev }) =>
      head !== null && (all || headRev > rev) ? [head] : [],
    );
    if (all || heads.length > 0) this.say({ type: "heads", heads, all });
    for (const [sessionId, seq] of Object.entries(sessions)) {
      const session = this.sessions.get(sessionId);
      if (session === undefined) continue;
      if (seq > 0 && seq >= session.base && seq <= session.log.length) {
        const events = session.log.slice(seq);
        if (events.length === 0) continue;
        this.say({ type: "events", session_id: sessionId, first_seq: seq + 1, events });
      } else {
        this.say(this.stateOf(this.state(sessionId), page));
      }
    }
    this.say({ type: "synced", to: page, id });
  }

  private stateOf(state: SessionState, to: string): KernelMessage {
    const path = transcript(state);
    const omitted = Math.max(path.length - this.window, 0);
    if (omitted === 0) return { type: "state", state, omitted, to };
    const shown = new Set(path.slice(omitted).map((message) => message.id));
    const parents = new Set(path.slice(omitted).map((message) => message.parent_id));
    const messages = pick(
      state.messages,
      (id, message) =>
        shown.has(id) || (message.parent_id !== null && parents.has(message.parent_id)),
    );
    const selected = {
      ...pick(state.selected, (_, child) => shown.has(child)),
      "": path[omitted]?.id as string,
    };
    const runs = state.runs.filter((run) => run.message_id in messages || !isOver(run.state));
    return { type: "state", state: { ...state, messages, selected, runs }, omitted, to };
  }

  private earlier(to: string, session_id: string, before: string): void {
    const state = this.state(session_id);
    const path = transcript(state);
    const at = Math.max(
      path.findIndex((message) => message.id === before),
      0,
    );
    const omitted = Math.max(at - this.window, 0);
    const chosen = path.slice(omitted, at);
    const parents = new Set(chosen.map((message) => message.parent_id));
    const ids = new Set([...chosen.map((message) => message.id), before]);
    const messages = Object.values(state.messages).filter(
      (message) =>
        chosen.includes(message) || (message.parent_id !== null && parents.has(message.parent_id)),
    );
    const selected = {
      ...pick(state.selected, (_, child) => ids.has(child)),
      ...(chosen[0] && { "": chosen[0].id }),
    };
    this.say({ type: "earlier", to, session_id, messages, selected, omitted });
  }

  private do(command: Command): void {
    const known = this.acks.get(command.id);
    const ack: Ack = known ?? {
      type: "ack",
      id: command.id,
      error: null,
      session_id: null,
      run_id: null,
    };
    if (known === undefined) this.done.set(command.id, (this.done.get(command.id) ?? 0) + 1);
    this.acks.set(command.id, ack);
    this.say(ack);
  }
}

/** Return a packet as comm messages. */
export function cut(packet: Packet, key: string, pieceBytes = 224 * 1024): Wire[] {
  const bytes = new TextEncoder().encode(JSON.stringify(packet));
  const of = Math.max(1, Math.ceil(bytes.length / pieceBytes));
  return Array.from({ length: of }, (_, piece): Wire => {
    const part = bytes.slice(piece * pieceBytes, (piece + 1) * pieceBytes);
    return [{ nbchat: key, piece, of }, [new DataView(part.buffer)]];
  });
}

function pick<T>(
  from: Readonly<Record<string, T>>,
  wanted: (key: string, value: T) => boolean,
): Record<string, T> {
  return Object.fromEntries(Object.entries(from).filter(([key, value]) => wanted(key, value)));
}

/** A signal of Lumino's kind. */
export class FakeSignal<T> implements Signal<T> {
  private readonly slots = new Set<(sender: unknown, value: T) => void>();

  connect(slot: (sender: unknown, value: T) => void): void {
    this.slots.add(slot);
  }

  disconnect(slot: (sender: unknown, value: T) => void): void {
    this.slots.delete(slot);
  }

  emit(value: T): void {
    for (const slot of [...this.slots]) slot(null, value);
  }

  get size(): number {
    return this.slots.size;
  }
}

/** What the host has: `control` for the control channel. */
export interface HostKind {
  readonly control?: boolean;
}

/** The page's end of Jupyter: a hub model and a kernel connection, as far as nbchat uses them. */
export class FakeHost {
  readonly statusChanged = new FakeSignal<string>();
  readonly connectionStatusChanged = new FakeSignal<string>();
  readonly disposed = new FakeSignal<unknown>();
  status = "idle";
  /** The channel of each message that was sent. */
  readonly channels: string[] = [];
  private readonly custom = new Set<(content: unknown, buffers: DataView[]) => void>();
  readonly model: AnyModel;

  constructor(
    private readonly up: (message: PageMessage) => void,
    { control = true }: HostKind = {},
    traits: Record<string, unknown> = { epoch: "k1", version: "0" },
    context: Record<string, unknown> | undefined = undefined,
  ) {
    const host = this;
    const kernel: KernelConnection = {
      get status() {
        return host.status;
      },
      clientId: "client",
      username: "user",
      statusChanged: this.statusChanged,
      connectionStatusChanged: this.connectionStatusChanged,
      disposed: this.disposed,
      ...(control && {
        sendControlMessage: (message: unknown) => {
          const { content } = message as { content: { message: PageMessage } };
          this.sent("control", content.message);
          return {};
        },
      }),
    };
    this.model = {
      get: (key: string) => traits[key],
      set() {},
      save_changes() {},
      on: (event: string, callback: (...args: never[]) => void) => {
        if (event === "msg:custom") this.custom.add(callback as never);
      },
      off: (_event?: string | null, callback?: unknown) => {
        this.custom.delete(callback as never);
      },
      send: (content: { message: PageMessage }) => this.sent("model", content.message),
      widget_manager: { kernel, ...(context && { context }) },
    } as AnyModel;
  }

  /** Something arrives from the kernel. */
  receive([content, buffers]: Wire): void {
    for (const callback of [...this.custom]) callback(content, buffers);
  }

  get listeners(): number {
    return this.custom.size + this.statusChanged.size + this.connectionStatusChanged.size;
  }

  private sent(channel: string, message: PageMessage): void {
    this.channels.push(channel);
    // What crosses the wire is JSON, and nothing of the page's objects.
    this.up(JSON.parse(JSON.stringify(message)));
  }
}

/** Writes what could happen next in a session, by chance. */
export class Author {
  private count = 0;

  constructor(
    private readonly random: () => number,
    private readonly prefix: string,
  ) {}

  /** Return the next events of a session; sensible ones, as a kernel only has those. */
  next(state: SessionState): Event[] {
    const run = liveRun(state);
    const at = ++this.count;
    if (state.seq === 0) return [this.created(at)];
    if (run === undefined) return this.act(state, at);
    const message = state.messages[run.message_id];
    const index = (message?.parts.length ?? 0) - 1;
    const part = message?.parts[index];
    switch (run.state) {
      case "queued":
        return [this.started(state, run.id, at)];
      case "connecting":
        if (this.random() < 0.1) {
          return [{ type: "run_failed", run_id: run.id, at, error: broken(), usage: null }];
        }
        return [this.part(run.id, at, index + 1)];
      case "paused":
        return [{ type: "run_resumed", run_id: run.id }];
      default: {
        const dice = this.random();
        if (part === undefined || index < run.first_part) return [this.part(run.id, at, index + 1)];
        if (dice < 0.8) return [this.delta(run.id, at, index, part)];
        if (dice < 0.84) return [{ type: "run_paused", run_id: run.id, at }];
        if (dice < 0.88) return [ended(run.id, index, part), this.part(run.id, at, index + 1)];
        if (dice < 0.92 && run.state === "streaming") {
          return [{ type: "stop_requested", run_id: run.id, at }];
        }
        const end = ended(run.id, index, part);
        const finish_reason = "stop";
        if (run.state === "stopping")
          return [
            end,
            { type: "run_stopped", run_id: run.id, at, usage: null, sources: [], notices: [] },
          ];
        return [
          end,
          {
            type: "run_completed",
            run_id: run.id,
            at,
            finish_reason,
            usage: null,
            sources: [],
            notices: [],
          },
        ];
      }
    }
  }

  private act(state: SessionState, at: number): Event[] {
    const path = transcript(state);
    const dice = this.random();
    const any = path[Math.floor(this.random() * path.length)];
    const answer = path.findLast((message) => message.role === "assistant");
    const siblings = Object.values(state.messages).filter(
      (other) => any !== undefined && other.parent_id === any.parent_id && other.id !== any.id,
    );
    if (dice < 0.15 && answer !== undefined)
      return [this.queued(at, "regenerate", answer.parent_id)];
    if (dice < 0.25 && any?.role === "user") return [this.queued(at, "send", any.parent_id, true)];
    if (dice < 0.35 && siblings[0])
      return [{ type: "message_selected", message_id: siblings[0].id }];
    if (dice < 0.4 && answer !== undefined)
      return [
        { type: "message_removed", message_id: (any?.role === "assistant" ? any : answer).id },
      ];
    if (dice < 0.45) return [{ type: "unread_changed", unread: !state.unread }];
    return [this.queued(at, "send", null)];
  }

  private created(at: number): Event {
    const { settings } = emptyState("");
    return { type: "session_created", at, settings, temporary: false, thread_id: null };
  }

  private queued(
    at: number,
    kind: "send" | "regenerate",
    parent: string | null,
    rooted = kind !== "send",
  ): Event {
    const id = `${this.prefix}${at}`;
    const prompt =
      kind === "send" ? message(`q_${id}`, "user", rooted ? parent : null, at, `Q${at}?`) : null;
    return {
      type: "run_queued",
      run_id: `r_${id}`,
      at,
      kind,
      message_id: `a_${id}`,
      prompt,
      rooted,
      parent_id: kind === "send" ? null : parent,
      replaces: null,
      params: {},
    };
  }

  private started(state: SessionState, runId: string, at: number): Event {
    const run = state.runs.find((other) => other.id === runId);
    if (run === undefined) throw new Error("no such run");
    let prompt = run.prompt;
    if (prompt !== null && !run.rooted) {
      prompt = { ...prompt, parent_id: transcript(state).at(-1)?.id ?? null };
    }
    const parent = prompt?.id ?? run.parent_id;
    const answer = { ...message(run.message_id, "assistant", parent, at), run_id: run.id };
    return { type: "run_started", run_id: run.id, at, prompt, answer, model: null };
  }

  private part(run_id: string, at: number, part_index: number): Event {
    return { type: "part_started", run_id, at, part_index, part: { type: "text", text: "" } };
  }

  private delta(run_id: string, at: number, part_index: number, part: Part): Event {
    const pieces = ["The ", "Seine", " é", "👩‍👩‍👧", "中文", "\n\n"];
    const text = pieces[Math.floor(this.random() * pieces.length)] as string;
    return { type: "part_delta", run_id, at, part_index, offset: part.text.length, text };
  }
}

function ended(run_id: string, part_index: number, part: Part): Event {
  return {
    type: "part_ended",
    run_id,
    part_index,
    length: part.text.length,
    crc32: crc32(part.text),
    seconds: 1,
    call_id: null,
    name: null,
  };
}

function message(
  id: string,
  role: "user" | "assistant",
  parent_id: string | null,
  at: number,
  text = "",
): Message {
  return {
    id,
    role,
    parts: text ? [{ type: "text", text }] : [],
    created_at: at,
    parent_id,
    run_id: null,
    model: null,
    finish_reason: null,
    usage: null,
    sources: [],
    notices: [],
  };
}

function broken() {
  return {
    code: "connect_failed",
    message: "No.",
    stage: "connect" as const,
    retryable: true,
    hint: "",
    http_status: null,
    request_id: null,
    partial_chars: 0,
  };
}

/**
 * `WireKernel`: a kernel's half of the wire, with the rules of the Python server in few lines.
 *
 * It acknowledges commands without carrying them out; `FakeKernel` adds that.
 */

import {
  type Ack,
  type Command,
  type Counts,
  type Delta,
  type Event,
  type Head,
  type KernelMessage,
  type Packet,
  type PageMessage,
  PROTOCOL_VERSION,
  type SessionState,
} from "../src/protocol";
import { applyEvent } from "../src/state/fold";
import { emptyState, isOver, liveRun, statusOf, transcript } from "../src/state/session";

const TICK_MS = 40;
const BEACONS_MS = [200, 200, 200, 200, 200, 500, 500, 1000, 2000, 5000, 10_000, 20_000];

interface Session {
  readonly log: Event[];
  /** The state after each event; `states[0]` is before the first. */
  readonly states: SessionState[];
  /** Events up to this one are compacted. */
  base: number;
  /** Events up to this one have been sent. */
  sent: number;
  head: Head | null;
  headRev: number;
  /** Identifies the session in `deltas` and `progress`. */
  readonly number: number;
}

/** A packet, or a piece of one, as a comm message. */
export type Wire = readonly [content: Record<string, unknown>, buffers: DataView[]];

export interface KernelOptions {
  /** Packets over this size are cut. */
  readonly pieceBytes?: number | undefined;
  /** Messages of a transcript that a state carries. */
  readonly window?: number | undefined;
  /** Send each change at once, with its head, instead of once per tick. */
  readonly eager?: boolean | undefined;
}

export class WireKernel {
  readonly epoch: string;
  readonly sessions = new Map<string, Session>();
  /** How often each command was executed, by its id. */
  readonly done = new Map<string, number>();
  /** Every message from pages, in order. */
  readonly heard: PageMessage[] = [];
  /** Delivers a packet to all pages. */
  broadcast: (wire: Wire) => void;
  /** Messages of a transcript that a state carries. */
  window: number;
  n = 0;
  rev = 0;
  packets = 0;
  readonly #pieceBytes: number;
  readonly #eager: boolean;
  readonly #dirty = new Set<string>();
  readonly #messages: KernelMessage[] = [];
  readonly #acks = new Map<string, Ack | Promise<Ack>>();
  /** Fields of heads that are not computed from the session. */
  readonly #tweaks = new Map<string, Partial<Head>>();
  #removedRev = 0;
  #numbers = 0;
  #batches = 0;
  #tick: ReturnType<typeof setTimeout> | null = null;
  #beacon: ReturnType<typeof setTimeout> | undefined;
  #beaconsLeft: number[] = [];
  #lastPacket = Number.NEGATIVE_INFINITY;

  constructor(
    epoch: string,
    broadcast: (wire: Wire) => void,
    { pieceBytes = 224 * 1024, window = 200, eager = false }: KernelOptions = {},
  ) {
    this.epoch = epoch;
    this.broadcast = broadcast;
    this.window = window;
    this.#pieceBytes = pieceBytes;
    this.#eager = eager;
  }

  append(id: string, ...events: readonly Event[]): void {
    const session = this.session(id);
    for (const event of events) {
      session.log.push(event);
      session.states.push(applyEvent(session.states.at(-1) as SessionState, event));
    }
    this.#dirty.add(id);
    this.#wake();
  }

  /** Return a session; it is created on first use. */
  session(id: string): Session {
    let session = this.sessions.get(id);
    if (session === undefined) {
      const states = [emptyState(id)];
      session = {
        log: [],
        states,
        base: 0,
        sent: 0,
        head: null,
        headRev: 0,
        number: ++this.#numbers,
      };
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
    this.#dirty.delete(id);
    this.rev++;
    this.#removedRev = this.rev;
    this.say({ type: "heads", heads: this.#heads(), all: true });
  }

  /** Change what a head contains without an event in the log. */
  tweak(id: string, head: Partial<Head>): void {
    this.#tweaks.set(id, { ...this.#tweaks.get(id), ...head });
    this.#dirty.add(id);
    this.#wake();
  }

  say(message: KernelMessage): void {
    this.#messages.push(message);
    this.#wake();
  }

  head(id: string): Head {
    const state = this.state(id);
    const run = liveRun(state);
    const path = transcript(state);
    const question = path.find(({ role }) => role === "user")?.parts[0]?.text ?? "";
    return {
      id,
      seq: state.seq,
      title: state.settings.title || question.split(/\s+/).slice(0, 8).join(" "),
      state: statusOf(state),
      run_id: run?.id ?? null,
      model: state.settings.model,
      created_at: state.created_at,
      active_at: state.runs.at(-1)?.ended_at ?? state.created_at,
      started_at: run?.started_at ?? null,
      waiting_since: run?.state === "connecting" ? run.started_at : null,
      first_token_s: run?.state === "connecting" ? 120 : null,
      characters: run?.characters ?? 0,
      queued: state.runs.filter((other) => other.state === "queued" && other !== run).length,
      position: null,
      unread: state.unread,
      pinned: state.settings.pinned,
      rank: state.settings.rank ?? state.created_at,
      closed: state.settings.closed,
      archived: state.settings.archived,
      deleted: state.deleted,
      temporary: state.temporary,
      messages: path.length,
      cost: "",
      own_provider: false,
      tools: [],
      calls: [],
      number: this.session(id).number,
      ...this.#tweaks.get(id),
    };
  }

  /** Send everything that `change` says in one packet. */
  batch(change: () => void): void {
    this.#batches++;
    try {
      change();
    } finally {
      this.#batches--;
      this.#wake();
    }
  }

  /** End all timers. */
  close(): void {
    if (this.#tick !== null) clearTimeout(this.#tick);
    clearTimeout(this.#beacon);
  }

  /** Take a message from a page. */
  receive(message: PageMessage): void {
    this.heard.push(message);
    this.batch(() => this.#take(message));
  }

  /** Execute a command and return what its acknowledgement says. */
  protected execute(_command: Command): Partial<Ack> | Promise<Partial<Ack>> {
    return {};
  }

  #heads(): Head[] {
    return [...this.sessions.values()].flatMap(({ head }) => (head === null ? [] : [head]));
  }

  #wake(): void {
    if (this.#batches > 0) return;
    if (this.#eager) {
      this.#flush();
      return;
    }
    const wait = Math.max(0, this.#lastPacket + TICK_MS - performance.now());
    this.#tick ??= setTimeout(() => {
      this.#tick = null;
      this.#lastPacket = performance.now();
      this.#flush();
    }, wait);
  }

  #flush(): void {
    const messages = this.#collect();
    if (messages.length === 0) return;
    this.n++;
    this.#beaconsLeft = [...BEACONS_MS];
    this.#pack(messages);
  }

  #collect(): KernelMessage[] {
    const heads: Head[] = [];
    const news: KernelMessage[] = [];
    const counts: Counts[] = [];
    const deltas: Delta[] = [];
    for (const id of this.#dirty) {
      const session = this.session(id);
      const head = this.head(id);
      const counting = !isOver(head.state) && isProgress(session.head, head);
      if (this.#eager || !counting) {
        session.head = head;
        session.headRev = ++this.rev;
        const { number, seq, active_at, characters } = head;
        if (counting) counts.push([number, seq, active_at, characters]);
        else heads.push(head);
      }
      const events = session.log.slice(session.sent);
      const first_seq = session.sent + 1;
      const text = textOf(session.number, first_seq, events, liveRun(this.state(id))?.id);
      if (text) deltas.push(...text);
      else if (events.length > 0) news.push({ type: "events", session_id: id, first_seq, events });
      session.sent = session.log.length;
    }
    this.#dirty.clear();
    if (deltas.length > 0) {
      const at = Math.min(...deltas.map((delta) => delta[2]));
      const since = deltas.map(
        ([session, seq, each, ...rest]): Delta => [session, seq, each - at, ...rest],
      );
      news.push({ type: "deltas", at, deltas: since });
    }
    if (counts.length > 0) news.unshift({ type: "progress", counts });
    if (heads.length > 0) news.unshift({ type: "heads", heads, all: false });
    return [...news, ...this.#messages.splice(0)];
  }

  #pack(messages: readonly KernelMessage[]): void {
    const { epoch, n, rev } = this;
    const packet: Packet = { epoch, n, rev, messages, protocol: PROTOCOL_VERSION, type: "packet" };
    for (const wire of cut(packet, `${n}`, this.#pieceBytes)) this.broadcast(wire);
    this.packets++;
    clearTimeout(this.#beacon);
    const next = this.#beaconsLeft[0];
    if (next === undefined) return;
    this.#beacon = setTimeout(() => {
      this.#beaconsLeft.shift();
      this.#pack([]);
    }, next);
  }

  #take(message: PageMessage): void {
    switch (message.type) {
      case "hello": {
        const same = message.epoch === this.epoch;
        this.say({
          type: "welcome",
          to: message.page,
          version: "0",
          demo: true,
          provider: "demo",
          model: "demo-tour",
        });
        const none = Object.fromEntries(Object.keys(message.sessions).map((id) => [id, 0]));
        this.#sync(message, same ? message.rev : 0, same ? message.sessions : none);
        break;
      }
      case "sync":
        if (message.epoch === this.epoch) this.#sync(message, message.rev, message.sessions);
        else this.#sync(message, 0, {});
        break;
      case "run_command":
        this.#do(message.command);
        break;
      case "want_earlier":
        this.#earlier(message.page, message.session_id, message.before);
        break;
      case "search":
        this.#search(message.page, message.id, message.query);
        break;
      case "want_export":
        this.#export(message.page, message.id, message.session_id, message.format);
        break;
      default:
        break;
    }
  }

  #sync(
    { id, page }: { id: string; page: string },
    rev: number,
    sessions: Readonly<Record<string, number>>,
  ): void {
    const all = rev === 0 || rev < this.#removedRev || rev > this.rev;
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
        this.say(this.#stateOf(this.state(sessionId), page));
      }
    }
    this.say({ type: "synced", to: page, id });
  }

  #stateOf(state: SessionState, to: string): KernelMessage {
    const path = transcript(state);
    const omitted = Math.max(path.length - this.window, 0);
    if (omitted === 0) return { type: "session_state", state, omitted, to };
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
    return { type: "session_state", state: { ...state, messages, selected, runs }, omitted, to };
  }

  #earlier(to: string, session_id: string, before: string): void {
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
    this.say({ type: "earlier_messages", to, session_id, messages, selected, omitted });
  }

  #search(to: string, id: string, query: string): void {
    const hits = [...this.sessions.keys()].flatMap((session_id) =>
      transcript(this.state(session_id)).flatMap(({ id: message_id, parts }) => {
        const text = parts.map((part) => part.text).join("");
        const at = text.toLowerCase().indexOf(query.toLowerCase());
        if (at < 0) return [];
        const end = at + query.length;
        const before = text.slice(Math.max(0, at - 24), at);
        const after = text.slice(end, end + 80);
        return [{ session_id, message_id, before, match: text.slice(at, end), after }];
      }),
    );
    this.say({ type: "search_results", to, id, hits: hits.slice(0, 50), more: hits.length > 50 });
  }

  #export(to: string, id: string, session_id: string, format: string): void {
    const texts = transcript(this.state(session_id)).flatMap(({ parts }) => parts);
    const text = texts.map((part) => part.text).join("\n\n");
    this.say({ type: "exported", to, id, name: `chat.${format}`, text, error: null });
  }

  #do(command: Command): void {
    const { id } = command;
    let ack = this.#acks.get(id);
    if (ack === undefined) {
      this.done.set(id, (this.done.get(id) ?? 0) + 1);
      const empty: Ack = { type: "ack", id, error: null, session_id: null, run_id: null };
      const outcome = this.execute(command);
      ack =
        outcome instanceof Promise
          ? outcome.then((known) => ({ ...empty, ...known }))
          : { ...empty, ...outcome };
      this.#acks.set(id, ack);
    }
    if (ack instanceof Promise) void ack.then((known) => this.say(known));
    else this.say(ack);
  }
}

/** Return the events as deltas of the live run with absolute times; null if they are sent in full. */
function textOf(
  number: number,
  first_seq: number,
  events: readonly Event[],
  live: string | undefined,
): Delta[] | null {
  const deltas: Delta[] = [];
  for (const [i, event] of events.entries()) {
    if (event.type !== "part_delta" || event.run_id !== live) return null;
    const { part_index, offset, text } = event;
    const at = Math.round(event.at * 1e6);
    if (at / 1e6 !== event.at) return null;
    deltas.push([number, first_seq + i, at, part_index, offset, text]);
  }
  return deltas;
}

/** Whether two heads differ in their progress alone; the kernel does not send that at once. */
function isProgress(before: Head | null, after: Head): boolean {
  const rest = (head: Head) => JSON.stringify({ ...head, seq: 0, characters: 0, active_at: 0 });
  return before !== null && rest(before) === rest(after);
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

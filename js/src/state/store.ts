/**
 * What a page knows: every session's head, and the state of those that somebody wants to see.
 *
 * The store folds what the kernel said, and says what it lacks; asking is the runtime's. Whatever is
 * lost, doubled or out of order, a session's view is the fold of a prefix of its log: events wait
 * until those before them are here, and a state never replaces a newer one.
 */

import { nextFrame, whenIdle } from "../later";
import type {
  Config,
  Earlier,
  Event,
  Events,
  Head,
  Heads,
  Message,
  Models,
  Saving,
  SessionState,
  StateOf,
} from "../protocol";
import { crc32 } from "./crc32";
import { adoptState, Draft, isOver, transcript } from "./fold";
import { type Ended, endedBy, misfit } from "./verify";

export type Connection =
  /** The kernel has not answered yet. */
  | "connecting"
  | "live"
  /** The kernel is there, and what is asked waits until its cell has run. */
  | "waiting"
  /** The kernel does not answer, or the network is gone. */
  | "lost"
  | "restarted"
  | "dead"
  /** The page is of another version than the kernel. */
  | "incompatible";

export interface SessionView {
  /** Counts up when the state was replaced by a whole one; within a generation texts only grow. */
  readonly generation: number;
  /** An immutable snapshot; messages that did not change keep their identity. */
  readonly state: SessionState;
  /** Messages of the transcript before the first of `path`. */
  readonly omitted: number;
  /** The transcript, as far as it is here. */
  readonly path: readonly Message[];
}

/** What is different since the last time a listener was called. */
export interface Change {
  readonly heads: ReadonlySet<string>;
  readonly sessions: ReadonlySet<string>;
  /** `connection`, `config`, `saving` or `models`. */
  readonly other: boolean;
}

/** Counts of what went wrong on the way, and was healed. */
export interface Stats {
  packets: number;
  /** Packets and events that were here before. */
  duplicates: number;
  /** Packets that could not be read, or were another kernel's. */
  dropped: number;
  /** Times the kernel was asked for what is missing. */
  resyncs: number;
  /** Texts that were not what the kernel has. */
  checksumErrors: number;
}

/** Events that a session holds back at most while those before them are missing. */
export const MAX_HELD = 4096;

class View implements SessionView {
  #cached: readonly Message[] | undefined;

  constructor(
    readonly generation: number,
    readonly state: SessionState,
    readonly omitted: number,
  ) {}

  get path(): readonly Message[] {
    this.#cached ??= transcript(this.state);
    return this.#cached;
  }
}

/** One session that somebody wants to see. */
interface Replica {
  /** The state that goes on with every event; null until there is one. */
  draft: Draft | null;
  /** What somebody was given of it; null when it has gone on since. */
  view: View | null;
  /** Messages of the transcript before the window. */
  omitted: number;
  /** It began as a window: of turns that are not shown there may be versions that are not here. */
  windowed: boolean;
  /** What is here is not what the kernel has, or cannot be read on: only a whole state helps. */
  broken: boolean;
  generation: number;
  /** Stretches of the log whose beginning is missing. */
  held: Events[];
  heldCount: number;
  /** Number of the last packet that something was taken from. */
  packet: number;
  /** Parts whose checksum is still to be looked at. */
  unchecked: Ended[];
  /** The `seq` at which the transcript's length was last compared with the head's. */
  miscounted: number;
}

export class Store {
  /** Which start of the kernel all of this is about; empty before its first answer. */
  epoch = "";
  config: Config | null = null;
  saving: Saving | null = null;
  models: Models | null = null;
  readonly stats: Stats = {
    packets: 0,
    duplicates: 0,
    dropped: 0,
    resyncs: 0,
    checksumErrors: 0,
  };

  #current: Connection = "connecting";
  readonly #directory = new Map<string, Head>();
  /** The packet that each head came in: a late packet does not bring an old head back. */
  readonly #headPackets = new Map<string, number>();
  #wholeDirectory = 0;
  readonly #replicas = new Map<string, Replica>();
  readonly #listeners = new Set<(change: Change) => void>();
  #changed = { heads: new Set<string>(), sessions: new Set<string>(), other: false };
  #cancelNotice: (() => void) | null = null;
  #cancelCheck: (() => void) | null = null;

  /**
   * @param damaged Called when a text turned out to be another than the kernel's, some time after it
   *   was received: the session is lacking from now on.
   */
  readonly #damaged: (sessionId: string) => void;

  constructor(damaged: (sessionId: string) => void = () => {}) {
    this.#damaged = damaged;
  }

  get heads(): ReadonlyMap<string, Head> {
    return this.#directory;
  }

  get connection(): Connection {
    return this.#current;
  }

  set connection(connection: Connection) {
    if (connection === this.#current) return;
    this.#current = connection;
    this.#note({ other: true });
  }

  /** Return a session as far as it is here; undefined where it has to be wanted first. */
  session(id: string): SessionView | undefined {
    const replica = this.#replicas.get(id);
    if (!replica?.draft) return undefined;
    // Only what somebody looks at becomes a snapshot; the other sessions cost their text alone.
    replica.view ??= new View(replica.generation, replica.draft.snapshot(), replica.omitted);
    return replica.view;
  }

  /**
   * Call `listener` after something changed, at most once for each animation frame, and in a hidden
   * page now and then. Returns the function that ends it.
   */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Follow a session from now on. Returns whether that is new. */
  want(id: string): boolean {
    if (this.#replicas.has(id)) return false;
    this.#replicas.set(id, empty(0));
    return true;
  }

  /** Return, for each session that is followed, the last event that is here; 0 asks for all of it. */
  cursors(): Record<string, number> {
    const cursors: Record<string, number> = Object.create(null);
    for (const [id, { draft, broken }] of this.#replicas) {
      cursors[id] = draft === null || broken ? 0 : draft.seq;
    }
    return cursors;
  }

  /** Whether the kernel has something about a session that is followed which is not here. */
  get lacking(): boolean {
    for (const [id, replica] of this.#replicas) {
      const head = this.#directory.get(id);
      if (head !== undefined && this.#behind(replica, head)) return true;
    }
    return false;
  }

  /** Whether a session that the kernel has is not here at all, or has to be had whole again. */
  get broken(): boolean {
    for (const [id, { draft, broken }] of this.#replicas) {
      if ((draft === null || broken) && this.#directory.has(id)) return true;
    }
    return false;
  }

  /** Whether, as far as is known, some run is going on. */
  get live(): boolean {
    for (const head of this.#directory.values()) if (!isOver(head.state)) return true;
    return false;
  }

  /** Forget everything: another kernel was started. Numbers of generations go on. */
  reset(epoch: string): void {
    this.epoch = epoch;
    for (const id of this.#directory.keys()) this.#changed.heads.add(id);
    this.#directory.clear();
    this.#headPackets.clear();
    this.#wholeDirectory = 0;
    for (const [id, replica] of this.#replicas) {
      if (replica.draft !== null) this.#changed.sessions.add(id);
      this.#replicas.set(id, empty(replica.generation));
    }
    this.config = this.saving = this.models = null;
    this.#note({ other: true });
  }

  /** The kernel is gone, and with it what it was doing. */
  lose(): void {
    for (const head of this.#directory.values()) {
      if (isOver(head.state)) continue;
      this.#directory.set(head.id, { ...head, state: "interrupted", run_id: null, queued: 0 });
      this.#changed.heads.add(head.id);
    }
    this.#note();
  }

  /** End all timers; nobody is called any more. */
  dispose(): void {
    this.#listeners.clear();
    this.#cancelNotice?.();
    this.#cancelCheck?.();
  }

  /** Take news that has no history: the newest is what counts. */
  setConfig(config: Config): void {
    this.config = config;
    this.#note({ other: true });
  }

  setModels(models: Models): void {
    this.models = models;
    this.#note({ other: true });
  }

  setSaving(saving: Saving): void {
    this.saving = saving;
    this.#note({ other: true });
  }

  /** Take heads from packet `n`; one that came in a later packet stays. */
  takeHeads({ heads, all }: Heads, n: number): void {
    for (const head of heads) {
      const known = this.#headPackets.get(head.id);
      if (known === undefined ? n < this.#wholeDirectory : n < known) continue;
      // A packet can hold news and, after them, the answer to a question that came before the news.
      if (n === known && head.seq <= (this.#directory.get(head.id)?.seq ?? 0)) continue;
      this.#directory.set(head.id, head);
      this.#headPackets.set(head.id, n);
      this.#changed.heads.add(head.id);
    }
    if (all && n >= this.#wholeDirectory) {
      this.#wholeDirectory = n;
      const named = new Set(heads.map((head) => head.id));
      for (const [id, packet] of this.#headPackets) {
        if (packet < n && !named.has(id)) this.#forget(id);
      }
    }
    this.#note();
  }

  /** Take a stretch of a session's log from packet `n`; what does not follow yet is held back. */
  takeEvents(stretch: Events, n: number): void {
    const replica = this.#replicas.get(stretch.session_id);
    if (replica === undefined) return;
    if (this.#append(stretch.session_id, replica, stretch)) {
      replica.packet = Math.max(replica.packet, n);
      this.#drain(stretch.session_id, replica);
    } else {
      hold(replica, stretch);
    }
  }

  /** Take a session whole from packet `n`, unless what is here is newer. */
  takeState({ state, omitted }: StateOf, n: number): void {
    const replica = this.#replicas.get(state.id);
    if (replica === undefined) return;
    const seq = replica.draft?.seq ?? -1;
    // In a later packet an older state is the truth: the kernel has put the session back.
    const newer = state.seq > seq || (state.seq < seq && n > replica.packet);
    if (!newer && !(replica.broken && state.seq === seq)) return;
    replica.generation++;
    replica.draft = new Draft(adoptState(state));
    replica.view = null;
    replica.omitted = omitted;
    replica.windowed = omitted > 0;
    replica.broken = false;
    replica.unchecked = [];
    replica.packet = Math.max(replica.packet, n);
    this.#changed.sessions.add(state.id);
    this.#note();
    this.#drain(state.id, replica);
  }

  /** Put messages in front of the window. Returns false where they do not belong there any more. */
  takeEarlier({ session_id, messages, selected, omitted }: Earlier): boolean {
    const replica = this.#replicas.get(session_id);
    const view = this.session(session_id);
    const first = view?.path[0];
    if (replica === undefined || view === undefined || first?.parent_id == null) return false;
    const { state } = view;
    if (selected[first.parent_id] !== first.id || first.parent_id in state.messages) return false;
    const before = Object.fromEntries(messages.map((message) => [message.id, message]));
    replica.draft = new Draft(
      adoptState({
        ...state,
        messages: { ...before, ...state.messages },
        selected: { ...state.selected, ...selected },
      }),
    );
    replica.view = null;
    replica.omitted = omitted;
    this.#changed.sessions.add(session_id);
    this.#note();
    return true;
  }

  /**
   * Compare every session at rest with its head; what cannot be true is to be had whole again.
   *
   * A page that has a window of a long conversation can have missed that another branch is shown:
   * then the transcript's length differs. A session that came back from elsewhere counts anew.
   */
  recount(): void {
    for (const [id, replica] of this.#replicas) {
      const { draft, broken } = replica;
      const head = this.#directory.get(id);
      if (draft === null || broken || head === undefined || !isOver(head.state)) continue;
      const { seq } = draft;
      if (head.seq < seq) {
        replica.broken = (this.#headPackets.get(id) ?? 0) >= replica.packet;
      } else if (head.seq === seq && replica.miscounted !== seq) {
        // Once for each state: should the kernel count differently, asking again would not end.
        replica.miscounted = seq;
        replica.broken = replica.omitted + draft.length !== head.messages;
      }
    }
  }

  #behind({ draft, broken }: Replica, head: Head): boolean {
    return draft === null || broken || draft.seq < head.seq;
  }

  #forget(id: string): void {
    this.#directory.delete(id);
    this.#headPackets.delete(id);
    this.#changed.heads.add(id);
    const replica = this.#replicas.get(id);
    if (!replica?.draft) return;
    replica.draft = replica.view = null;
    replica.held = [];
    replica.heldCount = 0;
    this.#changed.sessions.add(id);
  }

  /** Fold what is new in a stretch. Returns false where something before it is missing. */
  #append(id: string, replica: Replica, { first_seq, events }: Events): boolean {
    const { draft } = replica;
    if (draft === null || replica.broken) return false;
    const known = draft.seq + 1 - first_seq;
    if (known < 0) return false;
    this.stats.duplicates += Math.min(known, events.length);
    if (known >= events.length) return true;
    for (const event of known === 0 ? events : events.slice(known)) {
      const reason = misfit(draft, event, replica.windowed);
      if (reason !== null) {
        // What came before it stands; from here on only a whole state helps.
        replica.broken = true;
        if (reason === "text") this.stats.checksumErrors++;
        break;
      }
      this.#check(replica, draft, event);
      draft.apply(event);
    }
    replica.view = null;
    this.#changed.sessions.add(id);
    this.#note();
    return true;
  }

  /** Fold what was held back, as far as it follows now. */
  #drain(id: string, replica: Replica): void {
    for (let progress = true; progress && replica.held.length > 0 && !replica.broken; ) {
      progress = false;
      const held = replica.held;
      replica.held = [];
      replica.heldCount = 0;
      for (const stretch of held) {
        if (this.#append(id, replica, stretch)) progress = true;
        else hold(replica, stretch);
      }
    }
  }

  #check(replica: Replica, draft: Draft, event: Event): void {
    const ended = endedBy(draft, event);
    if (ended === null) return;
    replica.unchecked.push(ended);
    this.#cancelCheck ??= whenIdle(() => {
      this.#cancelCheck = null;
      this.#checkTexts();
    });
  }

  #checkTexts(): void {
    for (const [id, replica] of this.#replicas) {
      const ended = replica.unchecked;
      replica.unchecked = [];
      if (!replica.broken && !ended.every((part) => intact(replica.draft, part))) {
        replica.broken = true;
        this.stats.checksumErrors++;
        this.#damaged(id);
      }
    }
  }

  #note({ other = false } = {}): void {
    this.#changed.other ||= other;
    this.#cancelNotice ??= nextFrame(() => {
      this.#cancelNotice = null;
      const change = this.#changed;
      this.#changed = { heads: new Set(), sessions: new Set(), other: false };
      for (const listener of [...this.#listeners]) {
        try {
          listener(change);
        } catch (error) {
          // One view that cannot draw is no reason for the others to stand still.
          console.error("nbchat: a view could not be brought up to date", error);
        }
      }
    });
  }
}

function empty(generation: number): Replica {
  return {
    draft: null,
    view: null,
    omitted: 0,
    windowed: false,
    broken: false,
    generation,
    held: [],
    heldCount: 0,
    packet: 0,
    unchecked: [],
    miscounted: 0,
  };
}

function hold(replica: Replica, stretch: Events): void {
  replica.held.push(stretch);
  replica.heldCount += stretch.events.length;
  // They can all be had again: what is here stays small however long the page has to wait.
  while (replica.heldCount > MAX_HELD) {
    replica.heldCount -= replica.held.shift()?.events.length ?? 0;
  }
}

/** Whether a part's text is what the kernel has; true where the part is not here any more. */
function intact(
  draft: Draft | null,
  { message_id, part_index, length, crc32: sum }: Ended,
): boolean {
  const text = draft?.message(message_id)?.parts[part_index]?.text;
  return text === undefined || text.length !== length || crc32(text) === sum;
}

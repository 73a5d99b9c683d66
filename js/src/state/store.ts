/**
 * `Store`: the head of every session, and a replica of each session that a view wants.
 *
 * The store takes messages from the kernel, notifies views, and computes what is missing; the link requests it.
 */

import { nextFrame, whenIdle } from "../later";
import type {
  Config,
  Deltas,
  EarlierMessages,
  Events,
  Head,
  Heads,
  Models,
  People,
  Progress,
  Runner,
  Saving,
  SessionStateMessage,
} from "../protocol";
import { Replica, type SessionView, type Stats } from "./replica";
import { afterKernelLoss, isOver } from "./session";

export type Connection =
  /** The kernel has not answered yet. */
  | "connecting"
  | "live"
  /** The kernel handles commands only after the running cell. */
  | "waiting"
  /** No answer in a host that does not report the kernel's status; it may drop answers while no cell runs. */
  | "unheard"
  /** The kernel does not answer, or the network is gone. */
  | "lost"
  | "restarted"
  | "dead"
  /** Page and kernel run different versions. */
  | "incompatible";

/** Changes since the last call of the listeners. */
export interface Change {
  readonly heads: ReadonlySet<string>;
  readonly sessions: ReadonlySet<string>;
  /** `connection`, `config`, `saving` or `models`. */
  readonly other: boolean;
}

export class Store {
  /** The epoch of the kernel that all data is from; empty before its first answer. */
  epoch = "";
  config: Config | null = null;
  /** Answers are generated beside the kernel, and continue without it. */
  runner = false;
  /** Name of the user, as the `author` of messages has it; empty if the runner is not a service. */
  person = "";
  /** The people who are linked to the same sessions, including the user; empty without a service. */
  people: People["people"] = [];
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
  /** Number of the packet of each head: a late packet does not restore an old head. */
  readonly #headPackets = new Map<string, number>();
  #wholeDirectory = 0;
  /** Ids of sessions by the numbers of their heads. */
  readonly #numbers = new Map<number, string>();
  readonly #replicas = new Map<string, Replica>();
  readonly #listeners = new Set<(change: Change) => void>();
  #changed = { heads: new Set<string>(), sessions: new Set<string>(), other: false };
  #cancelNotice: (() => void) | null = null;
  #cancelCheck: (() => void) | null = null;

  /**
   * Called when a text turns out to differ from the kernel's, some time after it was received. The session
   * is incomplete from then on.
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

  /** Return a session as far as it is loaded; undefined if it has to be wanted first. */
  session(id: string): SessionView | undefined {
    return this.#replicas.get(id)?.view();
  }

  /**
   * Call `listener` after changes, at most once per animation frame, and less often in a hidden page. Returns
   * the function that unsubscribes.
   */
  subscribe(listener: (change: Change) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Follow a session from now on. Returns whether that is new. */
  want(id: string): boolean {
    if (this.#replicas.has(id)) return false;
    this.#replicas.set(id, new Replica(this.stats));
    return true;
  }

  /** Return the last event of each wanted session that has arrived; 0 requests the whole state. */
  cursors(): Record<string, number> {
    const cursors: Record<string, number> = Object.create(null);
    for (const [id, replica] of this.#replicas) cursors[id] = replica.cursor;
    return cursors;
  }

  /** Whether events of a wanted session are missing. */
  get lacking(): boolean {
    for (const [id, replica] of this.#replicas) {
      const head = this.#directory.get(id);
      if (head !== undefined && replica.behind(head)) return true;
    }
    return false;
  }

  /** Whether a wanted session is not loaded, or has to be loaded again. */
  get broken(): boolean {
    for (const [id, replica] of this.#replicas) {
      if (replica.broken && this.#directory.has(id)) return true;
    }
    return false;
  }

  /** Whether any run is live, as far as the page knows. */
  get live(): boolean {
    for (const head of this.#directory.values()) if (!isOver(head.state)) return true;
    return false;
  }

  /** Drop everything, since another kernel has answered. Generations continue to count. */
  reset(epoch: string): void {
    this.epoch = epoch;
    this.runner = false;
    this.person = "";
    this.people = [];
    for (const id of this.#directory.keys()) this.#changed.heads.add(id);
    this.#directory.clear();
    this.#headPackets.clear();
    this.#numbers.clear();
    this.#wholeDirectory = 0;
    for (const [id, replica] of this.#replicas) {
      if (replica.loaded) this.#changed.sessions.add(id);
      replica.clear();
    }
    this.config = this.saving = this.models = null;
    this.#note({ other: true });
  }

  /** The kernel is gone: every live run is shown as interrupted. */
  lose(): void {
    for (const head of this.#directory.values()) {
      const state = afterKernelLoss(head.state);
      if (state === head.state) continue;
      this.#directory.set(head.id, { ...head, state, run_id: null, queued: 0 });
      this.#changed.heads.add(head.id);
    }
    for (const [id, replica] of this.#replicas) {
      replica.lose();
      this.#changed.sessions.add(id);
    }
    this.#note();
  }

  /** Remove all listeners and end all timers. */
  dispose(): void {
    this.#listeners.clear();
    this.#cancelNotice?.();
    this.#cancelCheck?.();
  }

  /** Take the configuration; as for models and saving, only the newest value counts. */
  setConfig(config: Config): void {
    this.config = config;
    this.#note({ other: true });
  }

  setRunner({ person }: Runner): void {
    this.runner = true;
    this.person = person;
    this.#note({ other: true });
  }

  setPeople({ people }: People): void {
    this.people = people;
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

  /** Take heads from packet `n`; newer ones from a later packet stay. */
  takeHeads({ heads, all }: Heads, n: number): void {
    for (const head of heads) {
      this.#numbers.set(head.number, head.id);
      const known = this.#headPackets.get(head.id);
      if (known === undefined ? n < this.#wholeDirectory : n < known) continue;
      // One packet can hold an event and, after it, the answer to a request from before the event.
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

  /** Take events of a session from packet `n`; they are held back if earlier ones are missing. */
  takeEvents(stretch: Events, n: number): void {
    const replica = this.#replicas.get(stretch.session_id);
    if (replica?.takeEvents(stretch, n)) this.#noteSession(stretch.session_id, replica);
  }

  /** Take text of many sessions from packet `n`. */
  takeDeltas({ at, deltas }: Deltas, n: number): void {
    for (const delta of deltas) {
      const id = this.#numbers.get(delta[0]) ?? "";
      const replica = this.#replicas.get(id);
      if (replica?.takeDelta(delta, at, n)) this.#noteSession(id, replica);
    }
  }

  /** Take counts of heads from packet `n`, unless the head is from a later packet. */
  takeProgress({ counts }: Progress, n: number): void {
    for (const [number, seq, active_at, characters] of counts) {
      const head = this.#directory.get(this.#numbers.get(number) ?? "");
      if (head === undefined || (this.#headPackets.get(head.id) ?? 0) > n) continue;
      this.#directory.set(head.id, { ...head, seq, active_at, characters });
      this.#changed.heads.add(head.id);
    }
    this.#note();
  }

  /** Take the whole state of a session from packet `n`, unless the page has a newer one. */
  takeState(message: SessionStateMessage, n: number): void {
    const replica = this.#replicas.get(message.state.id);
    if (replica?.takeState(message, n)) this.#noteSession(message.state.id, replica);
  }

  /** Put messages before the window. Returns false if they do not belong there any more. */
  takeEarlier(message: EarlierMessages): boolean {
    const replica = this.#replicas.get(message.session_id);
    if (!replica?.takeEarlier(message)) return false;
    this.#noteSession(message.session_id, replica);
    return true;
  }

  /** Compare every session at rest with its head; one that contradicts it is loaded again. */
  recount(): void {
    for (const [id, replica] of this.#replicas) {
      const head = this.#directory.get(id);
      if (head !== undefined) replica.recount(head, this.#headPackets.get(id) ?? 0);
    }
  }

  #forget(id: string): void {
    this.#directory.delete(id);
    this.#headPackets.delete(id);
    this.#changed.heads.add(id);
    const replica = this.#replicas.get(id);
    if (!replica?.loaded) return;
    replica.clear();
    this.#changed.sessions.add(id);
  }

  #checkTexts(): void {
    for (const [id, replica] of this.#replicas) if (!replica.checkTexts()) this.#damaged(id);
  }

  #noteSession(id: string, replica: Replica): void {
    this.#changed.sessions.add(id);
    this.#note();
    if (!replica.unchecked) return;
    this.#cancelCheck ??= whenIdle(() => {
      this.#cancelCheck = null;
      this.#checkTexts();
    });
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
          // A view that fails to draw must not stop the others.
          console.error("nbchat: a view could not be brought up to date", error);
        }
      }
    });
  }
}

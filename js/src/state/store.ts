/**
 * `Store`: the head of every session, and a replica of each session that a view wants.
 *
 * The store takes messages from the kernel, notifies views, and computes what is missing; the link requests it.
 */

import { nextFrame, whenIdle } from "../later";
import type { Config, Earlier, Events, Head, Heads, Models, Saving, StateOf } from "../protocol";
import { Replica, type SessionView, type Stats } from "./replica";
import { afterKernelLoss, isOver } from "./session";

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

/** What is different since the last time a listener was called. */
export interface Change {
  readonly heads: ReadonlySet<string>;
  readonly sessions: ReadonlySet<string>;
  /** `connection`, `config`, `saving` or `models`. */
  readonly other: boolean;
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
    this.#replicas.set(id, new Replica(this.stats));
    return true;
  }

  /** Return, for each session that is followed, the last event that is here; 0 asks for all of it. */
  cursors(): Record<string, number> {
    const cursors: Record<string, number> = Object.create(null);
    for (const [id, replica] of this.#replicas) cursors[id] = replica.cursor;
    return cursors;
  }

  /** Whether the kernel has something about a session that is followed which is not here. */
  get lacking(): boolean {
    for (const [id, replica] of this.#replicas) {
      const head = this.#directory.get(id);
      if (head !== undefined && replica.behind(head)) return true;
    }
    return false;
  }

  /** Whether a session that the kernel has is not here at all, or has to be had whole again. */
  get broken(): boolean {
    for (const [id, replica] of this.#replicas) {
      if (replica.broken && this.#directory.has(id)) return true;
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
    if (replica?.takeEvents(stretch, n)) this.#noteSession(stretch.session_id, replica);
  }

  /** Take the whole state of a session from packet `n`, unless the page has a newer one. */
  takeState(message: StateOf, n: number): void {
    const replica = this.#replicas.get(message.state.id);
    if (replica?.takeState(message, n)) this.#noteSession(message.state.id, replica);
  }

  /** Put messages before the window. Returns false if they do not belong there any more. */
  takeEarlier(message: Earlier): boolean {
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
          // One view that cannot draw is no reason for the others to stand still.
          console.error("nbchat: a view could not be brought up to date", error);
        }
      }
    });
  }
}

/**
 * `Replica`: the page's copy of one session, always the fold of a prefix of its log.
 *
 * Events are held back until those before them have arrived, and a state never replaces a newer one.
 */
import type {
  Delta,
  EarlierMessages,
  Event,
  Events,
  Head,
  Message,
  SessionState,
  SessionStateMessage,
} from "../protocol";
import { crc32 } from "./crc32";
import { Draft } from "./fold";
import { adoptState, afterKernelLoss, isLive, isOver, transcript } from "./session";
import { type Ended, endedBy, misfit } from "./verify";

export interface SessionView {
  /** Counts up when the state was replaced by a whole one; within a generation texts only grow. */
  readonly generation: number;
  /** An immutable snapshot; messages that did not change keep their identity. */
  readonly state: SessionState;
  /** Number of messages of the transcript before the first of `path`. */
  readonly omitted: number;
  /** The transcript, as far as it is loaded. */
  readonly path: readonly Message[];
}

/** Counts of transmission faults that were repaired. */
export interface Stats {
  packets: number;
  /** Packets and events that had arrived before. */
  duplicates: number;
  /** Packets that were unreadable or came from another kernel. */
  dropped: number;
  /** Times the kernel was asked for what is missing. */
  resyncs: number;
  /** Texts that differed from the kernel's. */
  checksumErrors: number;
}

/** Events that a session holds back at most while those before them are missing. */
export const MAX_HELD = 4096;

/** Consecutive events of a session. */
type Stretch = Pick<Events, "first_seq" | "events">;

/** Run id of a delta that came without one: the run that is live when the delta is folded. */
const LIVE_RUN = "";

class View implements SessionView {
  #path: readonly Message[] | undefined;

  constructor(
    readonly generation: number,
    readonly state: SessionState,
    readonly omitted: number,
  ) {}

  get path(): readonly Message[] {
    this.#path ??= transcript(this.state);
    return this.#path;
  }
}

export class Replica {
  readonly #stats: Stats;
  /** The state that every event is folded into; null until there is one. */
  #draft: Draft | null = null;
  /** The last snapshot that was handed out; null if the draft has changed since. */
  #view: View | null = null;
  #omitted = 0;
  /** It began as a window: turns outside of it may have versions that are not loaded. */
  #windowed = false;
  #broken = false;
  #lost = false;
  #generation = 0;
  /** Stretches of the log whose beginning is missing. */
  #held: Stretch[] = [];
  #heldCount = 0;
  /** Number of the last packet that changed this replica. */
  #packet = 0;
  /** Parts whose checksum has not been compared yet. */
  #unchecked: Ended[] = [];
  /** The `seq` at which the transcript's length was last compared with the head's. */
  #counted = 0;

  constructor(stats: Stats) {
    this.#stats = stats;
  }

  get loaded(): boolean {
    return this.#draft !== null;
  }

  /** Whether only a whole state helps: nothing is loaded, or it differs from what the kernel has. */
  get broken(): boolean {
    return this.#draft === null || this.#broken;
  }

  /** The last event that was folded in; 0 requests the whole state. */
  get cursor(): number {
    return this.#draft === null || this.#broken ? 0 : this.#draft.seq;
  }

  /** Whether ended parts wait for their checksums to be compared. */
  get unchecked(): boolean {
    return this.#unchecked.length > 0;
  }

  /** Return a snapshot, or undefined if nothing is loaded. */
  view(): SessionView | undefined {
    if (this.#draft === null) return undefined;
    // Only sessions that are looked at become snapshots; the others cost their text alone.
    this.#view ??= new View(this.#generation, this.#snapshot(this.#draft), this.#omitted);
    return this.#view;
  }

  #snapshot(draft: Draft): SessionState {
    const state = draft.snapshot();
    if (!this.#lost) return state;
    const runs = state.runs.map((run) =>
      isLive(run) ? { ...run, state: afterKernelLoss(run.state) } : run,
    );
    return { ...state, runs };
  }

  /** Whether the kernel has events that are missing here. */
  behind(head: Head): boolean {
    return this.broken || this.cursor < head.seq;
  }

  /** The kernel is gone: show every live run as interrupted. */
  lose(): void {
    this.#lost = true;
    this.#view = null;
  }

  /** Drop everything; later states count as a new generation. */
  clear(): void {
    this.#draft = this.#view = null;
    this.#broken = this.#lost = this.#windowed = false;
    this.#omitted = this.#packet = this.#counted = 0;
    this.#held = [];
    this.#heldCount = 0;
    this.#unchecked = [];
  }

  /** Fold events from packet `n`, or hold them back. Returns whether anything changed. */
  takeEvents({ first_seq, events }: Events, n: number): boolean {
    return this.#take({ first_seq, events }, n);
  }

  /**
   * Fold text of the live run from packet `n`, or hold it back. Returns whether anything changed.
   *
   * @param since `at` of the message, in microseconds.
   */
  takeDelta([, seq, later, part_index, offset, text]: Delta, since: number, n: number): boolean {
    const at = (since + later) / 1e6;
    const event = { type: "part_delta", run_id: LIVE_RUN, at, part_index, offset, text } as const;
    return this.#take({ first_seq: seq, events: [event] }, n);
  }

  #take(stretch: Stretch, n: number): boolean {
    const before = this.#draft?.seq;
    if (this.#append(stretch)) {
      this.#packet = Math.max(this.#packet, n);
      this.#drain();
    } else this.#hold(stretch);
    return this.#draft?.seq !== before;
  }

  /** Take a whole state from packet `n`, unless the replica is newer. Returns whether it was taken. */
  takeState({ state, omitted }: SessionStateMessage, n: number): boolean {
    const seq = this.#draft?.seq ?? -1;
    // In a later packet an older state is right: the kernel has restored the session.
    const newer = state.seq > seq || (state.seq < seq && n > this.#packet);
    if (!newer && !(this.#broken && state.seq === seq)) return false;
    this.#generation++;
    this.#draft = new Draft(adoptState(state));
    this.#view = null;
    this.#omitted = omitted;
    this.#windowed = omitted > 0;
    this.#broken = false;
    this.#unchecked = [];
    this.#packet = Math.max(this.#packet, n);
    this.#drain();
    return true;
  }

  /** Put messages before the window. Returns false if they do not belong there any more. */
  takeEarlier({ messages, selected, omitted }: EarlierMessages): boolean {
    const first = this.view()?.path[0];
    if (this.#draft === null || first?.parent_id == null) return false;
    const state = this.#draft.snapshot();
    if (selected[first.parent_id] !== first.id || first.parent_id in state.messages) return false;
    const before = Object.fromEntries(messages.map((message) => [message.id, message]));
    this.#draft = new Draft(
      adoptState({
        ...state,
        messages: { ...before, ...state.messages },
        selected: { ...state.selected, ...selected },
      }),
    );
    this.#view = null;
    this.#omitted = omitted;
    return true;
  }

  /**
   * Compare a session at rest with its head from packet `n`; if they contradict each other, it is broken.
   *
   * A page with a window of a long conversation can miss that another branch was selected: then the
   * transcript's length differs.
   */
  recount(head: Head, n: number): void {
    const draft = this.#draft;
    if (draft === null || this.#broken || !isOver(head.state)) return;
    const { seq } = draft;
    if (head.seq < seq) {
      this.#broken = n >= this.#packet;
    } else if (head.seq === seq && this.#counted !== seq) {
      // Once for each state: if the kernel counted differently, asking again would not end.
      this.#counted = seq;
      this.#broken = this.#omitted + draft.length !== head.messages;
    }
  }

  /** Compare the texts of ended parts with their checksums. Returns false if one differs. */
  checkTexts(): boolean {
    const ended = this.#unchecked;
    this.#unchecked = [];
    if (this.#broken || ended.every((part) => this.#intact(part))) return true;
    this.#broken = true;
    this.#stats.checksumErrors++;
    return false;
  }

  /** Return whether a part has the kernel's text; true if the part is not loaded any more. */
  #intact({ message_id, part_index, length, crc32: sum }: Ended): boolean {
    const text = this.#draft?.message(message_id)?.parts[part_index]?.text;
    return text === undefined || text.length !== length || crc32(text) === sum;
  }

  /** Fold the new events of a stretch. Returns false if events before it are missing. */
  #append({ first_seq, events }: Stretch): boolean {
    const draft = this.#draft;
    if (draft === null || this.#broken) return false;
    const known = draft.seq + 1 - first_seq;
    if (known < 0) return false;
    this.#stats.duplicates += Math.min(known, events.length);
    if (known >= events.length) return true;
    for (const each of known === 0 ? events : events.slice(known)) {
      const event = ofLiveRun(draft, each);
      if (!this.#fits(draft, event)) break;
      const ended = endedBy(draft, event);
      if (ended !== null) this.#unchecked.push(ended);
      draft.apply(event);
    }
    this.#view = null;
    return true;
  }

  #fits(draft: Draft, event: Event): boolean {
    const reason = misfit(draft, event, this.#windowed);
    if (reason === null) return true;
    // Everything before this event stays valid; from here on only a whole state helps.
    this.#broken = true;
    if (reason === "text") this.#stats.checksumErrors++;
    return false;
  }

  /** Fold held stretches, as far as they follow now. */
  #drain(): void {
    for (let progress = true; progress && this.#held.length > 0 && !this.#broken; ) {
      progress = false;
      const held = this.#held;
      this.#held = [];
      this.#heldCount = 0;
      for (const stretch of held) {
        if (this.#append(stretch)) progress = true;
        else this.#hold(stretch);
      }
    }
  }

  #hold(stretch: Stretch): void {
    this.#held.push(stretch);
    this.#heldCount += stretch.events.length;
    // All of them can be requested again, so memory stays bounded however long the page waits.
    while (this.#heldCount > MAX_HELD) this.#heldCount -= this.#held.shift()?.events.length ?? 0;
  }
}

/** Return an event with the id of the live run, if it came without one. */
function ofLiveRun(draft: Draft, event: Event): Event {
  if (event.type !== "part_delta" || event.run_id !== LIVE_RUN) return event;
  return { ...event, run_id: draft.live?.id ?? LIVE_RUN };
}

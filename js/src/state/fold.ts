/**
 * `Draft`: folds the events of a session into its state, equal to `nbchat/core/transcript.py`.
 *
 * The same recorded logs (`tests/logs/*.json`) test both. The transition table is generated from Python and is
 * in `protocol.ts`.
 */
import {
  type Event,
  type Message,
  type Part,
  type RunRecord,
  type RunState,
  type SessionState,
  TRANSITIONS,
} from "../protocol";
import { type Dict, dict, isOver, liveRun, queuedRun, ROOT, transcript } from "./session";

type RunEvent = Extract<Event, { run_id: string }>;

/** Return `state` with one more event folded in; `seq` counts up by one. */
export function applyEvent(state: SessionState, event: Event): SessionState {
  return applyEvents(state, [event]);
}

/**
 * Return `state` with several events folded in.
 *
 * Messages that no event changes keep their identity. The maps are copied at most once for all events, so the
 * cost depends on the text and not on the length of the conversation.
 *
 * An event that does not fit (a late delta, an unknown message) changes nothing but `seq`.
 */
export function applyEvents(state: SessionState, events: readonly Event[]): SessionState {
  if (events.length === 0) return state;
  const draft = new Draft(state);
  for (const event of events) draft.apply(event);
  return draft.snapshot();
}

/** Length of a text as Python counts it, in code points. */
function codePoints(text: string): number {
  let count = text.length;
  for (let i = 0; i < text.length - 1; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      count--;
      i++;
    }
  }
  return count;
}

function following(state: RunState, event: Event): RunState {
  return TRANSITIONS[state][event.type] ?? state;
}

/**
 * A mutable state: events are folded into it, and `snapshot()` returns it as an immutable value.
 *
 * A snapshot shares the maps with the draft; the next event that writes to a map copies it first. Events between
 * two snapshots therefore cost what they change, and not the length of the conversation.
 */
export class Draft {
  #state: SessionState;
  #seen: number;
  #messages: Dict<Message>;
  #selected: Dict<string>;
  #runs: RunRecord[];
  #ownsMessages = false;
  #ownsSelected = false;
  #ownsRuns = false;

  constructor(state: SessionState) {
    this.#state = state;
    this.#seen = state.seq;
    // Copied before the first write, see `#own…`.
    this.#messages = state.messages as Dict<Message>;
    this.#selected = state.selected as Dict<string>;
    this.#runs = state.runs as RunRecord[];
  }

  /** Number of the last event folded in. */
  get seq(): number {
    return this.#seen;
  }

  /** Return the current state as an immutable value. */
  snapshot(): SessionState {
    const [seq, messages, selected, runs] = [
      this.#seen,
      this.#messages,
      this.#selected,
      this.#runs,
    ];
    this.#ownsMessages = this.#ownsSelected = this.#ownsRuns = false;
    this.#state = { ...this.#state, seq, messages, selected, runs };
    return this.#state;
  }

  /** Number of messages of the transcript. */
  get length(): number {
    return transcript({ messages: this.#messages, selected: this.#selected }).length;
  }

  /** Return the current version of a message. */
  message(id: string): Message | undefined {
    return this.#messages[id];
  }

  /** Return the number of messages with this parent, all versions included. */
  children(id: string | null): number {
    return Object.values(this.#messages).filter((message) => message.parent_id === id).length;
  }

  /** Return the current record of a run; the newer one if two have the same id. */
  run(runId: string): RunRecord | undefined {
    return this.#runs.findLast((run) => run.id === runId);
  }

  /** The oldest run that is not over. */
  get live(): RunRecord | undefined {
    return liveRun({ runs: this.#runs });
  }

  /** Fold one event in. */
  apply(event: Event): void {
    this.#seen++;
    switch (event.type) {
      case "session_created":
        this.#change({
          created_at: event.at,
          settings: event.settings,
          temporary: event.temporary,
          thread_id: event.thread_id,
        });
        break;
      case "settings_changed":
        this.#change({ settings: event.settings });
        break;
      case "unread_changed":
        this.#change({ unread: event.unread });
        break;
      case "session_deleted":
        this.#change({ deleted: event.deleted });
        break;
      case "message_added":
        this.#place(event.message);
        break;
      case "message_removed":
        this.#remove(event.message_id);
        break;
      case "message_selected":
        this.#select(event.message_id);
        break;
      case "run_queued":
        this.#queue(event);
        break;
      case "run_started":
        this.#start(event);
        break;
      case "run_retrying":
        this.#move(event, {
          attempt: event.attempt,
          attempts: event.of,
          retry_at: event.retry_at,
          error: event.error,
        });
        break;
      case "run_connecting":
        this.#connect(event);
        break;
      case "run_answering":
        this.#answering(event);
        break;
      case "part_started":
        this.#partStarted(event);
        break;
      case "part_delta":
        this.#partDelta(event);
        break;
      case "part_ended":
        this.#partEnded(event);
        break;
      case "run_awaiting_approval":
        this.#move(event, { asking: event.call_ids });
        break;
      case "run_acting":
        this.#act(event);
        break;
      case "run_paused":
      case "run_resumed":
      case "run_requeued":
      case "stop_requested":
        this.#move(event, {});
        break;
      case "run_completed":
      case "run_incomplete":
      case "run_stopped":
      case "run_failed":
      case "run_interrupted":
        this.#end(event);
        break;
      case "run_acknowledged":
        this.#setRun(event.run_id, { acknowledged: true });
        break;
      case "run_saved":
        this.#setRun(event.run_id, { saved: event.saved });
        break;
      default:
        // A newer kernel reports its version in the handshake; unknown events still count.
        event satisfies never;
    }
  }

  #change(fields: Partial<SessionState>): void {
    this.#state = { ...this.#state, ...fields };
  }

  #ownMessages(): Dict<Message> {
    if (!this.#ownsMessages) this.#messages = dict(this.#messages);
    this.#ownsMessages = true;
    return this.#messages;
  }

  #ownSelected(): Dict<string> {
    if (!this.#ownsSelected) this.#selected = dict(this.#selected);
    this.#ownsSelected = true;
    return this.#selected;
  }

  #ownRuns(): RunRecord[] {
    if (!this.#ownsRuns) this.#runs = [...this.#runs];
    this.#ownsRuns = true;
    return this.#runs;
  }

  /** Return the live run of an event; undefined if it is over or unknown. */
  #live(event: RunEvent): RunRecord | undefined {
    const run = this.run(event.run_id);
    return run === undefined || isOver(run.state) ? undefined : run;
  }

  #setRun(runId: string, fields: Partial<RunRecord>): void {
    const index = this.#runs.findLastIndex((run) => run.id === runId);
    const run = this.#runs[index];
    if (run !== undefined) this.#ownRuns()[index] = { ...run, ...fields };
  }

  #setMessage(id: string, fields: Partial<Message>): void {
    const message = this.#messages[id];
    if (message !== undefined) this.#ownMessages()[id] = { ...message, ...fields };
  }

  #move(event: RunEvent, fields: Partial<RunRecord>): void {
    const run = this.#live(event);
    if (run !== undefined) {
      this.#setRun(run.id, { state: following(run.state, event), ...fields });
    }
  }

  /** Put a message into the tree, selected among its siblings. */
  #place(message: Message | null): void {
    if (message === null) return;
    this.#ownMessages()[message.id] = message;
    this.#ownSelected()[message.parent_id || ROOT] = message.id;
  }

  #select(id: string): void {
    const message = this.#messages[id];
    if (message !== undefined) this.#ownSelected()[message.parent_id || ROOT] = id;
  }

  /** Remove a message and its descendants, and select the newest sibling that is left. */
  #remove(id: string): void {
    const message = this.#messages[id];
    if (message === undefined) return;
    const gone = new Set([id]);
    for (const other of Object.values(this.#messages)) {
      // Parents come before their children.
      if (other.parent_id !== null && gone.has(other.parent_id)) gone.add(other.id);
    }
    const messages = this.#ownMessages();
    for (const key of gone) delete messages[key];
    const selected = this.#ownSelected();
    for (const [parent, child] of Object.entries(selected)) {
      if (gone.has(parent) || gone.has(child)) delete selected[parent];
    }
    const parent = message.parent_id || ROOT;
    if (!(parent in selected)) {
      for (const other of Object.values(messages)) {
        if ((other.parent_id || ROOT) === parent) selected[parent] = other.id;
      }
    }
  }

  #queue(event: Extract<Event, { type: "run_queued" }>): void {
    if (event.prompt !== null && this.#live(event)?.prompt) {
      // The question of a queued run was edited.
      this.#setRun(event.run_id, { prompt: event.prompt, prompt_id: event.prompt.id });
      return;
    }
    this.#ownRuns().push(queuedRun(event));
  }

  #start(event: Extract<Event, { type: "run_started" }>): void {
    const run = this.run(event.run_id);
    if (run === undefined) return;
    const replaced = run.replaces === null ? undefined : this.#messages[run.replaces];
    if (replaced?.parts.length === 0) this.#remove(replaced.id);
    const existing = event.answer === null ? this.#messages[run.message_id] : undefined;
    const appended =
      existing === undefined
        ? null
        : { ...existing, run_id: run.id, finish_reason: null, usage: null };
    this.#place(event.prompt);
    this.#place(event.answer ?? appended);
    this.#setRun(run.id, {
      state: following(run.state, event),
      started_at: event.at,
      prompt: null,
      model: event.model,
      first_part: appended?.parts.length ?? 0,
    });
  }

  #connect(event: Extract<Event, { type: "run_connecting" }>): void {
    const state = this.#live(event)?.state;
    const next = state === "streaming" || state === "awaiting_approval" || state === "acting";
    const parts = this.#messages[this.#live(event)?.message_id ?? ""]?.parts.length ?? 0;
    this.#move(event, {
      retry_at: null,
      error: null,
      // Another round of the run; its attempts do not replace the results.
      ...(next ? { round_part: parts, asking: [], response_id: null, response_sequence: 0 } : {}),
    });
  }

  #act(event: Extract<Event, { type: "run_acting" }>): void {
    const run = this.#live(event);
    const message = run && this.#messages[run.message_id];
    if (run === undefined || message === undefined) return;
    const { at, call_ids } = event;
    this.#move(event, { asking: run.asking.filter((id) => !call_ids.includes(id)) });
    this.#setMessage(message.id, {
      parts: message.parts.map((part) =>
        part.type === "tool_call" && call_ids.includes(part.call_id)
          ? { ...part, started_at: at }
          : part,
      ),
    });
  }

  #answering(event: Extract<Event, { type: "run_answering" }>): void {
    const run = this.#live(event);
    if (run === undefined) return;
    const model = event.model || run.model;
    this.#setRun(run.id, {
      state: following(run.state, event),
      model,
      server: event.server || run.server,
      from_cache: event.from_cache,
      response_id: event.response_id || run.response_id,
      response_sequence:
        event.response_id && event.response_id !== run.response_id
          ? event.sequence
          : Math.max(event.sequence, run.response_sequence),
    });
    this.#setMessage(run.message_id, { model });
  }

  #partStarted(event: Extract<Event, { type: "part_started" }>): void {
    const run = this.#live(event);
    const message = run && this.#messages[run.message_id];
    if (run === undefined || message === undefined) return;
    // The parts of an attempt before are replaced.
    const kept =
      run.state === "connecting" ? Math.max(run.first_part, run.round_part) : message.parts.length;
    if (event.part_index !== kept) return;
    // The replaced answer is kept until the new one has its first part.
    if (run.replaces !== null && run.replaces !== message.id) this.#remove(run.replaces);
    const answered = event.part.type === "tool_result" ? event.part.call_id : null;
    this.#setRun(run.id, {
      state: following(run.state, event),
      asking: run.asking.filter((id) => id !== answered),
      first_delta_at: run.first_delta_at || event.at,
      last_delta_at: event.at,
    });
    this.#setMessage(message.id, { parts: [...message.parts.slice(0, kept), event.part] });
  }

  #partDelta(event: Extract<Event, { type: "part_delta" }>): void {
    const run = this.#live(event);
    const message = run && this.#messages[run.message_id];
    const part = message?.parts[event.part_index];
    if (run === undefined || message === undefined || part === undefined) return;
    this.#setRun(run.id, {
      state: following(run.state, event),
      last_delta_at: event.at,
      characters: run.characters + codePoints(event.text),
    });
    this.#setMessage(message.id, {
      parts: message.parts.with(event.part_index, { ...part, text: part.text + event.text }),
    });
  }

  #partEnded(event: Extract<Event, { type: "part_ended" }>): void {
    const run = this.#live(event);
    const message = run && this.#messages[run.message_id];
    const part = message?.parts[event.part_index];
    if (message === undefined || part === undefined) return;
    this.#setMessage(message.id, {
      parts: message.parts.with(event.part_index, endedPart(part, event)),
    });
  }

  #end(
    event: Extract<
      Event,
      {
        type: "run_completed" | "run_incomplete" | "run_stopped" | "run_failed" | "run_interrupted";
      }
    >,
  ): void {
    const run = this.#live(event);
    if (run === undefined) return;
    const finish_reason = "finish_reason" in event ? event.finish_reason : null;
    const usage = "usage" in event ? event.usage : null;
    this.#setRun(run.id, {
      state: following(run.state, event),
      ended_at: event.at,
      finish_reason,
      usage,
      error: "error" in event ? event.error : null,
      retry_at: null,
      asking: [],
    });
    const message = this.#messages[run.message_id];
    if (message?.run_id !== run.id) return;
    this.#setMessage(message.id, {
      finish_reason,
      usage,
      model: run.model || message.model,
      // A continued answer has those of its beginning already.
      sources: together(message.sources, "sources" in event ? event.sources : []),
      notices: together(message.notices, "notices" in event ? event.notices : []),
    });
  }
}

/** Return `before`, and what `more` adds to it. */
function together<T>(before: readonly T[] = [], more: readonly T[] = []): readonly T[] {
  const known = new Map([...before, ...more].map((one) => [JSON.stringify(one), one]));
  return [...known.values()];
}

function endedPart(part: Part, event: Extract<Event, { type: "part_ended" }>): Part {
  switch (part.type) {
    case "reasoning":
      return { ...part, seconds: event.seconds };
    case "tool_call":
      return { ...part, call_id: event.call_id || part.call_id, name: event.name || part.name };
    default:
      return part;
  }
}

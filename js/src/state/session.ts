/** Reads a `SessionState`: transcript, live run, status. Pure functions; `fold.ts` changes states. */
import {
  type Event,
  type Message,
  type RunRecord,
  type RunState,
  type SessionState,
  TRANSITIONS,
} from "../protocol";

/** Key in `selected` for the first message, which has no parent. */
export const ROOT = "";

export type Dict<T> = Record<string, T>;

/** Return the session as it is before its first event. */
export function emptyState(id: string): SessionState {
  return {
    id,
    seq: 0,
    created_at: 0,
    settings: {
      title: "",
      model: null,
      instructions: null,
      params: {},
      provider: null,
      pinned: false,
      rank: null,
      closed: false,
      archived: false,
      from_file: false,
    },
    temporary: false,
    thread_id: null,
    deleted: false,
    unread: false,
    messages: dict({}),
    selected: dict({}),
    runs: [],
  };
}

/** Return the record of a run as it is when it is queued. */
export function queuedRun(event: Extract<Event, { type: "run_queued" }>): RunRecord {
  return {
    id: event.run_id,
    kind: event.kind,
    state: "queued",
    message_id: event.message_id,
    queued_at: event.at,
    prompt: event.prompt,
    prompt_id: event.prompt?.id ?? null,
    rooted: event.rooted,
    parent_id: event.parent_id,
    replaces: event.replaces,
    params: event.params,
    first_part: 0,
    round_part: 0,
    asking: [],
    started_at: null,
    first_delta_at: null,
    last_delta_at: null,
    ended_at: null,
    characters: 0,
    attempt: 0,
    attempts: 0,
    retry_at: null,
    model: null,
    server: null,
    from_cache: false,
    response_id: null,
    response_sequence: 0,
    finish_reason: null,
    usage: null,
    error: null,
    acknowledged: false,
    saved: true,
  };
}

/** Return a state that came over the wire in the form that is folded here. */
export function adoptState(state: SessionState): SessionState {
  return { ...state, messages: dict(state.messages), selected: dict(state.selected) };
}

/** Return the transcript: the selected version of every turn, oldest first. */
export function transcript({
  messages,
  selected,
}: Pick<SessionState, "messages" | "selected">): readonly Message[] {
  const path: Message[] = [];
  const seen = new Set<string>();
  let here = selected[ROOT];
  // A damaged file can hold a tree that leads back to itself.
  while (here !== undefined && !seen.has(here)) {
    const message = messages[here];
    if (message === undefined) break;
    path.push(message);
    seen.add(here);
    here = selected[here];
  }
  return path;
}

/** Return the oldest run that is not over. */
export function liveRun(state: Pick<SessionState, "runs">): RunRecord | undefined {
  return state.runs.find((run) => !isOver(run.state));
}

/** Return the state of the live run, else of the last one, else `idle`. */
export function statusOf(state: SessionState): RunState | "idle" {
  return (liveRun(state) ?? state.runs.at(-1))?.state ?? "idle";
}

const OVER = new Set<string>(
  Object.entries(TRANSITIONS)
    .filter(([, table]) => Object.keys(table).length === 0)
    .map(([state]) => state),
);

/** Whether nothing can happen to a run in this state any more; `idle` is over too. */
export function isOver(state: string): boolean {
  return state === "idle" || OVER.has(state);
}

/** Return whether a run is still live. */
export function isLive(run: RunRecord | null): boolean {
  return run !== null && !isOver(run.state);
}

/** Return the state that a run has after its kernel is gone: nothing of it continues. */
export function afterKernelLoss<S extends string>(state: S): S | "interrupted" {
  return isOver(state) ? state : "interrupted";
}

/** Copy a map without a prototype: ids come from files too, and `constructor` must not be found. */
export function dict<T>(entries: Readonly<Dict<T>>): Dict<T> {
  return Object.assign(Object.create(null) as Dict<T>, entries);
}

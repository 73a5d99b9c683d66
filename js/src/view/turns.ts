/** Collects what the elements of each message depend on. */

import type { Message, RunRecord } from "../protocol";
import { refusedQuestions } from "../state/refusals";
import type { SessionView } from "../state/replica";
import { isLive } from "../state/session";
import type { Turn } from "../types";

/** Return the turns from message `start` up to `end` of a session's transcript. */
export function turnsOf(
  { path, state, generation }: SessionView,
  start: number,
  end: number,
): Turn[] {
  const byId = new Map<string, RunRecord>();
  const seams = new Map<string, number[]>();
  for (const run of state.runs) {
    byId.set(run.id, run);
    if ((run.kind === "continue" || run.kind === "resume") && run.started_at !== null) {
      append(seams, run.message_id, run.first_part);
    }
  }
  const versions = new Map<string, Message[]>();
  for (const message of Object.values(state.messages)) append(versions, turnKey(message), message);
  const { runs } = state;
  const busy = runs.some(isLive);
  const refused = refusedQuestions(state, path);
  return path.slice(start, end).map((message, i) => ({
    message,
    sessionId: state.id,
    run: (message.run_id !== null && byId.get(message.run_id)) || null,
    versions: versions.get(turnKey(message)) ?? [message],
    seams: seams.get(message.id) ?? [],
    refused: refused.has((message.role === "user" ? message : path[start + i - 1])?.id ?? ""),
    last: start + i === path.length - 1,
    runs,
    busy,
    generation,
  }));
}

/** Versions of one turn have the same role and the same parent. */
function turnKey({ role, parent_id }: Message): string {
  return `${role} ${parent_id ?? ""}`;
}

function append<T>(lists: Map<string, T[]>, key: string, value: T): void {
  const known = lists.get(key);
  if (known) known.push(value);
  else lists.set(key, [value]);
}

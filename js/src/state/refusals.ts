/**
 * Finds the questions that a server refused for their content; later requests omit them.
 *
 * The rule is that of `nbchat/core/refusals.py`; `tests/logs/refused.json` holds both to the same result.
 */
import type { Message, RunRecord, SessionState } from "../protocol";

/** Statuses of the 4xx class that do not concern the content of a question. */
const OTHER_STATUSES = new Set([401, 403, 404, 408, 409, 429]);

/** Errors about the key, the model or the network, whatever status the server chose for them. */
const OTHER_CODES = new Set([
  "authentication_failed",
  "config_error",
  "connect_failed",
  "model_not_found",
]);

/** Return the ids of the user's messages in `path` that later requests omit. */
export function refusedQuestions(
  { runs: all }: Pick<SessionState, "runs">,
  path: readonly Message[],
): ReadonlySet<string> {
  const runs = new Map(all.map((run) => [run.id, run]));
  const asked = new Map<string, RunRecord>();
  for (const run of all) {
    const question = run.prompt_id ?? run.parent_id;
    if (question !== null) asked.set(question, run);
  }
  const refused = new Set<string>();
  path.forEach((message, index) => {
    if (message.role !== "user") return;
    const following = path[index + 1];
    let last = asked.get(message.id);
    if (following?.role === "assistant") {
      last = following.parts.length > 0 ? undefined : runs.get(following.run_id ?? "");
    }
    if (last && isRefusal(last)) refused.add(message.id);
  });
  return refused;
}

/** Whether a server refused a run's question for its content, before any text. */
function isRefusal({ state, finish_reason, characters, error }: RunRecord): boolean {
  if (state === "incomplete") return finish_reason === "content_filter" && characters === 0;
  if (state !== "failed" || error === null || OTHER_CODES.has(error.code)) return false;
  const status = error.http_status ?? 0;
  const concerns = status >= 400 && status < 500 && !OTHER_STATUSES.has(status);
  return concerns || error.code === "context_too_long";
}

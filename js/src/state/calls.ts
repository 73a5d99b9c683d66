/** Returns the tool calls of an answer with their states, as `nbchat/core/calls.py` does. */
import type { Message, RunRecord, ToolCallPart, ToolResultPart } from "../protocol";
import { isOver } from "./session";

/**
 * `arriving`: the arguments are incomplete, or the call is about to be checked. `asking`: it waits for approval.
 * `not_run`: it was refused, invalid, or its run ended before it was started. `unknown`: it was started, and its
 * run ended before its result arrived.
 */
export type CallState = "arriving" | "asking" | "running" | "ran" | "not_run" | "unknown";

/** A tool call of an answer. */
export interface ToolCall {
  readonly index: number;
  readonly part: ToolCallPart;
  readonly state: CallState;
  readonly result: ToolResultPart | null;
}

/** Return the calls of an answer; `run` is the run of the answer, if it is known. */
export function callsOf(message: Message, run: RunRecord | undefined): readonly ToolCall[] {
  return message.parts.flatMap((part, index) => {
    if (part.type !== "tool_call") return [];
    const result = resultOf(message, index, part.call_id);
    // A run that continues an answer does not run the calls of earlier runs.
    const own = run !== undefined && index >= run.first_part ? run : undefined;
    return [{ index, part, result, state: stateOf(part, result, own) }];
  });
}

/** Return the result that follows a call; a later call may have the same id. */
function resultOf(message: Message, index: number, callId: string): ToolResultPart | null {
  for (const part of message.parts.slice(index + 1)) {
    if (part.type === "tool_result" && part.call_id === callId) return part;
    if (part.type === "tool_call" && part.call_id === callId) return null;
  }
  return null;
}

function stateOf(
  part: ToolCallPart,
  result: ToolResultPart | null,
  run: RunRecord | undefined,
): CallState {
  if (result !== null) return part.started_at === null || result.not_run ? "not_run" : "ran";
  const live = run !== undefined && !isOver(run.state) && run.state !== "stopping";
  if (part.started_at !== null) return live ? "running" : "unknown";
  if (!live) return "not_run";
  return run.asking.includes(part.call_id) ? "asking" : "arriving";
}

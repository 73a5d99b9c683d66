import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Event, Message, RunRecord } from "../../src/protocol";
import { callsOf } from "../../src/state/calls";
import { applyEvent } from "../../src/state/fold";
import { emptyState } from "../../src/state/session";

/** Return the states of the calls after each event of a type in a recorded log. */
function statesAt(log: string, type: Event["type"]): string[][] {
  const url = new URL(`../../../tests/logs/${log}.json`, import.meta.url);
  const { events } = JSON.parse(readFileSync(url, "utf8")) as { events: Event[] };
  let state = emptyState("ses_1");
  const found: string[][] = [];
  for (const event of events) {
    state = applyEvent(state, event);
    const answer = Object.values(state.messages).find((message) => message.id === "a_1");
    if (event.type === type && answer !== undefined)
      found.push(callsOf(answer, state.runs[0]).map((call) => call.state));
  }
  return found;
}

test("a call asks, runs and has run; a refused one was not run", () => {
  expect(statesAt("tools_approved", "run_awaiting_approval")).toEqual([
    ["asking", "asking", "asking"],
    ["ran", "asking", "not_run"],
  ]);
  expect(statesAt("tools_approved", "run_acting")).toEqual([
    ["running", "asking", "not_run"],
    ["ran", "running", "not_run"],
  ]);
});

test("a run that continues an answer does not run the calls of the run before", () => {
  const part = { type: "tool_call", call_id: "c1", name: "rate", text: "{}", started_at: 1 };
  const message = { parts: [part] } as unknown as Message;
  const states = (first_part: number): string[] => {
    const run = { state: "streaming", first_part, asking: [] } as unknown as RunRecord;
    return callsOf(message, run).map(({ state }) => state);
  };
  expect([states(0), states(1)]).toEqual([["running"], ["unknown"]]);
});

test("a started call without a result has an unknown outcome", () => {
  expect(statesAt("tools_stopped", "run_stopped")).toEqual([["unknown", "not_run"]]);
});

test("a call that was approved and not started was not run", () => {
  const part = { type: "tool_call", call_id: "c1", name: "rate", text: "{}", started_at: 1 };
  const states = (not_run: boolean): string[] => {
    const result = { type: "tool_result", call_id: "c1", text: "", not_run };
    return callsOf({ parts: [part, result] } as unknown as Message, undefined).map(
      ({ state }) => state,
    );
  };
  expect([states(false), states(true)]).toEqual([["ran"], ["not_run"]]);
});

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { refusedQuestions } from "../../src/state/refusals";
import { adoptState, transcript } from "../../src/state/session";

test("the page finds the refused questions that Python finds", () => {
  const file = new URL("../../../tests/logs/refused.json", import.meta.url);
  const state = adoptState(JSON.parse(readFileSync(file, "utf8")).state);
  expect([...refusedQuestions(state, transcript(state))]).toEqual(["q_1", "q_4", "q_5", "q_6"]);
});

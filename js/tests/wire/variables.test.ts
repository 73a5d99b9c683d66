/** Questions about variables: repeated until they are answered, and given up in the end. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Described, Variables } from "../../src/protocol";
import { type Ask, VariableRequests } from "../../src/wire/variables";

let asked: Ask[];
let requests: VariableRequests;

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  requests = new VariableRequests((ask) => asked.push(ask));
});
afterEach(() => {
  vi.useRealTimers();
});

test("a question is repeated under the same id until it is answered", async () => {
  const answer = requests.describe("df");
  await vi.advanceTimersByTimeAsync(4_500);
  expect(asked).toHaveLength(3);
  expect(new Set(asked.map(({ id }) => id)).size).toBe(1);
  const id = asked[0]?.id as string;
  const described: Described = { type: "described", to: "", id, parts: [] };
  requests.take({ ...described, id: "another" });
  requests.take(described);
  expect(await answer).toBe(described);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(asked).toHaveLength(3);
});

test("a kernel that does not answer gives null", async () => {
  const list = requests.list();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await list).toBeNull();
  expect(asked.length).toBeLessThan(10);
  const late: Variables = { type: "variables", to: "", id: asked[0]?.id as string, variables: [] };
  requests.take(late);
});

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { Event, SessionState } from "../../src/protocol";
import { crc32 } from "../../src/state/crc32";
import { applyEvent, applyEvents } from "../../src/state/fold";
import { adoptState, emptyState, transcript } from "../../src/state/session";

interface Log {
  about: string;
  session_id: string;
  events: Event[];
  state: SessionState;
}

const folder = new URL("../../../tests/logs/", import.meta.url);
const logs = readdirSync(folder)
  .filter((name) => name.endsWith(".json"))
  .map((name): [string, Log] => [name, JSON.parse(readFileSync(new URL(name, folder), "utf8"))]);

/** What a state looks like on the wire; the order of the messages counts. */
function wire(state: SessionState): unknown {
  return JSON.parse(
    JSON.stringify({
      ...state,
      messages: Object.entries(state.messages),
      selected: Object.entries(state.selected).sort(),
    }),
  );
}

describe.each(logs)("%s", (_name, log) => {
  test("folds to the state that Python has, event by event", () => {
    const state = log.events.reduce(applyEvent, emptyState(log.session_id));
    expect(wire(state)).toEqual(wire(log.state));
  });

  test("folds to the same state at once and continued from every event", () => {
    let state = emptyState(log.session_id);
    for (const [at, event] of log.events.entries()) {
      const travelled = adoptState(JSON.parse(JSON.stringify(state)));
      // Noise is long; its every tenth place is enough.
      if (at % Math.ceil(log.events.length / 20) === 0) {
        expect(wire(applyEvents(travelled, log.events.slice(at)))).toEqual(wire(log.state));
      }
      state = applyEvent(state, event);
    }
  });

  test("never changes a state that was returned earlier", () => {
    let state = emptyState(log.session_id);
    for (const event of log.events) {
      const before = JSON.stringify(state);
      const next = applyEvent(state, event);
      expect(JSON.stringify(state)).toBe(before);
      state = next;
    }
  });
});

test("messages that an event does not touch keep their identity", () => {
  const [, log] = logs.find(([name]) => name === "two_turns.json") as [string, Log];
  const cut = log.events.findLastIndex((event) => event.type === "part_delta");
  const before = applyEvents(emptyState("s"), log.events.slice(0, cut));
  const after = applyEvents(before, log.events.slice(cut));
  expect(after.messages["a_1"]).toBe(before.messages["a_1"]);
  expect(after.messages["a_2"]).not.toBe(before.messages["a_2"]);
  expect(after.selected).toBe(before.selected);
});

test("ids such as __proto__ are ordinary ids", () => {
  const state = emptyState("s");
  expect(state.messages["constructor"]).toBeUndefined();
  expect(transcript({ ...state, selected: { "": "toString" } })).toEqual([]);
  expect(Object.prototype).not.toHaveProperty("polluted");
});

test("a cyclic tree of messages is read without a hang", () => {
  const [, log] = logs.find(([name]) => name === "two_turns.json") as [string, Log];
  const state = adoptState({ ...log.state, selected: { "": "q_1", q_1: "a_1", a_1: "q_1" } });
  expect(transcript(state).map((message) => message.id)).toEqual(["q_1", "a_1"]);
});

test("the checksum equals zlib's for text in any script", () => {
  expect(crc32("")).toBe(0);
  expect(crc32("123456789")).toBe(0xcbf43926);
  const [, log] = logs.find(([name]) => name === "every_alphabet.json") as [string, Log];
  const ended = log.events.find((event) => event.type === "part_ended");
  const text = log.state.messages["a_1"]?.parts[0]?.text ?? "";
  expect([crc32(text), text.length]).toEqual([ended?.crc32, ended?.length]);
});

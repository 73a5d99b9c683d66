import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { AnyModel } from "../../src/jupyter";
import type { PageMessage } from "../../src/protocol";
import { Pieces } from "../../src/wire/pieces";
import { Sequence } from "../../src/wire/sequence";
import { Uplink } from "../../src/wire/transport";
import { FakeHost } from "../../testing/kernel-model";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function ask(id: string): PageMessage {
  return { type: "sync", id, page: "p", epoch: "k1", rev: 0, sessions: {} };
}

describe("the way to the kernel", () => {
  test.each([
    ["a comm of its own, where that has a subshell", {}, "comm", true],
    ["the control channel, where subshells are off", { subshell: false }, "control", true],
    [
      "the widget, where there is nothing else",
      { subshell: false, control: false },
      "model",
      false,
    ],
  ])("is %s", async (_, kind, road, free) => {
    const heard: string[] = [];
    const host = new FakeHost((message) => heard.push((message as { id: string }).id), kind);
    const uplink = new Uplink(host.model);
    // Sent before any road was open: nothing is lost, and the order stays.
    uplink.send(ask("1"));
    uplink.send(ask("2"));
    await vi.advanceTimersByTimeAsync(2000);
    uplink.send(ask("3"));
    expect(heard).toEqual(["1", "2", "3"]);
    expect(new Set(host.roads)).toEqual(new Set([road]));
    expect(uplink.free).toBe(free);
    expect(uplink.name).toBe(road);
    uplink.close();
    uplink.send(ask("4"));
    expect(heard).toHaveLength(3);
  });

  test("is the widget in a host that shows no kernel", async () => {
    const sent: unknown[] = [];
    const model = { send: (content: unknown) => sent.push(content) } as unknown as AnyModel;
    const uplink = new Uplink(model);
    uplink.send(ask("1"));
    await vi.advanceTimersByTimeAsync(0);
    expect(sent).toEqual([{ message: ask("1") }]);
  });

  test("does not wait for a subshell that never starts", async () => {
    const host = new FakeHost(() => {});
    const comm = host.model.widget_manager?.kernel?.createComm?.("x");
    Object.assign(host.model.widget_manager?.kernel ?? {}, {
      createComm: () => ({ ...comm, subshellStarted: new Promise(() => {}), subshellId: null }),
    });
    const uplink = new Uplink(host.model);
    uplink.send(ask("1"));
    await vi.advanceTimersByTimeAsync(1400);
    expect(host.roads).toEqual([]);
    await vi.advanceTimersByTimeAsync(200);
    expect(host.roads).toEqual(["control"]);
  });

  test("is the next one, when the one in use breaks or is given up", async () => {
    const heard: string[] = [];
    const host = new FakeHost((message) => heard.push((message as { id: string }).id));
    const kernel = host.model.widget_manager?.kernel ?? {};
    const comm = host.model.widget_manager?.kernel?.createComm?.("x");
    const dead = { isDisposed: false };
    Object.assign(kernel, { createComm: () => Object.assign(dead, comm) });
    const uplink = new Uplink(host.model);
    await vi.advanceTimersByTimeAsync(0);
    uplink.send(ask("1"));
    dead.isDisposed = true;
    uplink.send(ask("2"));
    await vi.advanceTimersByTimeAsync(0);
    uplink.next();
    uplink.send(ask("3"));
    await vi.advanceTimersByTimeAsync(0);
    uplink.next();
    uplink.send(ask("4"));
    expect(heard).toEqual(["1", "2", "3", "4"]);
    expect(host.roads).toEqual(["comm", "control", "model", "model"]);
  });
});

describe("pieces", () => {
  const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);

  test("make their packet in any order, and twice makes no difference", () => {
    const pieces = new Pieces();
    expect(pieces.take("1", 2, 3, bytes(5))).toBeNull();
    expect(pieces.take("1", 0, 3, bytes(1, 2))).toBeNull();
    expect(pieces.take("1", 0, 3, bytes(9, 9))).toBeNull();
    expect(pieces.take("1", 1, 3, bytes(3, 4))).toEqual(bytes(1, 2, 3, 4, 5));
    expect(pieces.take("2", 0, 1, bytes(7))).toEqual(bytes(7));
  });

  test("of packets that will never be complete are forgotten", () => {
    const pieces = new Pieces();
    for (let i = 0; i < 20; i++) pieces.take(`${i}`, 0, 2, bytes(i));
    expect(pieces.take("0", 1, 2, bytes(1))).toBeNull();
    expect(pieces.take("19", 1, 2, bytes(1))).toEqual(bytes(19, 1));
  });

  test.each([
    [-1, 2],
    [2, 2],
    [0.5, 2],
    [0, 0],
    [0, Number.NaN],
    [0, 1e9],
  ])("numbered %d of %d are nothing", (piece, of) =>
    expect(new Pieces().take("1", piece, of, bytes(1))).toBeNull(),
  );
});

describe("a sequence", () => {
  test("has a gap until the kernel has said where it begins", () => {
    const sequence = new Sequence();
    expect(sequence.take(5, 2, true)).toBe(true);
    expect(sequence.gap).toBe(true);
    sequence.settle(5, 2);
    expect([sequence.gap, sequence.rev]).toEqual([false, 2]);
  });

  test("takes each packet once, and closes a gap by itself when what was missing comes", () => {
    const sequence = new Sequence();
    sequence.settle(1, 1);
    expect(sequence.take(3, 3, true)).toBe(true);
    expect([sequence.gap, sequence.rev]).toEqual([true, 1]);
    expect(sequence.take(3, 3, true)).toBe(false);
    expect(sequence.take(2, 2, true)).toBe(true);
    expect([sequence.gap, sequence.rev]).toEqual([false, 3]);
    expect(sequence.take(2, 2, true)).toBe(false);
  });

  test("learns of a lost packet from an empty one that repeats its number", () => {
    const sequence = new Sequence();
    sequence.settle(1, 1);
    sequence.take(2, 2, false);
    expect(sequence.gap).toBe(true);
    // The packet itself, when it comes after all, is news.
    expect(sequence.take(2, 2, true)).toBe(true);
    expect(sequence.gap).toBe(false);
  });

  test("is not set back by an old answer", () => {
    const sequence = new Sequence();
    sequence.settle(9, 9);
    sequence.settle(5, 5);
    expect([sequence.gap, sequence.rev, sequence.take(6, 6, true)]).toEqual([false, 9, false]);
  });
});

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { AnyModel } from "../../src/jupyter";
import type { PageMessage } from "../../src/protocol";
import { Pieces } from "../../src/wire/pieces";
import { Sequence } from "../../src/wire/sequence";
import { Uplink } from "../../src/wire/transport";
import { FakeHost, type HostKind } from "../../testing/host";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function ask(id: string): PageMessage {
  return { type: "sync", id, page: "p", epoch: "k1", rev: 0, sessions: {} };
}

/** Return an uplink, the host that it sends to, and the ids of the messages that arrived. */
function open(kind: HostKind = {}): { uplink: Uplink; host: FakeHost; arrived: string[] } {
  const arrived: string[] = [];
  const host = new FakeHost((message) => arrived.push((message as { id: string }).id), kind);
  return { uplink: new Uplink(host.model), host, arrived };
}

describe("the channel to the kernel", () => {
  test.each([
    ["the control channel, where the host has it", {}, "control", true],
    ["the widget's comm, where there is no control channel", { control: false }, "model", false],
  ] as const)("is %s, from the first message", (_, kind, channel, free) => {
    const { uplink, host, arrived } = open(kind);
    for (const id of ["1", "2", "3"]) uplink.send(ask(id));
    expect(arrived).toEqual(["1", "2", "3"]);
    expect(host.channels).toEqual([channel, channel, channel]);
    expect(uplink.free).toBe(free);
    expect(uplink.name).toBe(channel);
    uplink.close();
    uplink.send(ask("4"));
    expect(arrived).toHaveLength(3);
  });

  test("is the widget's comm in a host that shows no kernel", () => {
    const sent: unknown[] = [];
    const model = { send: (content: unknown) => sent.push(content) } as unknown as AnyModel;
    new Uplink(model).send(ask("1"));
    expect(sent).toEqual([{ message: ask("1") }]);
  });

  test("is never a comm of its own: on a subshell that disturbs the cell that runs", () => {
    const { uplink, host } = open();
    const createComm = vi.fn();
    Object.assign(host.model.widget_manager?.kernel ?? {}, { createComm });
    uplink.send(ask("1"));
    expect(createComm).not.toHaveBeenCalled();
  });

  test("is replaced by the next one when it breaks, and no message is lost or sent twice", () => {
    const { uplink, host, arrived } = open();
    uplink.send(ask("1"));
    const kernel = host.model.widget_manager?.kernel;
    const broken = vi.fn(() => {
      throw new Error("the kernel connection is disposed");
    });
    Object.assign(kernel ?? {}, { sendControlMessage: broken });
    for (const id of ["2", "3"]) uplink.send(ask(id));
    expect(arrived).toEqual(["1", "2", "3"]);
    expect(host.channels).toEqual(["control", "model", "model"]);
    expect(broken).toHaveBeenCalledTimes(1);
  });

  test("is replaced by the next one on demand, and the last one by the first", () => {
    const { uplink, host, arrived } = open();
    for (const id of ["1", "2", "3"]) {
      uplink.send(ask(id));
      uplink.next();
    }
    expect(arrived).toEqual(["1", "2", "3"]);
    expect(host.channels).toEqual(["control", "model", "control"]);
    expect(uplink.other?.name).toBe("control");
    expect(open({ control: false }).uplink.other).toBeNull();
  });

  test("can be named for a single message, also while another one is in use", () => {
    const { uplink, host, arrived } = open();
    uplink.next();
    expect(uplink.send(ask("1"), "control")).toBe(true);
    uplink.send(ask("2"));
    expect(host.channels).toEqual(["control", "model"]);
    expect(arrived).toEqual(["1", "2"]);
    uplink.close();
    expect(uplink.send(ask("3"), "control")).toBe(false);
  });

  test("is opened again only in a notebook: a host without one has a stand-in that would stay closed", () => {
    for (const [path, times] of [
      ["notes.ipynb", 1],
      ["", 0],
    ] as const) {
      const { uplink, host } = open({ path });
      uplink.reopen();
      expect(host.reopened).toHaveLength(times);
    }
  });

  test("is never another than the named one", () => {
    const arrived: string[] = [];
    const without = new Uplink({ send: () => arrived.push("comm") } as unknown as AnyModel);
    expect(without.send(ask("4"), "control")).toBe(false);
    expect(arrived).not.toContain("comm");
  });

  test("drops a message without an error if no channel can send it", () => {
    const fail = (): never => {
      throw new Error("closed");
    };
    const model = { send: fail, widget_manager: { kernel: { sendControlMessage: fail } } };
    const uplink = new Uplink(model as unknown as AnyModel);
    expect(() => uplink.send(ask("1"))).not.toThrow();
  });

  test("expects no reply to a request, and disposes of its future", async () => {
    const { uplink, host } = open();
    let cancel: (reason: Error) => void = () => {};
    const done = new Promise<void>((_, reject) => {
      cancel = reject;
    });
    const sendControlMessage = vi.fn(() => ({
      done,
      dispose: () => cancel(new Error("canceled before it was done")),
    }));
    Object.assign(host.model.widget_manager?.kernel ?? {}, { sendControlMessage });
    uplink.send(ask("1"));
    await expect(done).rejects.toThrow("canceled");
    expect(sendControlMessage).toHaveBeenCalledWith(
      expect.objectContaining({ channel: "control", content: { message: ask("1") } }),
      false,
      true,
    );
  });
});

describe("pieces", () => {
  const bytes = (...values: number[]): Uint8Array => new Uint8Array(values);

  test("make their packet in any order, also if some arrive twice", () => {
    const pieces = new Pieces();
    expect(pieces.take("1", 2, 3, bytes(5))).toBeNull();
    expect(pieces.take("1", 0, 3, bytes(1, 2))).toBeNull();
    expect(pieces.take("1", 0, 3, bytes(9, 9))).toBeNull();
    expect(pieces.take("1", 1, 3, bytes(3, 4))).toEqual(bytes(1, 2, 3, 4, 5));
    expect(pieces.take("2", 0, 1, bytes(7))).toEqual(bytes(7));
  });

  test("of packets that never become complete are dropped", () => {
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
  ])("numbered %d of %d are ignored", (piece, of) =>
    expect(new Pieces().take("1", piece, of, bytes(1))).toBeNull(),
  );
});

describe("a sequence", () => {
  test("has a gap until the kernel has sent its beginning", () => {
    const sequence = new Sequence();
    expect(sequence.take(5, 2, true)).toBe(true);
    expect(sequence.gap).toBe(true);
    sequence.settle(5, 2);
    expect([sequence.gap, sequence.rev]).toEqual([false, 2]);
  });

  test("takes each packet once, and closes a gap when the missing packet arrives", () => {
    const sequence = new Sequence();
    sequence.settle(1, 1);
    expect(sequence.take(3, 3, true)).toBe(true);
    expect([sequence.gap, sequence.rev]).toEqual([true, 1]);
    expect(sequence.take(3, 3, true)).toBe(false);
    expect(sequence.take(2, 2, true)).toBe(true);
    expect([sequence.gap, sequence.rev]).toEqual([false, 3]);
    expect(sequence.take(2, 2, true)).toBe(false);
  });

  test("detects a lost packet from an empty one that repeats its number", () => {
    const sequence = new Sequence();
    sequence.settle(1, 1);
    sequence.take(2, 2, false);
    expect(sequence.gap).toBe(true);
    // The packet itself, when it comes after all, is news.
    expect(sequence.take(2, 2, true)).toBe(true);
    expect(sequence.gap).toBe(false);
  });

  test("ignores an old answer", () => {
    const sequence = new Sequence();
    sequence.settle(9, 9);
    sequence.settle(5, 5);
    expect([sequence.gap, sequence.rev, sequence.take(6, 6, true)]).toEqual([false, 9, false]);
  });
});

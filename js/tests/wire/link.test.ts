/** The central property: whatever is lost, a page shows a prefix of the truth, and soon all of it. */
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Event, type Packet, PROTOCOL_VERSION } from "../../src/protocol";
import { transcript } from "../../src/state/session";
import { PERFECT } from "../../testing/line";
import { cut, type Wire } from "../../testing/wire-kernel";
import { play, World } from "../../testing/world";

const RUNS = Number(process.env["NBCHAT_RUNS"] ?? 40);

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("with packets lost, duplicated and reordered", { timeout: 120_000 }, () => {
  const double = fc.constantFrom(0, 0.2);
  const late = fc.constantFrom(0, 0.3);
  const faults = fc.record({ drop: fc.constantFrom(0, 0.05, 0.3, 0.5), double, late });
  // Of a packet in six pieces, 30 % loss leaves one in nine: that takes a while.
  const fewer = fc.record({ drop: fc.constantFrom(0, 0.05, 0.3), double, late });

  test("a view is a prefix of its session at every moment, and complete in the end", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), faults, async (seed, faults) => {
        (await play({ seed, pages: 2 }, faults, 3, 120)).close();
      }),
      { numRuns: RUNS },
    );
  });

  test("the same holds for a window of a long conversation and for packets in pieces", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(), fewer, async (seed, faults) => {
        const world = { seed, window: 4, past: 100, pieceBytes: 6000 };
        (await play(world, faults, 2, 150, 600_000)).close();
      }),
      { numRuns: RUNS },
    );
  });

  test.each([0.3, 0.5])(
    "with %d lost, pages are up to date in 1.5 s, 95 times of 100",
    async (drop) => {
      const times: number[] = [];
      for (let seed = 0; seed < 60; seed++) {
        const world = await play({ seed }, { drop, double: 0, late: 0 }, 2, 60);
        // The line stays as it is; only nothing new happens for a while.
        for (let i = 0; i < 5; i++) {
          world.step("s0");
          times.push(await world.settle());
        }
        world.close();
      }
      times.sort((a, b) => a - b);
      expect(times[Math.floor(times.length * 0.95)]).toBeLessThanOrEqual(1500);
    },
  );
});

/** A world with one page and one session that streams, at rest on a perfect line. */
async function streaming(options = {}): Promise<World> {
  const world = new World(options);
  world.kernel.append("s", ...begun("s"));
  for (const { link } of world.pages) link.want("s");
  world.kernel.append("s", delta(0, "The "), delta(4, "Seine"));
  await world.settle();
  return world;
}

function begun(id: string): Event[] {
  const empty = { role: "user", parts: [], created_at: 0, parent_id: null, run_id: null } as const;
  const blank = {
    ...empty,
    model: null,
    finish_reason: null,
    usage: null,
    sources: [],
    notices: [],
  };
  const prompt = { ...blank, id: "q" };
  const answer = { ...blank, id: "a", role: "assistant", parent_id: "q", run_id: "r" } as const;
  const run = { run_id: "r", at: 1 };
  void id;
  return [
    {
      ...run,
      type: "run_queued",
      kind: "send",
      message_id: "a",
      prompt,
      rooted: false,
      parent_id: null,
      replaces: null,
      params: {},
    },
    { ...run, type: "run_started", prompt, answer, model: null },
    { ...run, type: "part_started", part_index: 0, part: { type: "text", text: "" } },
  ];
}

function delta(offset: number, text: string): Event {
  return { type: "part_delta", run_id: "r", at: 2, part_index: 0, offset, text };
}

const END: Event = {
  type: "run_completed",
  run_id: "r",
  at: 3,
  finish_reason: "stop",
  usage: null,
  sources: [],
  notices: [],
};

function packetOf([, [bytes]]: Wire): Packet {
  return JSON.parse(new TextDecoder().decode(bytes));
}

describe("missing events", { timeout: 60_000 }, () => {
  test("the loss of the last packet of a run is found, and the run ends", async () => {
    const world = await streaming();
    const [{ link, down }] = world.pages as [World["pages"][0]];
    let lost = 0;
    down.lose = (wire) => packetOf(wire).messages.length > 0 && ++lost === 1;
    world.kernel.append("s", delta(9, "."), END);
    await vi.advanceTimersByTimeAsync(50);
    expect(link.store.heads.get("s")?.state).toBe("streaming");
    expect(await world.settle()).toBeLessThanOrEqual(500);
    expect(link.store.stats.resyncs).toBe(1);
    world.close();
  });

  test("a page with a live run asks by itself if the kernel's repetitions are lost as well", async () => {
    const world = await streaming();
    const [{ link, down }] = world.pages as [World["pages"][0]];
    down.lose = (wire) => !packetOf(wire).messages.some((m) => m.type === "synced");
    world.kernel.append("s", END);
    expect(await world.settle()).toBeLessThanOrEqual(1500);
    expect(link.store.heads.get("s")?.run_id).toBeNull();
    world.close();
  });

  test("a run that began and ended while a page was cut off is shown at once after that", async () => {
    const world = new World();
    await vi.advanceTimersByTimeAsync(30_000);
    const [{ link, down }] = world.pages as [World["pages"][0]];
    link.want("s");
    down.lose = () => true;
    world.kernel.append("s", ...begun("s"), delta(0, "x"), END);
    await vi.advanceTimersByTimeAsync(300);
    down.lose = () => false;
    expect(await world.settle()).toBeLessThanOrEqual(500);
    world.close();
  });

  test("a page that opens after any number of events of a run shows the whole run", async () => {
    const events = [...begun("s")];
    for (let at = 0; events.length < 199; at += 3) events.push(delta(at, "é中."));
    events.push(END);
    for (let cursor = 0; cursor <= events.length; cursor++) {
      const world = new World({ pages: 0 });
      if (cursor > 0) world.kernel.append("s", ...events.slice(0, cursor));
      const { link } = world.open();
      link.want("s");
      await vi.advanceTimersByTimeAsync(20 * (cursor % 5));
      if (cursor < events.length) world.kernel.append("s", ...events.slice(cursor));
      await world.settle();
      expect(link.store.session("s")?.state).toEqual(world.kernel.state("s"));
      expect(link.store.stats.resyncs).toBeLessThanOrEqual(1);
      world.close();
    }
  });

  test("a page continues from its last event when its connection is restored", async () => {
    const events = Array.from({ length: 40 }, (_, i) => delta(9 + i, "."));
    for (let cursor = 0; cursor <= events.length; cursor += 3) {
      const world = await streaming();
      const [{ link, host, down }] = world.pages as [World["pages"][0]];
      world.kernel.append("s", ...events.slice(0, cursor));
      await world.settle();
      const before = link.store.session("s");
      down.lose = () => true;
      world.kernel.append("s", ...events.slice(cursor), END);
      await vi.advanceTimersByTimeAsync(60_000);
      expect(link.store.connection).toBe("lost");
      down.lose = () => false;
      host.connectionStatusChanged.emit("connected");
      expect(await world.settle()).toBeLessThanOrEqual(200);
      expect(link.store.connection).toBe("live");
      expect(host.channels.at(-1)).toBe("control");
      // Continued, not loaded again: what was on screen stays.
      expect(link.store.session("s")?.generation).toBe(before?.generation);
      world.close();
    }
  });

  test("a compacted log never leaves a page with half a text", async () => {
    const world = await streaming();
    const [{ link, down }] = world.pages as [World["pages"][0]];
    down.lose = () => true;
    world.kernel.append("s", delta(9, " and"), delta(13, " more"));
    await vi.advanceTimersByTimeAsync(100);
    world.kernel.session("s").base = world.kernel.session("s").log.length;
    down.lose = () => false;
    await world.settle();
    expect(link.store.session("s")?.path.at(-1)?.parts[0]?.text).toBe("The Seine and more");
    expect(link.store.session("s")?.generation).toBe(2);
    world.close();
  });

  test.each([
    [
      "a delta that begins elsewhere",
      (m: Event) => m.type === "part_delta",
      { offset: 3, text: "?" },
    ],
    ["a text that has another length", (m: Event) => m.type === "part_ended", { length: 3 }],
    ["a text that has another checksum", (m: Event) => m.type === "part_ended", { crc32: 3 }],
  ])("%s is repaired by one question, and counted once", async (_, hit, wrong) => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    let wronged = 0;
    const receive = host.receive.bind(host);
    host.receive = (wire) => {
      const packet = packetOf(wire);
      const messages = packet.messages.map((message) =>
        message.type !== "events"
          ? message
          : {
              ...message,
              events: message.events.map((event) =>
                hit(event) && wronged++ === 0 ? ({ ...event, ...wrong } as Event) : event,
              ),
            },
      );
      for (const part of cut({ ...packet, messages }, "x")) receive(part);
    };
    world.kernel.append("s", delta(9, "!"));
    const end = { length: 10, crc32: 0x1c5f79a7, seconds: 1, call_id: null, name: null };
    world.kernel.append("s", { type: "part_ended", run_id: "r", part_index: 0, ...end }, END);
    await vi.advanceTimersByTimeAsync(3000);
    expect(wronged).toBeGreaterThan(0);
    expect(link.store.session("s")?.path.at(-1)?.parts[0]?.text).toBe("The Seine!");
    expect(link.store.session("s")?.state).toEqual(world.kernel.state("s"));
    expect(link.store.stats).toMatchObject({ checksumErrors: 1, resyncs: 1 });
    world.close();
  });

  test("text of many sessions arrives without names and ids, and a damaged delta is repaired", async () => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    world.kernel.append("other", ...begun("other"));
    link.want("other");
    await world.settle();
    const receive = host.receive.bind(host);
    let damaged = 0;
    let texts = 0;
    host.receive = (wire) => {
      const packet = packetOf(wire);
      const messages = packet.messages.map((message) => {
        if (message.type !== "deltas") return message;
        texts += message.deltas.length;
        const deltas = message.deltas.map(([session, seq, at, part, offset, text]) => {
          const wrong = text === "damaged" && damaged++ === 0 ? 1 : 0;
          return [session, seq, at, part, offset + wrong, text] as const;
        });
        return { ...message, deltas };
      });
      for (const part of cut({ ...packet, messages }, "x")) receive(part);
    };
    for (const id of ["s", "other"]) {
      const offset = world.kernel.state(id).messages["a"]?.parts[0]?.text.length ?? 0;
      world.kernel.append(id, delta(offset, "damaged"));
    }
    await world.settle();
    expect([texts, damaged]).toEqual([2, 2]);
    for (const id of ["s", "other"]) {
      expect(link.store.session(id)?.state).toEqual(world.kernel.state(id));
    }
    expect(link.store.stats).toMatchObject({ checksumErrors: 1 });
    world.close();
  });

  test("a kernel whose head and state disagree is asked once, not again and again", async () => {
    const world = await streaming();
    const [{ link }] = world.pages as [World["pages"][0]];
    const head = world.kernel.head.bind(world.kernel);
    world.kernel.head = (id) => ({ ...head(id), messages: 99 });
    world.kernel.append("s", END);
    await vi.advanceTimersByTimeAsync(20_000);
    expect(link.store.stats.resyncs).toBe(1);
    world.close();
  });

  test("a silent run costs at most one small request a second, and an idle session none", async () => {
    const world = await streaming();
    const [{ host }] = world.pages as [World["pages"][0]];
    await vi.advanceTimersByTimeAsync(100_000);
    const before = host.channels.length;
    await vi.advanceTimersByTimeAsync(20_000);
    expect(host.channels.length - before).toBeLessThanOrEqual(20);
    expect(host.channels.length - before).toBeGreaterThan(2);
    world.kernel.append("s", END);
    await world.settle();
    await vi.advanceTimersByTimeAsync(100);
    const after = host.channels.length;
    await vi.advanceTimersByTimeAsync(600_000);
    expect(host.channels.length).toBe(after);
    world.close();
  });
});

describe("a long conversation", () => {
  test("arrives as a window, and earlier messages are added in front on demand", async () => {
    const world = new World({ window: 4, pages: 0 });
    for (let i = 0; i < 200; i++) world.step("s");
    const { link } = world.open();
    link.want("s");
    await world.settle();
    const first = link.store.session("s");
    expect(first?.path).toHaveLength(4);
    expect(first?.omitted).toBeGreaterThan(4);
    link.earlier("s");
    link.earlier("s");
    await vi.advanceTimersByTimeAsync(100);
    world.inspect();
    const second = link.store.session("s");
    expect(second?.path).toHaveLength(8);
    expect(second?.path.slice(4)).toEqual(first?.path);
    expect(second?.path.at(-1)).toBe(first?.path.at(-1));
    expect(second?.generation).toBe(first?.generation);
    expect(world.kernel.heard.filter(({ type }) => type === "want_earlier")).toHaveLength(1);
    world.close();
  });

  test("becomes complete on demand, even if half of the packets are lost", async () => {
    const world = new World({ window: 4, pages: 0, seed: 3 });
    for (let i = 0; i < 100; i++) world.step("s");
    const { link } = world.open();
    link.want("s");
    await world.settle();
    world.faults = { ...PERFECT, drop: 0.5 };
    for (let i = 0; i < 60 && (link.store.session("s")?.omitted ?? 0) > 0; i++) {
      link.earlier("s");
      await vi.advanceTimersByTimeAsync(1500);
      world.inspect();
    }
    expect(link.store.session("s")?.path).toEqual(transcript(world.kernel.state("s")));
    world.close();
  });
});

describe("kernels come and go", () => {
  test("late packets from an older kernel are dropped", async () => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    const before = link.store.session("s")?.state;
    const { dropped } = link.store.stats;
    const packet = {
      n: 99,
      rev: 99,
      protocol: PROTOCOL_VERSION,
      type: "packet",
      epoch: "k0",
    } as const;
    const events = [delta(9, "wrong")];
    const messages = [{ type: "events", session_id: "s", first_seq: 6, events } as const];
    for (const wire of cut({ ...packet, messages }, "99")) host.receive(wire);
    expect(link.store.session("s")?.state).toBe(before);
    expect(link.store.stats.dropped).toBe(dropped + 1);
    world.close();
  });

  test("a restart is shown at once, and pending commands are rejected", async () => {
    const world = await streaming();
    const [{ link, host, up }] = world.pages as [World["pages"][0]];
    up.lose = () => true;
    const asked = link.outbox.do({ type: "list_models", id: "c1", session_id: null });
    const refused = expect(asked).rejects.toMatchObject({ code: "kernel_gone" });
    host.statusChanged.emit("restarting");
    expect(link.store.connection).toBe("restarted");
    expect(link.store.heads.get("s")).toMatchObject({ state: "interrupted", run_id: null });
    await refused;
    await expect(
      link.outbox.do({ type: "list_models", id: "c2", session_id: null }),
    ).rejects.toThrow("kernel has stopped");
    // What was on screen stays readable.
    expect(link.store.session("s")).toBeDefined();
    const sent = host.channels.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(host.channels.length).toBe(sent);
    world.close();
  });

  test.each(["dead", "terminating"])("a kernel that is %s is shown as dead", async (status) => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    host.statusChanged.emit(status);
    expect(link.store.connection).toBe("dead");
    world.close();
  });

  test("the next kernel's hub takes over a page, which then shows that kernel's sessions", async () => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    host.statusChanged.emit("autorestarting");
    world.kernel.close();
    const next = new World({ seed: 2, pages: 0, epoch: "k2" });
    next.adopt(link);
    next.kernel.append("s", ...begun("s"), delta(0, "Anew"));
    await next.settle();
    expect(link.store.connection).toBe("live");
    expect(link.store.epoch).toBe("k2");
    expect(link.store.session("s")?.generation).toBe(2);
    expect(host.listeners).toBe(0);
    next.close();
  });

  test("a kernel with another protocol version is shown as incompatible", async () => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    const packet = { n: 9, rev: 9, type: "packet", epoch: "k1", messages: [] } as const;
    for (const wire of cut({ ...packet, protocol: PROTOCOL_VERSION + 1 }, "9")) host.receive(wire);
    expect(link.store.connection).toBe("incompatible");
    world.close();
  });

  test("a kernel that does not answer is shown as lost after 5 s, until it answers again", async () => {
    const world = await streaming();
    const [{ link, up }] = world.pages as [World["pages"][0]];
    up.lose = () => true;
    world.kernel.close();
    await vi.advanceTimersByTimeAsync(5000);
    expect(link.store.connection).toBe("live");
    await vi.advanceTimersByTimeAsync(1600);
    expect(link.store.connection).toBe("lost");
    up.lose = () => false;
    await vi.advanceTimersByTimeAsync(1500);
    expect(link.store.connection).toBe("live");
    world.close();
  });

  test("a channel that brings no answer is replaced by the next one, and tried again later", async () => {
    const world = new World({ pages: 0 });
    const { link, host, up } = world.open((_, { channels }) => channels.at(-1) !== "model");
    await vi.advanceTimersByTimeAsync(2900);
    expect(new Set(host.channels)).toEqual(new Set(["control"]));
    await vi.advanceTimersByTimeAsync(3000);
    expect([host.channels.at(-1), link.store.connection]).toEqual(["model", "live"]);
    up.lose = () => false;
    host.connectionStatusChanged.emit("connected");
    await vi.advanceTimersByTimeAsync(100);
    expect(host.channels.at(-1)).toBe("control");
    world.close();
  });

  describe.each(["control", "model", "both", "connection"] as const)("with %s dead", (which) => {
    const moments = {
      "before the first answer": async () => {},
      "when all is quiet": async () => {
        await vi.advanceTimersByTimeAsync(90_000);
      },
      "while an answer streams": async (world: World) => {
        await vi.advanceTimersByTimeAsync(200);
        world.kernel.append("s", ...begun("s"), delta(0, "The "));
        await vi.advanceTimersByTimeAsync(200);
      },
      "after the connection was made again": async ({ pages }: World) => {
        await vi.advanceTimersByTimeAsync(200);
        pages[0]?.host.connectionStatusChanged.emit("connecting");
        pages[0]?.host.connectionStatusChanged.emit("connected");
        await vi.advanceTimersByTimeAsync(200);
      },
    };

    test.each(Object.entries(moments))("%s, every command is done once", async (_, moment) => {
      const world = new World({ pages: 0 });
      const dead = new Set<string>();
      const { link, host } = world.open((_, { channels }) => dead.has(channels.at(-1) ?? ""));
      link.want("s");
      const kill = (): void => {
        const one = which === "control" || which === "model";
        for (const name of one ? [which] : ["control", "model"]) dead.add(name);
      };
      if (which === "connection") host.onReopen = () => dead.clear();
      const first = moment === moments["before the first answer"];
      if (first) kill();
      await moment(world);
      kill();
      const ids = ["c1", "c2"];
      const asked = ids.map((id) => link.outbox.do({ type: "list_models", id, session_id: null }));
      await vi.advanceTimersByTimeAsync(2900);
      if (!first || which === "model") expect(host.channels.at(-1)).toBe("control");
      await vi.advanceTimersByTimeAsync(1000);
      if (which === "control" || which === "model") {
        expect(host.reopened).toEqual([]);
        expect(link.store.connection).toBe("live");
        expect(host.channels.at(-1)).toBe(which === "control" ? "model" : "control");
      } else {
        await vi.advanceTimersByTimeAsync(1400);
        expect(link.store.connection).toBe("lost");
        expect(link.outbox.size).toBe(ids.length);
      }
      if (which === "connection") {
        await vi.advanceTimersByTimeAsync(1500);
        expect(host.reopened).toHaveLength(1);
      } else if (which === "both") {
        await vi.advanceTimersByTimeAsync(30_000);
        expect(host.reopened).toHaveLength(1);
        expect(new Set(host.channels)).toEqual(new Set(["control", "model"]));
        dead.clear();
        await vi.advanceTimersByTimeAsync(9000);
      }
      expect((await Promise.all(asked)).map(({ error }) => error)).toEqual([null, null]);
      expect(ids.map((id) => world.kernel.done.get(id))).toEqual([1, 1]);
      expect(link.store.connection).toBe("live");
      world.close();
    });
  });

  test("in a host that does not report the kernel's status, silence is not shown as a lost connection", async () => {
    const world = await streaming();
    const [{ link, host, up }] = world.pages as [World["pages"][0]];
    link.attach({ ...host.model, widget_manager: {} });
    await vi.advanceTimersByTimeAsync(200);
    expect(link.store.connection).toBe("live");
    up.lose = () => true;
    world.kernel.close();
    await vi.advanceTimersByTimeAsync(8000);
    expect(link.store.connection).toBe("unheard");
    world.close();
  });

  test("while a cell runs, the page does not change to a channel that waits for the cell", async () => {
    const world = await streaming();
    const [{ link, host, up }] = world.pages as [World["pages"][0]];
    host.statusChanged.emit("busy");
    up.lose = () => true;
    await vi.advanceTimersByTimeAsync(20_000);
    expect([new Set(host.channels), link.store.connection]).toEqual([new Set(["control"]), "lost"]);
    host.statusChanged.emit("idle");
    await vi.advanceTimersByTimeAsync(200);
    expect(host.channels.at(-1)).toBe("model");
    world.close();
  });

  test("a connection is opened again at most once a minute, and never while a cell runs", async () => {
    const world = await streaming();
    const [{ link, host, up }] = world.pages as [World["pages"][0]];
    up.lose = () => true;
    await vi.advanceTimersByTimeAsync(20_000);
    expect(host.reopened).toEqual([]); // no command waits
    void link.outbox.do({ type: "list_models", id: "c1", session_id: null }).catch(() => {});
    await vi.advanceTimersByTimeAsync(150_000);
    const [first = 0, second = 0, third = 0] = host.reopened;
    expect(host.reopened).toHaveLength(3);
    for (const pause of [second - first, third - second]) expect(pause).toBeGreaterThan(59_000);
    host.statusChanged.emit("busy");
    await vi.advanceTimersByTimeAsync(150_000);
    expect(host.reopened).toHaveLength(3);
    host.statusChanged.emit("idle");
    await vi.advanceTimersByTimeAsync(10_000);
    expect(host.reopened).toHaveLength(4);
    world.close();
  });

  test("the page changes back from a channel that waits for cells to a better one that has worked", async () => {
    const world = await streaming();
    const [{ link, host, up }] = world.pages as [World["pages"][0]];
    up.lose = () => host.channels.at(-1) === "control";
    await vi.advanceTimersByTimeAsync(10_000);
    expect([host.channels.at(-1), link.store.connection]).toEqual(["model", "live"]);
    up.lose = () => false;
    await vi.advanceTimersByTimeAsync(61_000);
    expect([host.channels.at(-1), link.store.connection]).toEqual(["control", "live"]);
    world.close();
  });

  test("a short reconnection is not shown as lost", async () => {
    const world = await streaming();
    const [{ link, host }] = world.pages as [World["pages"][0]];
    host.connectionStatusChanged.emit("connecting");
    await vi.advanceTimersByTimeAsync(500);
    expect(link.store.connection).toBe("live");
    await vi.advanceTimersByTimeAsync(1000);
    expect(link.store.connection).toBe("lost");
    host.connectionStatusChanged.emit("connected");
    await vi.advanceTimersByTimeAsync(100);
    expect(link.store.connection).toBe("live");
    world.close();
  });
});

describe("commands", () => {
  test.each([0, 0.3, 0.5])(
    "with %d lost are done once each, and all are answered",
    async (drop) => {
      const world = new World({ pages: 2, seed: 5 });
      world.faults = { drop, double: 0.2, late: 0.2 };
      await vi.advanceTimersByTimeAsync(2000);
      const ids = Array.from({ length: 60 }, (_, i) => `c${i}`);
      const answers = ids.map((id, i) => {
        const { link } = world.pages[i % 2] as World["pages"][0];
        return link.outbox.do({ type: "new_session", id, title: id });
      });
      await vi.advanceTimersByTimeAsync(200_000);
      expect((await Promise.all(answers)).map(({ id }) => id)).toEqual(ids);
      expect([...world.kernel.done.values()]).toEqual(ids.map(() => 1));
      world.close();
    },
  );

  test("that are given before the kernel has answered are sent after its answer", async () => {
    const world = new World({ pages: 0 });
    const { link, up } = world.open((message) => message.type === "hello");
    const asked = link.outbox.do({ type: "list_models", id: "c1", session_id: null });
    await vi.advanceTimersByTimeAsync(700);
    expect(world.kernel.heard).toEqual([]);
    up.lose = () => false;
    await vi.advanceTimersByTimeAsync(2000);
    expect((await asked).error).toBeNull();
    expect(world.kernel.done.get("c1")).toBe(1);
    world.close();
  });

  test("are repeated after 1, 2 and 4 seconds", async () => {
    const world = await streaming();
    const [{ link, host, up }] = world.pages as [World["pages"][0]];
    host.statusChanged.emit("busy"); // a channel that waits for the cell is no help
    const sent: number[] = [];
    const from = performance.now();
    up.lose = (message) =>
      message.type === "run_command" && sent.push(performance.now() - from) > 0;
    void link.outbox.do({ type: "list_models", id: "c1", session_id: null }).catch(() => {});
    await vi.advanceTimersByTimeAsync(8000);
    expect(sent.map((ms) => Math.round(ms / 1000))).toEqual([0, 1, 3, 7]);
    world.close();
  });
});

// @vitest-environment jsdom
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Event, Head, SessionState } from "../../src/protocol";
import { MAX_HELD } from "../../src/state/replica";
import { emptyState } from "../../src/state/session";
import { type Change, Store } from "../../src/state/store";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const UNREAD: Event = { type: "unread_changed", unread: true };

function head(id: string, fields: Partial<Head> = {}): Head {
  return {
    id,
    seq: 0,
    title: id,
    state: "idle",
    run_id: null,
    model: null,
    created_at: 0,
    active_at: 0,
    started_at: null,
    waiting_since: null,
    first_token_s: null,
    characters: 0,
    queued: 0,
    position: null,
    unread: false,
    pinned: false,
    rank: 0,
    closed: false,
    archived: false,
    deleted: false,
    temporary: false,
    messages: 0,
    cost: "",
    own_provider: false,
    tools: [],
    calls: [],
    number: 1,
    ...fields,
  };
}

function heads(store: Store, n: number, all: boolean, ...list: Head[]): void {
  store.takeHeads({ type: "heads", heads: list, all }, n);
}

function state(store: Store, n: number, seq: number, fields: Partial<SessionState> = {}): void {
  const whole = { ...emptyState("s"), seq, ...fields };
  store.takeState({ type: "session_state", state: whole, omitted: 0, to: null }, n);
}

function events(store: Store, n: number, first_seq: number, count: number): void {
  const stretch = Array.from({ length: count }, () => UNREAD);
  store.takeEvents({ type: "events", session_id: "s", first_seq, events: stretch }, n);
}

function seq(store: Store): number | undefined {
  return store.session("s")?.state.seq;
}

/** Wait for the next frame, and return what listeners were told. */
async function frame(store: Store): Promise<Change[]> {
  const changes: Change[] = [];
  const end = store.subscribe((change) => changes.push(change));
  await vi.advanceTimersByTimeAsync(20);
  end();
  return changes;
}

describe("a session", () => {
  test("is followed only after a view has requested it", () => {
    const store = new Store();
    heads(store, 1, true, head("s"));
    state(store, 1, 3);
    expect(store.session("s")).toBeUndefined();
    expect([store.lacking, store.want("s"), store.want("s")]).toEqual([false, true, false]);
    expect([store.lacking, store.broken]).toEqual([true, true]);
    expect(store.cursors()).toEqual({ s: 0 });
    state(store, 1, 3);
    expect([store.lacking, seq(store)]).toEqual([false, 3]);
    expect(store.cursors()).toEqual({ s: 3 });
  });

  test("applies each event once, also from overlapping packets", () => {
    const store = new Store();
    store.want("s");
    state(store, 1, 3);
    events(store, 2, 2, 4);
    expect(seq(store)).toBe(5);
    events(store, 2, 2, 4);
    events(store, 3, 1, 2);
    expect(seq(store)).toBe(5);
    expect(store.stats.duplicates).toBe(2 + 4 + 2);
  });

  test("holds events back until the earlier ones have arrived", () => {
    const store = new Store();
    store.want("s");
    events(store, 5, 8, 2);
    events(store, 3, 4, 2);
    expect(seq(store)).toBeUndefined();
    state(store, 2, 3);
    expect(seq(store)).toBe(5);
    events(store, 4, 6, 2);
    expect(seq(store)).toBe(9);
  });

  test("holds back a bounded number of events", () => {
    const store = new Store();
    store.want("s");
    for (let i = 0; i < 100; i++) events(store, i, 2 + i * 100, 100);
    state(store, 200, 1);
    // The oldest were let go, so what is left does not follow; the kernel is asked for all of it.
    expect(seq(store)).toBe(1);
    heads(store, 201, false, head("s", { seq: 10_001 }));
    expect(store.lacking).toBe(true);
    const kept = 10_001 - Math.floor(MAX_HELD / 100) * 100;
    events(store, 202, 2, kept - 1);
    expect(seq(store)).toBe(10_001);
  });

  test("ignores an older state, and takes a newer one even if its `seq` is lower", () => {
    const store = new Store();
    store.want("s");
    state(store, 5, 7);
    state(store, 4, 6);
    state(store, 5, 6);
    expect([seq(store), store.session("s")?.generation]).toEqual([7, 1]);
    state(store, 6, 2);
    expect([seq(store), store.session("s")?.generation]).toEqual([2, 2]);
  });

  test("whose head has a lower `seq` than the page is requested as a whole again", () => {
    const store = new Store();
    store.want("s");
    state(store, 5, 7);
    heads(store, 6, false, head("s", { seq: 2 }));
    expect(store.lacking).toBe(false);
    store.recount();
    expect([store.lacking, store.cursors()["s"]]).toEqual([true, 0]);
    state(store, 7, 2);
    store.recount();
    expect([store.lacking, seq(store)]).toEqual([false, 2]);
  });

  test("keeps its generation count when another kernel takes over", () => {
    const store = new Store();
    store.want("s");
    state(store, 1, 1);
    store.reset("k2");
    expect([store.session("s"), store.heads.size, store.epoch]).toEqual([undefined, 0, "k2"]);
    state(store, 1, 1);
    expect(store.session("s")?.generation).toBe(2);
  });
});

describe("the directory", () => {
  test("keeps the newest head of each session, in whichever order they arrive", () => {
    const store = new Store();
    heads(store, 3, false, head("s", { title: "new" }));
    heads(store, 2, false, head("s", { title: "old" }), head("t"));
    expect([...store.heads.values()].map(({ title }) => title)).toEqual(["new", "t"]);
    heads(store, 4, false, head("s", { title: "newer" }));
    expect(store.heads.get("s")?.title).toBe("newer");
  });

  test("ignores an older head that comes later in the same packet", () => {
    const store = new Store();
    heads(store, 3, false, head("s", { seq: 5 }), head("new", { seq: 1 }));
    heads(store, 3, true, head("s", { seq: 4 }));
    expect([...store.heads.keys()]).toEqual(["s", "new"]);
    expect(store.heads.get("s")?.seq).toBe(5);
  });

  test("drops sessions that a complete list omits, and an old packet does not restore them", async () => {
    const store = new Store();
    store.want("s");
    heads(store, 1, true, head("s"), head("t"));
    state(store, 1, 1);
    await frame(store);
    heads(store, 4, true, head("t"));
    heads(store, 3, false, head("s"));
    expect([...store.heads.keys()]).toEqual(["t"]);
    expect(store.session("s")).toBeUndefined();
    const [change] = await frame(store);
    expect([change?.heads, change?.sessions]).toEqual([new Set(["s", "t"]), new Set(["s"])]);
    heads(store, 5, false, head("s"));
    expect(store.heads.has("s")).toBe(true);
  });

  test("reports whether any session has a live run", () => {
    const store = new Store();
    heads(store, 1, true, head("s"), head("t", { state: "completed" }));
    expect(store.live).toBe(false);
    heads(store, 2, false, head("t", { state: "paused" }));
    expect(store.live).toBe(true);
  });
});

describe("listeners", () => {
  test("are called once per frame", async () => {
    const store = new Store();
    store.want("s");
    state(store, 1, 1);
    for (let i = 0; i < 50; i++) events(store, 2 + i, 2 + i, 1);
    heads(store, 60, false, head("t"));
    store.connection = "live";
    const changes = await frame(store);
    expect(changes).toEqual([{ heads: new Set(["t"]), sessions: new Set(["s"]), other: true }]);
    expect(await frame(store)).toEqual([]);
  });

  test("are called even if another listener throws", async () => {
    const complaint = vi.spyOn(console, "error").mockImplementation(() => {});
    const store = new Store();
    store.subscribe(() => {
      throw new Error("a view that cannot draw");
    });
    store.connection = "live";
    expect(await frame(store)).toHaveLength(1);
    expect(complaint).toHaveBeenCalledOnce();
  });

  test("are also called in a hidden page, which draws no frames", async () => {
    vi.stubGlobal("requestAnimationFrame", () => 1);
    const store = new Store();
    const called = vi.fn();
    store.subscribe(called);
    for (let i = 0; i < 1000; i++) store.connection = i % 2 ? "live" : "lost";
    await vi.advanceTimersByTimeAsync(1000);
    expect(called).toHaveBeenCalledOnce();
    vi.unstubAllGlobals();
  });

  test("are not called if nothing changed", async () => {
    const store = new Store();
    store.connection = "connecting";
    expect(await frame(store)).toEqual([]);
  });

  test("are not called after they unsubscribe or the store is disposed", async () => {
    const store = new Store();
    const called = vi.fn();
    store.subscribe(called)();
    store.connection = "live";
    await vi.advanceTimersByTimeAsync(500);
    store.subscribe(called);
    store.connection = "lost";
    store.dispose();
    await vi.advanceTimersByTimeAsync(500);
    expect(called).not.toHaveBeenCalled();
  });
});

/**
 * What the benchmark of many sessions calls in the browser; `benchmarks/sessions.py` (at the root) prints
 * what it returns. The view, the store and the packets are the real ones; the kernel is in the page.
 */

import { transcript } from "../../src/state/session";
import { mountView } from "../../src/view/index";
import { FakeKernel } from "../../testing/kernel";
import { FakeModel } from "../../testing/model";
import { FakePage } from "../../testing/page";
import type { Wire } from "../../testing/wire-kernel";
import { answer } from "./answer";

/** Packets of the kernel in a second, and characters of each session in one: 200 chunks of 4 in a second. */
const PACKETS_PER_S = 25;
const CHARS = 32;
/** Characters that each answer has before the measurement begins. */
const BEFORE = 10_000;
/** Messages that a page gets of a session at first, as the kernel does it. */
const WINDOW = 200;

interface Show {
  readonly page: FakePage;
  readonly root: HTMLElement;
  readonly dispose: () => void;
}

function newShow(kernel: FakeKernel, active: string): Show {
  const page = new FakePage(kernel);
  const root = document.body.appendChild(document.createElement("div"));
  const unmount = mountView(page.runtime, "tabs", new FakeModel({ active }), root);
  const dispose = (): void => {
    unmount();
    page.close();
    root.remove();
  };
  return { page, root, dispose };
}

let show: Show | null = null;
/** Packets that are due. */
let packets: Wire[] = [];

/** Show one of `count` sessions that are all answering, and make the packets for `seconds` of it. */
async function prepareStreams(count: number, seconds: number): Promise<void> {
  show?.dispose();
  const kernel = new FakeKernel("k1", { window: WINDOW });
  const text = answer(BEFORE + seconds * PACKETS_PER_S * CHARS + CHARS);
  const streams = Array.from({ length: count }, (_, i) => {
    const id = kernel.create(`Session ${i}`);
    const run_id = kernel.ask(id, "Go on.");
    kernel.text(id, run_id, text.slice(0, BEFORE));
    return { id, run_id };
  });
  show = newShow(kernel, streams[0]?.id ?? "");
  const { page } = show;
  for (const { id } of streams) page.runtime.want(id);
  await page.connected();
  const deliver = kernel.broadcast;
  packets = [];
  kernel.broadcast = (wire) => packets.push(wire);
  for (let n = 0; n < seconds * PACKETS_PER_S; n += 1) {
    const offset = BEFORE + n * CHARS;
    kernel.batch(() => {
      for (const { id, run_id } of streams) {
        kernel.text(id, run_id, text.slice(offset, offset + CHARS));
      }
    });
  }
  kernel.broadcast = deliver;
}

/** Play the packets in real time; returns the frames in a second, and how many tasks took over 50 ms. */
async function stream(): Promise<{ framesPerS: number; longTasks: number }> {
  const { host } = (show as Show).page;
  let longTasks = 0;
  const observer = new PerformanceObserver((list) => {
    longTasks += list.getEntries().length;
  });
  observer.observe({ type: "longtask" });
  const begin = performance.now();
  let frames = 0;
  let counting = true;
  const count = (): void => {
    frames += 1;
    if (counting) requestAnimationFrame(count);
  };
  requestAnimationFrame(count);
  for (const [n, packet] of packets.entries()) {
    const due = begin + (n * 1000) / PACKETS_PER_S;
    await new Promise((resolve) => setTimeout(resolve, due - performance.now()));
    host.receive(packet);
  }
  counting = false;
  observer.disconnect();
  return { framesPerS: (1000 * frames) / (performance.now() - begin), longTasks };
}

/** Whether all text has arrived where it belongs. */
function complete(): boolean {
  const { store } = (show as Show).page;
  return [...store.heads.keys()].every((id) => {
    const view = store.session(id);
    const text = view && transcript(view.state).at(-1)?.parts[0]?.text;
    return text?.length === BEFORE + packets.length * CHARS;
  });
}

/** Show a short session beside one of `messages` messages, about 2 KB each. */
function prepareSwitch(messages: number): void {
  show?.dispose();
  const kernel = new FakeKernel("k1", { window: WINDOW });
  const short = kernel.create("short");
  kernel.message(short, "user", "Hello.");
  const long = kernel.create("long");
  for (let i = 0; i < messages; i += 2) {
    kernel.message(long, "user", `Question ${i}: what is the mean of each group?`);
    kernel.message(long, "assistant", answer(4000, i));
  }
  show = newShow(kernel, short);
  show.page.runtime.want(long);
}

interface Switched {
  /** Script, style and layout until the session can be painted, in milliseconds. */
  workMs: number;
  /** Elements of the view then, and when the page has filled in what is above. */
  elements: number;
  elementsLater: number;
}

/** Show the long session, and go back to the short one. */
async function switchTo(): Promise<Switched> {
  const { root } = show as Show;
  const [short, long] = [...root.querySelectorAll<HTMLElement>("[role=tab]")];
  const log = root.querySelector("[role=log]");
  await idle();
  const begin = performance.now();
  long?.click();
  log?.getBoundingClientRect(); // what the browser does before it paints
  const workMs = performance.now() - begin;
  const elements = root.querySelectorAll("*").length;
  for (let i = 0; i < 10; i++) await idle();
  const elementsLater = root.querySelectorAll("*").length;
  short?.click();
  await idle();
  return { workMs, elements, elementsLater };
}

function idle(): Promise<void> {
  return new Promise((resolve) => {
    requestAnimationFrame(() => requestIdleCallback(() => resolve(), { timeout: 200 }));
  });
}

Object.assign(globalThis, {
  bench: { prepareStreams, stream, complete, prepareSwitch, switchTo },
});

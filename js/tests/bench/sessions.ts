/**
 * What the benchmark of many sessions calls in the browser; `benchmarks/sessions.py` (at the root) prints
 * what it returns. The view, the store and the packets are the real ones; the kernel is in the page.
 */
import { FakeKernel, FakeModel } from "../../dev/kernel";
import { transcript } from "../../src/state/session";
import { mountView } from "../../src/view/index";
import { answer } from "./answer";

/** Packets of the kernel in a second, and characters of each session in one: 200 chunks of 4 in a second. */
const PACKETS_PER_S = 25;
const CHARS = 32;
/** Characters that each answer has before the measurement begins. */
const BEFORE = 10_000;
/** Messages that a page gets of a session at first, as the kernel does it. */
const WINDOW = 200;

interface Show {
  readonly kernel: FakeKernel;
  readonly root: HTMLElement;
  readonly dispose: () => void;
}

function newShow(): Show {
  const kernel = new FakeKernel();
  kernel.window = WINDOW;
  return {
    kernel,
    root: document.body.appendChild(document.createElement("div")),
    dispose: () => {},
  };
}

let show: Show | null = null;
/** Packets that are due, each as the text that the wire carries. */
let packets: string[] = [];

/** Show one of `count` sessions that are all answering, and make the packets for `seconds` of it. */
function prepareStreams(count: number, seconds: number): void {
  show?.dispose();
  const made = newShow();
  const { kernel, root } = made;
  const text = answer(BEFORE + seconds * PACKETS_PER_S * CHARS + CHARS);
  const streams = Array.from({ length: count }, (_, i) => {
    const id = kernel.create(`Session ${i}`);
    const run_id = kernel.ask(id, "Go on.");
    kernel.text(id, run_id, text.slice(0, BEFORE));
    return { id, run_id, seq: kernel.state(id).seq };
  });
  packets = Array.from({ length: seconds * PACKETS_PER_S }, (_, n) => {
    const offset = BEFORE + n * CHARS;
    const messages = streams.map(({ id, run_id, seq }) => ({
      type: "events",
      session_id: id,
      first_seq: seq + n + 1,
      events: [
        {
          type: "part_delta",
          run_id,
          at: Date.now() / 1000,
          part_index: 0,
          offset,
          text: text.slice(offset, offset + CHARS),
        },
      ],
    }));
    // What a tab shows of a stream is said once a second.
    const heads = streams
      .filter((_, i) => (n + i) % PACKETS_PER_S === 0)
      .map(({ id }) => ({ ...kernel.store.heads.get(id), characters: offset }));
    return JSON.stringify({ heads, messages });
  });
  const model = new FakeModel({ active: streams[0]?.id ?? "" });
  for (const { id } of streams) kernel.runtime.want(id);
  show = { ...made, dispose: mountView(kernel.runtime, "tabs", model, root) };
}

/** Play the packets in real time; returns the frames in a second, and how many tasks took over 50 ms. */
async function stream(): Promise<{ framesPerS: number; longTasks: number }> {
  const { store } = (show as Show).kernel;
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
    const { heads, messages } = JSON.parse(packet);
    // Far above the packets that the sessions were made with.
    const number = 1_000_000 + n;
    if (heads.length > 0) store.takeHeads({ type: "heads", heads, all: false }, number);
    for (const events of messages) store.takeEvents(events, number);
  }
  counting = false;
  observer.disconnect();
  return { framesPerS: (1000 * frames) / (performance.now() - begin), longTasks };
}

/** Whether all text has arrived where it belongs. */
function complete(): boolean {
  const { kernel } = show as Show;
  return [...kernel.store.heads.keys()].every((id) => {
    const view = kernel.store.session(id);
    const text = view && transcript(view.state).at(-1)?.parts[0]?.text;
    return text?.length === BEFORE + packets.length * CHARS;
  });
}

/** Show a short session beside one of `messages` messages, about 2 KB each. */
function prepareSwitch(messages: number): void {
  show?.dispose();
  const made = newShow();
  const { kernel, root } = made;
  const short = kernel.create("short");
  kernel.message(short, "user", "Hello.");
  const long = kernel.create("long");
  for (let i = 0; i < messages; i += 2) {
    kernel.message(long, "user", `Question ${i}: what is the mean of each group?`);
    kernel.message(long, "assistant", answer(4000, i));
  }
  const model = new FakeModel({ active: short });
  show = { ...made, dispose: mountView(kernel.runtime, "tabs", model, root) };
  kernel.runtime.want(long);
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

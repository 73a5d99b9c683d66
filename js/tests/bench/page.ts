/** What the benchmark of the page calls in the browser; `benchmarks/page.py` (at the root) prints what it returns. */
import createDOMPurify from "dompurify";
import markdownIt from "markdown-it";
import { MarkdownView } from "../../src/markdown";
import { answer } from "./answer";

const CHUNK_CHARS = 4;
const CHUNKS_PER_S = 200;
const FRAMES_PER_S = 60;

interface Approach {
  append(text: string): void;
  end(): void;
}

const approaches: Record<string, (root: HTMLElement) => Approach> = {
  /** As little as there can be: the text of each block is one text node, without Markdown. */
  floor(root) {
    let node: Text | null = null;
    return {
      append(text) {
        const [first = "", ...blocks] = text.split("\n\n");
        if (node === null) blocks.unshift(first);
        else node.appendData(first);
        for (const block of blocks) {
          const paragraph = root.appendChild(document.createElement("p"));
          node = paragraph.appendChild(document.createTextNode(block));
        }
      },
      end() {},
    };
  },
  nbchat(root) {
    const view = new MarkdownView(root);
    return { append: (text) => view.append(text), end: () => view.end() };
  },
  /** What most chat pages do: parse and sanitise everything for each frame. */
  "whole text again": (root) => {
    const md = markdownIt();
    const purifier = createDOMPurify(window);
    let text = "";
    return {
      append(added) {
        text += added;
        root.innerHTML = purifier.sanitize(md.render(text));
      },
      end() {},
    };
  },
};

/** Cut a text into what arrives between two frames: chunks that arrive evenly, some frames getting one more. */
function frames(text: string): string[] {
  const result: string[] = [];
  let chunks = 0;
  for (let frame = 1; chunks * CHUNK_CHARS < text.length; frame++) {
    const arrived = Math.floor((frame * CHUNKS_PER_S) / FRAMES_PER_S);
    result.push(text.slice(chunks * CHUNK_CHARS, arrived * CHUNK_CHARS));
    chunks = arrived;
  }
  return result;
}

function newRoot(): { scroller: HTMLElement; root: HTMLElement } {
  document.body.replaceChildren();
  const scroller = document.body.appendChild(document.createElement("div"));
  scroller.style.cssText = "height: 600px; width: 720px; overflow-y: auto; font: 14px sans-serif";
  const root = scroller.appendChild(document.createElement("div"));
  root.className = "nbchat-markdown";
  return { scroller, root };
}

/** Make the answer of a size once, outside of what is measured. */
const answers = new Map<number, string>();
function prepare(chars: number): void {
  answers.set(chars, answer(chars));
}

/**
 * Stream an answer, with script and layout of every frame but without waiting for real ones.
 *
 * With `last`, nothing but the last characters is streamed, in frames, after all the others have come at once.
 */
function stream(name: string, chars: number, last = chars): void {
  const { scroller, root } = newRoot();
  const approach = approaches[name]?.(root);
  const text = answers.get(chars);
  if (!approach || text === undefined) throw new Error(`no approach ${name} or answer of ${chars}`);
  const begin = Math.max(0, text.length - last);
  if (begin > 0) approach.append(text.slice(0, begin));
  for (const piece of frames(text.slice(begin))) {
    approach.append(piece);
    // Reading the height is what makes the browser lay out.
    scroller.scrollTop = scroller.scrollHeight;
  }
  approach.end();
  scroller.scrollTop = scroller.scrollHeight;
}

interface RealTime {
  framesPerS: number;
  /** The longest time between two frames, in milliseconds. */
  longestFrameMs: number;
}

/** Stream the last `seconds` of an answer in real time. */
async function realTime(name: string, chars: number, seconds: number): Promise<RealTime> {
  const { scroller, root } = newRoot();
  const approach = approaches[name]?.(root);
  if (!approach) throw new Error(`no approach ${name}`);
  const streamed = seconds * CHUNKS_PER_S * CHUNK_CHARS;
  const text = answer(chars);
  approach.append(text.slice(0, -streamed));
  scroller.scrollTop = scroller.scrollHeight;
  await nextFrame();
  let shown = text.length - streamed;
  const begin = await nextFrame();
  const times: number[] = [begin];
  performance.mark("begin");
  while (shown < text.length) {
    const now = await nextFrame();
    times.push(now);
    const arrived = Math.floor(((now - begin) / 1000) * CHUNKS_PER_S) * CHUNK_CHARS;
    const until = Math.min(text.length, text.length - streamed + arrived);
    if (until > shown) approach.append(text.slice(shown, until));
    shown = until;
    scroller.scrollTop = scroller.scrollHeight;
  }
  const gaps = times.slice(1).map((time, i) => time - (times[i] ?? time));
  return {
    framesPerS: (1000 * gaps.length) / gaps.reduce((sum, gap) => sum + gap, 0),
    longestFrameMs: Math.max(...gaps),
  };
}

function nextFrame(): Promise<number> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

Object.assign(globalThis, { bench: { prepare, stream, realTime } });

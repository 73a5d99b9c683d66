/**
 * Separates reasoning that a model wrote into its text: `<think>…</think>` at the beginning of an answer.
 *
 * The stored text is unchanged. `split_thought` in `nbchat/core/text.py` has the same rule for reasoning that has
 * ended.
 */

const OPEN = /^\s*<think>/;
const CLOSE = "</think>";

/** The two parts of a text that begins with reasoning. */
export interface Thinking {
  readonly thought: string;
  /** The answer, without the blank lines before it. */
  readonly answer: string;
  /** The reasoning has ended. */
  readonly ended: boolean;
}

/** Return the reasoning at the beginning of a text; null if there is none. */
export function thinkingOf(text: string): Thinking | null {
  const open = OPEN.exec(text)?.[0];
  if (open === undefined) return null;
  const end = text.indexOf(CLOSE, open.length);
  if (end >= 0) {
    const thought = text.slice(open.length, end).trim();
    return { thought, answer: text.slice(end + CLOSE.length).trimStart(), ended: true };
  }
  let thought = text.slice(open.length).trimStart();
  // The closing mark may have arrived in part.
  for (let length = CLOSE.length - 1; length > 0; length -= 1) {
    if (!thought.endsWith(CLOSE.slice(0, length))) continue;
    thought = thought.slice(0, -length);
    break;
  }
  return { thought, answer: "", ended: false };
}

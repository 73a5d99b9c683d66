/**
 * Formulas: `$$…$$` and `\[…\]` as blocks, `$$…$$`, `$…$` and `\(…\)` in the text.
 *
 * A blank line ends a formula, closed or not, as in TeX. A single dollar is money rather than a formula when a space
 * stands inside of it, or a letter or digit at its outside (`$5 and $10`, `US$5`, `$HOME/$USER`).
 */
import type { StateBlock, StateInline } from "markdown-it";
import type { ParseEnv } from "./environment";

const MAX_BLOCK_LINES = 100;
const MAX_INLINE_CHARS = 2000;
/** A longer text without a closing mark is not held back as a formula. */
const MAX_OPEN_CHARS = 200;
const OPENING = /^[ \t]*(?:\$\$|\\\[)/m;
const CLOSING: { readonly [opening: string]: string } = { "\\[": "\\]", "\\(": "\\)", $$: "$$" };

/** Block rule: gives `math_block`, whose content is the source with its marks. */
export function mathBlock(
  state: StateBlock,
  startLine: number,
  endLine: number,
  silent: boolean,
): boolean {
  if ((state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const begin = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const opening = state.src.slice(begin, begin + 2);
  if ((opening !== "$$" && opening !== "\\[") || state.src[begin + 2] === "$") return false;
  const closing = CLOSING[opening] ?? "";

  let line = startLine;
  let closed = false;
  for (; line < endLine && line < startLine + MAX_BLOCK_LINES; line++) {
    if (state.isEmpty(line) || (state.sCount[line] ?? 0) < state.blkIndent) break;
    const from = line === startLine ? begin + 2 : (state.bMarks[line] ?? 0);
    const text = state.src.slice(from, state.eMarks[line]).trimEnd();
    const at = text.indexOf(closing);
    if (at >= 0 && at < text.length - closing.length) return false; // more follows: a formula in a line
    closed = at >= 0;
    if (closed) break;
  }
  if (!closed) {
    // More may come: shown as source until then. In a container, whose end this may be, it is text.
    const env = state.env as ParseEnv;
    const more = env.open && !env.inFootnote && state.level === 0 && line >= endLine;
    if (silent || !more) return false;
  }
  if (silent) return true;
  state.line = closed ? line + 1 : line;
  const token = state.push("math_block", "", 0);
  token.content = state.getLines(startLine, state.line, state.sCount[startLine] ?? 0, false).trim();
  token.map = [startLine, state.line];
  return true;
}

/**
 * Return the first line of whole lines that may become the beginning of a formula when its end arrives, else null.
 *
 * Until then it is text, and may stand in the middle of blocks that others follow: they end there if it does.
 */
export function lineOfOpenMath(source: string): number | null {
  if (!OPENING.test(source)) return null;
  const lines = source.split("\n").slice(0, -1);
  let first: number | null = null;
  let closings = "";
  // From the end, to know at each line which closing marks follow it.
  for (let i = lines.length - 1; i >= 0 && i > lines.length - 1 - MAX_BLOCK_LINES; i--) {
    const line = (lines[i] ?? "").trim();
    if (line === "") break;
    const opening = line.slice(0, 2);
    const closing = CLOSING[opening];
    const isClosed =
      closing !== undefined && (closings.includes(closing) || line.slice(2).endsWith(closing));
    if (closing !== undefined && opening !== "\\(" && !isClosed) first = i;
    if (line.endsWith("$$")) closings += "$$";
    if (line.endsWith("\\]")) closings += "\\]";
  }
  return first;
}

/** Inline rule: gives `math_inline`, whose content is the source with its marks. */
export function mathInline(state: StateInline, silent: boolean): boolean {
  const first = state.src[state.pos];
  if (first !== "$" && first !== "\\") return false;
  const end = endOfInline(state);
  if (end === null) {
    if (silent || !isOpenInline(state)) return false;
    state.push("math_open", "", 0).content = state.src.slice(state.pos);
    state.pos = state.posMax;
    return true;
  }
  if (!silent) {
    state.push("math_inline", "", 0).content = state.src.slice(state.pos, end);
  }
  state.pos = end;
  return true;
}

/** Whether the rest of an open text is probably a formula whose end has not arrived yet. */
function isOpenInline({ src, pos, posMax, env, level, linkLevel }: StateInline): boolean {
  const { open, inFootnote } = env as ParseEnv;
  if (!open || inFootnote || level > 0 || linkLevel > 0 || posMax < src.length) return false;
  const rest = src.slice(pos);
  if (rest.length > MAX_OPEN_CHARS || rest.includes("\n")) return false;
  if (rest.startsWith("\\(")) return true;
  return /^\$(?=\S)[^$]*[\\^_{]/.test(rest) && !/[\p{L}\p{N}$]/u.test(src[pos - 1] ?? "");
}

function endOfInline(state: StateInline): number | null {
  const { src, pos, posMax } = state;
  const opening = src.slice(pos, pos + 2);
  const closing = CLOSING[opening];
  if (closing !== undefined) {
    if (src[pos + 2] === "$" || (opening === "$$" && src[pos - 1] === "$")) return null;
    // An escaped bracket is common in the middle of a text.
    if (opening === "\\[" && pos > 0 && src[pos - 1] !== "\n") return null;
    return endAt(state, closing);
  }
  if (src[pos] !== "$" || /[\p{L}\p{N}$]/u.test(src[pos - 1] ?? "")) return null;
  const window = src.slice(pos + 1, Math.min(posMax, pos + MAX_INLINE_CHARS));
  const match = /^(?=\S)(?:[^$\\]|\\[\s\S])*?\$/.exec(window);
  if (match === null || /\s\$$/.test(match[0])) return null;
  const end = pos + 1 + match[0].length;
  return end < posMax && /[\p{L}\p{N}$]/u.test(src[end] ?? "") ? null : end;
}

/** Closing marks that do not come again in a text: looked for once, not from every mark that opens. */
const absent = new WeakMap<StateInline, Set<string>>();

function endAt(state: StateInline, closing: string): number | null {
  const { src, pos, posMax } = state;
  const known = absent.get(state) ?? new Set();
  if (known.has(closing)) return null;
  const at = src.indexOf(closing, pos + 2);
  if (at < 0) absent.set(state, known.add(closing));
  const end = at + closing.length;
  if (at < 0 || end > posMax || end > pos + MAX_INLINE_CHARS) return null;
  return src.slice(pos + 2, at).trim() === "" ? null : end;
}

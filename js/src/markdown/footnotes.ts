/** Footnotes: `[^label]` in the text, `[^label]: …` at the top level, its further paragraphs indented by four. */
import type { StateBlock, StateInline, Token } from "markdown-it";
import type { ParseEnv } from "./environment";

const DEFINITION = /^\[\^([^\s[\]]{1,100})\]:[ \t]*/;
const REFERENCE = /\[\^([^\s[\]]{1,100})\]/y;
const INDENT = 4;

/** Return the key of a label, in the form that markdown-it looks link references up by. */
function keyOf(state: StateBlock | StateInline, label: string): string {
  return state.md.utils.normalizeReference(`^${label}`);
}

/** Return which note a token defines or refers to. */
export function noteOf(token: Token): string {
  const { key } = token.meta ?? {};
  return String(key);
}

/** Block rule: a definition gives `footnote_open`, the tokens of its text, and `footnote_close`. */
export function footnoteDefinition(
  state: StateBlock,
  startLine: number,
  endLine: number,
  silent: boolean,
): boolean {
  const env = state.env as ParseEnv;
  if (env.inFootnote || indentOf(state, startLine) >= state.blkIndent + INDENT) return false;
  // In a list or quote it is text; but it does end one where the paragraph would run on.
  if (state.level > 0 && !(silent && indentOf(state, startLine) < state.blkIndent)) return false;
  const begin = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const match = DEFINITION.exec(state.src.slice(begin, state.eMarks[startLine]));
  if (match === null) return false;
  if (silent) return true;

  const end = endOfText(state, startLine, endLine);
  const rest = state.getLines(startLine + 1, end, INDENT, false);
  const content = `${state.src.slice(begin + match[0].length, state.eMarks[startLine])}\n${rest}`;
  const key = keyOf(state, match[1] ?? "");
  env.footnotes[key] ??= true;

  const open = state.push("footnote_open", "", 1);
  open.map = [startLine, end];
  open.meta = { key };
  const before = state.tokens.length;
  env.inFootnote = true;
  state.md.block.parse(content, state.md, env, state.tokens);
  env.inFootnote = false;
  for (const token of state.tokens.slice(before)) token.level += 1;
  state.push("footnote_close", "", -1);
  state.line = end;
  return true;
}

function indentOf(state: StateBlock, line: number): number {
  return state.sCount[line] ?? 0;
}

/** Return the first line that is not of the note: what is not indented ends it, save its first paragraph's lines. */
function endOfText(state: StateBlock, startLine: number, endLine: number): number {
  const terminators = state.md.block.ruler.getRules("paragraph");
  let inFirstParagraph = true;
  let end = startLine + 1;
  for (let line = end; line < endLine; line++) {
    if (state.isEmpty(line)) {
      inFirstParagraph = false;
      continue;
    }
    if (indentOf(state, line) < INDENT) {
      if (!inFirstParagraph) break;
      if (terminators.some((rule) => rule(state, line, endLine, true))) break;
    }
    end = line + 1;
  }
  return end;
}

/** Inline rule: a reference to a note that is defined. */
export function footnoteReference(state: StateInline, silent: boolean): boolean {
  REFERENCE.lastIndex = state.pos;
  const match = state.linkLevel === 0 ? REFERENCE.exec(state.src) : null;
  if (match === null || REFERENCE.lastIndex > state.posMax) return false;
  const key = keyOf(state, match[1] ?? "");
  // The link rule, which comes next, looks the same label up, so that it is noted as missing.
  if (!(state.env as ParseEnv).footnotes[key]) return false;
  if (!silent) state.push("footnote_reference", "", 0).meta = { key };
  state.pos += match[0].length;
  return true;
}

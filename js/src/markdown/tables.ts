/** Tables as GitHub has them, within bounds: a short row is filled up with cells, so that little text makes many. */
import type { MarkdownIt, StateBlock } from "markdown-it";

/** Cells of one table that its text does not have. */
const MAX_FILLED_CELLS = 1000;

type BlockRule = (state: StateBlock, start: number, end: number, silent: boolean) => boolean;

/** Return markdown-it's rule for tables, ended at the row that would fill up too many cells. */
export function boundedTable(md: MarkdownIt): BlockRule {
  const [table] = md.block.ruler.getRules("");
  return (state, startLine, endLine, silent) => {
    if (table === undefined) return false;
    if (startLine + 2 > endLine || !/^[|:-][|:\s-]+$/.test(lineOf(state, startLine + 1)))
      return false;
    const end = silent ? endLine : boundedEnd(state, startLine, endLine);
    return table(state, startLine, end, silent);
  };
}

function boundedEnd(state: StateBlock, startLine: number, endLine: number): number {
  const columns = pipesIn(lineOf(state, startLine + 1)) + 1;
  let filled = 0;
  for (let line = startLine + 2; line < endLine && !state.isEmpty(line); line++) {
    filled += Math.max(0, columns - pipesIn(lineOf(state, line)) - 1);
    if (filled > MAX_FILLED_CELLS) return line;
  }
  return endLine;
}

function lineOf(state: StateBlock, line: number): string {
  const begin = (state.bMarks[line] ?? 0) + (state.tShift[line] ?? 0);
  return state.src.slice(begin, state.eMarks[line]);
}

function pipesIn(line: string): number {
  let pipes = 0;
  for (let at = line.indexOf("|"); at >= 0; at = line.indexOf("|", at + 1)) pipes++;
  return pipes;
}

/** Inserts code from an answer into the notebook. */

import type { DocumentContext, NewCell, NotebookModel } from ".";

type Shared = NonNullable<NotebookModel["sharedModel"]>;

/** The last cell that was inserted below a cell, by notebook. */
const inserted = new WeakMap<Shared, { readonly below: string; readonly last: string }>();

/**
 * Insert a cell with this code below the focused one, or at the end, and run it if `run` is set.
 *
 * Several cells that are inserted below the same one keep their order.
 */
export async function insertCell(
  context: DocumentContext | undefined,
  code: string,
  language: string,
  run: boolean,
): Promise<void> {
  const shared = context?.model?.sharedModel;
  const notebook = document.activeElement?.closest(".jp-NotebookPanel") ?? null;
  if (shared === undefined) return;
  const cells = shared.cells ?? [];
  const anchor = focusedCell(cells.length);
  const below = cells[anchor]?.id ?? "";
  const before = inserted.get(shared);
  const last = before?.below === below ? cells.findIndex(({ id }) => id === before.last) : -1;
  const index = Math.max(anchor, last) + 1;
  const made = shared.insertCell?.(index, newCell(code, language));
  if (below && made?.id) inserted.set(shared, { below, last: made.id });
  if (run && notebook !== null) await runCell(notebook, index);
}

/** Return a cell for code: Python as it is, shells by `%%bash`, other languages as a fenced block of Markdown. */
function newCell(code: string, language: string): NewCell {
  if (language === "" || /^(?:i?python3?|py3?)$/.test(language)) {
    return { cell_type: "code", source: code };
  }
  if (/^(?:bash|sh|shell|zsh)$/.test(language)) {
    return { cell_type: "code", source: `%%bash\n${code}` };
  }
  const longest = Math.max(2, ...Array.from(code.matchAll(/`+/g), ([ticks]) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return { cell_type: "markdown", source: `${fence}${language}\n${code}\n${fence}` };
}

/** Return the index of the focused cell, or of the last one. */
function focusedCell(cells: number): number {
  const cell = document.activeElement?.closest("[data-windowed-list-index]");
  const index = Number(cell?.getAttribute("data-windowed-list-index") ?? cells - 1);
  return Number.isInteger(index) && index >= 0 && index < cells ? index : cells - 1;
}

/** Frames to wait for a new cell to appear or to become active. */
const FRAMES = 60;

/**
 * Run a cell by selecting it and pressing the toolbar's button.
 *
 * Widgets have no access to the application, so this is the only way. If the cell cannot be selected or there is
 * no such button, the cell stays unrun.
 */
async function runCell(notebook: Element, index: number): Promise<void> {
  const find = () => notebook.querySelector(`[data-windowed-list-index="${index}"]`);
  const prompt = await soon(() => find()?.querySelector(".jp-InputPrompt"));
  if (prompt) press(prompt);
  // No other cell may ever be run.
  const chosen = await soon(() => find()?.classList.contains("jp-mod-active"));
  const button = notebook.querySelector('[data-command="notebook:run-cell-and-select-next"]');
  if (chosen && button) press(button);
}

/** Press a mouse button on an element; JupyterLab's buttons act on `mousedown`. */
function press(element: Element): void {
  for (const type of ["mousedown", "mouseup"]) {
    element.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true, button: 0 }));
  }
}

/** Return the first truthy result of `look`, which is called once per frame; null after `FRAMES`. */
async function soon<T>(look: () => T): Promise<T | null> {
  for (let frame = 0; frame < FRAMES; frame++) {
    const found = look();
    if (found) return found;
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  return null;
}

/** Inserts code from an answer into the notebook. */

import type { DocumentContext } from ".";

/** Insert a cell with this code below the focused one, or at the end, and run it if `run` is set. */
export async function insertCell(
  context: DocumentContext | undefined,
  code: string,
  run: boolean,
): Promise<void> {
  const shared = context?.model?.sharedModel;
  const notebook = document.activeElement?.closest(".jp-NotebookPanel") ?? null;
  const index = placeForCell(shared?.cells?.length ?? 0);
  shared?.insertCell?.(index, { cell_type: "code", source: code });
  if (run && notebook !== null) await runCell(notebook, index);
}

/** Return the index below the focused cell, or the end. */
function placeForCell(cells: number): number {
  const cell = document.activeElement?.closest("[data-windowed-list-index]");
  const index = Number(cell?.getAttribute("data-windowed-list-index") ?? cells - 1);
  return Number.isInteger(index) && index >= 0 && index < cells ? index + 1 : cells;
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

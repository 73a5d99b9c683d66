/** Code that goes from an answer into a cell of the notebook. */

import type { DocumentContext } from ".";

/** Put code into a new cell below the one that has the focus, or at the end, and run it if wanted. */
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

/** Index below the cell that has the focus; the end where there is none. */
function placeForCell(cells: number): number {
  const cell = document.activeElement?.closest("[data-windowed-list-index]");
  const index = Number(cell?.getAttribute("data-windowed-list-index") ?? cells - 1);
  return Number.isInteger(index) && index >= 0 && index < cells ? index + 1 : cells;
}

/** Frames in which a new cell has to appear on screen, or be the chosen one. */
const FRAMES = 60;

/**
 * Run a cell as a user does: choose it, and press the toolbar's button.
 *
 * A widget is not given the application, so this is the only way. Where it does not work, because the
 * cell cannot be chosen or there is no such button, the cell is there and the user runs it.
 */
async function runCell(notebook: Element, index: number): Promise<void> {
  const find = () => notebook.querySelector(`[data-windowed-list-index="${index}"]`);
  const prompt = await soon(() => find()?.querySelector(".jp-InputPrompt"));
  if (prompt) press(prompt);
  // Another cell than this one must not be run, whatever happens.
  const chosen = await soon(() => find()?.classList.contains("jp-mod-active"));
  const button = notebook.querySelector('[data-command="notebook:run-cell-and-select-next"]');
  if (chosen && button) press(button);
}

/** Press the mouse's button on an element; JupyterLab's buttons act when it goes down. */
function press(element: Element): void {
  for (const type of ["mousedown", "mouseup"]) {
    element.dispatchEvent(new MouseEvent(type, { bubbles: true, cancelable: true, button: 0 }));
  }
}

/** Return what `look` finds, as soon as it finds something; null after some frames. */
async function soon<T>(look: () => T): Promise<T | null> {
  for (let frame = 0; frame < FRAMES; frame++) {
    const found = look();
    if (found) return found;
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  return null;
}

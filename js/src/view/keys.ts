/**
 * Which keys belong to the chat, and which to the notebook around it.
 *
 * JupyterLab listens at the document on the way up, Notebook on the way down (capture). Lumino leaves
 * alone what happens in an element with `data-lm-suppress-shortcuts`, but then it leaves everything
 * alone, Ctrl+S too. So the attribute follows the key: it is set before anybody else sees a key that
 * edits, and taken away before a chord that the notebook should get.
 */

const SUPPRESS = "data-lm-suppress-shortcuts";

/** Keys that edit or navigate text also together with Ctrl or Cmd. */
const EDITING = new Set([
  "Enter",
  "Backspace",
  "Delete",
  "ArrowLeft",
  "ArrowRight",
  "ArrowUp",
  "ArrowDown",
  "Home",
  "End",
  "PageUp",
  "PageDown",
  "Tab",
  "Insert",
  "Escape",
  " ",
]);
const EDITING_CHORDS = new Set(["a", "c", "v", "x", "y", "z"]);

/** Tell whether a key pressed inside the chat is none of the notebook's business. */
export function staysInside(event: KeyboardEvent): boolean {
  const chord = (event.ctrlKey || event.metaKey) && !event.getModifierState("AltGraph");
  if (chord) {
    if (EDITING.has(event.key)) return true;
    const key = event.key.toLowerCase();
    // Ctrl+Shift+C, +V and +X are shortcuts of the host; Ctrl+Shift+Z is "redo".
    return EDITING_CHORDS.has(key) && (!event.shiftKey || key === "z");
  }
  return event.key === "F2" || !/^F\d+$/.test(event.key);
}

/** Tell whether a key press is part of composing text with an input method. */
export function isComposing(event: KeyboardEvent): boolean {
  // Safari ends the composition before the key that ended it is reported; 229 still tells.
  return event.isComposing || event.keyCode === 229;
}

/** Keep editing keys of `root` from the notebook's shortcuts, and let its chords through. */
export function guardKeys(root: HTMLElement, signal: AbortSignal): void {
  const view = root.ownerDocument.defaultView ?? window;
  view.addEventListener(
    "keydown",
    (event) => {
      // On the element itself: Lumino tries the selectors of its shortcuts from there upwards, and
      // would find one that matches before it came to an attribute further up.
      if (event.target instanceof Element && root.contains(event.target)) {
        event.target.toggleAttribute(SUPPRESS, staysInside(event));
      }
    },
    { capture: true, signal },
  );
  for (const type of ["keydown", "keypress", "keyup"] as const) {
    root.addEventListener(
      type,
      (event) => {
        if (staysInside(event)) event.stopPropagation();
      },
      { signal },
    );
  }
}

/**
 * `guardKeys`: separates the keys of the chat from those of the notebook.
 *
 * JupyterLab handles keys at the document while they bubble, Notebook while they are captured. Lumino ignores all
 * keys in an element with `data-lm-suppress-shortcuts`, Ctrl+S included. The attribute is therefore set for each
 * key: before other listeners see an editing key, and removed before a chord of the notebook.
 */

const SUPPRESS = "data-lm-suppress-shortcuts";

/** Keys that edit or navigate text, also with Ctrl or Cmd. */
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

/** Return whether a key pressed in the chat must not reach the notebook. */
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

/** Return whether a key press belongs to an input method. */
export function isComposing(event: KeyboardEvent): boolean {
  // Safari ends the composition before it reports the key that ended it; that key has code 229.
  return event.isComposing || event.keyCode === 229;
}

/** Return whether this Enter sends, for a value of `send_key`. */
export function sends(event: KeyboardEvent, habit: string): boolean {
  if (event.altKey) return false;
  const chord = event.ctrlKey || event.metaKey;
  if (habit === "ctrl-enter") return chord && !event.shiftKey;
  if (chord) return false;
  return habit === "shift-enter" ? event.shiftKey : !event.shiftKey;
}

/** Keep editing keys in `root` from the notebook's shortcuts, and pass its chords through. */
export function guardKeys(root: HTMLElement, signal: AbortSignal): void {
  const view = root.ownerDocument.defaultView ?? window;
  view.addEventListener(
    "keydown",
    (event) => {
      // On the target itself: Lumino matches the selectors of its shortcuts from there upwards, and could
      // find a match below an attribute further up.
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

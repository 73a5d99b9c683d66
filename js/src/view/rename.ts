/** A field over a tab that edits the title in place. */

import { allStrings } from "../i18n/extras";
import type { Context } from "../types";
import { h, installStyles } from "./dom";
import css from "./extras.css";
import { isComposing } from "./keys";

/**
 * Edit a title.
 *
 * @param tab the element below the field; a tab may not contain a control.
 * @param done called with the new title, or null if it is unchanged, and whether a key ended the edit.
 */
export function openRename(
  { t }: Pick<Context, "t">,
  tab: HTMLElement,
  old: string,
  done: (title: string | null, byKey: boolean) => void,
): void {
  const strip = tab.parentElement?.parentElement;
  if (!strip) return;
  installStyles(strip, css);
  const at = tab.getBoundingClientRect();
  const around = strip.getBoundingClientRect();
  const input = h("input", {
    class: "rename",
    "aria-label": allStrings(t).title,
    maxlength: 200,
    dir: "auto",
    style: `left:${at.left - around.left}px;width:${Math.max(at.width, 120)}px`,
  });
  input.value = old;
  const before = input.value.trim(); // as the field shows it
  strip.append(input);
  input.select();
  input.focus();
  let over = false;
  const end = (keeps: boolean, byKey: boolean): void => {
    if (over) return;
    over = true;
    const title = input.value.trim();
    input.remove();
    done(keeps && title !== before ? title : null, byKey);
  };
  input.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter", true);
  });
  input.addEventListener("blur", () => end(true, false));
}

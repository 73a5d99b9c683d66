/** The form that edits a question. */

import { allStrings } from "../i18n/extras";
import type { Context, EditForm } from "../types";
import { button, h, installStyles } from "./dom";
import css from "./extras.css";
import { reveal } from "./text";

/** Return a form with this text. */
export function editForm(context: Pick<Context, "t" | "root">, text: string): EditForm {
  const t = allStrings(context.t);
  installStyles(context.root.ownerDocument, css);
  const field = h("textarea", { class: "editor", "aria-label": t.editLabel, dir: "auto", rows: 3 });
  field.value = text;
  const error = h("p", { class: "cause-text", hidden: true });
  const element = h(
    "div",
    { class: "edit-form" },
    field,
    error,
    h(
      "div",
      { class: "choices" },
      button("edit-send", t.sendEdit, { class: "button primary" }),
      button("edit-cancel", t.cancel),
    ),
  );
  return {
    element,
    field,
    focus() {
      field.focus();
      field.setSelectionRange(field.value.length, field.value.length);
    },
    refuse(why) {
      error.textContent = reveal(why);
      error.hidden = false;
      field.focus();
    },
  };
}

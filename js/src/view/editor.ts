/** The form that edits a question. */

import { allStrings } from "../i18n/extras";
import type { Context, EditForm } from "../types";
import { button, h, installStyles } from "./dom";
import css from "./extras.css";
import { isComposing, sends } from "./keys";
import { reveal } from "./text";

/** Return a form with this text. */
export function editForm(context: Pick<Context, "t" | "root" | "sendKey">, text: string): EditForm {
  const t = allStrings(context.t);
  installStyles(context.root, css);
  const field = h("textarea", { class: "editor", "aria-label": t.editLabel, dir: "auto", rows: 3 });
  field.value = text;
  const error = h("p", { class: "cause-text", hidden: true });
  const send = button("edit-send", t.sendEdit, {
    class: "button primary",
    title: t.sendEditHint,
  });
  const cancel = button("edit-cancel", t.cancel);
  field.addEventListener("input", () => {
    send.disabled = field.value.trim() === "";
  });
  field.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Escape") cancel.click();
    else if (event.key === "Enter" && sends(event, context.sendKey())) send.click();
    else return;
    event.preventDefault();
  });
  const element = h(
    "div",
    { class: "edit-form" },
    field,
    error,
    h("div", { class: "choices" }, send, cancel),
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

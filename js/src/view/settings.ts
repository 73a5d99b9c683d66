/** The form with model, instructions and parameters of a session. */

import { type AllStrings, allStrings } from "../i18n/extras";
import type { Settings } from "../protocol";
import type { Context } from "../types";
import { button, h, uniqueId } from "./dom";
import { openPopup } from "./popup";
import { causeOf, label, reveal, sentence, thrown } from "./text";

/** Unchecked values of the form. */
export interface Written {
  readonly model: string;
  readonly instructions: string;
  readonly temperature: string;
  readonly maxTokens: string;
  readonly other: string;
}

/** Return the parameters as fields of the form: two by name, the rest as JSON. */
export function writeParams(params: Readonly<Record<string, unknown>>): {
  temperature: string;
  maxTokens: string;
  other: string;
} {
  const { temperature, max_tokens: maxTokens, ...other } = params;
  const number = (value: unknown) => (typeof value === "number" ? String(value) : "");
  return {
    temperature: number(temperature),
    maxTokens: number(maxTokens),
    other: Object.keys(other).length > 0 ? JSON.stringify(other, null, 2) : "",
  };
}

/** Return the parameters of the form, or an error message. */
export function readParams(
  written: Omit<Written, "model" | "instructions">,
  t: AllStrings,
): Record<string, unknown> | string {
  let params: Record<string, unknown> = {};
  if (written.other.trim()) {
    try {
      const other: unknown = JSON.parse(written.other);
      if (typeof other !== "object" || other === null || Array.isArray(other)) return t.badParams;
      params = { ...other };
    } catch {
      return t.badParams;
    }
  }
  const numbers: readonly (readonly [string, string, string])[] = [
    ["temperature", written.temperature, t.temperature],
    ["max_tokens", written.maxTokens, t.maxTokens],
  ];
  for (const [key, text, name] of numbers) {
    if (text.trim() === "") continue;
    const value = Number(text);
    if (!Number.isFinite(value)) return t.badNumber(name);
    params[key] = value;
  }
  return params;
}

/** Show the form below `anchor`. */
export function openSettings(
  context: Context,
  anchor: Element,
  sessionId: string,
  settings: Settings,
): void {
  const { runtime } = context;
  const t = allStrings(context.t);
  const { store } = runtime;
  const listId = uniqueId("models");
  const params = writeParams(settings.params);
  const model = h("input", {
    type: "text",
    list: listId,
    value: settings.model,
    autocomplete: "off",
    spellcheck: "false",
  });
  const list = h("datalist", { id: listId });
  const instructions = h("textarea", { rows: 4, dir: "auto" });
  instructions.value = settings.instructions ?? "";
  const temperature = h("input", {
    type: "number",
    min: 0,
    max: 2,
    step: "any",
    value: params.temperature,
  });
  const maxTokens = h("input", { type: "number", min: 1, step: 1, value: params.maxTokens });
  const other = h("textarea", { rows: 2, spellcheck: "false", class: "code" });
  other.value = params.other;
  const error = h("p", { class: "cause-text", role: "alert" });
  const field = (name: string, input: HTMLElement) =>
    h("label", { class: "field" }, h("span", { text: name }), input);
  const cancel = button(null, t.cancel);
  const form = h(
    "form",
    { class: "form" },
    settings.from_file && h("p", { class: "form-note", text: t.fromFile }),
    settings.changed_by !== undefined &&
      h("p", { class: "form-note", text: t.changedBy(label(settings.changed_by, 40)) }),
    field(t.model, model),
    list,
    field(t.instructions, instructions),
    h("div", { class: "fields" }, field(t.temperature, temperature), field(t.maxTokens, maxTokens)),
    field(t.otherParams, other),
    error,
    h(
      "div",
      { class: "choices" },
      h("button", {
        type: "submit",
        class: "button primary",
        text: settings.from_file ? t.adopt : t.save,
      }),
      cancel,
    ),
  );

  const listModels = (): void => {
    const models = store.models?.session_id === sessionId ? store.models : null;
    list.replaceChildren(...(models?.models ?? []).map((name) => h("option", { value: name })));
    if (models) model.placeholder = t.defaultModel(label(models.model ?? ""));
    if (models?.error && !error.textContent)
      error.textContent = reveal(sentence(causeOf(models.error)));
  };
  listModels();
  const unsubscribe = store.subscribe(({ other: changed }) => {
    if (changed) listModels();
  });
  const dialog = h("div", { role: "dialog", "aria-label": t.settingsTitle }, form);
  const fields = [model, instructions, temperature, maxTokens, other] as const;
  const before = fields.map(({ value }) => value);
  const isChanged = (field: (typeof fields)[number]): boolean =>
    field.value !== before[fields.indexOf(field)];
  const popup = openPopup(context, anchor, dialog, unsubscribe, () => fields.some(isChanged));
  void runtime.do({ type: "list_models", session_id: sessionId }).catch(() => {});

  cancel.addEventListener("click", () => popup.close());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const read = readParams(
      { temperature: temperature.value, maxTokens: maxTokens.value, other: other.value },
      t,
    );
    if (typeof read === "string") {
      error.textContent = read;
      return;
    }
    // Fields that were not edited may have been set from a cell meanwhile.
    const now = store.session(sessionId)?.state.settings ?? settings;
    runtime
      .do({
        type: "configure",
        session_id: sessionId,
        model: isChanged(model) ? model.value.trim() || null : now.model,
        instructions: isChanged(instructions) ? instructions.value || null : now.instructions,
        params: [temperature, maxTokens, other].some(isChanged) ? read : now.params,
      })
      .then((ack) => {
        if (ack.error) error.textContent = reveal(sentence(causeOf(ack.error)));
        else popup.close();
      })
      .catch((reason: unknown) => {
        error.textContent = reveal(thrown(reason));
      });
  });
  model.focus();
}

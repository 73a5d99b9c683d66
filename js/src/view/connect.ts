/** The panel in which the user connects a server: its URL, a key, a model, and the same as code for a cell. */

import { allStrings } from "../i18n/extras";
import { copyText } from "../markdown/clipboard";
import type { Connect, Connected } from "../protocol";
import type { Context } from "../types";
import { button, h, setText, uniqueId } from "./dom";
import { openPopup } from "./popup";
import { causeOf, label, reveal, sentence, thrown } from "./text";

/** Servers by name: base URL, and whether a key is needed. */
const SERVERS: readonly (readonly [name: string, url: string, needsKey: boolean])[] = [
  ["OpenAI", "https://api.openai.com/v1", true],
  ["Ollama", "http://localhost:11434/v1", false],
  ["vLLM", "http://localhost:8000/v1", false],
  ["LM Studio", "http://localhost:1234/v1", false],
  ["llama.cpp", "http://localhost:8080/v1", false],
  ["Anthropic", "https://api.anthropic.com/v1/", true],
  ["Gemini", "https://generativelanguage.googleapis.com/v1beta/openai/", true],
];

/** Return the code that does in a cell what the panel does; the key is asked for when the cell runs. */
export function connectionCode(url: string, model: string, needsKey: boolean): string {
  const given = [`base_url=${JSON.stringify(url)}`, model && `model=${JSON.stringify(model)}`];
  const key = [
    "import os",
    "from getpass import getpass",
    "",
    "import nbchat",
    "",
    'os.environ["OPENAI_API_KEY"] = getpass("API key: ")',
  ];
  return [
    ...(needsKey ? key : ["import nbchat", ""]),
    `nbchat.config(${given.filter(Boolean).join(", ")})`,
  ].join("\n");
}

/** Show the panel below `anchor`. */
export function openConnect(context: Context, anchor: Element): void {
  const { runtime } = context;
  const t = allStrings(context.t);
  const text = (type: string, attributes = {}) =>
    h("input", { type, autocomplete: "off", spellcheck: "false", ...attributes });
  const server = h(
    "select",
    {},
    ...SERVERS.map(([name], i) => h("option", { value: i, text: name })),
    h("option", { value: "", text: t.otherServer }),
  );
  const listId = uniqueId("models");
  const url = text("text", { inputmode: "url", value: SERVERS[0]?.[1] });
  // Password managers are not to keep it, and nothing else does.
  const key = text("password", { autocomplete: "new-password" });
  const model = text("text", { list: listId, placeholder: t.defaultModel("") });
  const list = h("datalist", { id: listId });
  const result = h("p", { class: "form-note", role: "status" });
  const error = h("p", { class: "cause-text", role: "alert" });
  const code = h("code");
  const models = button(null, t.listModels);
  const test = button(null, t.testModel);
  const reset = button(null, t.resetServer);
  const cancel = button(null, t.cancel);
  const copy = button(null, t.copy);
  const insert = runtime.host.hasCells && button(null, t.insertCell);
  const field = (name: string, input: HTMLElement) =>
    h("label", { class: "field" }, h("span", { text: name }), input);
  const inCode = h(
    "details",
    {},
    h("summary", { text: t.inCode }),
    h("pre", { class: "form-code" }, code),
    h("div", { class: "choices" }, insert, copy),
  );
  const form = h(
    "form",
    { class: "form" },
    h("p", { class: "form-note", text: t.connectNote }),
    field(t.server, server),
    field(t.baseUrl, url),
    field(t.apiKey, key),
    field(t.model, model),
    list,
    result,
    error,
    h(
      "div",
      { class: "choices" },
      h("button", { type: "submit", class: "button primary", text: t.useServer }),
      models,
      test,
      reset,
      cancel,
    ),
    inCode,
  );
  const dialog = h("div", { role: "dialog", "aria-label": t.connect }, form);
  const popup = openPopup(
    context,
    anchor,
    dialog,
    () => {
      key.value = "";
    },
    // A press outside, or a page that scrolls, must not throw away what was typed.
    () => true,
  );

  const show = (): void => {
    const base = url.value.trim();
    const needsKey = SERVERS.find(([, known]) => known === base)?.[2] ?? key.value !== "";
    setText(code, connectionCode(base, model.value.trim(), needsKey));
  };
  show();

  let working = false;
  /** Ask the kernel; a failure is shown, and the answer is null then. */
  const ask = async (action: Connect["action"]): Promise<Connected | null> => {
    if (working) return null;
    working = true;
    setText(error, "");
    setText(result, action === "use" || action === "reset" ? "" : t.asking);
    form.setAttribute("aria-busy", "true");
    try {
      const answer = await runtime.connect({
        action,
        base_url: url.value.trim(),
        api_key: key.value,
        model: model.value.trim(),
      });
      setText(result, "");
      if (!answer.error) return answer;
      setText(error, reveal(sentence(causeOf(answer.error))));
    } catch (reason) {
      setText(result, "");
      const isUnsent = (reason as { readonly code?: unknown }).code === "no_channel";
      setText(error, isUnsent ? t.noChannel : reveal(thrown(reason)));
      if (isUnsent) inCode.open = true;
    } finally {
      working = false;
      form.removeAttribute("aria-busy");
    }
    return null;
  };

  server.addEventListener("change", () => {
    url.value = SERVERS[Number(server.value || -1)]?.[1] ?? "";
    // A key is for one server; it must not be sent to the next by mistake.
    key.value = "";
    list.replaceChildren();
    setText(result, "");
    setText(error, "");
    show();
    if (!url.value) url.focus();
  });
  form.addEventListener("input", show);
  inCode.addEventListener("toggle", () => inCode.scrollIntoView?.({ block: "nearest" }));
  cancel.addEventListener("click", () => popup.close());
  models.addEventListener("click", async () => {
    const answer = await ask("models");
    if (!answer) return;
    list.replaceChildren(...answer.models.map((name) => h("option", { value: name })));
    const some = answer.models.slice(0, 6).map((name) => label(name));
    setText(result, t.modelsListed(answer.models.length, some.join(", ")));
  });
  test.addEventListener("click", async () => {
    const answer = await ask("test");
    if (answer) setText(result, t.tested(reveal(answer.text)));
  });
  reset.addEventListener("click", async () => {
    if (await ask("reset")) popup.close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await ask("use")) popup.close();
  });
  copy.addEventListener("click", async () => {
    const done = await copyText(code.textContent ?? "");
    setText(result, done ? t.markdown.copied : t.copyFailed);
  });
  if (insert) {
    insert.addEventListener("click", () => {
      context.extras(({ insertCell }) => {
        void insertCell(runtime.host.context, code.textContent ?? "", "python", false);
        popup.close();
      });
    });
  }
  server.focus({ preventScroll: true });
}

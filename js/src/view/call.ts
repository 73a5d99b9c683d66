/** `CallCard`: a tool call with its arguments, its buttons while it waits for approval, and its result. */

import { type AllStrings, allStrings } from "../i18n/extras";
import { copyText } from "../markdown/clipboard";
import { Enhancer, type Highlighter } from "../markdown/enhance";
import type { Decision, Part, ToolResultPart } from "../protocol";
import { callsOf, type ToolCall } from "../state/calls";
import { crc32 } from "../state/crc32";
import type { Context, PartCard, Turn } from "../types";
import { perform } from "./commands";
import { ResultText } from "./data";
import {
  button,
  focusedIn,
  h,
  installStyles,
  setAttribute,
  setText,
  show,
  watchVisibility,
} from "./dom";
import css from "./extras.css";
import { SAFE_IMAGE } from "./parts";
import { WAITS_AFTER_MS } from "./progress";
import { label, reveal } from "./text";

/** Presses are ignored for this long after the buttons appeared or moved, in milliseconds. */
const ARMED_AFTER_MS = 500;
/** The tool whose argument `code` is shown as code. */
const PYTHON = "python";

/** Arguments as they are displayed. */
interface Arguments {
  readonly text: string;
  readonly language: "python" | "json";
}

/**
 * Return arguments as they are displayed: the code of `python`, else indented JSON.
 *
 * They are displayed as received if indenting would change a value, such as a number with many digits or a key
 * that occurs twice.
 */
export function displayed(name: string, json: string): Arguments {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return { text: json, language: "json" };
  }
  if (JSON.stringify(value) !== compact(json)) return { text: json, language: "json" };
  if (name === PYTHON && isCode(value)) return { text: value.code, language: "python" };
  return { text: JSON.stringify(value, null, 2), language: "json" };
}

/** Return JSON without white space between its tokens, and its strings with the usual escapes. */
function compact(json: string): string {
  return json.replace(/("(?:[^"\\]|\\.)*")|\s+/g, (_, text?: string) =>
    text === undefined ? "" : JSON.stringify(JSON.parse(text)),
  );
}

function isCode(value: unknown): value is { readonly code: string } {
  if (typeof value !== "object" || value === null) return false;
  const entries = Object.entries(value);
  return entries.length === 1 && entries[0]?.[0] === "code" && typeof entries[0][1] === "string";
}

export class CallCard implements PartCard {
  readonly #context: Context;
  readonly #t: AllStrings;
  readonly #element: HTMLElement;
  readonly #end = new AbortController();
  readonly #title = h("div", { class: "call-title" });
  readonly #pre = h("pre", { class: "call-data", dir: "ltr", tabindex: 0 });
  readonly #previewText = h("pre", { class: "call-data", dir: "ltr", tabindex: 0 });
  readonly #preview: HTMLElement;
  readonly #buttons: HTMLElement;
  readonly #after: HTMLElement;
  readonly #insert: HTMLButtonElement;
  readonly #result: ResultText;
  readonly #pictures = h("div", { class: "image" });
  readonly #enhancer: Enhancer;
  #turn: Turn | null = null;
  #call: ToolCall | null = null;
  /** The arguments that are displayed, as received, and as they are shown. */
  #drawn: { readonly key: string; readonly json: string; readonly text: string } | null = null;
  #pictured: ToolResultPart | null = null;
  /** Changes when the buttons may have moved. */
  #place = "";
  /** Time at which the buttons appeared or moved. */
  #since = 0;
  /** A decision is on its way. */
  #pending = false;
  /** It is approved, and waits for the running cell. */
  #waits = false;
  #waitsTimer: ReturnType<typeof setTimeout> | undefined;
  /** Set while the session's head is followed. */
  #unfollow: (() => void) | null = null;

  constructor(context: Context, element: HTMLElement) {
    const t = allStrings(context.t);
    installStyles(context.root, css);
    this.#context = context;
    this.#t = t;
    this.#element = element;
    this.#enhancer = new Enhancer({
      loadHighlight: async () =>
        (await context.runtime.load("highlight")).highlighter as Highlighter,
      loadMath: undefined,
    });
    this.#preview = h(
      "div",
      { class: "call-preview", hidden: true },
      h("div", { text: t.callPreview }),
      this.#previewText,
    );
    const decides = (decision: Decision, name: string, attributes = {}): HTMLElement => {
      const made = button(null, name, attributes);
      made.addEventListener("click", () => void this.#decide(decision));
      return made;
    };
    this.#buttons = h(
      "div",
      { class: "choices", hidden: true },
      decides("run", t.callRun, { class: "button primary" }),
      decides("run_all", t.callRunAll, { title: t.callRunAllHint }),
      decides("refuse", t.callRefuse),
    );
    this.#insert = button(null, t.insertCell, { hidden: true });
    this.#insert.addEventListener("click", () => this.#insertCode());
    const copy = button(null, t.copy);
    copy.addEventListener("click", async () => {
      const done = await copyText(this.#drawn?.text ?? "");
      context.notify(done ? t.markdown.copied : t.copyFailed);
    });
    this.#after = h("div", { class: "choices", hidden: true }, this.#insert, copy);
    this.#result = new ResultText(t);
    element.classList.add("nbchat-call");
    element.setAttribute("role", "group");
    element.tabIndex = -1;
    element.append(
      this.#title,
      h("div", { class: "markdown" }, this.#pre),
      this.#preview,
      this.#buttons,
      this.#after,
      this.#result.element,
      this.#pictures,
    );
    watchVisibility(this.#buttons, this.#end.signal, () => this.#appear());
  }

  update(parts: readonly Part[], turn: Turn): void {
    const calls = callsOf(turn.message, turn.run ?? undefined);
    const call = calls.find(({ part }) => part === parts[0]);
    if (!call) return;
    this.#turn = turn;
    this.#call = call;
    const { part, result, state } = call;
    const name = label(part.name, 60);
    setAttribute(this.#element, "data-call-id", part.call_id);
    setAttribute(this.#element, "data-call-state", state);
    setAttribute(this.#element, "data-error", result?.is_error);
    this.#follow(state === "asking" || state === "running");
    this.#drawHead();
    this.#drawArguments(part.name, part.text, state !== "arriving");
    this.#result.update(result);
    this.#drawPictures(name, result);
    // The results of other calls move the buttons.
    const place = [turn.message.parts.length, state, ...(turn.run?.asking ?? [])].join("\n");
    if (place !== this.#place) {
      this.#place = place;
      this.#appear();
    }
    const asks = state === "asking";
    if (!asks) this.#setPending(false);
    const focused = focusedIn(this.#buttons);
    show(this.#buttons, asks);
    show(this.#after, !asks && state !== "arriving");
    show(
      this.#insert,
      part.name === PYTHON && state === "ran" && this.#context.runtime.host.hasCells,
    );
    // Last, since it lays the page out: a card that is shorter for a moment would move the log.
    if (focused && !asks) this.#element.focus({ preventScroll: true });
  }

  destroy(): void {
    this.#follow(false);
    clearTimeout(this.#waitsTimer);
    this.#end.abort();
    this.#enhancer.stop();
  }

  #appear(): void {
    this.#since = performance.now();
  }

  /** Follow the session's head, or stop it. */
  #follow(follow: boolean): void {
    if (follow) {
      this.#unfollow ??= this.#context.runtime.store.subscribe(({ heads }) => {
        if (heads.has(this.#turn?.sessionId ?? "")) this.#drawHead();
      });
    } else {
      this.#unfollow?.();
      this.#unfollow = null;
    }
  }

  /** Show the title, and what the session's head has about the call. */
  #drawHead(): void {
    const { run, sessionId } = this.#turn ?? {};
    const call = this.#call;
    if (!call) return;
    const head = this.#context.runtime.store.heads.get(sessionId ?? "");
    const live = run && head?.run_id === run.id ? head : undefined;
    const facts = live?.calls.find(({ call_id }) => call_id === call.part.call_id);
    const waits = call.state === "running" && facts?.queued === true;
    if (!waits) {
      clearTimeout(this.#waitsTimer);
      this.#waitsTimer = undefined;
      this.#waits = false;
    } else if (!this.#waits) {
      this.#waitsTimer ??= setTimeout(() => {
        this.#waits = true;
        this.#drawTitle(call);
      }, WAITS_AFTER_MS);
    }
    this.#drawTitle(call);
    const preview = call.state === "asking" ? (facts?.preview ?? null) : null;
    const text = reveal(preview ?? "");
    if (this.#preview.hidden === (preview === null) && this.#previewText.textContent === text) {
      return;
    }
    setText(this.#previewText, text);
    show(this.#preview, preview !== null);
    this.#appear();
  }

  #drawTitle({ part, state }: ToolCall): void {
    const name = label(part.name, 60);
    const title = this.#waits ? this.#t.callWaits(name) : this.#t.call[state](name);
    setAttribute(this.#element, "aria-label", title);
    setText(this.#title, title);
  }

  #drawArguments(name: string, json: string, isWhole: boolean): void {
    const key = `${isWhole} ${name} ${json}`;
    if (key === this.#drawn?.key) return;
    const { text, language } = isWhole
      ? displayed(name, json)
      : ({ text: json, language: "json" } as const);
    const shown = reveal(text);
    this.#drawn = { key, json, text: shown };
    const code = h("code", { text: shown });
    this.#pre.replaceChildren(code);
    if (!isWhole) return;
    code.className = `language-${language}`;
    this.#enhancer.add(this.#pre);
  }

  #drawPictures(name: string, result: ToolResultPart | null): void {
    if (result === this.#pictured) return;
    this.#pictured = result;
    const images = result?.images.filter((url) => SAFE_IMAGE.test(url)) ?? [];
    this.#pictures.replaceChildren(
      ...images.map((src, i) =>
        h("img", { src, alt: this.#t.pictureOf(i + 1, name), decoding: "async" }),
      ),
    );
  }

  async #decide(decision: Decision): Promise<void> {
    const { run, sessionId } = this.#turn ?? {};
    const drawn = this.#drawn;
    if (!run || !drawn || !this.#call || this.#pending) return;
    if (performance.now() - this.#since < ARMED_AFTER_MS) return;
    this.#setPending(true);
    const ack = await perform(this.#context, {
      type: "decide",
      session_id: sessionId ?? "",
      run_id: run.id,
      call_id: this.#call.part.call_id,
      decision,
      shown: crc32(drawn.json),
      reason: "",
    });
    // After an acknowledgement, the buttons are hidden when the event arrives.
    if (!ack) this.#setPending(false);
  }

  #setPending(pending: boolean): void {
    this.#pending = pending;
    for (const one of this.#buttons.children) {
      setAttribute(one, "aria-disabled", pending ? "true" : null);
    }
  }

  #insertCode(): void {
    const { host } = this.#context.runtime;
    this.#context.extras(({ insertCell }) => {
      void insertCell(host.context, this.#drawn?.text ?? "", "python", false);
    });
  }
}

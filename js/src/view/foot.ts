/** `Foot`: the line below the messages, with the run's state, its progress, and the model. */

import type { Head } from "../protocol";
import type { SessionView } from "../state/replica";
import { isLive, isOver } from "../state/session";
import type { Context } from "../types";
import { button, h, setAttribute, setText, show } from "./dom";
import { elapsed, progressOf, WAITS_AFTER_MS } from "./progress";
import { label } from "./text";

/** How long an announcement stays in the status line, in milliseconds. */
const SAID_MS = 5000;

export class Foot {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #state = h("span");
  readonly #said = h("span", { class: "unseen" });
  readonly #status = h(
    "span",
    { role: "status", "aria-live": "polite", "aria-atomic": "false", class: "status" },
    this.#state,
    this.#said,
  );
  readonly #progress = h("span", { class: "progress" });
  readonly #lives = h("span", { class: "progress" });
  readonly #demo: HTMLElement;
  readonly #model = button("settings", "", {
    class: "button quiet model",
    "aria-haspopup": "dialog",
  });
  readonly #tools: HTMLElement;
  #head: Head | undefined;
  #session: SessionView | undefined;
  /** Since when a tool call has waited for the running cell; 0 if none waits. */
  #waitsSince = 0;
  #silence: ReturnType<typeof setTimeout> | undefined;

  constructor(context: Context) {
    const { t } = context;
    this.#context = context;
    this.#demo = button("connect", t.demo, {
      class: "demo",
      title: t.demoHint,
      "aria-haspopup": "dialog",
      hidden: true,
    });
    this.#tools = button("tools", t.tools, {
      class: "button quiet",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      hidden: true,
    });
    const space = h("span", { class: "space" });
    this.element = h(
      "div",
      { class: "foot" },
      this.#status,
      this.#progress,
      space,
      this.#lives,
      this.#demo,
      this.#tools,
      this.#model,
    );
    context.signal.addEventListener("abort", () => clearTimeout(this.#silence));
  }

  /** The button that opens the settings. */
  get settingsButton(): HTMLElement {
    return this.#model;
  }

  /** Show what has changed. */
  update(head: Head | undefined, session: SessionView | undefined): void {
    const { t, runtime } = this.#context;
    this.#head = head;
    this.#session = session;
    if (!head?.calls.some(({ queued }) => queued)) this.#waitsSince = 0;
    else this.#waitsSince ||= Date.now();
    setAttribute(this.#status, "data-run-state", head?.state);
    const usual = this.#isUsual ? runtime.store.config?.model : undefined;
    const name = label(head?.model ?? session?.state.settings.model ?? usual ?? "", 40);
    setText(this.#model, name || t.model);
    setAttribute(this.#model, "aria-label", `${t.model}: ${name || "?"}`);
    show(this.#demo, this.isDemo);
    show(this.#tools, !!head?.tools.length);
    const endsHere = head?.own_provider || head?.tools.some((tool) => tool.on);
    setText(this.#lives, runtime.store.runner ? (endsHere ? t.endsHere : t.outlives) : "");
  }

  /** Show what changes with time alone; returns whether a run is live. */
  tick(): boolean {
    const head = this.#head;
    const { t } = this.#context;
    const waits = this.#waitsSince > 0 && Date.now() - this.#waitsSince > WAITS_AFTER_MS;
    setText(this.#state, waits ? t.sendingWaits : head ? (t.state[head.state] ?? head.state) : "");
    const live = head !== undefined && !isOver(head.state);
    setText(this.#progress, live ? progressOf(this.#context, head) : this.#lastRun());
    setAttribute(this.#progress, "title", live && t.goesOn);
    return live;
  }

  /** Announce a text once to screen readers; it is visible elsewhere. */
  say(text: string): void {
    clearTimeout(this.#silence);
    setText(this.#said, text);
    if (text) this.#silence = setTimeout(() => setText(this.#said, ""), SAID_MS);
  }

  /** Whether the demo server answers in this session. */
  get isDemo(): boolean {
    if (this.#isUsual) return this.#context.runtime.store.config?.demo === true;
    return !this.#head?.own_provider && this.#session?.state.settings.provider === "demo";
  }

  /** Where this session's answers come from; empty if it has a provider object of its own. */
  get provider(): string {
    if (this.#isUsual) return this.#context.runtime.store.config?.provider ?? "";
    return this.#session?.state.settings.provider ?? "";
  }

  /** Whether the configured provider answers, and not one of the session's own. */
  get #isUsual(): boolean {
    return !this.#head?.own_provider && !this.#session?.state.settings.provider;
  }

  /** Return the duration, the tokens and the cost of the last answer. */
  #lastRun(): string {
    const run = this.#session?.state.runs.at(-1);
    if (!run?.ended_at || !run.started_at || isLive(run)) return "";
    const facts = [elapsed(this.#context, Math.max(0, run.ended_at - run.started_at))];
    const { t, locale } = this.#context;
    if (typeof run.usage?.output_tokens === "number") {
      facts.push(t.tokens(run.usage.output_tokens.toLocaleString(locale)));
    }
    if (this.#head?.cost) facts.push(t.aboutCost(this.#head.cost));
    return facts.join(" · ");
  }
}

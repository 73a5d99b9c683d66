/** `Columns`: sessions in side views, each in a column beside the chosen one. */

import type { Context, SessionPanel, SideViews } from "../types";
import { focusedIn, h, iconButton, installStyles, setAttribute, setText } from "./dom";
import css from "./extras.css";
import { titleOf } from "./tabs";

interface Column {
  readonly element: HTMLElement;
  readonly title: HTMLElement;
  readonly panel: SessionPanel;
  readonly gone: AbortController;
}

export class Columns implements SideViews {
  readonly #context: Context;
  readonly #parent: HTMLElement;
  readonly #createPanel: (context: Context) => SessionPanel;
  readonly #columns = new Map<string, Column>();

  constructor(
    context: Context,
    parent: HTMLElement,
    createPanel: (context: Context) => SessionPanel,
  ) {
    this.#context = context;
    this.#parent = parent;
    this.#createPanel = createPanel;
    installStyles(context.root, css);
    context.signal.addEventListener("abort", () => {
      for (const id of this.ids) this.hide(id);
    });
  }

  get ids(): string[] {
    return [...this.#columns.keys()];
  }

  has(id: string): boolean {
    return this.#columns.has(id);
  }

  show(id: string): void {
    if (this.#columns.has(id)) return;
    const gone = new AbortController();
    const context: Context = {
      ...this.#context,
      signal: gone.signal,
      say: (text) => panel.say(text),
    };
    const panel = this.#createPanel(context);
    const title = h("bdi", { class: "tab-title" });
    const head = h(
      "div",
      { class: "column-head" },
      title,
      iconButton("alone", "close", this.#context.t.notBeside, { "data-arg": id }),
    );
    const element = h("div", { class: "column", role: "group" }, head, panel.element);
    this.#columns.set(id, { element, title, panel, gone });
    this.#parent.append(element);
    panel.open(id);
    this.update();
  }

  hide(id: string): void {
    const column = this.#columns.get(id);
    if (!column) return;
    this.#columns.delete(id);
    const focused = focusedIn(column.element);
    column.gone.abort();
    column.element.remove();
    if (focused) this.#context.root.querySelector("textarea")?.focus({ preventScroll: true });
  }

  /** Remove the columns of sessions that have no tab. */
  keep(ids: readonly string[]): void {
    for (const id of this.ids) if (!ids.includes(id)) this.hide(id);
  }

  /** Show what has changed. */
  update(): void {
    const { runtime, t } = this.#context;
    for (const [id, { element, title, panel }] of this.#columns) {
      const head = runtime.store.heads.get(id);
      if (head) {
        setText(title, titleOf(head, t));
        setAttribute(element, "aria-label", titleOf(head, t));
      }
      panel.update();
    }
  }

  /** Show what changes with time alone; returns whether a run is live. */
  tick(): boolean {
    let counting = false;
    for (const { panel } of this.#columns.values()) counting = panel.tick() || counting;
    return counting;
  }
}

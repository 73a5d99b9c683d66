/** `FakeModel`: the model of a widget, without a kernel. */

import type { AnyModel } from "../src/jupyter";

export class FakeModel implements AnyModel {
  readonly #values: Record<string, unknown>;
  readonly #listeners = new Map<string, Set<(...args: never[]) => void>>();

  constructor(values: Record<string, unknown> = {}) {
    this.#values = {
      kind: "tabs",
      view_id: "view-1",
      sessions: null,
      active: "",
      locale: "en",
      height: "",
      send_key: "enter",
      ...values,
    };
  }

  get(key: string): unknown {
    return this.#values[key];
  }

  set(key: string, value: unknown): void {
    if (this.#values[key] === value) return;
    this.#values[key] = value;
    for (const listener of [...(this.#listeners.get(`change:${key}`) ?? [])]) listener();
  }

  on(event: string, callback: (...args: never[]) => void): void {
    const known = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, known.add(callback));
  }

  off(event: string, callback?: ((...args: never[]) => void) | null): void {
    if (callback) this.#listeners.get(event)?.delete(callback);
    else this.#listeners.delete(event);
  }

  /** How many listeners there are. */
  get listening(): number {
    let count = 0;
    for (const listeners of this.#listeners.values()) count += listeners.size;
    return count;
  }

  save_changes(): void {
    throw new Error("a view's widget sends nothing: its comm disturbs the cell that runs");
  }
  send(): void {
    this.save_changes();
  }
}

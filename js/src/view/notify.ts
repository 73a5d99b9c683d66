/** Notifications of the browser, for who asked for them: an answer has ended while the page was hidden. */

import type { Head } from "../protocol";
import { isOver } from "../state/session";
import type { Context } from "../types";
import { titleOf } from "./tabs";

/** Where the wish is stored: "1" for yes. */
export const NOTIFY = "nbchat:notify";

export class Notifier {
  readonly #t: Context["t"];
  readonly #states = new Map<string, string>();

  constructor(t: Context["t"]) {
    this.#t = t;
  }

  /** Whether this browser can notify at all. */
  static get possible(): boolean {
    return typeof Notification === "function";
  }

  /** Whether the user asked for it, and the browser allows it. */
  get on(): boolean {
    if (!Notifier.possible || Notification.permission !== "granted") return false;
    try {
      return localStorage.getItem(NOTIFY) === "1";
    } catch {
      return false; // storage is forbidden
    }
  }

  /** Look at what has ended since the last time. */
  update(heads: readonly Head[]): void {
    for (const head of heads) {
      const before = this.#states.get(head.id);
      this.#states.set(head.id, head.state);
      if (before === undefined || isOver(before) || !isOver(head.state)) continue;
      if (document.hidden && this.on) {
        const body = this.#t.state[head.state] ?? "";
        new Notification(titleOf(head, this.#t), { body, tag: head.id });
      }
    }
  }
}

/** `Notifier`: browser notifications when an answer ends while the page is hidden, if the user enabled them. */

import type { Head } from "../protocol";
import { isOver } from "../state/session";
import type { Context } from "../types";
import { titleOf } from "./tabs";

/** Storage key of the setting; "1" if it is on. */
export const NOTIFY = "nbchat:notify";

export class Notifier {
  readonly #t: Context["t"];
  readonly #states = new Map<string, string>();

  constructor(t: Context["t"]) {
    this.#t = t;
  }

  /** Whether this browser supports notifications. */
  static get possible(): boolean {
    return typeof Notification === "function";
  }

  /** Whether notifications are on and allowed. */
  get on(): boolean {
    if (!Notifier.possible || Notification.permission !== "granted") return false;
    try {
      return localStorage.getItem(NOTIFY) === "1";
    } catch {
      return false; // storage is forbidden
    }
  }

  /** Notify of answers that have ended since the last call. */
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

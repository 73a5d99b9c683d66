/** `Silence`: how long the kernel has been silent, and whether that is a reason to ask. */
import type { KernelMessage } from "../protocol";

/**
 * With a live run, the page asks after this much silence. Soon after an event the kernel repeats its last packet
 * number five times a second, so that a shorter silence is significant then.
 */
const SILENCE_MS = { soon: 350, later: 1000, soonFor: 1500 };

export class Silence {
  #heardAt = 0;
  /** Time of the last event or changed head. */
  #newsAt = 0;

  /** Record a packet. */
  heard(messages: readonly KernelMessage[]): void {
    this.#heardAt = performance.now();
    if (messages.some(isNews)) this.#newsAt = this.#heardAt;
  }

  /** Time since the last packet, in milliseconds. */
  get ms(): number {
    return performance.now() - this.#heardAt;
  }

  /** Whether a page with a live run has to ask. */
  get isLong(): boolean {
    const { soon, later, soonFor } = SILENCE_MS;
    return this.ms >= (performance.now() - this.#newsAt < soonFor ? soon : later);
  }
}

function isNews(message: KernelMessage): boolean {
  const { type } = message;
  return type === "events" || type === "deltas" || (type === "heads" && !message.all);
}

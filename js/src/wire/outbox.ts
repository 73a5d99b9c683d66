/**
 * Commands on their way: each is sent again, under the same id, until the kernel says what became of
 * it. The kernel does a command once, however often it comes.
 */
import type { Ack, Command } from "../protocol";

/** Time until the first repetition; it doubles each time, up to `LONGEST_MS`. */
const FIRST_MS = 1000;
const LONGEST_MS = 8000;
/** Speed of a slow channel. */
const BYTES_PER_MS = 500;

interface Waiting {
  readonly command: Command;
  readonly resolve: (ack: Ack) => void;
  readonly reject: (reason: Error) => void;
  readonly since: number;
  /** Time until the first repetition. */
  readonly first: number;
  sent: number;
  pause: number;
}

/** The kernel is gone, and what was asked of it with it. */
export class KernelGone extends Error {
  override readonly name = "KernelGone";
  readonly code = "kernel_gone";

  constructor() {
    super("The kernel is gone; what was asked of it may not have been done.");
  }
}

export class Outbox {
  readonly #waiting = new Map<string, Waiting>();

  /** Sends a command, if there is a kernel. */
  readonly #send: (command: Command) => void;

  constructor(send: (command: Command) => void) {
    this.#send = send;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /**
   * Ask for something. Settles with the answer; rejects only where the kernel is gone.
   *
   * @param bytes Size of the command; a long one takes longer to arrive.
   */
  do(command: Command, bytes = 0): Promise<Ack> {
    return new Promise((resolve, reject) => {
      const now = performance.now();
      const first = FIRST_MS + bytes / BYTES_PER_MS;
      this.#waiting.set(command.id, {
        command,
        resolve,
        reject,
        since: now,
        sent: now,
        first,
        pause: first,
      });
      this.#send(command);
    });
  }

  /** Do not ask for this any more; nobody waits for its answer. */
  withdraw(id: string): void {
    this.#waiting.delete(id);
  }

  /** Take an answer; one for another page's command is none of ours. */
  take(ack: Ack): void {
    const waiting = this.#waiting.get(ack.id);
    this.#waiting.delete(ack.id);
    waiting?.resolve(ack);
  }

  /** Send again what was not answered in time. */
  repeat(): void {
    const now = performance.now();
    for (const waiting of this.#waiting.values()) {
      if (now - waiting.sent < waiting.pause) continue;
      waiting.sent = now;
      waiting.pause = Math.max(waiting.first, Math.min(waiting.pause * 2, LONGEST_MS));
      this.#send(waiting.command);
    }
  }

  /** Send every command again, as there is a new channel or kernel. */
  again(): void {
    for (const waiting of this.#waiting.values()) {
      waiting.sent = performance.now();
      waiting.pause = waiting.first;
      this.#send(waiting.command);
    }
  }

  /** How long the oldest command has waited, in milliseconds. */
  get oldest(): number {
    let since = performance.now();
    for (const waiting of this.#waiting.values()) since = Math.min(since, waiting.since);
    return performance.now() - since;
  }

  /** The kernel is gone: nothing will be answered. */
  abandon(): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const waiting of all) waiting.reject(new KernelGone());
  }
}

/**
 * `Outbox`: unacknowledged commands. Each is repeated under the same id until it is acknowledged; the kernel
 * executes it once.
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

/** The kernel stopped before it acknowledged a command. */
export class KernelGone extends Error {
  override readonly name = "KernelGone";
  readonly code = "kernel_gone";

  constructor() {
    super("The kernel has stopped; the command may not have been executed.");
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
   * Send a command and return its acknowledgement. Rejects only if the kernel is gone.
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

  /** Drop a command that needs no acknowledgement any more. */
  withdraw(id: string): void {
    this.#waiting.delete(id);
  }

  /** Take an acknowledgement; returns false if it is for a command of another page. */
  take(ack: Ack): boolean {
    const waiting = this.#waiting.get(ack.id);
    this.#waiting.delete(ack.id);
    waiting?.resolve(ack);
    return waiting !== undefined;
  }

  /** Repeat the commands that were not acknowledged in time. */
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

  /** Age of the oldest unacknowledged command in milliseconds, less the time that a long command takes. */
  get unansweredMs(): number {
    const now = performance.now();
    let longest = 0;
    for (const { since, first } of this.#waiting.values()) {
      longest = Math.max(longest, now - since - (first - FIRST_MS));
    }
    return longest;
  }

  /** Reject all commands, since the kernel is gone. */
  abandon(): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const waiting of all) waiting.reject(new KernelGone());
  }
}

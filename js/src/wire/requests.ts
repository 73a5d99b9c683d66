/** `Requests`: requests with one answer each. Messages can get lost, so a request is repeated until it is answered. */
import { newId } from "../ids";
import type { Connected, Exported } from "../protocol";
import { KernelGone } from "./outbox";

/** An unanswered request is repeated after this long; the kernel works on it once at a time. */
const AGAIN_MS = 2000;

interface Answers {
  readonly exported: Exported;
  readonly connected: Connected;
}

interface Pending {
  readonly type: keyof Answers;
  readonly timer: ReturnType<typeof setInterval>;
  resolve(answer: Answers[keyof Answers]): void;
  reject(reason: Error): void;
}

export class Requests {
  readonly #pending = new Map<string, Pending>();

  /**
   * Send a request, now and again, and return its answer. Rejects only if the kernel is gone.
   *
   * @param send returns false if there is no way to send it; the request is rejected then.
   */
  ask<T extends keyof Answers>(
    type: T,
    send: (id: string) => boolean | undefined,
  ): Promise<Answers[T]> {
    const id = newId("ask_");
    return new Promise((resolve, reject) => {
      const timer = setInterval(() => send(id), AGAIN_MS);
      // Answers of another type are not taken.
      const settle = resolve as (answer: Answers[keyof Answers]) => void;
      this.#pending.set(id, { type, timer, resolve: settle, reject });
      if (send(id) === false) this.#remove(id)?.reject(new KernelGone());
    });
  }

  /** Take an answer from the kernel. */
  take(answer: Answers[keyof Answers]): void {
    if (this.#pending.get(answer.id)?.type === answer.type) {
      this.#remove(answer.id)?.resolve(answer);
    }
  }

  /** The kernel is gone: reject what is unanswered. */
  abandon(): void {
    for (const id of [...this.#pending.keys()]) this.#remove(id)?.reject(new KernelGone());
  }

  #remove(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending) clearInterval(pending.timer);
    this.#pending.delete(id);
    return pending;
  }
}

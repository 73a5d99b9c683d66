/** `Requests`: requests with one answer each. Messages can get lost, so a request is repeated until it is answered. */
import { newId } from "../ids";
import type { Connected, Described, Exported, Variables } from "../protocol";
import { KernelGone } from "./outbox";

/** An unanswered request is repeated after this long; the kernel works on it once at a time. */
const AGAIN_MS = 2000;

type Answer = Connected | Described | Exported | Variables;

interface Pending {
  readonly timer: ReturnType<typeof setInterval>;
  resolve(answer: Answer): void;
  reject(reason: Error): void;
}

export class Requests {
  readonly #pending = new Map<string, Pending>();

  /**
   * Send a request, now and again, and return its answer. Rejects if the kernel is gone.
   *
   * @param send returns false if there is no way to send it; the request is rejected then.
   * @param most times that the request is sent before it is rejected.
   */
  ask<T extends Answer>(
    send: (id: string) => boolean,
    most = Number.POSITIVE_INFINITY,
  ): Promise<T> {
    const id = newId("ask_");
    return new Promise((resolve, reject) => {
      let times = 0;
      const ask = (): void => {
        times += 1;
        if (times > most || (!send(id) && times === 1)) this.#remove(id)?.reject(new KernelGone());
      };
      const timer = setInterval(ask, AGAIN_MS);
      // An id belongs to one request, so its answer has the type that was asked for.
      this.#pending.set(id, { timer, resolve: resolve as (answer: Answer) => void, reject });
      ask();
    });
  }

  /** Take an answer from the kernel. */
  take(answer: Answer): void {
    this.#remove(answer.id)?.resolve(answer);
  }

  /** The kernel is gone: reject all pending requests. */
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

/** `Requests`: requests with one answer each. Messages can get lost, so a request is repeated until it is answered. */
import { newId } from "../ids";
import type { Asset, Connected, Described, Exported, SearchResults, Variables } from "../protocol";
import { KernelGone } from "./outbox";

/** An unanswered request is repeated after this long; the kernel works on it once at a time. */
const AGAIN_MS = 2000;

type Answer = Asset | Connected | Described | Exported | SearchResults | Variables;

interface Options {
  /** Times that the request is sent before it is rejected. */
  readonly most?: number | undefined;
  /** Id of the request; for a bundle its name. */
  readonly id?: string;
  /** Whether the next kernel may answer, too. */
  readonly keep?: boolean;
}

interface Pending {
  readonly timer: ReturnType<typeof setInterval>;
  readonly keep: boolean;
  resolve(answer: Answer): void;
  reject(reason: Error): void;
}

export class Requests {
  readonly #pending = new Map<string, Pending>();

  /**
   * Send a request, now and again, and return its answer. Rejects if the kernel is gone.
   *
   * @param send returns false if there is no way to send it; the request is rejected then.
   */
  ask<T extends Answer>(
    send: (id: string) => boolean,
    { most = Number.POSITIVE_INFINITY, id = newId("ask_"), keep = false }: Options = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let times = 0;
      const ask = (): void => {
        times += 1;
        if (times > most || (!send(id) && times === 1)) this.reject(id);
      };
      const timer = setInterval(ask, AGAIN_MS);
      // An id belongs to one request, so its answer has the type that was asked for.
      this.#pending.set(id, { timer, keep, resolve: resolve as (answer: Answer) => void, reject });
      ask();
    });
  }

  /** Take an answer from the kernel. */
  take(answer: Answer): void {
    this.#remove(answer.type === "asset" ? answer.name : answer.id)?.resolve(answer);
  }

  /** Reject a request whose answer is no longer needed. */
  reject(id: string): void {
    this.#remove(id)?.reject(new KernelGone());
  }

  /** The kernel is gone: reject all pending requests that only it can answer. */
  abandon(): void {
    for (const [id, { keep }] of [...this.#pending]) if (!keep) this.reject(id);
  }

  #remove(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    if (pending) clearInterval(pending.timer);
    this.#pending.delete(id);
    return pending;
  }
}

/** `Requests`: requests with one answer each. Messages can get lost, so a request is repeated until it is answered. */
import { newId } from "../ids";
import type {
  Asset,
  Connected,
  Described,
  Exported,
  PageMessage,
  SearchResults,
  Variables,
} from "../protocol";
import { KernelGone } from "./outbox";

/** An unanswered request is repeated after this long; the kernel works on it once at a time. */
const AGAIN_MS = 2000;

/** A message with an id and an epoch; the link adds both, and the page. */
type Addressed = Extract<PageMessage, { readonly id: string; readonly epoch: string }>;
type WithoutAddress<M> = M extends Addressed ? Omit<M, "id" | "page" | "epoch"> : never;

/** A request as the page's parts give it to the link. */
export type Request = WithoutAddress<Addressed>;

type Answer = Asset | Connected | Described | Exported | SearchResults | Variables;

interface Options {
  /** Times that the request is sent before it is rejected. */
  readonly most?: number | undefined;
  /** Id of the request; for a bundle its name. */
  readonly id?: string;
  /** Whether the next kernel may answer, too, so that the request also waits while it cannot be sent. */
  readonly keep?: boolean;
  /** Error of a request that could not be sent. */
  readonly unsent?: Error | undefined;
}

interface Pending {
  readonly timer: ReturnType<typeof setInterval>;
  readonly keep: boolean;
  resolve(answer: Answer): void;
  reject(reason: Error): void;
}

/** The host offers no private channel to the kernel. */
export class NoChannel extends Error {
  override readonly name = "NoChannel";
  readonly code = "no_channel";

  constructor() {
    super("There is no private channel to the kernel.");
  }
}

export class Requests {
  readonly #pending = new Map<string, Pending>();

  /**
   * Send a request, repeat it until it is answered, and return the answer.
   *
   * Rejects with `unsent` if the request could not be sent, and with `KernelGone` if the kernel stops or leaves
   * `most` requests unanswered.
   *
   * @param send sends the request under this id; returns false if there is no way to send it.
   */
  ask<T extends Answer>(
    send: (id: string) => boolean,
    { most = Number.POSITIVE_INFINITY, id = newId("ask_"), keep = false, unsent }: Options = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let times = 0;
      const ask = (): void => {
        times += 1;
        if (times > most) this.reject(id);
        else if (!send(id) && times === 1 && !keep) this.reject(id, unsent);
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

  /** Reject a request, for example one whose answer is no longer needed. */
  reject(id: string, reason: Error = new KernelGone()): void {
    this.#remove(id)?.reject(reason);
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

/** `Sync`: the one outstanding request for everything that a page misses, repeated until it is answered. */
import { newId } from "../ids";

/**
 * An unanswered request is repeated after one and a half round trips, and at least after `least`; after
 * `often` repetitions ever more rarely, up to `most`.
 */
const AGAIN_MS = { least: 120, most: 1000, often: 8 };

interface Request {
  readonly id: string;
  /** When each repetition was sent, by its own id, so that an answer gives its round trip. */
  readonly sentAt: Map<string, number>;
  /** When this was first asked, of this kernel or of one that did not answer. */
  readonly since: number;
  /** What the page had then. */
  readonly had: string;
  sent: number;
  times: number;
}

export class Sync {
  #request: Request | null = null;
  /** Smoothed time until an answer, in milliseconds; null before the first one. */
  #roundTrip: number | null = null;
  /** Answers in a row that brought nothing although something is missing; each lengthens the next pause. */
  #fruitless = 0;
  #notBefore = 0;
  /** Sends the request as repetition number `times`, from 1. */
  readonly #send: (id: string, times: number) => void;

  constructor(send: (id: string, times: number) => void) {
    this.#send = send;
  }

  get pending(): boolean {
    return this.#request !== null;
  }

  /** Whether no request is pending, and no pause after fruitless answers. */
  get ready(): boolean {
    return this.#request === null && performance.now() >= this.#notBefore;
  }

  /** How long the kernel has not answered, in milliseconds. */
  get unansweredMs(): number {
    return this.#request === null ? 0 : performance.now() - this.#request.since;
  }

  /** Ask now, in place of a pending request. `had` describes what the page has. */
  ask(had: string): void {
    const now = performance.now();
    const since = this.#request?.since ?? now;
    this.#request = { id: newId("ask_"), sentAt: new Map(), since, had, sent: now, times: 0 };
    this.#sendAgain(this.#request);
  }

  /** Repeat a request that has been unanswered for longer than a round trip, and at least `leastMs`. */
  repeat(leastMs = AGAIN_MS.least): void {
    const request = this.#request;
    if (request === null) return;
    const patience = this.#roundTrip === null ? 400 : Math.max(60, this.#roundTrip * 1.5);
    const slower = 1.5 ** Math.max(0, request.times - AGAIN_MS.often);
    const pause = Math.min(AGAIN_MS.most, Math.max(leastMs, patience) * slower);
    if (performance.now() - request.sent >= pause) this.#sendAgain(request);
  }

  /**
   * Take an answer; returns false if it answers nothing that is pending.
   *
   * @param lacking something is still missing.
   * @param had what the page has now.
   */
  settle(id: string, lacking: boolean, had: string): boolean {
    const sentAt = this.#request?.sentAt.get(id);
    if (this.#request === null || sentAt === undefined) return false;
    const fruitless = lacking && had === this.#request.had;
    this.#request = null;
    const now = performance.now();
    const took = now - sentAt;
    this.#roundTrip = this.#roundTrip === null ? took : (this.#roundTrip + took) / 2;
    this.#fruitless = fruitless ? this.#fruitless + 1 : 0;
    this.#notBefore = fruitless ? now + Math.min(2000, 50 * 2 ** this.#fruitless) : 0;
    return true;
  }

  /** Forget the pending request. */
  cancel(): void {
    this.#request = null;
  }

  #sendAgain(request: Request): void {
    request.sent = performance.now();
    request.times++;
    const id = `${request.id}.${request.times}`;
    request.sentAt.set(id, request.sent);
    this.#send(id, request.times);
  }
}

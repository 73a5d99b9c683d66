/** Looking for words in all sessions: the kernel does it, since a page has few of them. */
import { newId } from "../ids";
import type { Found } from "../protocol";

/** Unanswered, a question is asked again after this long. */
const AGAIN_MS = 2000;

export class Searches {
  #id = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  #answer: (found: Found | null) => void = () => {};

  /** Sends the query; it may get lost. */
  readonly #ask: (id: string, query: string) => void;

  constructor(ask: (id: string, query: string) => void) {
    this.#ask = ask;
  }

  /** Return what is found; null where another search came in between. An empty query only ends the last. */
  find(query: string): Promise<Found | null> {
    this.#settle(null);
    if (query === "") return Promise.resolve(null);
    this.#id = newId("ask_");
    const id = this.#id;
    const found = new Promise<Found | null>((resolve) => {
      this.#answer = resolve;
    });
    this.#timer = setInterval(() => this.#ask(id, query), AGAIN_MS);
    this.#ask(id, query);
    return found;
  }

  /** Take what the kernel sent. */
  take(found: Found): void {
    if (found.id === this.#id) this.#settle(found);
  }

  #settle(found: Found | null): void {
    clearInterval(this.#timer);
    this.#id = "";
    this.#answer(found);
  }
}

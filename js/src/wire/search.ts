/** `Searches`: searches the messages of all sessions in the kernel, since a page has few of them loaded. */
import { newId } from "../ids";
import type { SearchResults } from "../protocol";

/** An unanswered search is repeated after this long. */
const AGAIN_MS = 2000;

export class Searches {
  #id = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  #answer: (found: SearchResults | null) => void = () => {};

  /** Sends the query; it may get lost. */
  readonly #ask: (id: string, query: string) => void;

  constructor(ask: (id: string, query: string) => void) {
    this.#ask = ask;
  }

  /** Return the results; null if a later search replaced this one. An empty query ends the last search. */
  find(query: string): Promise<SearchResults | null> {
    this.#settle(null);
    if (query === "") return Promise.resolve(null);
    this.#id = newId("ask_");
    const id = this.#id;
    const found = new Promise<SearchResults | null>((resolve) => {
      this.#answer = resolve;
    });
    this.#timer = setInterval(() => this.#ask(id, query), AGAIN_MS);
    this.#ask(id, query);
    return found;
  }

  /** Take results from the kernel. */
  take(found: SearchResults): void {
    if (found.id === this.#id) this.#settle(found);
  }

  #settle(found: SearchResults | null): void {
    clearInterval(this.#timer);
    this.#id = "";
    this.#answer(found);
  }
}

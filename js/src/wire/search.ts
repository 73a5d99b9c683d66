/** Looking for words in all sessions: the kernel does it, since a page has few of them. */
import { newId } from "../ids";
import type { Found } from "../protocol";

/** Unanswered, a question is asked again after this long. */
const AGAIN_MS = 2000;

export class Searches {
  private id = "";
  private timer: ReturnType<typeof setInterval> | undefined;
  private answer: (found: Found | null) => void = () => {};

  /** @param ask Sends the question; what it sends may get lost. */
  constructor(private readonly ask: (id: string, query: string) => void) {}

  /** Return what is found; null where another search came in between. An empty query only ends the last. */
  find(query: string): Promise<Found | null> {
    this.settle(null);
    if (query === "") return Promise.resolve(null);
    this.id = newId("ask_");
    const { id } = this;
    this.timer = setInterval(() => this.ask(id, query), AGAIN_MS);
    this.ask(id, query);
    return new Promise((resolve) => {
      this.answer = resolve;
    });
  }

  /** Take what the kernel sent. */
  take(found: Found): void {
    if (found.id === this.id) this.settle(found);
  }

  private settle(found: Found | null): void {
    clearInterval(this.timer);
    this.id = "";
    this.answer(found);
  }
}

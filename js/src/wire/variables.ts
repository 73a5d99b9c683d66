/** `VariableRequests`: asks the kernel which variables there are, and what would be sent of one. */
import { newId } from "../ids";
import type { Described, Variables, WantDescribed, WantVariables } from "../protocol";

/** An unanswered question is repeated after this long, under the same id. */
const AGAIN_MS = 2000;
/** Times that a question is asked. */
const TIMES = 8;

type Answer = Variables | Described;

/** A question, to which the link adds the page and the epoch. */
export type Ask = Omit<WantVariables, "page" | "epoch"> | Omit<WantDescribed, "page" | "epoch">;

export class VariableRequests {
  readonly #open = new Map<string, (answer: Answer | null) => void>();

  /** Sends a question; it may get lost. */
  readonly #ask: (ask: Ask) => void;

  constructor(ask: (ask: Ask) => void) {
    this.#ask = ask;
  }

  /** Return the variables that can be named; null if the kernel does not answer. */
  list(): Promise<Variables | null> {
    return this.#request({
      type: "want_variables",
      id: newId("ask_"),
    }) as Promise<Variables | null>;
  }

  /** Return what would be sent of a variable; null if the kernel does not answer. */
  describe(name: string): Promise<Described | null> {
    return this.#request({
      type: "want_described",
      id: newId("ask_"),
      name,
    }) as Promise<Described | null>;
  }

  /** Take an answer from the kernel. */
  take(answer: Answer): void {
    this.#open.get(answer.id)?.(answer);
  }

  #request(question: Ask): Promise<Answer | null> {
    return new Promise((resolve) => {
      let times = 0;
      const settle = (answer: Answer | null): void => {
        clearInterval(timer);
        this.#open.delete(question.id);
        resolve(answer);
      };
      const ask = (): void => {
        times += 1;
        if (times > TIMES) settle(null);
        else this.#ask(question);
      };
      const timer = setInterval(ask, AGAIN_MS);
      this.#open.set(question.id, settle);
      ask();
    });
  }
}

/** `Searches`: searches the messages of all sessions in the kernel, since a page has few of them loaded. */
import { newId } from "../ids";
import type { SearchResults } from "../protocol";
import type { Requests } from "./requests";

export class Searches {
  #id = "";
  readonly #requests: Requests;

  /** Sends the query and returns whether there was a way to send it; it may get lost. */
  readonly #send: (id: string, query: string) => boolean;

  constructor(requests: Requests, send: (id: string, query: string) => boolean) {
    this.#requests = requests;
    this.#send = send;
  }

  /** Return the results; null if a later search replaced this one. An empty query ends the last search. */
  find(query: string): Promise<SearchResults | null> {
    this.#requests.reject(this.#id);
    if (query === "") return Promise.resolve(null);
    const id = newId("ask_");
    this.#id = id;
    return this.#requests
      .ask<SearchResults>(() => this.#send(id, query), { id, keep: true })
      .catch(() => null);
  }
}

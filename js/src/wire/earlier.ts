/** `EarlierRequests`: requests for the messages before those that are loaded, repeated until answered. */
import { newId } from "../ids";

/** An unanswered request is repeated after this long. */
const AGAIN_MS = 1000;

interface Request {
  readonly id: string;
  readonly before: string;
  sent: number;
}

export class EarlierRequests {
  readonly #pending = new Map<string, Request>();
  readonly #send: (id: string, sessionId: string, before: string) => void;

  constructor(send: (id: string, sessionId: string, before: string) => void) {
    this.#send = send;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Ask for the messages of a session before one of them, unless that is pending already. */
  ask(sessionId: string, before: string): void {
    if (this.#pending.get(sessionId)?.before === before) return;
    const request = { id: newId("ask_"), before, sent: 0 };
    this.#pending.set(sessionId, request);
    this.#sendAgain(sessionId, request);
  }

  repeat(): void {
    const now = performance.now();
    for (const [sessionId, request] of this.#pending) {
      if (now - request.sent >= AGAIN_MS) this.#sendAgain(sessionId, request);
    }
  }

  settle(sessionId: string): void {
    this.#pending.delete(sessionId);
  }

  clear(): void {
    this.#pending.clear();
  }

  #sendAgain(sessionId: string, request: Request): void {
    request.sent = performance.now();
    this.#send(request.id, sessionId, request.before);
  }
}

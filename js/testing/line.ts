/** A channel that loses, doubles and delays messages; all randomness comes from a seed. */

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
export function chance(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Faults of a line. */
export interface Faults {
  /** Share of messages that are lost, that come twice, and that come late. */
  readonly drop: number;
  readonly double: number;
  readonly late: number;
}

export const PERFECT: Faults = { drop: 0, double: 0, late: 0 };

/** Delivers messages later, twice, or not at all. */
export class Line<T> {
  faults: Faults = PERFECT;
  /** Returns whether a message is lost. */
  lose: (message: T) => boolean = () => false;

  readonly #random: () => number;
  readonly #deliver: (message: T) => void;

  constructor(random: () => number, deliver: (message: T) => void) {
    this.#random = random;
    this.#deliver = deliver;
  }

  send(message: T): void {
    const { drop, double, late } = this.faults;
    if (this.lose(message) || this.#random() < drop) return;
    const copies = this.#random() < double ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const delay = this.#random() < late ? 10 + this.#random() * 200 : 5;
      setTimeout(() => this.#deliver(message), delay);
    }
  }
}

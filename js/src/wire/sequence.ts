/**
 * `Sequence`: tracks which packets have arrived, and finds gaps.
 *
 * Packets are numbered without gaps. An empty packet repeats the last number, so that the loss of the newest packet
 * is found as well.
 */

/** Packets tracked beyond a gap. Further ones are taken and not tracked, since the gap is requested anyway. */
const MAX_AHEAD = 1024;

export class Sequence {
  /** Every packet up to this one has arrived; null before the first answer of the kernel. */
  #seen: number | null = null;
  #highest = 0;
  /** Packets beyond a gap, with the revision of the directory. */
  readonly #ahead = new Map<number, number>();
  /** Revision of the directory up to which all heads have arrived. */
  rev = 0;

  /** Whether a packet up to the highest known number is missing. */
  get gap(): boolean {
    return this.#seen === null || this.#highest > this.#seen;
  }

  /** Record a packet; returns false if it has arrived before. */
  take(n: number, rev: number, news: boolean): boolean {
    this.#highest = Math.max(this.#highest, n);
    // An empty packet repeats a number: the packet of that number may be the lost one.
    if (!news) return true;
    if ((this.#seen !== null && n <= this.#seen) || this.#ahead.has(n)) return false;
    if (this.#ahead.size < MAX_AHEAD) this.#ahead.set(n, rev);
    this.#advance();
    return true;
  }

  /** Record that everything up to packet `n` has arrived. */
  settle(n: number, rev: number): void {
    if (this.#seen !== null && n <= this.#seen) return;
    this.#seen = n;
    this.rev = rev;
    this.#highest = Math.max(this.#highest, n);
    for (const key of this.#ahead.keys()) if (key <= n) this.#ahead.delete(key);
    this.#advance();
  }

  #advance(): void {
    while (this.#seen !== null) {
      const rev = this.#ahead.get(this.#seen + 1);
      if (rev === undefined) return;
      this.#ahead.delete(++this.#seen);
      this.rev = rev;
    }
  }
}

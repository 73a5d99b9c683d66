/**
 * Which of the kernel's packets have come: found gaps are what makes a page ask again.
 *
 * Packets with news are numbered without gaps; an empty one repeats the last number, so that even
 * the loss of the newest packet shows.
 */

/** Packets remembered beyond a gap. More are taken and forgotten: the gap is asked for anyway. */
const MAX_AHEAD = 1024;

export class Sequence {
  /** Every packet up to this one is here; null before the first answer of the kernel. */
  #seen: number | null = null;
  #highest = 0;
  /** Packets that came beyond a gap, with their directory's revision. */
  readonly #ahead = new Map<number, number>();
  /** The directory's revision up to which all heads are here. */
  rev = 0;

  /** Whether something is missing, up to the highest number that was heard of. */
  get gap(): boolean {
    return this.#seen === null || this.#highest > this.#seen;
  }

  /** Take note of a packet; false where it was here before. */
  take(n: number, rev: number, news: boolean): boolean {
    this.#highest = Math.max(this.#highest, n);
    // An empty packet is not the packet that it names: that one may be the one that was lost.
    if (!news) return true;
    if ((this.#seen !== null && n <= this.#seen) || this.#ahead.has(n)) return false;
    if (this.#ahead.size < MAX_AHEAD) this.#ahead.set(n, rev);
    this.#advance();
    return true;
  }

  /** The kernel said that everything up to packet `n` is here. */
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

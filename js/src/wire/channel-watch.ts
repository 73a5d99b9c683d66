/** `ChannelWatch`: decides when the page has to change the channel to the kernel, or to open its connection again. */

/** The next channel is used after this long without an answer. */
const CHANNEL_MS = 3000;
/** What did not work is tried again after this long: a better channel, and opening the connection again. */
const RETRY_MS = 60_000;

export class ChannelWatch {
  /** Time of the last answer to a message of this page. */
  #answeredAt = Number.NEGATIVE_INFINITY;
  /** A channel that does not wait for the running cell has brought an answer. */
  #freeWorked = false;
  #since = 0;
  /** Changes since the last answer. */
  #changes = 0;
  /** Time at which the connection was opened again. */
  #reopenedAt = Number.NEGATIVE_INFINITY;

  /** Record that a channel is used from now on. */
  opened(): void {
    this.#since = performance.now();
  }

  /** Record an answer, and whether the channel is free of the running cell. */
  answered(free: boolean): void {
    this.#answeredAt = performance.now();
    this.#changes = 0;
    if (free) this.#freeWorked = true;
  }

  /** Record a change to the other channel. */
  changed(): void {
    this.opened();
    this.#changes++;
  }

  /**
   * Return whether to open the connection again, since neither channel has brought an answer. After an attempt
   * without success the next one is made after a while.
   */
  shouldReopen(): boolean {
    if (this.#changes < 2) return false;
    const now = performance.now();
    if (this.#answeredAt <= this.#reopenedAt && now - this.#reopenedAt < RETRY_MS) return false;
    this.#reopenedAt = now;
    return true;
  }

  /** Return for how long no outstanding request has been answered, if the oldest one waits for `longestMs`. */
  unansweredMs(longestMs: number): number {
    return Math.min(longestMs, performance.now() - this.#answeredAt);
  }

  /** Return whether to change to another channel. `busy` is whether a cell runs, null if that is unknown. */
  shouldChange(
    other: { readonly free: boolean },
    longestMs: number,
    busy: boolean | null,
  ): boolean {
    const used = performance.now() - this.#since;
    const silent = used >= CHANNEL_MS && this.unansweredMs(longestMs) >= CHANNEL_MS;
    // Until a running cell has ended, a channel that waits for it is no better than any other.
    const better = other.free || !busy;
    return (silent && better) || (other.free && this.#freeWorked && used >= RETRY_MS);
  }
}

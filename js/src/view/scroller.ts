/** `Scroller`: follows the end while the reader is there, and otherwise keeps what is read in its place. */

import type { Place } from "../state/drafts";

/** What a scroll event means to the messages. */
export interface Scrolled {
  /** Pixels to the end. */
  readonly distance: number;
  readonly top: number;
  /** The reader scrolled up. */
  readonly up: boolean;
}

export class Scroller {
  readonly #element: HTMLElement;
  readonly #list: HTMLElement;
  /** Called when the reader leaves the end. */
  readonly #left: () => void;
  #follows = true;
  /** A pointer is down: text under it must not move while it is selected. */
  #held = false;
  /** It has no size: its output is collapsed. */
  #hidden = false;
  #lastTop = 0;

  constructor(
    element: HTMLElement,
    list: HTMLElement,
    signal: AbortSignal,
    left: () => void,
    scrolled: (how: Scrolled) => void,
  ) {
    this.#element = element;
    this.#list = list;
    this.#left = left;
    const passive = { passive: true, signal };
    element.addEventListener(
      "scroll",
      () => {
        if (!this.#hidden) scrolled(this.#how());
      },
      passive,
    );
    element.addEventListener(
      "wheel",
      (event) => {
        // Earlier than the scroll event: the next piece of text must not scroll back to the end.
        if (event.deltaY < 0 && element.scrollHeight > element.clientHeight) this.leave();
      },
      passive,
    );
    const hold = (held: boolean) => () => {
      this.#held = held;
    };
    list.addEventListener("pointerdown", hold(true), { signal });
    window.addEventListener("pointerup", hold(false), { signal });
    window.addEventListener("pointercancel", hold(false), { signal });
    if (typeof ResizeObserver !== "function") return;
    const observer = new ResizeObserver(() => this.#resized());
    observer.observe(list);
    observer.observe(element);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  /** Whether the view stays at the end as text arrives. */
  get follows(): boolean {
    return this.#follows;
  }

  get visible(): boolean {
    return this.#element.clientHeight > 0;
  }

  /** Whether the messages are as high as the view. */
  get filled(): boolean {
    return this.#list.offsetHeight >= this.#element.clientHeight;
  }

  /** Follow the end from now on, without scrolling. */
  join(): void {
    this.#follows = true;
  }

  /** Scroll to the end and follow it. */
  toEnd(): void {
    this.#follows = true;
    this.#element.scrollTop = this.#element.scrollHeight;
    this.#lastTop = this.#element.scrollTop;
  }

  /** Stop following the end. */
  leave(): void {
    if (!this.#follows) return;
    this.#follows = false;
    this.#left();
  }

  /** Scroll to the end if it is followed. */
  follow(): void {
    if (this.#follows && !this.#held) this.toEnd();
  }

  /** Change what is above without moving what is read. */
  keepPlace(change: () => void): void {
    const anchor = this.#topElement();
    const before = anchor?.getBoundingClientRect().top ?? 0;
    change();
    if (this.#follows) this.follow();
    else if (anchor?.isConnected) {
      this.#element.scrollTop += anchor.getBoundingClientRect().top - before;
    }
    if (!this.#hidden) this.#lastTop = this.#element.scrollTop;
  }

  /** Return the reader's place. */
  place(): Place {
    const element = this.#topElement();
    const id = element?.getAttribute("data-message-id");
    if (!element || !id) return "end";
    const top = this.#element.getBoundingClientRect().top;
    return { id, offset: element.getBoundingClientRect().top - top };
  }

  /** Scroll so that an element is `offset` pixels below the upper edge. */
  align(element: Element, offset: number): void {
    const { top } = this.#element.getBoundingClientRect();
    this.#element.scrollTop += element.getBoundingClientRect().top - top - offset;
    this.#lastTop = this.#element.scrollTop;
  }

  #how(): Scrolled {
    const { scrollTop, scrollHeight, clientHeight } = this.#element;
    const up = scrollTop < this.#lastTop - 2;
    this.#lastTop = scrollTop;
    return { distance: scrollHeight - clientHeight - scrollTop, top: scrollTop, up };
  }

  #resized(): void {
    const hidden = !this.visible;
    // A collapsed output is scrolled to its top when it is shown again.
    if (this.#hidden && !hidden && !this.#follows) this.#element.scrollTop = this.#lastTop;
    this.#hidden = hidden;
    this.follow();
  }

  /** Return the first message that is visible. */
  #topElement(): Element | null {
    const top = this.#element.getBoundingClientRect().top;
    for (const element of this.#list.children) {
      if (element.getBoundingClientRect().bottom > top) return element;
    }
    return null;
  }
}

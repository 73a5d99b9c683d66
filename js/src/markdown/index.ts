/** Markdown of a model, shown while it streams or whole. */
import { serveButtons } from "./actions";
import type { CodeAction } from "./build";
import { MarkdownDocument } from "./document";
import { Enhancer, type Highlighter, type MathRenderer } from "./enhance";
import { english, type MarkdownStrings } from "./strings";

export type { CodeAction, Highlighter, MarkdownStrings, MathRenderer };

export interface MarkdownOptions {
  /** Buttons on every block of code, after the one that copies it. */
  codeActions?: readonly CodeAction[];
  strings?: Partial<MarkdownStrings>;
  /** Called when the first formula is final; without it, formulas are shown as source. */
  loadMath?: () => Promise<MathRenderer>;
  /** Called when the first block of code is final; without it, code has one colour. */
  loadHighlight?: () => Promise<Highlighter>;
}

/** A view of one text. Elements that are shown stay the same ones while it grows, so that a selection survives. */
export class MarkdownView {
  readonly #strings: MarkdownStrings;
  readonly #codeActions: readonly CodeAction[];
  readonly #enhancer: Enhancer;
  readonly #listening = new AbortController();
  #document: MarkdownDocument;
  #raw = "";

  readonly #root: HTMLElement;

  constructor(root: HTMLElement, options: MarkdownOptions = {}) {
    this.#root = root;

    this.#strings = { ...english, ...options.strings };
    this.#codeActions = options.codeActions ?? [];
    this.#enhancer = new Enhancer({
      loadHighlight: options.loadHighlight,
      loadMath: options.loadMath,
    });
    this.#document = this.#newDocument();
    serveButtons(
      root,
      () => this.#document,
      this.#strings,
      this.#codeActions,
      this.#listening.signal,
    );
  }

  /** The text so far, as it came. */
  get text(): string {
    return this.#raw;
  }

  /** Add text and show it at once; call it once per animation frame. After the end, it opens the text again. */
  append(text: string): void {
    if (text === "") return;
    this.#raw += text;
    this.#document.push(text);
  }

  /** The text is complete: close what is open, and put in what was defined after its use. */
  end(): void {
    this.#document.end();
  }

  /** Show another text. One that goes on from this one is appended; otherwise all is built again. */
  reset(text: string, done: boolean): void {
    if (text.startsWith(this.#raw) && this.#raw !== "") {
      this.append(text.slice(this.#raw.length));
      if (done) this.end();
      return;
    }
    this.#root.replaceChildren();
    this.#document = this.#newDocument();
    this.#raw = text;
    if (done) this.#document.end(text);
    else if (text !== "") this.#document.push(text);
  }

  /** Return when the code and formulas that are final have their colours and shape. */
  settled(): Promise<void> {
    return this.#enhancer.settled();
  }

  destroy(): void {
    this.#listening.abort();
    this.#enhancer.stop();
    this.#root.replaceChildren();
  }

  #newDocument(): MarkdownDocument {
    return new MarkdownDocument(this.#root, {
      strings: this.#strings,
      codeActions: this.#codeActions,
      onClosed: (element) => this.#enhancer.add(element),
      onDrawn: (element) => this.#enhancer.addFormulas(element),
    });
  }
}

/**
 * Return a whole text as elements, the same as a view shows when the text has ended.
 *
 * Its buttons do nothing by themselves: where they should, show the text with `MarkdownView.reset(text, true)`.
 */
export function renderMarkdown(text: string, options: MarkdownOptions = {}): DocumentFragment {
  const fragment = document.createDocumentFragment();
  const enhancer = new Enhancer({
    loadHighlight: options.loadHighlight,
    loadMath: options.loadMath,
  });
  new MarkdownDocument(fragment, {
    strings: { ...english, ...options.strings },
    codeActions: options.codeActions ?? [],
    onClosed: (element) => enhancer.add(element),
  }).end(text);
  return fragment;
}

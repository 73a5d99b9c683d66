/** `Enhancer`: colours code and typesets formulas in idle time, once their block is final. */
/** Export of the bundle `highlight`. */
export interface Highlighter {
  /** Return whether a language is supported. */
  knows(language: string): boolean;
  /** Return the code in pieces, each with its kind (`keyword`, `string`, …) or "". */
  highlight(code: string, language: string): readonly (readonly [text: string, kind: string])[];
}

/** Export of the bundle `math`. */
export interface MathRenderer {
  /** Return MathML for a TeX formula, without links and loads; throws if it is invalid. */
  render(tex: string, display: boolean): DocumentFragment;
}

export interface Loaders {
  readonly loadHighlight: (() => Promise<Highlighter>) | undefined;
  readonly loadMath: (() => Promise<MathRenderer>) | undefined;
}

/** Longer code is not coloured. */
const MAX_CODE_CHARS = 50_000;
/** Data rather than code; the regular expressions of a highlighter take quadratic time on it. */
const LONG_WORD = /\S{300}/;
const MAX_TEX_CHARS = 5_000;
/** Length of an idle period if the browser does not report it, in milliseconds. */
const SLICE_MS = 8;

/** Sources of the formulas that have been typeset, or that could not be. */
const sources = new WeakMap<Element, string>();

/** Return whether an element shows the formula of another one already. */
export function isTypeset(shown: Element, wanted: Element): boolean {
  const same = wanted.classList.contains("nbc-math") && sources.get(shown) === wanted.textContent;
  if (!same) sources.delete(shown);
  return same;
}

export class Enhancer {
  readonly #waiting: Element[] = [];
  #highlighter: Promise<Highlighter | null> | undefined;
  #maths: Promise<MathRenderer | null> | undefined;
  #running: Promise<void> | null = null;
  #stopped = false;

  readonly #loaders: Loaders;

  constructor(loaders: Loaders) {
    this.#loaders = loaders;
  }

  /** Process the code and the formulas of an element that is final. */
  add(block: Element): void {
    const { loadHighlight, loadMath } = this.#loaders;
    if (loadHighlight) this.#take(block, "pre > code[class]");
    if (loadMath) this.#take(block, ".nbc-math");
    if (this.#waiting.length > 0) this.#running ??= this.#run();
  }

  /** Typeset the closed formulas of an element that may still change. */
  addFormulas(block: Element): void {
    if (!this.#loaders.loadMath) return;
    this.#take(block, ".nbc-math:not(.nbc-open)");
    if (this.#waiting.length > 0) this.#running ??= this.#run();
  }

  /** Resolve when everything that was added is processed. */
  async settled(): Promise<void> {
    while (this.#running) await this.#running;
  }

  stop(): void {
    this.#stopped = true;
    this.#waiting.length = 0;
  }

  #take(block: Element, selector: string): void {
    const found = block.matches(selector) ? [block] : Array.from(block.querySelectorAll(selector));
    for (const element of found) {
      if (!sources.has(element) && !this.#waiting.includes(element)) this.#waiting.push(element);
    }
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0 && !this.#stopped) {
      const deadline = await idle();
      do {
        const element = this.#waiting.shift();
        if (element === undefined) break;
        // A block that was rebuilt for a late definition is added again and may be processed already.
        if (element.childElementCount > 0) continue;
        if (isSelected(element)) {
          // Selected text is not rebuilt.
          this.#waiting.push(element);
          if (this.#waiting.every(isSelected)) await selectionChange();
        } else if (element.localName === "code") await this.#highlight(element);
        else await this.#typeset(element);
      } while (performance.now() < deadline);
    }
    this.#running = null;
  }

  async #highlight(code: Element): Promise<void> {
    this.#highlighter ??= orNull(this.#loaders.loadHighlight);
    const highlighter = await this.#highlighter;
    const language = /^language-(\S+)$/.exec(code.className)?.[1] ?? "";
    const source = code.textContent ?? "";
    if (!highlighter?.knows(language)) return;
    if (source.length > MAX_CODE_CHARS || LONG_WORD.test(source)) return;
    try {
      const pieces = highlighter.highlight(source, language);
      if (pieces.map(([text]) => text).join("") !== source) return;
      code.replaceChildren(...pieces.map(([text, kind]) => coloured(text, kind)));
    } catch (error) {
      console.warn("code is shown without colours:", error);
    }
  }

  async #typeset(formula: Element): Promise<void> {
    this.#maths ??= orNull(this.#loaders.loadMath);
    const maths = await this.#maths;
    const source = formula.textContent ?? "";
    const tex = texOf(source);
    if (maths === null || tex.length > MAX_TEX_CHARS) return;
    sources.set(formula, source);
    try {
      const display = formula.classList.contains("nbc-display");
      const typeset = maths.render(tex, display);
      if (typeset.querySelector("math")) formula.replaceChildren(typeset);
    } catch {
      // An invalid formula keeps its source.
      formula.classList.add("nbc-failed");
    }
  }
}

/** Return a formula without its marks. */
function texOf(source: string): string {
  const trimmed = source.trim();
  const marks = /^(?:\$\$|\\\[|\\\()/.test(trimmed) ? 2 : 1;
  return trimmed.slice(marks, -marks).trim();
}

function coloured(text: string, kind: string): Node {
  if (kind === "") return document.createTextNode(text);
  const span = document.createElement("span");
  span.className = `nbc-tok-${kind}`;
  span.append(text);
  return span;
}

async function orNull<Loaded>(load: (() => Promise<Loaded>) | undefined): Promise<Loaded | null> {
  try {
    return (await load?.()) ?? null;
  } catch (error) {
    console.warn("shown as plain text:", error);
    return null;
  }
}

/** Wait for idle time, and return when it ends. */
function idle(): Promise<number> {
  return new Promise((resolve) => {
    if (typeof requestIdleCallback === "function") {
      // With a timeout, for pages that are never idle.
      requestIdleCallback(
        (deadline) => resolve(performance.now() + Math.max(1, deadline.timeRemaining())),
        { timeout: 1000 },
      );
    } else setTimeout(() => resolve(performance.now() + SLICE_MS));
  });
}

function isSelected(element: Element): boolean {
  const root = element.getRootNode();
  // Chromium has a separate selection for each shadow root.
  const selection =
    "getSelection" in root
      ? (root as Document).getSelection()
      : element.ownerDocument.getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

function selectionChange(): Promise<void> {
  return new Promise((resolve) => {
    document.addEventListener("selectionchange", () => resolve(), { once: true });
  });
}

/**
 * `MarkdownDocument`: a growing Markdown text as elements.
 *
 * Top-level blocks that further text cannot change are parsed and sanitised once. Only the last block is open: it is
 * rebuilt when text arrives that cannot simply be appended, with as few changes to its elements as possible. Links
 * and footnotes that are defined after their use are resolved at the end.
 *
 * The result depends only on the text, and not on how it was cut: a closed block is always built from its whole
 * source by the same functions, and a text that arrives at once is parsed at once.
 */
import {
  type BuildContext,
  buildBlock,
  buildImage,
  buildInto,
  type CodeAction,
  remoteImageOf,
} from "./build";
import { Cleaner } from "./clean";
import type { Definitions } from "./environment";
import { type Follower, followerOf } from "./follow";
import { noteOf } from "./footnotes";
import { morph } from "./morph";
import { closedLines, definitionsAfter, type Group, parse } from "./parser";
import { sanitize } from "./sanitize";
import type { MarkdownStrings } from "./strings";

/** Top-level blocks per section; the browser lays out only sections near the screen. */
const SECTION_BLOCKS = 24;

/**
 * Milliseconds that drawing the open block may take. Above that, new text is shown unparsed until the block has grown
 * by a share that rises with the cost, so that no text can keep the page busy.
 */
const BUDGET_MS = 4;
/** Shorter blocks are always parsed: they are cheap, and the measured time may include other work. */
const SHORT_BLOCK_CHARS = 500;

interface Block {
  element: Element;
  /** Kept if the block may have to be rebuilt, else empty. */
  readonly source: string;
  readonly misses: ReadonlySet<string>;
  readonly hasNotes: boolean;
  /** The footnote that it defines. */
  readonly note: string | null;
}

/** State to restore if text follows after the end. */
interface Reopening {
  readonly blocks: number;
  readonly tail: string;
}

export interface DocumentOptions {
  readonly strings: MarkdownStrings;
  readonly codeActions: readonly CodeAction[];
  /** Called with each element once it is final. */
  readonly onClosed: (element: Element) => void;
  /** Called with each element of the open part when it has been drawn. */
  readonly onDrawn?: (element: Element) => void;
}

export class MarkdownDocument {
  readonly #cleaner = new Cleaner();
  readonly #blocks: Block[] = [];
  readonly #sections: HTMLElement[] = [];
  readonly #definitions: Definitions = definitionsAfter(null);
  readonly #numbers = new Map<string, number>();
  #notes: HTMLElement | null = null;
  readonly #loadedImages = new Set<string>();

  /** Source from the first open block on. */
  #tail = "";
  /** Length of the part that was searched for closed blocks. */
  #searched = 0;
  /** Length at which it is parsed again. */
  #due = 0;
  #open: Element[] = [];
  #follower: Follower | null = null;
  #reopening: Reopening | null = null;
  #wasReopened = false;

  readonly #root: Node;
  readonly #options: DocumentOptions;

  constructor(root: Node, options: DocumentOptions) {
    this.#root = root;
    this.#options = options;
  }

  /** Add text and show it. */
  push(text: string): void {
    if (this.#reopening) this.#reopen(this.#reopening);
    const added = this.#cleaner.push(text);
    if (added === "") return;
    this.#tail += added;
    if (this.#follower?.follow(added)) return;
    this.#follower = null;
    if (this.#tail.length < this.#due) this.#showSource(added);
    else {
      const begin = performance.now();
      this.#close();
      this.#show();
      this.#due = dueAfter(this.#tail.length, performance.now() - begin);
    }
  }

  /** Add the last text, close all blocks, and resolve late definitions. */
  end(text = ""): void {
    if (this.#reopening) {
      if (text === "") return;
      this.#reopen(this.#reopening);
    }
    this.#tail += this.#cleaner.push(text);
    this.#reopening = { blocks: this.#blocks.length, tail: this.#tail };
    const definitions = definitionsAfter(this.#definitions);
    const source = this.#tail + this.#cleaner.rest();
    this.#commit(parse(source, definitions, false), source);
    this.#dropOpen(0);
    this.#tail = "";
    this.#follower = null;
    this.#resolve(definitions);
    this.#appendNotes(definitions);
  }

  /** Load an image on request, also wherever it is rebuilt. */
  loadImage(button: Element): void {
    const image = remoteImageOf(button);
    if (image === undefined) return;
    this.#loadedImages.add(image.url);
    button.replaceWith(buildImage(image.url, image.alt));
  }

  /** Close the blocks that further text cannot change. */
  #close(): void {
    const whole = this.#tail.lastIndexOf("\n") + 1;
    if (whole <= this.#searched) return;
    const end = offsetOf(this.#tail, closedLines(this.#tail.slice(0, whole)));
    if (end > 0) {
      const source = this.#tail.slice(0, end);
      this.#commit(parse(source, this.#definitions, false), source);
      this.#tail = this.#tail.slice(end);
    }
    this.#searched = whole - end;
  }

  /** Draw the open part. */
  #show(): void {
    const groups = parse(this.#tail, definitionsAfter(this.#definitions), true);
    const numbers = new Map(this.#numbers);
    const context = this.#context(numbers);
    groups.forEach(({ tokens }, i) => {
      const fresh = buildBlock(tokens, context);
      if (fresh) this.#place(i, this.#withLoadedImages(fresh));
    });
    this.#dropOpen(groups.length);
    const { onDrawn } = this.#options;
    if (onDrawn) for (const element of this.#open) onDrawn(element);
    const [group, element] = [groups.at(-1), this.#open.at(-1)];
    this.#follower = group && element ? followerOf(this.#tail, group, element) : null;
  }

  /** Show the end of a long block unparsed, until it is parsed again. */
  #showSource(added: string): void {
    let last = this.#open.at(-1);
    while (/^(?:blockquote|ol|ul|li|p)$/.test(last?.lastElementChild?.localName ?? "")) {
      last = last?.lastElementChild ?? undefined;
    }
    const shown = last?.className === "nbc-source" ? last : last?.lastElementChild;
    if (shown?.className === "nbc-source") {
      shown.append(added);
      return;
    }
    const goesOn = last !== undefined && /^(?:p|li|h\d)$/.test(last.localName);
    const source = document.createElement(goesOn ? "span" : "p");
    source.className = "nbc-source";
    source.append(added);
    if (goesOn) last?.append(source);
    else this.#place(this.#open.length, source);
  }

  /** Make `fresh` the open part's element at `index`. */
  #place(index: number, fresh: Element): void {
    const shown = this.#open[index];
    if (shown) this.#open[index] = morph(shown, fresh);
    else {
      this.#section(this.#blocks.length + index).append(fresh);
      this.#open.push(fresh);
    }
  }

  #dropOpen(from: number): void {
    for (const element of this.#open.splice(from)) element.remove();
    const needed = Math.ceil((this.#blocks.length + this.#open.length) / SECTION_BLOCKS);
    for (const section of this.#sections.splice(needed)) section.remove();
  }

  #section(block: number): HTMLElement {
    const index = Math.floor(block / SECTION_BLOCKS);
    let section = this.#sections[index];
    if (section === undefined) {
      section = document.createElement("div");
      section.className = "nbc-section";
      this.#root.appendChild(section);
      this.#sections[index] = section;
    }
    return section;
  }

  #commit(groups: readonly Group[], source: string): void {
    const lines = new LineOffsets(source);
    for (const { tokens, misses, lines: range } of groups) {
      const note = tokens[0]?.type === "footnote_open" ? noteOf(tokens[0]) : null;
      // References inside a note are numbered when the note is placed at the end.
      const numbers = note === null ? this.#numbers : new Map(this.#numbers);
      const fresh = buildBlock(tokens, this.#context(numbers));
      if (fresh === null) continue;
      sanitize(fresh);
      this.#place(0, this.#withLoadedImages(fresh));
      const element = this.#open.shift() ?? fresh;
      const hasNotes = tokens.some(hasNoteReference);
      const isKept = misses.size > 0 || hasNotes || note !== null;
      this.#blocks.push({
        element,
        source: isKept ? lines.slice(range[0], range[1]) : "",
        misses,
        hasNotes,
        note,
      });
      this.#options.onClosed(element);
    }
  }

  /** Rebuild the blocks that refer to later definitions. */
  #resolve(definitions: Definitions): void {
    const isNote = (key: string) => definitions.footnotes[key] === true;
    const isLate = ({ misses }: Block) =>
      Array.from(misses).some((key) => isNote(key) || definitions.references[key] !== undefined);
    const renumber =
      this.#wasReopened || this.#blocks.some(({ misses }) => Array.from(misses).some(isNote));
    if (renumber) this.#numbers.clear();
    this.#wasReopened = false;
    for (const block of this.#blocks) {
      if (block.note !== null || !(isLate(block) || (renumber && block.hasNotes))) continue;
      const [group] = parse(block.source, definitionsAfter(definitions), false);
      const fresh = group && buildBlock(group.tokens, this.#context(this.#numbers));
      if (!fresh) continue;
      sanitize(fresh);
      block.element = morph(block.element, this.#withLoadedImages(fresh));
      this.#options.onClosed(block.element);
    }
  }

  /** Move the footnotes to the end, in the order of their numbers, and unreferenced ones after them. */
  #appendNotes(definitions: Definitions): void {
    const sources = new Map<string, string>();
    for (const { note, source, element } of this.#blocks) {
      if (note === null) continue;
      element.remove();
      if (!sources.has(note)) sources.set(note, source);
    }
    if (sources.size === 0) return;
    const list = document.createElement("ol");
    const written = new Set<string>();
    const write = (key: string, number: number | null) => {
      written.add(key);
      list.append(this.#noteItem(sources.get(key) ?? "", number, definitions));
    };
    // A note may refer to another one, which gets its number during the loop.
    for (const [key, number] of this.#numbers) if (sources.has(key)) write(key, number);
    for (const key of sources.keys()) if (!written.has(key)) write(key, null);

    this.#notes = document.createElement("div");
    this.#notes.className = "nbc-notes";
    this.#notes.setAttribute("role", "group");
    this.#notes.setAttribute("aria-label", this.#options.strings.footnotes);
    this.#notes.append(list);
    sanitize(this.#notes);
    this.#root.appendChild(this.#withLoadedImages(this.#notes));
    this.#options.onClosed(this.#notes);
  }

  #noteItem(source: string, number: number | null, definitions: Definitions): Element {
    const item = document.createElement("li");
    const [group] = parse(source, definitionsAfter(definitions), false);
    const tokens = group?.tokens.slice(1, -1) ?? [];
    buildInto(item, tokens, this.#context(this.#numbers));
    if (number === null) return item;
    const back = document.createElement("button");
    back.setAttribute("type", "button");
    back.className = "nbc-noteback";
    back.setAttribute("aria-label", this.#options.strings.footnoteBack(number));
    back.append("↩");
    const last = item.lastElementChild;
    (last?.localName === "p" ? last : item).append(" ", back);
    return item;
  }

  /** Reopen the end, since more text has arrived. */
  #reopen({ blocks, tail }: Reopening): void {
    this.#reopening = null;
    this.#wasReopened = true;
    this.#notes?.remove();
    this.#notes = null;
    const reopened = this.#blocks.splice(blocks);
    this.#open = reopened.map(({ element }) => element);
    if (reopened.some(({ note }) => note !== null)) this.#dropOpen(0);
    this.#tail = tail;
    this.#searched = 0;
    this.#due = 0;
  }

  #withLoadedImages<Built extends Element>(built: Built): Built {
    if (this.#loadedImages.size > 0) {
      for (const button of Array.from(built.querySelectorAll(".nbc-image"))) {
        const image = remoteImageOf(button);
        if (image && this.#loadedImages.has(image.url)) {
          button.replaceWith(buildImage(image.url, image.alt));
        }
      }
    }
    return built;
  }

  #context(numbers: Map<string, number>): BuildContext {
    return {
      strings: this.#options.strings,
      codeActions: this.#options.codeActions,
      note(key) {
        const number = numbers.get(key) ?? numbers.size + 1;
        numbers.set(key, number);
        return number;
      },
    };
  }
}

function hasNoteReference(token: Group["tokens"][number]): boolean {
  return token.children?.some(({ type }) => type === "footnote_reference") ?? false;
}

/** Return the length at which an open part is parsed again. */
function dueAfter(chars: number, costMs: number): number {
  if (chars < SHORT_BLOCK_CHARS || costMs < BUDGET_MS) return 0;
  return chars * (1 + Math.min(1 / 4, costMs / (BUDGET_MS * 64)));
}

/** Return the offset of a line. */
function offsetOf(source: string, line: number): number {
  let offset = 0;
  for (let i = 0; i < line; i++) {
    const end = source.indexOf("\n", offset);
    if (end < 0) return source.length;
    offset = end + 1;
  }
  return offset;
}

/** Extracts ranges of lines from a text, in increasing order. */
class LineOffsets {
  #line = 0;
  #offset = 0;

  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  /** Return the lines of a range, which must not begin before the end of the previous one. */
  slice(begin: number, end: number): string {
    this.#offset += offsetOf(this.#source.slice(this.#offset), begin - this.#line);
    this.#line = begin;
    const rest = this.#source.slice(this.#offset);
    return rest.slice(0, offsetOf(rest, end - begin));
  }
}

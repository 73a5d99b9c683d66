/**
 * Appends text to the end of the document without parsing it, where that is possible.
 *
 * There are two cases, both limited to text for which a parse gives the same result: plain words at the end of a
 * paragraph, and lines of an open fence. Everything else is parsed, and every block is parsed when it closes.
 */
import { hasHidden, revealHidden } from "./hidden";
import type { Group } from "./parser";

export interface Follower {
  /** Append text; returns false if it has to be parsed, and the document may be in any state then. */
  follow(text: string): boolean;
}

/** Return a follower of the open block, if it can have one. `shown` is the element of `group`, the last of `tail`. */
export function followerOf(tail: string, group: Group, shown: Element): Follower | null {
  return OpenFence.after(tail, group, shown) ?? PlainWords.after(tail, group, shown);
}

/**
 * Text that can begin, end or change something else than text: marks of inline rules, line ends, beginnings of literal
 * links, and everything that is trimmed at the end of a cell or heading.
 */
const MARKS = /[^\S ]|[#$&*<>@[\\\]_`|~]|:\/|www\./i;
/** Length of the last word that these rules need. */
const WORD_CHARS = 64;

class PlainWords implements Follower {
  readonly #node: Text;
  /** The text after the last space. */
  #word: string;
  /** Spaces at the end, which are shown when text follows. */
  #spaces: string;
  /** Whether a bracket may still be the beginning of a link. */
  readonly #inLink: boolean;

  private constructor(node: Text, word: string, spaces: string, inLink: boolean) {
    this.#node = node;
    this.#word = word;
    this.#spaces = spaces;
    this.#inLink = inLink;
  }

  static after(tail: string, { tokens }: Group, shown: Element): PlainWords | null {
    const end = /(\S*)( *)$/.exec(tail.slice(-WORD_CHARS));
    const line = tail.slice(tail.lastIndexOf("\n") + 1);
    // A letter determines the kind of a block, except for the label of a definition.
    if (!end || !/\p{L}/u.test(line) || MARKS.test(end[1] ?? "") || tail.includes("]:"))
      return null;
    let last = tokens.length - 1;
    while (tokens[last]?.nesting === -1) last--;
    const leaf = tokens[last];
    if (leaf?.type !== "inline" || /^t[hd]_open$/.test(tokens[last - 1]?.type ?? "")) return null;
    if (leaf.children?.at(-1)?.type !== "text") return null;
    let node: Node = shown;
    while (node.lastChild) node = node.lastChild;
    const [, word = "", spaces = ""] = end;
    if (!(node instanceof Text) || !node.data.endsWith(word)) return null;
    return new PlainWords(node, spaces ? "" : word, spaces, leaf.content.includes("]("));
  }

  follow(text: string): boolean {
    if (MARKS.test(this.#word + text) || hasHidden(text)) return false;
    if (this.#inLink && /[)"']/.test(text)) return false;
    const added = this.#spaces + text;
    this.#spaces = / *$/.exec(added)?.[0] ?? "";
    this.#node.appendData(added.slice(0, added.length - this.#spaces.length));
    this.#word = (this.#word + text).slice(-WORD_CHARS);
    this.#word = this.#word.slice(this.#word.lastIndexOf(" ") + 1);
    return true;
  }
}

class OpenFence implements Follower {
  readonly #node: Text;
  readonly #indent: RegExp;
  readonly #closing: RegExp;
  /** Source of the last line, and the length that is shown. */
  #line: string;
  #shown: number;

  private constructor(node: Text, indent: RegExp, closing: RegExp, line: string, shown: number) {
    this.#node = node;
    this.#indent = indent;
    this.#closing = closing;
    this.#line = line;
    this.#shown = shown;
  }

  static after(tail: string, { tokens, lines: [begin] }: Group, shown: Element): OpenFence | null {
    const code = shown.querySelector("code");
    if (tokens[0]?.type !== "fence" || code === null) return null;
    const lines = tail.split("\n").slice(begin);
    const opening = /^( {0,3})(`{3,}|~{3,})/.exec(lines[0] ?? "");
    if (lines.length < 2 || opening === null) return null;
    const [, indent = "", mark = ""] = opening;
    const closing = new RegExp(`^ {0,3}${mark[0]}{${mark.length},}[ \\t]*$`);
    if (lines.some((line, i) => i > 0 && closing.test(line))) return null;
    if (code.lastChild === null) code.append("");
    const node = code.lastChild;
    if (!(node instanceof Text)) return null;
    const line = lines.at(-1) ?? "";
    const indentation = new RegExp(`^ {0,${indent.length}}`);
    return new OpenFence(node, indentation, closing, line, line.replace(indentation, "").length);
  }

  follow(text: string): boolean {
    const pieces = text.split("\n");
    const last = pieces.pop() ?? "";
    let added = "";
    for (const piece of pieces) {
      const line = this.#line + piece;
      if (this.#closing.test(line)) return false;
      added += `${line.replace(this.#indent, "").slice(this.#shown)}\n`;
      this.#line = "";
      this.#shown = 0;
    }
    this.#line += last;
    // A line that may become the closing fence is not shown until it turns out to be text.
    if (!/^\s*(?:`*|~*)\s*$/.test(this.#line)) {
      const line = this.#line.replace(this.#indent, "");
      added += line.slice(this.#shown);
      this.#shown = line.length;
    }
    if (added !== "") this.#node.appendData(revealHidden(added, this.#node.data.slice(-16)));
    return true;
  }
}

/** Markdown to tokens: CommonMark 0.31.2 and what GitHub adds to it, with the raw HTML and the URLs left as text. */
import markdownIt, { type MarkdownIt, type StateCore, type Token } from "markdown-it";
import { autolink, emails, text } from "./autolink";
import type { Definitions, ParseEnv } from "./environment";
import { footnoteDefinition, footnoteReference } from "./footnotes";
import { lineOfOpenMath, mathBlock, mathInline } from "./maths";
import { boundedTable } from "./tables";

/** Block quotes and lists stand in each other up to this deep (a list counts twice); the rest of them is text. */
const MAX_NESTING = 40;

/** The tokens of one block of the top level. */
export interface Group {
  readonly tokens: readonly Token[];
  /** The line it begins with, and the first one after it. */
  readonly lines: readonly [begin: number, end: number];
  /** Labels whose definition may still come. */
  readonly misses: ReadonlySet<string>;
}

/** Return a place for further definitions, which knows those of `earlier`. */
export function definitionsAfter(earlier: Definitions | null): Definitions {
  return {
    references: Object.create(earlier?.references ?? null),
    footnotes: Object.create(earlier?.footnotes ?? null),
  };
}

/**
 * Return markdown-it with CommonMark's rules.
 *
 * `extended` adds tables, strikethrough, literal links, footnotes and maths, and shows raw HTML as text. Links and
 * images keep whatever address they have: `build.ts` decides what becomes of it.
 */
export function createParser(extended: boolean): MarkdownIt {
  const md = markdownIt("commonmark");
  md.inline.ruler.at("text", text);
  if (!extended) return md;
  // markdown-it leaves out what is nested too deep; the rule `too_deep` is there before.
  md.set({ html: false, maxNesting: 2 * MAX_NESTING });
  md.enable(["table", "strikethrough"]);
  md.disable(["html_block", "html_inline"]);
  md.block.ruler.at("table", boundedTable(md), {
    alt: ["paragraph", "reference"],
  });
  md.validateLink = () => true;
  const paragraph = md.block.ruler.getRules("").at(-1);
  md.block.ruler.before("table", "too_deep", (state, startLine, endLine, silent) => {
    if (silent || state.level < MAX_NESTING || paragraph === undefined) return false;
    return paragraph(state, startLine, endLine, false);
  });
  md.inline.ruler.before("text", "literal_autolink", autolink);
  md.inline.ruler.before("escape", "math", mathInline);
  md.inline.ruler.before("link", "footnote_reference", footnoteReference);
  md.inline.ruler2.after("fragments_join", "literal_email", emails);
  md.block.ruler.before("reference", "footnote", footnoteDefinition, {
    alt: ["paragraph", "reference"],
  });
  md.block.ruler.before("fence", "math", mathBlock, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
  // The stream is normalised before it gets here.
  md.core.ruler.disable("normalize");
  md.core.ruler.at("inline", inlineByGroup);
  return md;
}

const md = createParser(true);
const missesOf = new WeakMap<Token, Set<string>>();
const NONE: ReadonlySet<string> = new Set();

/**
 * Parse a text whole, adding its definitions to `definitions`.
 *
 * A text that the parser fails at comes back as one token `source`, to be shown as it is.
 */
export function parse(source: string, definitions: Definitions, open: boolean): Group[] {
  let tokens: Token[];
  try {
    tokens = md.parse(source, newEnv(definitions, open));
  } catch (error) {
    console.warn("Markdown is shown as plain text:", error);
    const { Token } = new md.core.State("", md, {});
    const whole = new Token("source", "p", 0);
    whole.content = source;
    whole.map = [0, source.split("\n").length];
    tokens = [whole];
  }
  return groups(tokens).map(([begin, end]) => {
    const own = tokens.slice(begin, end);
    const first = tokens[begin];
    return {
      tokens: own,
      lines: first?.map ?? [0, 0],
      misses: (first && missesOf.get(first)) ?? NONE,
    };
  });
}

/**
 * Return how many lines at the beginning of `source` are blocks that no further text can change.
 *
 * `source` is whole lines. CommonMark decides about blocks line by line, so that only the last one is open, and what a
 * formula that is not closed yet would end. What stands between the last two belongs to the open part: a link
 * definition may still get its title from the next line.
 */
export function closedLines(source: string): number {
  let tokens: Token[] = [];
  try {
    md.block.parse(source, md, newEnv(definitionsAfter(null), true), tokens);
  } catch {
    return 0; // `parse` will say so.
  }
  tokens = tokens.filter((token) => token.type !== "reference_definition");
  const limit = lineOfOpenMath(source) ?? Number.POSITIVE_INFINITY;
  const ends = groups(tokens).map(([first]) => tokens[first]?.map?.[1] ?? 0);
  return ends.slice(0, -1).findLast((end) => end <= limit) ?? 0;
}

/** Return where the blocks of the top level begin and end in `tokens`. */
function groups(tokens: readonly Token[]): [begin: number, end: number][] {
  const result: [number, number][] = [];
  tokens.forEach((token, i) => {
    if (token.level > 0) return;
    const last = result.at(-1);
    if (token.nesting < 0 && last) last[1] = i + 1;
    else result.push([i, i + 1]);
  });
  return result;
}

/** Parse inline text as markdown-it does, and note for each block which labels it did not find. */
function inlineByGroup(state: StateCore): void {
  const env = state.env as ParseEnv;
  for (const token of state.tokens) {
    if (token.level === 0 && token.nesting >= 0) {
      env.misses = new Set();
      missesOf.set(token, env.misses);
    }
    if (token.type === "inline") {
      state.md.inline.parse(token.content, state.md, env, token.children ?? []);
    }
  }
  env.misses = undefined;
}

function newEnv(definitions: Definitions, open: boolean): ParseEnv {
  const env: ParseEnv = {
    references: new Proxy(definitions.references, {
      get(known, label) {
        const reference = known[label as string];
        if (reference === undefined) env.misses?.add(label as string);
        return reference;
      },
    }),
    footnotes: definitions.footnotes,
    open,
    inFootnote: false,
    misses: undefined,
  };
  return env;
}

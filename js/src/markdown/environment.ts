/** State that the rules of the parser share while one text is parsed. */
import type { Env } from "markdown-it";

/** Link references and footnotes by normalised label; those defined earlier are in the prototypes. */
export interface Definitions {
  readonly references: Record<string, { title: string; href: string }>;
  readonly footnotes: Record<string, true>;
}

/** Shared state of the rules while one text is parsed. */
export interface ParseEnv extends Env {
  readonly references: Definitions["references"];
  readonly footnotes: Definitions["footnotes"];
  /** Whether more text may follow. */
  readonly open: boolean;
  /** Whether this is the text of a footnote, which cannot define another one. */
  inFootnote: boolean;
  /** Labels of references without a definition; those of footnotes begin with `^`. */
  misses: Set<string> | undefined;
}

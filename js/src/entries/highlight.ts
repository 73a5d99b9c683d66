/**
 * The bundle `highlight`: colours for code, loaded when the first code block is shown.
 *
 * The output is a list of pieces of the code, each with one of a few kinds; this module returns no markup.
 */
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import julia from "highlight.js/lib/languages/julia";
import latex from "highlight.js/lib/languages/latex";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import r from "highlight.js/lib/languages/r";
import rust from "highlight.js/lib/languages/rust";
import shell from "highlight.js/lib/languages/shell";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import type { Highlighter } from "../markdown";

// In highlight.js `toml` is an alias of `ini`, `html` of `xml`, `sh` of `bash`, and so on.
const languages = {
  bash,
  c,
  cpp,
  css,
  diff,
  go,
  ini,
  java,
  javascript,
  json,
  julia,
  latex,
  markdown,
  python,
  r,
  rust,
  shell,
  sql,
  typescript,
  xml,
  yaml,
};
for (const [name, language] of Object.entries(languages)) hljs.registerLanguage(name, language);
hljs.registerAliases(["ipython", "ipython3", "py3"], { languageName: "python" });
hljs.registerAliases(["postgresql", "mysql", "sqlite"], { languageName: "sql" });
hljs.registerAliases("jsonl", { languageName: "json" });
hljs.configure({ classPrefix: "" });

/** Kinds by the scopes of highlight.js, named like JupyterLab's editor colours. */
const KINDS: Readonly<Record<string, string>> = {
  keyword: "keyword",
  literal: "atom",
  symbol: "atom",
  bullet: "atom",
  number: "number",
  string: "string",
  regexp: "string",
  char: "string",
  comment: "comment",
  doctag: "comment",
  quote: "comment",
  built_in: "builtin",
  type: "builtin",
  title: "def",
  variable: "variable",
  "template-variable": "variable",
  attr: "property",
  attribute: "property",
  property: "property",
  meta: "meta",
  operator: "operator",
  tag: "tag",
  name: "tag",
  "selector-tag": "tag",
  "selector-class": "tag",
  "selector-id": "tag",
  section: "header",
  link: "link",
  addition: "inserted",
  deletion: "deleted",
  emphasis: "emphasis",
  strong: "strong",
};

const MARKUP = /<span class="([\w-]+)[^"]*">|<\/span>|&(\w+|#x27);|[^<&]+/g;
const CHARACTERS: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  "#x27": "'",
};

/** Parse the markup of highlight.js into text and scopes. */
function piecesOf(markup: string): [text: string, kind: string][] {
  const pieces: [string, string][] = [];
  const kinds: string[] = [""];
  for (const [match, scope, character] of markup.matchAll(MARKUP)) {
    if (scope !== undefined) {
      kinds.push(KINDS[scope] ?? (scope === "subst" ? "" : (kinds.at(-1) ?? "")));
    } else if (match === "</span>") {
      kinds.pop();
    } else {
      const text = character === undefined ? match : (CHARACTERS[character] ?? match);
      const kind = kinds.at(-1) ?? "";
      const last = pieces.at(-1);
      if (last?.[1] === kind) last[0] += text;
      else pieces.push([text, kind]);
    }
  }
  return pieces;
}

export const highlighter: Highlighter = {
  knows: (language) => hljs.getLanguage(language) !== undefined,
  highlight: (code, language) =>
    piecesOf(hljs.highlight(code, { language, ignoreIllegals: true }).value),
};

/** Text as it is displayed: untrusted text with its invisible characters and a limited length, sizes, times, errors. */

import { revealHidden } from "../markdown/hidden";
import type { ErrorInfo } from "../protocol";
import { type Attachment, MAX_COMMAND, type Message, type Part } from "../protocol";

/** Largest message with its attachments, in bytes; the rest of the command needs some room. */
export const MOST_BYTES = MAX_COMMAND - 4096;

/** Longest title or name that is shown, in graphemes. */
const LABEL_GRAPHEMES = 64;

// biome-ignore lint/suspicious/noControlCharactersInRegex: it matches control characters
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

/** Return `text` with every invisible character as its code point. */
export function reveal(text: string): string {
  return revealHidden(
    text.replace(
      CONTROLS,
      (c) => `⟦U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟧`,
    ),
  );
}

/** UTF-16 units of the longest grapheme that is kept whole. */
const MAX_GRAPHEME = 64;

const segmenter =
  typeof Intl.Segmenter === "function"
    ? new Intl.Segmenter(undefined, { granularity: "grapheme" })
    : null;

/** Return the beginning of `text` in at most `most` UTF-16 units, never with a part of a grapheme at its end. */
export function cut(text: string, most: number): string {
  if (text.length <= most) return text;
  const start = Math.max(0, most - MAX_GRAPHEME);
  const near = text.slice(start, most + MAX_GRAPHEME);
  if (segmenter === null) return text.slice(0, most).replace(/[\ud800-\udbff]$/, "");
  const last = segmenter.segment(near).containing(most - start);
  const end = last === undefined || last.index === 0 ? most : start + last.index;
  return text.slice(0, end);
}

function graphemesOf(text: string): readonly string[] {
  if (segmenter === null) return Array.from(text);
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** Return `text` as one line of at most `most` graphemes, with invisible characters shown. */
export function label(text: string, most = LABEL_GRAPHEMES): string {
  const line = reveal(
    text
      .slice(0, most * 40)
      .replace(/\s+/g, " ")
      .trim(),
  );
  if (line.length <= most) return line;
  const graphemes: string[] = [];
  for (const grapheme of graphemesOf(line)) {
    if (graphemes.length === most) return `${graphemes.slice(0, -1).join("").trimEnd()}…`;
    graphemes.push(grapheme);
  }
  return line;
}

/** Characters at the end of a long title that are always shown. */
const END_GRAPHEMES = 8;

/** Longest title of which the end is found, in graphemes. */
const MOST_GRAPHEMES = 300;

/** Return a title as one line, a long one without its middle. */
export function shortTitle(title: string): string {
  const graphemes = graphemesOf(label(title, MOST_GRAPHEMES));
  if (graphemes.length <= LABEL_GRAPHEMES) return graphemes.join("");
  const start = graphemes.slice(0, LABEL_GRAPHEMES - END_GRAPHEMES - 1).join("");
  return `${start.trimEnd()}…${graphemes.slice(-END_GRAPHEMES).join("")}`;
}

/** Return the beginning and the end of a title. Similar titles often differ in their ends. */
export function halves(title: string): readonly [start: string, end: string] {
  const graphemes = graphemesOf(title);
  if (graphemes.length < 3 * END_GRAPHEMES) return [title, ""];
  return [graphemes.slice(0, -END_GRAPHEMES).join(""), graphemes.slice(-END_GRAPHEMES).join("")];
}

/** Return the name of a question's author; empty if that is the user, or is not recorded. */
export function authorOf({ author = "" }: Message, person: string): string {
  return author === person ? "" : label(author, 40);
}

/** Return the Markdown of a message. */
export function textOf(message: Message): string {
  return message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
}

/** Return whether a part is an attachment. */
export function isAttachment(part: Part): part is Attachment {
  return part.type === "image" || part.type === "file";
}

/** Return the size of a file's text as text. */
export function sizeOf(text: string): string {
  return inBytes(new Blob([text]).size);
}

/** Return about how many tokens a text has: one for four bytes of UTF-8, in any language. */
export function estimateTokens(text: string): number {
  return Math.ceil(new Blob([text]).size / 4);
}

/** Return seconds as text, with one decimal below ten. */
export function inSeconds(seconds: number): string {
  return seconds < 10 ? seconds.toFixed(1) : Math.round(seconds).toString();
}

/** Return a number of bytes as text. */
export function inBytes(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}

/** Return an error with its hint, as text that can follow a colon. */
export function causeOf({ message, hint }: ErrorInfo): string {
  if (!hint) return message;
  // Messages of servers often end without a full stop.
  return /[.!?…。！？]$/.test(message) ? `${message} ${hint}` : `${message}. ${hint}`;
}

/** Return a text with a capital letter; error messages begin in lower case. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Return a thrown value as text. */
export function thrown(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

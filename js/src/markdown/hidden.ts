/**
 * Characters that change what a reader sees without being seen.
 *
 * In code they are shown (`⟦U+202E⟧`), since text that looks like one program may be another (CVE-2021-42574), and what
 * is copied is what is seen. In prose, those that nobody types are dropped: overrides of the writing direction, tag
 * characters and runs of variation selectors, which carry hidden text to whoever copies them into another model.
 */

const HIDDEN =
  /[\xad\u061c\u115f\u1160\u17b4\u17b5]|[\u180b-\u180f]|[\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164]|[\ufe00-\ufe0f]|\u034f|[\ufeff\uffa0\ufff9-\ufffb]|[\u{1d173}-\u{1d17a}]|[\u{e0000}-\u{e0fff}]/gu;
const HIDDEN_ONCE = new RegExp(HIDDEN.source, "u");

const DROPPED_IN_PROSE = /[\u2028-\u202e]|[\ufe00-\ufe0f]|[\u{e0000}-\u{e0fff}]/u;
const SELECTOR = /[\ufe00-\ufe0f]|[\u{e0100}-\u{e01ef}]/u;
const TAG = /[\u{e0020}-\u{e007f}]/u;
/** Scripts whose spelling needs the zero-width joiner and non-joiner, and emoji, which are joined by it. */
const JOINS =
  /[\p{Script=Arabic}\p{Script=Syriac}\p{Script=Mongolian}\p{Script=Devanagari}\p{Script=Bengali}\p{Script=Gurmukhi}\p{Script=Gujarati}\p{Script=Oriya}\p{Script=Tamil}\p{Script=Telugu}\p{Script=Kannada}\p{Script=Malayalam}\p{Script=Sinhala}\p{Script=Khmer}\p{Script=Myanmar}\p{Extended_Pictographic}\p{Emoji_Modifier}]\ufe0f?$/u;
/** A black flag with at most the tags that make it the flag of a region. */
const FLAG = /\u{1f3f4}[\u{e0020}-\u{e007f}]{0,6}$/u;

/** Whether the text holds any character that these functions may change. */
export function hasHidden(text: string): boolean {
  return HIDDEN_ONCE.test(text);
}

/**
 * Return code with its hidden characters made visible.
 *
 * `before` is the text that stands before it: some characters are in order after some others.
 */
export function revealHidden(text: string, before = ""): string {
  return replaceHidden(text, before, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return `⟦U+${code.toString(16).toUpperCase().padStart(4, "0")}⟧`;
  });
}

/** Return prose without the characters that only hide something. */
export function dropHidden(text: string): string {
  return replaceHidden(text, "", (character) =>
    DROPPED_IN_PROSE.test(character) ? "" : character,
  );
}

function replaceHidden(text: string, before: string, show: (character: string) => string): string {
  if (!hasHidden(text)) return text;
  return text.replace(HIDDEN, (character, offset: number) => {
    const context =
      (offset < 16 ? before.slice(-16) : "") + text.slice(Math.max(0, offset - 16), offset);
    return isInOrder(character, context) ? character : show(character);
  });
}

function isInOrder(character: string, before: string): boolean {
  if (character === "\u200c" || character === "\u200d") return JOINS.test(before);
  if (TAG.test(character)) return FLAG.test(before);
  if (SELECTOR.test(character)) {
    const previous = Array.from(before).at(-1);
    return previous !== undefined && !/\s/.test(previous) && !SELECTOR.test(previous);
  }
  return false;
}

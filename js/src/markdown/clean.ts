/**
 * `Cleaner`: removes terminal control sequences and control characters from a stream.
 *
 * It keeps its state between characters, so that the result does not depend on where the stream is cut. Line feeds
 * and tabs are kept; every line end becomes a line feed, and half of a surrogate pair becomes U+FFFD.
 */

// These expressions match control characters.
// biome-ignore lint/suspicious/noControlCharactersInRegex: see above
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f]/;
const LONE_SURROGATE = /\p{Surrogate}/u;

const ESCAPE = 0x1b;
/** A longer sequence is not treated as a control sequence. */
const MAX_CSI_CHARS = 64;

enum Mode {
  Text,
  /** After ESC. */
  Escape,
  /** After ESC and an intermediate byte, as in `ESC ( B`. */
  Intermediate,
  /** In a control sequence (`ESC [ … letter`). */
  Control,
  /** In a string (`ESC ] … BEL` and its like): titles, OSC 8 links. */
  String,
  /** After ESC in a string: its end, when `\` follows. */
  StringEscape,
}

export class Cleaner {
  #mode = Mode.Text;
  #controlChars = 0;
  #high = "";
  #afterReturn = false;

  /** Return the part of the clean text that `text` adds to it. */
  push(text: string): string {
    const plain = this.#mode === Mode.Text && this.#high === "" && !this.#afterReturn;
    if (plain && !CONTROL.test(text) && !LONE_SURROGATE.test(text)) return text;
    let result = "";
    for (let i = 0; i < text.length; i++) result += this.#next(text.charCodeAt(i));
    return result;
  }

  /** Return the replacement for half a character at the end of the stream. */
  rest(): string {
    return this.#high === "" ? "" : "\ufffd";
  }

  #next(code: number): string {
    switch (this.#mode) {
      case Mode.Text:
        return this.#text(code);
      case Mode.Escape:
        this.#mode = this.#afterEscape(code);
        return this.#mode === Mode.Text && code !== 0x5c ? this.#text(code) : "";
      case Mode.Intermediate:
        this.#mode = Mode.Text;
        return code >= 0x30 && code <= 0x7e ? "" : this.#text(code);
      case Mode.Control:
        if (code >= 0x20 && code <= 0x3f && ++this.#controlChars < MAX_CSI_CHARS) return "";
        this.#mode = Mode.Text;
        return code >= 0x40 && code <= 0x7e ? "" : this.#text(code);
      case Mode.String:
        if (code === 0x07 || code === 0x9c) this.#mode = Mode.Text;
        else if (code === ESCAPE) this.#mode = Mode.StringEscape;
        else if (code === 0x0a || code === 0x0d) {
          // A string without an end must not swallow the answer.
          this.#mode = Mode.Text;
          return this.#text(code);
        }
        return "";
      case Mode.StringEscape:
        if (code === 0x5c) {
          this.#mode = Mode.Text;
          return "";
        }
        this.#mode = Mode.Escape;
        return this.#next(code);
    }
  }

  #afterEscape(code: number): Mode {
    if (code === 0x5b) {
      this.#controlChars = 0;
      return Mode.Control;
    }
    // ] P X ^ _ begin a string.
    if (code === 0x5d || code === 0x50 || code === 0x58 || code === 0x5e || code === 0x5f) {
      return Mode.String;
    }
    return code >= 0x20 && code <= 0x2f ? Mode.Intermediate : Mode.Text;
  }

  #text(code: number): string {
    const afterReturn = this.#afterReturn;
    this.#afterReturn = false;
    let before = "";
    if (this.#high !== "") {
      const high = this.#high;
      this.#high = "";
      if (code >= 0xdc00 && code <= 0xdfff) return high + String.fromCharCode(code);
      before = "\ufffd";
    }
    if (code >= 0xd800 && code <= 0xdbff) {
      this.#high = String.fromCharCode(code);
      return before;
    }
    if (code >= 0xdc00 && code <= 0xdfff) return `${before}\ufffd`;
    if (code === 0x0d) {
      this.#afterReturn = true;
      return `${before}\n`;
    }
    if (code === 0x0a) return afterReturn ? before : `${before}\n`;
    if (code === ESCAPE) this.#mode = Mode.Escape;
    else if (code === 0x9b) {
      this.#controlChars = 0;
      this.#mode = Mode.Control;
    } else if (code === 0x9d || code === 0x90 || code === 0x98 || code === 0x9e || code === 0x9f) {
      this.#mode = Mode.String;
    } else if (code === 0x09 || (code >= 0x20 && (code < 0x7f || code > 0x9f))) {
      return before + String.fromCharCode(code);
    }
    return before;
  }
}

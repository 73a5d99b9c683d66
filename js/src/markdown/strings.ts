/** Words of the reader's language that stand beside a model's text. */
export interface MarkdownStrings {
  /** On the button that copies a block of code. */
  copy: string;
  /** Its accessible name: a message has a button "Copy" of its own. */
  copyCode: string;
  /** On it for a moment, when it has. */
  copied: string;
  /** On it instead, when the browser did not allow copying. */
  copyFailed: string;
  /** Label of a block of code without a language. */
  code: string;
  /** Accessible name of a table's scrolling frame. */
  table: string;
  /** On the button that stands for an image of another host. */
  loadImage: (host: string) => string;
  /** Accessible names of a footnote's number, and of the way back. */
  footnote: (number: number) => string;
  footnoteBack: (number: number) => string;
  /** Accessible name of the notes at the end. */
  footnotes: string;
  /** Accessible names of a task's box. */
  taskOpen: string;
  taskDone: string;
}

export const english: MarkdownStrings = {
  copy: "Copy",
  copyCode: "Copy code",
  copied: "Copied",
  copyFailed: "Not copied",
  code: "code",
  table: "Table",
  loadImage: (host) => `Load image from ${host}`,
  footnote: (number) => `Footnote ${number}`,
  footnoteBack: (number) => `Back to reference ${number}`,
  footnotes: "Footnotes",
  taskOpen: "To do",
  taskDone: "Done",
};

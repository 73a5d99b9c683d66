/** Elements for the parts of a message. Each receives its whole text and appends only what is new. */

import type {
  FilePart,
  ImagePart,
  Message,
  Part,
  ReasoningPart,
  ToolCallPart,
  ToolResultPart,
} from "../protocol";
import type { Context } from "../types";
import { button, h, setAttribute, setText } from "./dom";
import { cut, inSeconds, label, reveal, sizeOf } from "./text";
import { thinkingOf } from "./thinking";

/** Characters of data that are shown before a click on "Show all". */
const CARD_CHARACTERS = 8_000;

/** Types of images that are shown; they cannot contain script. */
const SAFE_IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/=\s]*$/i;

/** Consecutive parts of a message that are drawn as one. */
export interface Block {
  readonly type: Part["type"];
  readonly parts: readonly Part[];
  /** It contains the message's newest part, so more may follow. */
  readonly newest: boolean;
}

/** A block's elements. */
export interface BlockView {
  readonly type: Part["type"];
  readonly element: HTMLElement;
  /**
   * Show the current state of the block.
   *
   * @param live more may follow.
   * @param grows the text begins with the text that is shown; only the rest is new.
   */
  update(block: Block, live: boolean, grows: boolean): void;
  destroy(): void;
}

/**
 * Return the message's parts as blocks, in reading order.
 *
 * A continued answer can resume in the middle of a sentence or a code block: the text after the seam is joined to
 * the text before it, and reasoning in between is placed before both.
 *
 * @param seams indexes of the parts with which continuations began.
 */
export function blocksOf(message: Message, seams: readonly number[]): Block[] {
  const newest = message.parts.at(-1);
  const first = message.parts.find(({ type }) => type === "text");
  return partsInBlocks(message, seams).flatMap(({ type, parts }) => {
    const block = { type, parts, newest: parts.some((part) => part === newest) };
    const begins = message.role === "assistant" && type === "text" && parts[0] === first;
    return begins ? withThinking(block) : [block];
  });
}

/** Return a block of text as its thought and its answer, where it begins with a thought. */
function withThinking(block: Block): Block[] {
  const thinking = thinkingOf(textOf(block));
  if (thinking === null) return [block];
  const { thought, answer, ended } = thinking;
  const reasoning: Part = { type: "reasoning", text: thought, seconds: null };
  const text: Part = { type: "text", text: answer };
  const blocks: Block[] = [
    { type: "reasoning", parts: [reasoning], newest: block.newest && !ended },
  ];
  if (answer !== "") blocks.push({ type: "text", parts: [text], newest: block.newest });
  return blocks;
}

function partsInBlocks(
  message: Message,
  seams: readonly number[],
): Pick<Block, "type" | "parts">[] {
  const blocks: { type: Part["type"]; parts: Part[] }[] = [];
  let text = -1; // index of the block that a continuation would extend
  message.parts.forEach((part, index) => {
    const seam = seams.includes(index);
    const last = blocks.length - 1;
    if (part.type === "text") {
      if (text >= 0 && (text === last || seams.some((at) => at <= index && at > 0))) {
        blocks[text]?.parts.push(part);
      } else {
        text = blocks.push({ type: "text", parts: [part] }) - 1;
      }
    } else if (part.type === "reasoning" && text >= 0 && text === last && seam) {
      blocks.splice(text, 0, { type: "reasoning", parts: [part] });
      text += 1;
    } else {
      blocks.push({ type: part.type, parts: [part] });
      if (part.type !== "reasoning") text = -1;
    }
  });
  return blocks;
}

/** Return the elements for a new block. */
export function createBlock(context: Context, message: Message, block: Block): BlockView {
  switch (block.type) {
    case "text":
      return message.role === "assistant" ? new MarkdownBlock(context) : new PlainBlock();
    case "reasoning":
      return new ReasoningBlock(context);
    case "tool_call":
    case "tool_result":
    case "file":
      return new DataBlock(context, block.type);
    case "image":
      return new ImageBlock(context, message.role === "assistant");
    default:
      block.type satisfies never;
      throw new Error(`unknown part: ${JSON.stringify(block)}`);
  }
}

function textOf(block: Block): string {
  const [first] = block.parts;
  return block.parts.length === 1 && first ? first.text : block.parts.map((p) => p.text).join("");
}

/** Markdown of the model. */
class MarkdownBlock implements BlockView {
  readonly type = "text";
  readonly element = h("div", { class: "markdown" });
  readonly #markdown;
  #shown = "";
  #ended = false;

  constructor(context: Context) {
    this.#markdown = context.markdown(this.element);
  }

  update(block: Block, live: boolean, grows: boolean): void {
    const text = textOf(block);
    const before = this.#shown;
    const begins = grows ? text.length >= before.length : text.startsWith(before);
    this.#shown = text;
    if (!begins || (this.#ended && text.length > before.length)) {
      this.#markdown.reset(text, !live);
      this.#ended = !live;
      return;
    }
    if (before === "" && text !== "" && !live) {
      this.#markdown.reset(text, true);
      this.#ended = true;
      return;
    }
    if (text.length > before.length) this.#markdown.append(text.slice(before.length));
    if (!live && !this.#ended) {
      this.#markdown.end();
      this.#ended = true;
    }
  }

  destroy(): void {
    this.#markdown.destroy();
  }
}

/** Plain text that grows at its end. */
class Plain {
  readonly #node: Text;
  #shown = "";

  constructor(element: HTMLElement) {
    this.#node = element.appendChild(document.createTextNode(""));
  }

  update(text: string, grows: boolean): void {
    const before = this.#shown;
    if (text === before) return;
    this.#shown = text;
    if (grows ? text.length >= before.length : text.startsWith(before)) {
      this.#node.appendData(reveal(text.slice(before.length)));
    } else {
      this.#node.data = reveal(text);
    }
  }
}

/** Text of the user. */
class PlainBlock implements BlockView {
  readonly type = "text";
  readonly element = h("div", { class: "plain", dir: "auto" });
  readonly #text = new Plain(this.element);

  update(block: Block, _live: boolean, grows: boolean): void {
    this.#text.update(textOf(block), grows);
  }

  destroy(): void {}
}

/** Reasoning of the model, collapsed. */
class ReasoningBlock implements BlockView {
  readonly type = "reasoning";
  readonly element = h("details", { class: "reasoning" });
  readonly #context: Context;
  readonly #summary = this.element.appendChild(h("summary"));
  readonly #text = new Plain(this.element.appendChild(h("div", { class: "plain", dir: "auto" })));

  constructor(context: Context) {
    this.#context = context;
  }

  update(block: Block, live: boolean, grows: boolean): void {
    const { t } = this.#context;
    const part = block.parts[0] as ReasoningPart;
    this.#text.update(part.text, grows);
    const thought = part.seconds === null ? t.thought : t.thoughtFor(inSeconds(part.seconds));
    setText(this.#summary, live && part.seconds === null ? t.thinking : thought);
  }

  destroy(): void {}
}

/** A tool call, a tool result or an attached file, shown as plain data. */
class DataBlock implements BlockView {
  readonly element = h("details", { class: "card" });
  readonly #context: Context;
  readonly #kind = h("span");
  readonly #name = h("bdi", { class: "card-name" });
  readonly #size = h("span", { class: "quiet-text" });
  readonly #data = h("pre", { class: "card-data", tabindex: 0 });
  readonly #more: HTMLButtonElement;
  #all = false;
  #block: Block | null = null;

  constructor(
    context: Context,
    readonly type: "tool_call" | "tool_result" | "file",
  ) {
    this.#context = context;
    this.#more = button(null, context.t.showAll, { hidden: true });
    this.#more.addEventListener(
      "click",
      () => {
        this.#all = true;
        if (this.#block) this.update(this.#block);
      },
      { signal: context.signal },
    );
    this.element.append(
      h("summary", {}, this.#kind, " ", this.#name, " ", this.#size),
      this.#data,
      this.#more,
    );
  }

  update(block: Block): void {
    this.#block = block;
    const { t } = this.#context;
    const part = block.parts[0] as ToolCallPart | ToolResultPart | FilePart;
    if (part.type === "tool_call") {
      setText(this.#kind, t.toolCall);
      setText(this.#name, label(part.name));
    } else if (part.type === "file") {
      setText(this.#kind, part.kind === "variable" ? t.variable : t.file);
      setText(this.#name, label(part.name));
      setText(this.#size, sizeOf(part.text));
    } else {
      setText(this.#kind, part.is_error ? t.toolError : t.toolResult);
      setAttribute(this.element, "data-error", part.is_error);
    }
    const isCut = !this.#all && part.text.length > CARD_CHARACTERS;
    setText(this.#data, reveal(isCut ? `${cut(part.text, CARD_CHARACTERS)}…` : part.text));
    this.#more.hidden = !isCut;
  }

  destroy(): void {}
}

/** An image that the user attached or the model made. */
class ImageBlock implements BlockView {
  readonly type = "image";
  readonly element = h("div", { class: "image" });
  readonly #context: Context;

  constructor(
    context: Context,
    readonly made: boolean,
  ) {
    this.#context = context;
  }

  update(block: Block): void {
    const part = block.parts[0] as ImagePart;
    if (this.element.firstChild) return; // images arrive whole and never change
    const { t } = this.#context;
    const alt = label(part.name) || (this.made ? t.madeImage : t.image);
    this.element.append(
      SAFE_IMAGE.test(part.text)
        ? h("img", { src: part.text, alt, decoding: "async" })
        : h("bdi", { text: alt }),
    );
  }

  destroy(): void {}
}

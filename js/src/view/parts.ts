/** Elements for the parts of a message. Each receives its whole text and appends only what is new. */

import type { ImagePart, Message, Part, ReasoningPart, ToolResultPart } from "../protocol";
import type { Context, LazyType, PartCard, Turn } from "../types";
import { h, setText } from "./dom";
import { inSeconds, label, reveal } from "./text";
import { thinkingOf } from "./thinking";

/** Types of images that are shown; they cannot contain script. */
export const SAFE_IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,[a-z0-9+/=\s]*$/i;

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
  update(block: Block, live: boolean, grows: boolean, turn: Turn): void;
  destroy(): void;
}

/**
 * Return the message's parts as blocks, in reading order.
 *
 * A continued answer can resume in the middle of a sentence or a code block: the text after the seam is joined to
 * the text before it, and reasoning in between is placed before both. The result of a tool is joined to its call.
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
      const call =
        part.type === "tool_result" && blocks.findLast(({ parts }) => isCall(parts, part));
      if (call) call.parts.push(part);
      else blocks.push({ type: part.type, parts: [part] });
      if (part.type !== "reasoning") text = -1;
    }
  });
  return blocks;
}

function isCall([first]: readonly Part[], { call_id }: ToolResultPart): boolean {
  return first?.type === "tool_call" && first.call_id === call_id;
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
      return new LazyBlock(context, block.type);
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

/** A part whose elements are drawn by the extras: a tool call with its result, or an attached file. */
class LazyBlock implements BlockView {
  readonly element = h("div");
  readonly #context: Context;
  #card: PartCard | null = null;
  #destroyed = false;

  constructor(
    context: Context,
    readonly type: LazyType,
  ) {
    this.#context = context;
  }

  update({ parts }: Block, _live: boolean, _grows: boolean, turn: Turn): void {
    this.#context.extras(({ createCard }) => {
      if (this.#destroyed) return;
      this.#card ??= createCard(this.#context, this.element, this.type);
      this.#card.update(parts, turn);
    });
  }

  destroy(): void {
    this.#destroyed = true;
    this.#card?.destroy();
  }
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

/**
 * Builds elements from tokens: the only place where model text becomes part of the document.
 *
 * Only elements and attributes that are named here are created, and text goes into text nodes. `sanitize.ts` checks
 * the result independently.
 */
import type { Token } from "markdown-it";
import { noteOf } from "./footnotes";
import { dropHidden, revealHidden } from "./hidden";
import type { MarkdownStrings } from "./strings";
import { hostToShow, inlineImage, linkTarget, remoteImage } from "./urls";

/** An action for code blocks, beside copying. */
export interface CodeAction {
  readonly label: string;
  /** Whether the button stands on code of this language. */
  suits(language: string): boolean;
  run(code: string, language: string): unknown;
}

export interface BuildContext {
  readonly strings: MarkdownStrings;
  readonly codeActions: readonly CodeAction[];
  /** Return the number of a footnote; a new one gets the next number. */
  note(key: string): number;
}

/** Elements nested deeper than this are omitted; their content is kept. */
const MAX_DEPTH = 60;

/** Addresses of remote images by their buttons, where other code cannot read or change them. */
const remoteImages = new WeakMap<Element, { url: string; alt: string }>();

export function remoteImageOf(button: Element): { url: string; alt: string } | undefined {
  return remoteImages.get(button);
}

/** Make `heir` the button of the same image as `button`. */
export function inheritRemoteImage(heir: Element, button: Element): void {
  const image = remoteImages.get(button);
  if (image) remoteImages.set(heir, image);
}

/** Build one block of the top level. */
export function buildBlock(tokens: readonly Token[], context: BuildContext): Element | null {
  const fragment = document.createDocumentFragment();
  new Builder(fragment, context).blocks(tokens);
  return fragment.firstElementChild;
}

/** Build the text of a footnote from the tokens of its definition. */
export function buildInto(parent: Node, tokens: readonly Token[], context: BuildContext): void {
  new Builder(parent, context).blocks(tokens);
}

/** Return the image, loaded without a referrer. */
export function buildImage(url: string, alt: string): HTMLImageElement {
  const image = element("img", "nbc-img");
  image.setAttribute("referrerpolicy", "no-referrer");
  image.alt = alt;
  image.src = url;
  return image;
}

/** Tags that tokens may name. */
const TAGS: ReadonlySet<string> = new Set(
  "p h1 h2 h3 h4 h5 h6 blockquote ul ol li table thead tbody tr th td em strong".split(" "),
);

const CONTAINERS: ReadonlySet<string> = new Set(["blockquote", "ul", "ol"]);

/** Letters of scripts that are written from right to left. */
const RIGHT_TO_LEFT =
  /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

class Builder {
  readonly #open: Node[] = [];
  /** Text of open links by their elements; null if a link has no target. */
  readonly #links: (URL | null)[] = [];
  /** Whether the text has a letter of a right-to-left script. */
  #isBidi = false;
  #task: "none" | "item" | "text" = "none";

  #parent: Node;
  readonly #context: BuildContext;

  constructor(parent: Node, context: BuildContext) {
    this.#parent = parent;
    this.#context = context;
  }

  blocks(tokens: readonly Token[]): void {
    this.#isBidi = tokens.some((token) => RIGHT_TO_LEFT.test(token.content));
    for (const token of tokens) this.#block(token);
  }

  #block(token: Token): void {
    if (this.#task === "item" && token.type !== "paragraph_open") this.#task = "none";
    switch (token.type) {
      case "inline":
        this.#inline(token.children ?? []);
        this.#task = "none";
        return;
      case "fence":
        this.#add(codeBlock(token.content, languageOf(token.info), this.#context));
        return;
      case "code_block":
        this.#add(codeBlock(token.content, "", this.#context));
        return;
      case "math_block":
        this.#add(withText("div", blockMathClass(token.content), dropHidden(token.content)));
        return;
      case "source":
        this.#add(withText("p", "nbc-source", dropHidden(token.content)));
        return;
      case "hr":
        this.#add(element("hr"));
        return;
      case "footnote_open":
        this.#push(element("div", "nbc-note"));
        return;
      case "table_open":
        this.#openTable();
        return;
      case "list_item_open":
        this.#push(element("li"));
        this.#task = "item";
        return;
      case "paragraph_open":
        if (this.#task === "item") this.#task = "text";
        break;
    }
    if (token.type === "table_close") this.#pop();
    if (token.hidden) return;
    if (token.nesting < 0) this.#pop();
    else if (token.nesting > 0) this.#push(this.#plain(token));
  }

  #plain(token: Token): Node {
    if (!TAGS.has(token.tag)) return this.#parent;
    const created = element(token.tag);
    const start = token.tag === "ol" ? token.attrGet("start") : null;
    if (start !== null) created.setAttribute("start", String(start));
    // In right-to-left text, the bullet and the bar are on the right.
    if (this.#isBidi && CONTAINERS.has(token.tag)) created.dir = "auto";
    const align = /^text-align:(left|right|center)$/.exec(String(token.attrGet("style") ?? ""));
    if (align) created.className = `nbc-${align[1]}`;
    return created;
  }

  #openTable(): void {
    const frame = element("div", "nbc-table");
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", this.#context.strings.table);
    this.#push(frame);
    this.#push(element("table"));
  }

  #inline(tokens: readonly Token[]): void {
    tokens.forEach((token, i) => {
      if (i === 0 && this.#task === "text" && token.type === "text") this.#taskText(token.content);
      else this.#inlineToken(token);
    });
  }

  #inlineToken(token: Token): void {
    switch (token.type) {
      case "text":
        this.#text(dropHidden(token.content));
        break;
      case "softbreak":
        this.#text("\n");
        break;
      case "hardbreak":
        this.#add(element("br"));
        break;
      case "code_inline":
        this.#add(withText("code", "", revealHidden(token.content)));
        break;
      case "math_open":
        this.#add(withText("span", "nbc-math nbc-open", dropHidden(token.content)));
        break;
      case "math_inline":
        this.#add(withText("span", mathClass(token.content), dropHidden(token.content)));
        break;
      case "footnote_reference":
        this.#footnote(noteOf(token));
        break;
      case "image":
        this.#image(String(token.attrGet("src")), altOf(token.children ?? []), token);
        break;
      case "link_open":
        this.#openLink(String(token.attrGet("href")), token);
        break;
      case "link_close":
        this.#closeLink();
        break;
      case "s_open":
        this.#push(element("del"));
        break;
      default:
        if (token.nesting > 0) this.#push(this.#plain(token));
        else if (token.nesting < 0) this.#pop();
    }
  }

  #taskText(content: string): void {
    const box = /^\[([ xX])\][ \t]+(?=\S)/.exec(content);
    const item = this.#parent instanceof HTMLLIElement ? this.#parent : this.#parent.parentNode;
    if (box && item instanceof HTMLLIElement) {
      const done = box[1] !== " ";
      item.className = "nbc-task";
      const input = element("input");
      input.setAttribute("type", "checkbox");
      input.setAttribute("disabled", "");
      if (done) input.setAttribute("checked", "");
      const { taskDone, taskOpen } = this.#context.strings;
      input.setAttribute("aria-label", done ? taskDone : taskOpen);
      this.#add(input);
      this.#text(" ");
    }
    this.#text(dropHidden(box ? content.slice(box[0].length) : content));
  }

  #openLink(href: string, token: Token): void {
    const target = linkTarget(href);
    this.#links.push(target);
    if (target === null) {
      this.#push(this.#parent);
      return;
    }
    const link = element("a");
    link.setAttribute("href", target.href);
    link.setAttribute("rel", "noopener noreferrer");
    link.setAttribute("target", "_blank");
    const title = token.attrGet("title");
    if (title) link.title = dropHidden(String(title));
    this.#push(link);
  }

  #closeLink(): void {
    const link = this.#parent;
    const target = this.#links.pop();
    this.#pop();
    if (!target || link === this.#parent) return;
    const host = hostToShow(link.textContent ?? "", target);
    if (host !== null) this.#add(withText("span", "nbc-host", ` (${host})`));
  }

  #image(src: string, alt: string, token: Token): void {
    const data = inlineImage(src);
    if (data !== null) {
      const image = element("img", "nbc-img");
      image.setAttribute("alt", alt);
      image.setAttribute("src", data);
      const title = token.attrGet("title");
      if (title) image.title = dropHidden(String(title));
      this.#add(image);
      return;
    }
    const url = remoteImage(src);
    if (url === null) {
      this.#text(alt);
      return;
    }
    const card = element("button", "nbc-image");
    card.setAttribute("type", "button");
    card.append(withText("span", "nbc-image-load", this.#context.strings.loadImage(url.host)));
    if (alt !== "") card.append(" ", withText("span", "nbc-image-alt", alt));
    remoteImages.set(card, { url: url.href, alt });
    this.#add(card);
  }

  #footnote(key: string): void {
    const number = this.#context.note(key);
    const button = withText("button", "nbc-noteref", String(number));
    button.setAttribute("type", "button");
    button.setAttribute("aria-label", this.#context.strings.footnote(number));
    const sup = element("sup");
    sup.append(button);
    this.#add(sup);
  }

  #push(node: Node): void {
    this.#open.push(this.#parent);
    if (node === this.#parent || this.#open.length > MAX_DEPTH) return;
    this.#parent.appendChild(node);
    this.#parent = node;
  }

  #pop(): void {
    this.#parent = this.#open.pop() ?? this.#parent;
  }

  #add(node: Node): void {
    this.#parent.appendChild(node);
  }

  #text(text: string): void {
    if (text === "") return;
    const last = this.#parent.lastChild;
    if (last instanceof Text) last.appendData(text);
    else this.#parent.appendChild(document.createTextNode(text));
  }
}

/** Return the class of a block formula; one whose end has not arrived is open. */
function blockMathClass(source: string): string {
  const closed = source.length > 3 && source.endsWith(source.startsWith("$$") ? "$$" : "\\]");
  return closed ? "nbc-math nbc-display" : "nbc-math nbc-display nbc-open";
}

function mathClass(source: string): string {
  return /^(?:\$\$|\\\[)/.test(source) ? "nbc-math nbc-display" : "nbc-math";
}

/** Return the language of a fence: its first word, also as `{python}` or `{.python}`. */
export function languageOf(info: string): string {
  return /^\s*\{?\s*\.?([\w+#.-]{1,32})/.exec(info)?.[1]?.toLowerCase() ?? "";
}

function codeBlock(content: string, language: string, context: BuildContext): Element {
  const { strings, codeActions } = context;
  const head = element("div", "nbc-code-head");
  head.append(withText("span", "nbc-language", language || strings.code));
  const copy = withText("button", "nbc-copy", strings.copy);
  copy.setAttribute("type", "button");
  copy.setAttribute("aria-label", strings.copyCode);
  head.append(copy);
  for (const { label } of codeActions.filter((action) => action.suits(language))) {
    const button = withText("button", "nbc-action", label);
    button.setAttribute("type", "button");
    head.append(button);
  }
  const code = withText("code", language ? `language-${language}` : "", revealHidden(content));
  const pre = element("pre");
  pre.tabIndex = 0;
  pre.append(code);
  const block = element("div", "nbc-code");
  block.append(head, pre);
  return block;
}

/** Return the text of an image's description, without parts that are nested too deep. */
function altOf(tokens: readonly Token[], depth = 0): string {
  if (depth > MAX_DEPTH) return "";
  return dropHidden(
    tokens
      .map((token) =>
        token.type === "image"
          ? altOf(token.children ?? [], depth + 1)
          : token.type === "softbreak" || token.type === "hardbreak"
            ? " "
            : token.content,
      )
      .join(""),
  );
}

function element<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className?: string,
): HTMLElementTagNameMap[Tag];
function element(tag: string, className?: string): HTMLElement;
function element(tag: string, className = ""): HTMLElement {
  const created = document.createElement(tag);
  if (className !== "") created.className = className;
  return created;
}

function withText(tag: string, className: string, text: string): HTMLElement {
  const created = element(tag, className);
  if (text !== "") created.append(text);
  return created;
}

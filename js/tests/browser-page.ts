/** What the browser tests call in a blank page: the renderer, and the texts it is tried with. */
import { highlighter } from "../src/entries/highlight";
import { maths } from "../src/entries/math";
import { type MarkdownOptions, MarkdownView, renderMarkdown } from "../src/markdown";
import { generator } from "./bench/answer";
import { hostile, type Payload } from "./hostile";

const options: MarkdownOptions = {
  loadMath: async () => maths,
  loadHighlight: async () => highlighter,
};

/** Elements that no text may become, and attributes that no element may have. */
const FORBIDDEN = "script, style, iframe, object, embed, form, link, meta, base, video, audio";
const FORBIDDEN_ATTRIBUTE = /^(?:on|data-|style$|id$|name$|srcset$|poster$|ping$|background$)/;

/** Texts whose end, streamed in pieces of `size`, is not what they become when given whole. */
function different(texts: readonly string[], size: number): string[] {
  return texts.filter((text) => {
    const [root, whole] = [document.createElement("div"), document.createElement("div")];
    const view = new MarkdownView(root);
    for (let i = 0; i < text.length; i += size) view.append(text.slice(i, i + size));
    view.end();
    whole.append(renderMarkdown(text));
    return root.innerHTML !== whole.innerHTML;
  });
}

/** What decides about blocks and spans, some of it twice or half. */
const PIECES =
  "a|word|*|**|_|`|```|~~~|$|$$|\\[|\\]|\\(|\\)|[|]|(|)|[a]|[^1]|[^2]|[^1]: n|[a]: /u|[b]: https://b.org 't'|'t|\"t\"| | |- |- x|* |+ |1. |2) |> |# |## |---|===|***|    |  |\t|<b>|<!--|&amp;|!|![x](|https://x.org|www.x.org|me@x.org|\\|~~|- [x] |:|😀|é|{|x_y"
    .split("|")
    .concat(["|", "|", "| a | b |", "|---|---|", "a | b", "\r\n", "```py\n", "\n```\n", "\n$$\n"])
    .concat(new Array(6).fill("\n"), new Array(3).fill("\n\n"));

/** Return texts of random pieces, the same for the same seed. */
function soup(texts: number, seed: number): string[] {
  const random = generator(seed);
  const below = (n: number) => Math.floor(random() * n);
  return Array.from({ length: texts }, () =>
    Array.from({ length: 2 + below(24) }, () => PIECES[below(PIECES.length)]).join(""),
  );
}

/** Beginnings of texts that look otherwise when they are streamed by character than when they come at once. */
function differentOnTheWay(texts: readonly string[]): string[] {
  const found: string[] = [];
  for (const text of texts) {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    for (let end = 1; end <= text.length; end++) {
      view.append(text.slice(end - 1, end));
      const atOnce = document.createElement("div");
      new MarkdownView(atOnce).append(text.slice(0, end));
      if (root.innerHTML !== atOnce.innerHTML) found.push(text.slice(0, end));
    }
  }
  return found;
}

/** Stream a text into the page by character, and return what should not be there, at any moment. */
async function attack({ text }: Payload, inShadow: boolean): Promise<string[]> {
  const found = new Set<string>();
  const host = document.body.appendChild(document.createElement("div"));
  const root = document.createElement("div");
  (inShadow ? host.attachShadow({ mode: "open" }) : host).append(root);
  const view = new MarkdownView(root, options);
  const look = () => {
    for (const element of Array.from(root.querySelectorAll(FORBIDDEN)))
      found.add(element.localName);
    for (const element of Array.from(root.querySelectorAll("*"))) {
      for (const name of element.getAttributeNames()) {
        if (FORBIDDEN_ATTRIBUTE.test(name)) found.add(`${element.localName} ${name}`);
      }
    }
  };
  const step = text.length > 1000 ? Math.ceil(text.length / 20) : 1;
  for (let i = 0; i < text.length; i += step) {
    view.append(text.slice(i, i + step));
    look();
  }
  view.end();
  await view.settled();
  look();
  // What a reader may do by accident.
  for (const element of Array.from(root.querySelectorAll<HTMLElement>("summary, [tabindex]"))) {
    element.focus();
    element.dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
  }
  // Give what was started time to run.
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  view.destroy();
  host.remove();
  return Array.from(found);
}

/** The longest time that one piece of a text takes, of several tries the best: other work has its own hiccups. */
function longestPiece(text: string, pieces: number, tries: number): number {
  const size = Math.ceil(text.length / pieces);
  const best: number[] = new Array(pieces + 1).fill(Number.POSITIVE_INFINITY);
  for (let t = 0; t < tries; t++) {
    const view = new MarkdownView(document.body.appendChild(document.createElement("div")));
    for (let i = 0; i <= pieces; i++) {
      const begin = performance.now();
      if (i < pieces) view.append(text.slice(i * size, (i + 1) * size));
      else view.end();
      best[i] = Math.min(best[i] ?? 0, performance.now() - begin);
    }
    view.destroy();
  }
  return Math.max(...best);
}

Object.assign(globalThis, {
  nbchat: {
    MarkdownView,
    options,
    renderMarkdown,
    hostile,
    soup,
    different,
    differentOnTheWay,
    attack,
    longestPiece,
  },
});

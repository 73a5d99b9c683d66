/**
 * The page's visible half: draws what the store knows and turns what the user does into commands.
 *
 * It stands in the light DOM, so that a selection can span messages, the browser's own search finds
 * them, and a screen reader meets ordinary elements. All classes begin with `nbchat-`.
 */

import type { AnyModel } from "../jupyter";
import { type Highlighter, MarkdownView, type MathRenderer } from "../markdown";
import type { Runtime } from "../runtime";
import type { Context, Markdown } from "./context";
import { installStyles } from "./dom";
import markdownCss from "./markdown.css";
import { View } from "./view";
import css from "./view.css";

/** How Markdown is drawn; a seam for tests. */
export type DrawMarkdown = (element: HTMLElement, context: Context) => Markdown;

/**
 * Show sessions in `el` and return the function that takes everything away again.
 *
 * @param kind `tabs` for all sessions in tabs, `session` for one without them.
 * @param model the view's own model: `sessions`, `active`, `locale`, `height`, `send_key`.
 */
export function mountView(
  runtime: Runtime,
  kind: string,
  model: AnyModel,
  el: HTMLElement,
  drawMarkdown: DrawMarkdown = draw,
): () => void {
  installStyles(el.ownerDocument, css + markdownCss);
  const view = new View(runtime, kind, model, el, drawMarkdown);
  return () => view.dispose();
}

function draw(element: HTMLElement, { t, runtime }: Context): Markdown {
  const { host } = runtime;
  const codeActions = host.insertCell
    ? [
        { label: t.insertCell, run: (code: string) => host.insertCell?.(code, false) },
        { label: t.runCell, run: (code: string) => host.insertCell?.(code, true) },
      ]
    : [];
  return new MarkdownView(element, {
    strings: t.markdown,
    codeActions,
    loadHighlight: async () => (await runtime.load("highlight")).highlighter as Highlighter,
    loadMath: async () => (await runtime.load("math")).maths as MathRenderer,
  });
}

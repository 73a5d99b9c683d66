/**
 * `mountView`: draws sessions from the store and turns the user's actions into commands.
 *
 * Views are in the light DOM, so that a selection can span messages, the browser's search finds them, and screen
 * readers get ordinary elements. All classes begin with `nbchat-`.
 */

import { chooseLocale, en, type Locale, type Strings } from "../i18n";
import type { AnyModel } from "../jupyter";
import { type Highlighter, MarkdownView, type MathRenderer } from "../markdown";
import type { Context, Markdown, Runtime } from "../types";
import { installStyles } from "./dom";
import { preloadExtras } from "./load-extras";
import markdownCss from "./markdown.css";
import { HEIGHT, View } from "./view";
import css from "./view.css";

/** Draws Markdown; tests replace it. */
export type DrawMarkdown = (element: HTMLElement, context: Context) => Markdown;

/**
 * Show sessions in `el` and return the function that removes them.
 *
 * @param kind `tabs` for all sessions in tabs, `session` for one without them.
 * @param model the model of the view: `sessions`, `active`, `locale`, `height`, `send_key`.
 */
export function mountView(
  runtime: Runtime,
  kind: string,
  model: AnyModel,
  el: HTMLElement,
  drawMarkdown: DrawMarkdown = draw,
): () => void {
  installStyles(el, css + markdownCss);
  preloadExtras(runtime);
  let view: View | null = null;
  let times = 0;
  const begin = (): void => {
    const locale = chooseLocale(String(model.get("locale") ?? ""), navigator.languages ?? []);
    const time = ++times;
    const make = (words: Words): void => {
      if (time === times) view = new View(runtime, kind, model, el, words, drawMarkdown);
    };
    view?.dispose();
    if (locale === "en") make(ENGLISH);
    else {
      // A placeholder, so that nothing below moves when the texts have loaded.
      const place = el.appendChild(el.ownerDocument.createElement("div"));
      place.style.height = String(model.get("height") || HEIGHT);
      void wordsOf(runtime, locale).then((words) => {
        place.remove();
        make(words);
      });
    }
  };
  begin();
  model.on("change:locale", begin);
  return () => {
    model.off("change:locale", begin);
    times = 0;
    view?.dispose();
  };
}

interface Words {
  readonly locale: Locale;
  readonly t: Strings;
}

const ENGLISH: Words = { locale: "en", t: en };
/** English is shown if a language takes longer than this to load. */
const PATIENCE_MS = 5000;

/** Return the texts of a language, or English if they cannot be loaded. */
async function wordsOf(runtime: Runtime, locale: Exclude<Locale, "en">): Promise<Words> {
  const t =
    runtime.loaded(locale)?.strings ??
    (await Promise.race([
      runtime.load(locale).then(
        ({ strings }) => strings,
        () => undefined,
      ),
      new Promise<undefined>((resolve) => setTimeout(resolve, PATIENCE_MS)),
    ]));
  return t === undefined ? ENGLISH : { locale, t };
}

/** Whether a kernel of Python runs code of this language. */
function isPython(language: string): boolean {
  return /^(?:i?python3?|py3?)$/.test(language);
}

function draw(element: HTMLElement, { t, runtime, extras }: Context): Markdown {
  const { host } = runtime;
  const action = (label: string, runs: boolean) => ({
    label,
    suits: (language: string) => !runs || isPython(language),
    run: (code: string, language: string) =>
      extras(({ insertCell }) => void insertCell(host.context, code, language, runs)),
  });
  const codeActions = host.hasCells ? [action(t.insertCell, false), action(t.runCell, true)] : [];
  return new MarkdownView(element, {
    strings: t.markdown,
    codeActions,
    loadHighlight: async () => (await runtime.load("highlight")).highlighter as Highlighter,
    loadMath: async () => (await runtime.load("math")).maths as MathRenderer,
  });
}

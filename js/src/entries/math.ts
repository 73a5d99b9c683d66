/**
 * The bundle `math`: formulas as MathML, which browsers lay out natively, loaded when the first formula is shown.
 *
 * Temml writes some of the layout as inline styles. Model text must not set styles in the page, so they become
 * classes and presentation attributes; styles without a counterpart are dropped.
 */
import createDOMPurify from "dompurify";
import temml from "temml";
import type { MathRenderer } from "../markdown";
import { isOwnClass } from "../markdown/sanitize";

/** Limit of macro expansions, which can double at every step. */
const MAX_EXPAND = 300;
/** Largest size in a formula, in em and in pt. */
const MAX_SIZE: [number, number] = [50, 500];

const CLASSES: Readonly<Record<string, string>> = {
  "tml-left": "nbc-math-left",
  "tml-right": "nbc-math-right",
  "tml-jot": "nbc-math-jot",
};
const STYLES: readonly (readonly [style: RegExp, className: string])[] = [
  [/padding-left:0(?:em|pt)/, "nbc-math-no-start"],
  [/padding-right:0(?:em|pt)/, "nbc-math-no-end"],
  [/padding-left:1em/, "nbc-math-wide-start"],
  [/(?:^|;)border:/, "nbc-math-boxed"],
  [/border-left:/, "nbc-math-line-start"],
  [/border-right:/, "nbc-math-line-end"],
  [/border-top:/, "nbc-math-line-above"],
  [/border-bottom:/, "nbc-math-line-below"],
];

/** Return a tag with classes and presentation attributes in place of its styles and classes. */
function withoutStyle(tag: string): string {
  const style = / style="([^"]*)"/.exec(tag)?.[1] ?? "";
  const classes = / class="([^"]*)"/.exec(tag)?.[1]?.split(" ") ?? [];
  const own = [
    ...classes.map((name) => CLASSES[name] ?? ""),
    ...STYLES.map(([pattern, name]) => (pattern.test(style) ? name : "")),
  ].filter((name) => name !== "");
  const colour = /(?:^|;)color:(#[\da-f]{3,8}|[a-z]+)/i.exec(style)?.[1];
  const background = /background-color:(#[\da-f]{3,8}|[a-z]+)/i.exec(style)?.[1];
  const added =
    (own.length > 0 ? ` class="${own.join(" ")}"` : "") +
    (colour ? ` mathcolor="${colour}"` : "") +
    (background ? ` mathbackground="${background}"` : "");
  return tag.replace(/ (?:style|class)="[^"]*"/g, "").replace(/\/?>$/, (end) => added + end);
}

const TAGS =
  "math semantics mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle merror mpadded mphantom menclose msub msup msubsup munder mover munderover mmultiscripts mprescripts none mtable mtr mtd".split(
    " ",
  );
const ATTRIBUTES =
  "class display displaystyle scriptlevel mathvariant mathcolor mathbackground mathsize width height depth lspace rspace voffset stretchy symmetric fence separator form largeop movablelimits accent accentunder minsize maxsize linethickness columnalign rowalign columnspacing rowspacing columnlines rowlines frame framespacing notation columnspan rowspan intent".split(
    " ",
  );

let purifier: ReturnType<typeof createDOMPurify> | undefined;

/** Return MathML from a library without anything that links or loads. */
function sanitize(markup: string): DocumentFragment {
  purifier ??= newPurifier();
  // The configuration requests a fragment; the declared type covers only the default.
  return purifier.sanitize(markup) as unknown as DocumentFragment;
}

function newPurifier(): ReturnType<typeof createDOMPurify> {
  const made = createDOMPurify(window);
  made.setConfig({
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  made.addHook("uponSanitizeAttribute", (_element, data) => {
    if (data.attrName === "class") data.keepAttr = isOwnClass(data.attrValue);
  });
  return made;
}

export const maths: MathRenderer = {
  render: (tex, display) => sanitize(markupOf(tex, display)),
};

function markupOf(tex: string, display: boolean): string {
  return temml
    .renderToString(tex, {
      displayMode: display,
      throwOnError: true,
      trust: false,
      strict: false,
      // A new record each time, so that a formula defines nothing for the next one.
      macros: {},
      maxExpand: MAX_EXPAND,
      maxSize: MAX_SIZE,
    })
    .replace(/<m[^>]*>/g, withoutStyle);
}

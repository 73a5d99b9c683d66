/** DOMPurify with nothing allowed but what `build.ts` makes: it sees every closed block once, last. */
import createDOMPurify from "dompurify";

const TAGS =
  "p h1 h2 h3 h4 h5 h6 blockquote ul ol li pre code em strong del sup a img br hr div span section button input table thead tbody tr th td".split(
    " ",
  );
const ATTRIBUTES =
  "href rel target title src alt class start tabindex role aria-label type disabled checked".split(
    " ",
  );
const MATHML_TAGS =
  "math semantics mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle merror mpadded mphantom menclose msub msup msubsup munder mover munderover mmultiscripts mprescripts none mtable mtr mtd".split(
    " ",
  );
const MATHML_ATTRIBUTES =
  "class display displaystyle scriptlevel mathvariant mathcolor mathbackground mathsize width height depth lspace rspace voffset stretchy symmetric fence separator form largeop movablelimits accent accentunder minsize maxsize linethickness columnalign rowalign columnspacing rowspacing columnlines rowlines frame framespacing notation columnspan rowspan intent".split(
    " ",
  );

const OWN_CLASS = /^(?:language-[\w+#.-]{1,32}|nbc-[a-z-]{1,32})$/;
const LINK = /^(?:https?:|mailto:)/i;
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp)[;,]/i;

type Purifier = ReturnType<typeof createDOMPurify>;
let forText: Purifier | undefined;
let forMaths: Purifier | undefined;

/** Take everything out of a detached element that should not be there. It is changed in place. */
export function sanitize(block: Element): void {
  forText ??= textPurifier();
  forText.sanitize(block as HTMLElement);
}

/** Return MathML that a library has made, without what could lead or load anywhere. */
export function sanitizeMaths(markup: string): DocumentFragment {
  forMaths ??= mathsPurifier();
  // The configuration asks for a fragment; the declared type knows the default alone.
  return forMaths.sanitize(markup) as unknown as DocumentFragment;
}

function isOwnClass(names: string): boolean {
  return names.split(" ").every((name) => OWN_CLASS.test(name));
}

function textPurifier(): Purifier {
  const purifier = createDOMPurify(window);
  purifier.setConfig({
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    IN_PLACE: true,
  });
  purifier.addHook("uponSanitizeAttribute", (element, data) => {
    const value = data.attrValue;
    if (data.attrName === "class") {
      data.keepAttr = isOwnClass(value);
    } else if (data.attrName === "href") {
      data.keepAttr = element.localName === "a" && LINK.test(value);
    } else if (data.attrName === "src") {
      data.keepAttr = element.localName === "img" && IMAGE.test(value);
    }
  });
  return purifier;
}

function mathsPurifier(): Purifier {
  const purifier = createDOMPurify(window);
  purifier.setConfig({
    ALLOWED_TAGS: MATHML_TAGS,
    ALLOWED_ATTR: MATHML_ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  purifier.addHook("uponSanitizeAttribute", (_element, data) => {
    if (data.attrName === "class") data.keepAttr = isOwnClass(data.attrValue);
  });
  return purifier;
}

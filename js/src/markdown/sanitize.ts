/**
 * A second look at what `build.ts` made: every closed block passes here once, last.
 *
 * It knows nothing of how a block was made and takes out whatever is not named here. The block never was
 * markup and never becomes it, so that a walk over its nodes sees all there is; what a parser of HTML could
 * make of a text does not come up. Formulas do arrive as markup: DOMPurify, in their own bundle, looks at them.
 */

const TAGS = new Set(
  "p h1 h2 h3 h4 h5 h6 blockquote ul ol li pre code em strong del sup a img br hr div span section button input table thead tbody tr th td".split(
    " ",
  ),
);
const ATTRIBUTES = new Set(
  "href rel target title src alt class start dir tabindex role aria-label type disabled checked".split(
    " ",
  ),
);
const XHTML = "http://www.w3.org/1999/xhtml";

const OWN_CLASS = /^(?:language-[\w+#.-]{1,32}|nbc-[a-z-]{1,32})$/;
const LINK = /^(?:https?:|mailto:)/i;
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp)[;,]/i;

/** Take everything out of a detached element that should not be there. It is changed in place. */
export function sanitize(block: Element): void {
  if (!isAllowed(block)) {
    block.replaceChildren();
    for (const { name } of Array.from(block.attributes)) block.removeAttribute(name);
    return;
  }
  const walker = document.createTreeWalker(block);
  const gone: ChildNode[] = [];
  for (let node: Node | null = block; node; node = walker.nextNode()) {
    if (node instanceof Element && isAllowed(node)) cleanAttributes(node);
    else if (!(node instanceof Text)) gone.push(node as ChildNode);
  }
  for (const node of gone) node.remove();
}

/** Whether every class is one of nbchat's own, or names a language. */
export function isOwnClass(names: string): boolean {
  return names.split(" ").every((name) => OWN_CLASS.test(name));
}

function isAllowed(element: Element): boolean {
  return element.namespaceURI === XHTML && TAGS.has(element.localName);
}

function cleanAttributes(element: Element): void {
  for (const { name, value } of Array.from(element.attributes)) {
    if (!ATTRIBUTES.has(name) || !isHarmless(element.localName, name, value)) {
      element.removeAttribute(name);
    }
  }
}

function isHarmless(tag: string, name: string, value: string): boolean {
  if (name === "class") return isOwnClass(value);
  if (name === "href") return tag === "a" && LINK.test(value);
  if (name === "src") return tag === "img" && IMAGE.test(value);
  return true;
}

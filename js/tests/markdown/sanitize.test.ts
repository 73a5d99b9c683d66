// @vitest-environment jsdom
/** The second look at a block: what it leaves is what DOMPurify, asked for the same, finds nothing wrong with. */
import createDOMPurify from "dompurify";
import fc from "fast-check";
import { expect, test } from "vitest";
import { sanitize } from "../../src/markdown/sanitize";

const TAGS = "p h2 ul li pre code em a img br div span button input table td sup".split(" ");
const BAD_TAGS = "script style iframe object form svg math template link base x-own".split(" ");
const SVG = "http://www.w3.org/2000/svg";
const NAMES =
  "href src class title rel role type aria-label id name style onclick onerror srcset data-x xlink:href formaction is".split(
    " ",
  );
const VALUES = [
  "nbc-code",
  "language-python",
  "nbc-code jp-Cell",
  "https://example.org/",
  "mailto:a@b.org",
  "javascript:pwned()",
  " java\nscript:pwned()",
  "data:text/html,<script>pwned()</script>",
  "data:image/png;base64,AAAA",
  "data:image/svg+xml,<svg/>",
  "//evil.test/x",
];

interface Tree {
  readonly tag: string;
  readonly svg: boolean;
  readonly attributes: readonly (readonly [string, string])[];
  readonly children: readonly (Tree | string)[];
}

const tree: fc.Arbitrary<Tree> = fc.letrec<{ node: Tree }>((again) => ({
  node: fc.record({
    tag: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...TAGS) }, fc.constantFrom(...BAD_TAGS)),
    svg: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    attributes: fc.array(fc.tuple(fc.constantFrom(...NAMES), fc.constantFrom(...VALUES)), {
      maxLength: 4,
    }),
    children: fc.array(
      fc.oneof({ maxDepth: 3 }, fc.constantFrom("text", "<b>", "<!--"), again("node")),
      { maxLength: 3 },
    ),
  }),
})).node;

function build({ tag, svg, attributes, children }: Tree): Element {
  const element = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of attributes) element.setAttribute(name, value);
  for (const child of children) {
    if (child === "<!--") element.append(document.createComment("x"));
    else element.append(typeof child === "string" ? child : build(child));
  }
  return element;
}

/** DOMPurify with the same rules, as an oracle. */
const purifier = createDOMPurify(window);
purifier.setConfig({
  IN_PLACE: true,
  ALLOWED_TAGS: [...TAGS],
  ALLOWED_ATTR: ["href", "src", "class", "title", "rel", "role", "type", "aria-label"],
  // That is about words that look like tags, where nodes are written down as markup and read again.
  SAFE_FOR_XML: false,
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
});
purifier.addHook("uponSanitizeAttribute", (node, data) => {
  const { attrName: name, attrValue: value } = data;
  if (name === "href") data.keepAttr = node.localName === "a" && /^(https?|mailto):/.test(value);
  if (name === "src") data.keepAttr = /^data:image\/(png|jpeg|gif|webp)[;,]/.test(value);
  if (name === "class") data.keepAttr = !/jp-/.test(value) && /^(nbc|language)-/.test(value);
  // Words, whatever they begin with: nobody takes them for an address.
  if (/^(?:aria-label|rel|role|title|type)$/.test(name)) data.forceKeepAttr = true;
});

test("DOMPurify removes nothing more from any tree of nodes", () => {
  fc.assert(
    fc.property(tree, (made) => {
      const root = document.createElement("div");
      root.append(build(made));
      sanitize(root);
      const left = root.outerHTML;
      purifier.sanitize(root);
      expect(root.outerHTML).toBe(left);
    }),
    { numRuns: 200 },
  );
}, 60_000);

test("allowed elements are kept unchanged", () => {
  const root = document.createElement("div");
  root.className = "nbc-code";
  const link = Object.assign(document.createElement("a"), {
    href: "https://example.org/",
    rel: "x",
  });
  const image = Object.assign(document.createElement("img"), { src: "data:image/png;base64,AAAA" });
  root.append(link, image, "<script>");
  const before = root.outerHTML;
  sanitize(root);
  expect(root.outerHTML).toBe(before);
});

test("a block that is itself not allowed is emptied", () => {
  const root = document.createElement("iframe");
  root.setAttribute("srcdoc", "<script>pwned()</script>");
  root.append("text");
  sanitize(root);
  expect(root.outerHTML).toBe("<iframe></iframe>");
});

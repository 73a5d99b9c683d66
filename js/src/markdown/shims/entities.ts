/**
 * Stands in for the `entities` package in the bundle: the browser has the table already.
 *
 * markdown-it asks for one reference at a time, which it has matched against `&name;` or `&#…;` before.
 */
const decoded = new Map<string, string>();
let scratch: HTMLElement | undefined;

/**
 * Return the text of one character reference; one that HTML does not define comes back unchanged.
 *
 * Only letters, digits and `#` between `&` and `;` are ever given to the HTML parser, so it can make no element.
 */
export function decodeHTMLStrict(reference: string): string {
  const known = decoded.get(reference);
  if (known !== undefined) return known;
  if (!/^&#?\w+;$/.test(reference)) return reference;
  scratch ??= document.createElement("i");
  scratch.innerHTML = reference;
  const text = scratch.textContent ?? "";
  // HTML also knows a few names without the semicolon: `&copyfoo;` gives `©foo;`, Markdown leaves it alone.
  const result = text.endsWith(";") && reference !== "&semi;" ? reference : text;
  decoded.set(reference, result);
  return result;
}

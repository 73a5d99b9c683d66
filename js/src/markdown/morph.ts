/** Changes elements that are shown into others with as few changes as that takes, so that a selection stays. */
import { inheritRemoteImage } from "./build";
import { isTypeset } from "./enhance";

/** Make `shown` equal to `wanted`, and return what stands in its place: itself, or `wanted`. */
export function morph(shown: Element, wanted: Element): Element {
  if (!alike(shown, wanted)) {
    shown.replaceWith(wanted);
    return wanted;
  }
  morphElement(shown, wanted);
  return shown;
}

function alike(a: Node, b: Node): boolean {
  return a.nodeName === b.nodeName;
}

function morphElement(shown: Element, wanted: Element): void {
  if (isTypeset(shown, wanted)) return;
  inheritRemoteImage(shown, wanted);
  for (const { name } of Array.from(shown.attributes)) {
    if (!wanted.hasAttribute(name)) shown.removeAttribute(name);
  }
  for (const { name, value } of Array.from(wanted.attributes)) {
    if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
  }
  let at = shown.firstChild;
  let next = wanted.firstChild;
  while (next !== null) {
    const fresh: ChildNode = next;
    next = fresh.nextSibling;
    if (at === null) {
      shown.appendChild(fresh);
    } else if (at instanceof Text && fresh instanceof Text) {
      morphText(at, fresh.data);
      at = at.nextSibling;
    } else if (at instanceof Element && fresh instanceof Element && alike(at, fresh)) {
      morphElement(at, fresh);
      at = at.nextSibling;
    } else {
      const old: ChildNode = at;
      at = at.nextSibling;
      old.replaceWith(fresh);
    }
  }
  while (at !== null) {
    const old: ChildNode = at;
    at = at.nextSibling;
    old.remove();
  }
}

/** Change the end of a text alone: what is selected in the rest stays so. */
function morphText(shown: Text, wanted: string): void {
  const { data } = shown;
  if (data === wanted) return;
  if (wanted.startsWith(data)) {
    shown.appendData(wanted.slice(data.length));
    return;
  }
  let same = 0;
  while (same < data.length && data[same] === wanted[same]) same++;
  shown.replaceData(same, data.length - same, wanted.slice(same));
}

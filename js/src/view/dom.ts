/** Creates and updates elements; nothing is written that is already right. */

import type { ActionName } from "./actions";

type Value = string | number | boolean | null | undefined;

/** Attributes of a new element; `text` is its text, and `class` may leave out the prefix `nbchat-`. */
export type Attributes = Readonly<Record<string, Value>>;

type Child = Node | string | null | undefined | false;

/** Return a new element. Attributes that are null, undefined or false are left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") element.textContent = String(value ?? "");
    else if (name === "class") element.className = classes(String(value ?? ""));
    else setAttribute(element, name, value);
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

function classes(names: string): string {
  return names
    .split(" ")
    .map((name) => `nbchat-${name}`)
    .join(" ");
}

/** Return a button for an action; `null` if it has a listener of its own. */
export function button(
  action: ActionName | null,
  label: string,
  attributes: Attributes = {},
): HTMLButtonElement {
  return h("button", {
    type: "button",
    class: "button",
    "data-act": action,
    text: label,
    ...attributes,
  });
}

/** Return a button with an icon; its label is its accessible name and its tooltip. */
export function iconButton(
  action: ActionName | null,
  icon: string,
  label: string,
  attributes: Attributes = {},
): HTMLButtonElement {
  return h("button", {
    type: "button",
    class: `icon-button i-${icon}`,
    "data-act": action,
    "aria-label": label,
    title: label,
    ...attributes,
  });
}

/** Set or remove an attribute, if that changes it; true sets an empty value. */
export function setAttribute(element: Element, name: string, value: Value): void {
  const wanted =
    value === null || value === undefined || value === false
      ? null
      : value === true
        ? ""
        : String(value);
  if (element.getAttribute(name) === wanted) return;
  if (wanted === null) element.removeAttribute(name);
  else element.setAttribute(name, wanted);
}

/** Set an element's text, if that changes it. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide an element. */
export function show(element: HTMLElement, shown: boolean): void {
  if (element.hidden === shown) element.hidden = !shown;
}

/** Report whether an element is on the screen, and each change of that, until `signal` aborts. */
export function watchVisibility(
  element: HTMLElement,
  signal: AbortSignal,
  report: (visible: boolean) => void,
): void {
  if (typeof IntersectionObserver !== "function") return;
  const observer = new IntersectionObserver((entries) => {
    report(entries.at(-1)?.isIntersecting ?? true);
  });
  observer.observe(element);
  signal.addEventListener("abort", () => observer.disconnect());
}

/** Make `children` the children of `parent` in this order, moving only those that are elsewhere. */
export function arrange(parent: Element, children: readonly Element[]): void {
  let cursor = parent.firstElementChild;
  for (const child of children) {
    if (child === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(child, cursor);
  }
  while (cursor) {
    const next = cursor.nextElementSibling;
    cursor.remove();
    cursor = next;
  }
}

let counter = 0;

/** Return an id that is unique in the page. */
export function uniqueId(name: string): string {
  counter += 1;
  return `nbchat-${name}-${counter}`;
}

/** Return the focused element in `element`; null if the focus is elsewhere. */
export function focusedIn(element: Element): HTMLElement | null {
  const { activeElement } = rootOf(element);
  return element.contains(activeElement) ? (activeElement as HTMLElement) : null;
}

/** Return the document or, in hosts such as marimo, the shadow root that an element is in. */
export function rootOf(element: Element): DocumentOrShadowRoot {
  return element.getRootNode() as Document;
}

const installed = new WeakMap<Node, Set<string>>();

/** Add a style sheet to the document or the shadow root of an element, once. */
export function installStyles(element: Element, css: string): void {
  const root = element.getRootNode();
  const place = root instanceof ShadowRoot ? root : element.ownerDocument.head;
  const known = installed.get(place) ?? new Set();
  if (known.has(css)) return;
  installed.set(place, known.add(css));
  const style = document.createElement("style");
  style.setAttribute("data-nbchat", "");
  style.textContent = css;
  place.append(style);
}

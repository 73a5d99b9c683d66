/** The numbered list of the sources of an answer. Titles and addresses are untrusted. */

import { allStrings } from "../i18n/extras";
import { hostToShow, linkTarget } from "../markdown/urls";
import type { Source } from "../protocol";
import type { Context } from "../types";
import { h, installStyles } from "./dom";
import css from "./extras.css";
import { label, reveal } from "./text";

/** Longest title, in graphemes. */
const TITLE = 120;

/** Return the list. */
export function sourceList(context: Context, sources: readonly Source[]): HTMLElement {
  const t = allStrings(context.t);
  installStyles(context.root, css);
  return h(
    "div",
    { class: "sources", role: "group", "aria-label": t.sources },
    h("div", { class: "quiet-text", "aria-hidden": "true", text: t.sources }),
    h("ol", {}, ...sources.map((source) => h("li", {}, ...entry(source)))),
  );
}

/** Return a source; only web addresses are links, and the host is shown beside a title. */
function entry({ title, url }: Source): Node[] {
  const name = h("bdi", { text: label(title || url, TITLE) || "?" });
  const target = linkTarget(url);
  if (target === null || target.protocol === "mailto:") return [name];
  const attributes = { href: target.href, rel: "noopener noreferrer", target: "_blank" };
  const link = h("a", attributes, name);
  const host = title && title !== url ? target.hostname : hostToShow(url, target);
  if (!host) return [link];
  return [link, h("span", { class: "quiet-text", text: ` ${reveal(host)}` })];
}

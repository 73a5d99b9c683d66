/** The list of all sessions: open, closed, put away, deleted; to find one again. */

import type { Head } from "../protocol";
import type { Context } from "./context";
import { h, setAttribute } from "./dom";
import { openPopup } from "./popup";
import { label } from "./text";

/** Return how long ago something was, in the reader's language. */
export function ago(seconds: number, locale: string, now = Date.now() / 1000): string {
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  const past = Math.max(0, now - seconds);
  if (past < 60) return format.format(0, "minute");
  if (past < 3600) return format.format(-Math.floor(past / 60), "minute");
  if (past < 86400) return format.format(-Math.floor(past / 3600), "hour");
  return format.format(-Math.floor(past / 86400), "day");
}

/** Tell whether a session's title or model contains every word looked for. */
export function matches(head: Head, query: string): boolean {
  const text = `${head.title} ${head.model ?? ""} ${head.state}`.toLocaleLowerCase();
  return query
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** Show the list below `anchor`; `choose` is called with the session that the user picks. */
export function openDirectory(
  context: Context,
  anchor: Element,
  choose: (head: Head) => void,
): void {
  const { t, locale, runtime, root } = context;
  const search = h("input", {
    type: "search",
    class: "search",
    "aria-label": t.searchSessions,
    placeholder: t.searchSessions,
  });
  const list = h("div", { class: "directory-list" });
  const dialog = h(
    "div",
    { role: "dialog", class: "directory", "aria-label": t.allSessions },
    search,
    list,
  );
  let heads = new Map<string, Head>();

  const draw = (): void => {
    const focused = dialog.querySelector(":focus")?.getAttribute("data-id");
    heads = new Map(runtime.store.heads);
    const found = [...heads.values()]
      .filter((head) => !head.temporary && matches(head, search.value))
      .sort((a, b) => (b.active_at || b.created_at) - (a.active_at || a.created_at));
    const groups: readonly (readonly [string, (head: Head) => boolean])[] = [
      [t.openSessions, (head) => !head.deleted && !head.archived && !head.closed],
      [t.closedSessions, (head) => !head.deleted && !head.archived && head.closed],
      [t.archivedSessions, (head) => !head.deleted && head.archived],
      [t.deletedSessions, (head) => head.deleted],
    ];
    const sections = groups.flatMap(([name, member]) => {
      const members = found.filter(member);
      if (members.length === 0) return [];
      return [h("h3", { class: "group", text: name }), ...members.map((head) => entry(head))];
    });
    list.replaceChildren(
      ...(sections.length > 0 ? sections : [h("p", { class: "empty", text: t.noMatch })]),
    );
    if (focused) list.querySelector<HTMLElement>(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  };
  const entry = (head: Head): HTMLElement => {
    const facts = [
      t.state[head.state] ?? head.state,
      head.unread ? t.badge.unread : "",
      head.active_at ? ago(head.active_at, locale) : "",
      label(head.model ?? "", 32),
    ];
    const element = h(
      "button",
      { type: "button", class: "entry", "data-id": head.id },
      h("bdi", { class: "entry-title", text: label(head.title) || t.untitled }),
      h("span", { class: "entry-facts", text: facts.filter(Boolean).join(" · ") }),
    );
    setAttribute(element, "data-run-state", head.state);
    return element;
  };

  draw();
  anchor.setAttribute("aria-expanded", "true");
  let frame: ReturnType<typeof setTimeout> | undefined;
  const unsubscribe = runtime.store.subscribe((change) => {
    // The list is for finding: it need not follow every token.
    if (change.heads.size > 0 && frame === undefined) {
      frame = setTimeout(() => {
        frame = undefined;
        draw();
      }, 1000);
    }
  });
  const popup = openPopup(root, anchor, dialog, () => {
    clearTimeout(frame);
    unsubscribe();
    anchor.setAttribute("aria-expanded", "false");
  });
  search.addEventListener("input", draw);
  list.addEventListener("click", (event) => {
    const element = event.target instanceof Element && event.target.closest("[data-id]");
    const head = element && heads.get(element.getAttribute("data-id") ?? "");
    if (!head) return;
    popup.close();
    choose(head);
  });
  dialog.addEventListener("keydown", (event) => {
    const entries = [...list.querySelectorAll<HTMLElement>(".nbchat-entry")];
    const here = entries.indexOf(document.activeElement as HTMLElement);
    if (event.key === "ArrowDown") entries[here + 1]?.focus();
    else if (event.key === "ArrowUp") (here > 0 ? entries[here - 1] : search)?.focus();
    else if (event.key === "Enter" && document.activeElement === search) entries[0]?.click();
    else return;
    event.preventDefault();
  });
  search.focus();
}

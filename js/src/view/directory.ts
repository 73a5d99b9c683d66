/** The list of all sessions (open, closed, archived, deleted), with a search in their messages. */

import { allStrings } from "../i18n/extras";
import type { Head, Hit, SearchResults } from "../protocol";
import { isOver } from "../state/session";
import type { Context } from "../types";
import { focusedIn, h, setAttribute } from "./dom";
import { openPopup } from "./popup";
import { progressOf } from "./progress";
import { reopen } from "./tab-commands";
import { label, reveal } from "./text";

/** Shorter queries are not searched in messages. In non-Latin scripts one character can be a word. */
const ENOUGH = /...|[^\0-\u02ff]/su;
/** Delay between the last key and the search in messages, in milliseconds. */
const PAUSE_MS = 200;

/** Return a time relative to now, in the reader's language. */
export function ago(seconds: number, locale: string, now = Date.now() / 1000): string {
  const format = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "short" });
  const past = Math.max(0, now - seconds);
  if (past < 60) return format.format(0, "minute");
  if (past < 3600) return format.format(-Math.floor(past / 60), "minute");
  if (past < 86400) return format.format(-Math.floor(past / 3600), "hour");
  return format.format(-Math.floor(past / 86400), "day");
}

/** Return whether a session's title, model or state contains every word of the query. */
export function matches(head: Head, query: string): boolean {
  const text = `${head.title} ${head.model ?? ""} ${head.state}`.toLocaleLowerCase();
  return query
    .toLocaleLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

/** Show the list below `anchor`. The picked session is shown, at the picked message if there is one. */
export function openDirectory(context: Context, anchor: Element): void {
  const { locale, runtime } = context;
  const t = allStrings(context.t);
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
  let found: SearchResults | null = null;
  let looking = false;
  let pause: ReturnType<typeof setTimeout> | undefined;

  const draw = (): void => {
    const entryOf = (element: Element | null | undefined): string =>
      `[data-id="${CSS.escape(element?.getAttribute("data-id") ?? "")}"]` +
      (element?.hasAttribute("data-message")
        ? `[data-message="${CSS.escape(element.getAttribute("data-message") ?? "")}"]`
        : ":not([data-message])");
    const focused = list.querySelector(":focus");
    heads = new Map(runtime.store.heads);
    const listed = [...heads.values()]
      .filter((head) => !head.temporary && matches(head, search.value))
      .sort((a, b) => (b.active_at || b.created_at) - (a.active_at || a.created_at));
    const groups: readonly (readonly [string, (head: Head) => boolean])[] = [
      [t.openSessions, (head) => !head.deleted && !head.archived && !head.closed],
      [t.closedSessions, (head) => !head.deleted && !head.archived && head.closed],
      [t.archivedSessions, (head) => !head.deleted && head.archived],
      [t.deletedSessions, (head) => head.deleted],
    ];
    const sections: HTMLElement[] = groups.flatMap(([name, member]) => {
      const members = listed.filter(member);
      if (members.length === 0) return [];
      return [h("h3", { class: "group", text: name }), ...members.map((head) => entry(head))];
    });
    const hits = found?.hits.flatMap((hit) => messageEntry(hit)) ?? [];
    if (hits.length > 0) sections.push(h("h3", { class: "group", text: t.inMessages }), ...hits);
    const note = looking ? t.searching : found?.more ? t.moreFound : "";
    if (note || sections.length === 0) {
      sections.push(h("p", { class: "empty", text: note || t.noMatch }));
    }
    list.replaceChildren(...sections);
    if (focused) list.querySelector<HTMLElement>(entryOf(focused))?.focus();
  };
  const entry = (head: Head): HTMLElement => {
    const facts = [
      t.state[head.state] ?? head.state,
      head.unread ? t.badge.unread : "",
      isOver(head.state)
        ? head.active_at && ago(head.active_at, locale)
        : progressOf(context, head),
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

  const messageEntry = ({ session_id, message_id, before, match, after }: Hit): HTMLElement[] => {
    const head = heads.get(session_id);
    if (!head || head.deleted) return [];
    return [
      h(
        "button",
        { type: "button", class: "entry", "data-id": session_id, "data-message": message_id },
        h("bdi", { class: "entry-title", text: label(head.title) || t.untitled }),
        h(
          "span",
          { class: "entry-facts" },
          reveal(before),
          h("mark", { text: reveal(match) }),
          reveal(after),
        ),
      ),
    ];
  };

  /** Search in the kernel, which has all sessions, after a pause and only for long enough queries. */
  const look = (): void => {
    const query = search.value.trim();
    clearTimeout(pause);
    void runtime.search("");
    looking = ENOUGH.test(query);
    if (!looking) found = null;
    else {
      pause = setTimeout(async () => {
        const answer = await runtime.search(query);
        if (answer === null) return;
        found = answer;
        looking = false;
        draw();
      }, PAUSE_MS);
    }
    draw();
  };

  draw();
  anchor.setAttribute("aria-expanded", "true");
  let frame: ReturnType<typeof setTimeout> | undefined;
  const unsubscribe = runtime.store.subscribe((change) => {
    // The list need not follow every token.
    if (change.heads.size > 0 && frame === undefined) {
      frame = setTimeout(() => {
        frame = undefined;
        draw();
      }, 500);
    }
  });
  const popup = openPopup(context, anchor, dialog, () => {
    clearTimeout(frame);
    clearTimeout(pause);
    void runtime.search("");
    unsubscribe();
    anchor.setAttribute("aria-expanded", "false");
  });
  search.addEventListener("input", look);
  list.addEventListener("click", (event) => {
    const element = event.target instanceof Element && event.target.closest("[data-id]");
    const head = element && heads.get(element.getAttribute("data-id") ?? "");
    if (!head) return;
    popup.close();
    void reopen(context, head, element?.getAttribute("data-message") ?? "");
  });
  dialog.addEventListener("keydown", (event) => {
    const entries = [...list.querySelectorAll<HTMLElement>(".nbchat-entry")];
    const here = entries.indexOf(focusedIn(dialog) as HTMLElement);
    if (event.key === "ArrowDown") entries[here + 1]?.focus();
    else if (event.key === "ArrowUp") (here > 0 ? entries[here - 1] : search)?.focus();
    else if (event.key === "Enter" && focusedIn(search)) entries[0]?.click();
    else return;
    event.preventDefault();
  });
  search.focus();
}

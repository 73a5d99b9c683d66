/**
 * The page's visible half: draws what the store knows and turns what the user does into commands.
 *
 * It stands in the light DOM, so that a selection can span messages, the browser's own search finds
 * them, and a screen reader meets ordinary elements. All classes begin with `nbchat-`.
 */

import { isOver } from "../fold";
import { catalogues, chooseLocale } from "../i18n";
import type { AnyModel } from "../jupyter";
import { MarkdownView } from "../markdown";
import type { Head } from "../protocol";
import type { CommandInput, Runtime } from "../runtime";
import { type Context, causeOf, type Markdown, thrown } from "./context";
import { openDirectory } from "./directory";
import { h, iconButton, installStyles, setAttribute, setText, show, uniqueId } from "./dom";
import { guardKeys } from "./keys";
import markdownCss from "./markdown.css";
import { Panel } from "./panel";
import { closePopups, openMenu, Toast } from "./popup";
import { Tabs, titleOf } from "./tabs";
import { reveal } from "./text";
import css from "./view.css";

/** Set while a view changes its model itself: other views of the model keep their own tab. */
let choosing = false;

/** How markdown is drawn; a seam for tests. */
export type DrawMarkdown = (element: HTMLElement, context: Context) => Markdown;

/**
 * Show sessions in `el` and return the function that takes everything away again.
 *
 * @param kind `tabs` for all sessions in tabs, `session` for one without them.
 * @param model the view's own model: `sessions`, `active`, `locale`, `height`, `send_key`.
 */
export function mountView(
  runtime: Runtime,
  kind: string,
  model: AnyModel,
  el: HTMLElement,
  drawMarkdown: DrawMarkdown = markdown,
): () => void {
  installStyles(el.ownerDocument, css + markdownCss);
  const view = new View(runtime, kind, model, el, drawMarkdown);
  return () => view.dispose();
}

function markdown(element: HTMLElement, { t, runtime }: Context): Markdown {
  const { host } = runtime;
  const codeActions = host.insertCell
    ? [{ label: t.insertCell, run: (code: string) => host.insertCell?.(code, false) }]
    : [];
  return new MarkdownView(element, { strings: t.markdown, codeActions });
}

class View {
  readonly #runtime: Runtime;
  readonly #model: AnyModel;
  readonly #single: boolean;
  readonly #gone = new AbortController();
  readonly #key = Symbol("view");
  readonly #root: HTMLElement;
  readonly #context: Context;
  readonly #tabs: Tabs | null;
  readonly #main: Panel;
  readonly #beside = new Map<string, { panel: Panel; gone: AbortController }>();
  readonly #panels = h("div", { class: "panels" });
  readonly #banner = h("div", { class: "banner", hidden: true });
  readonly #empty: HTMLElement;
  /** Names the session where there are no tabs. */
  readonly #title = h("bdi", { class: "tab-title only" });
  readonly #toast: Toast;
  readonly #besideIds: string[] = [];
  /** The user's own order of tabs; the others follow as they were made. */
  #order: readonly string[] = [];
  #shown = "";
  /** Session to be shown as soon as it is there, and whether the composer gets the focus then. */
  #wanted: { id: string; focus: boolean; messageId: string } | null = null;
  #visible = true;
  #reported = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  #notified = new Map<string, string>();

  constructor(
    runtime: Runtime,
    kind: string,
    model: AnyModel,
    el: HTMLElement,
    drawMarkdown: DrawMarkdown,
  ) {
    this.#runtime = runtime;
    this.#model = model;
    this.#single = kind !== "tabs";
    const { signal } = this.#gone;
    const locale = chooseLocale(String(model.get("locale") ?? ""), navigator.languages ?? []);
    const t = catalogues[locale];
    this.#root = h("section", { class: "view", lang: locale, "aria-label": t.chatSessions });
    this.#root.classList.add("nbchat");
    const context: Context = {
      runtime,
      t,
      locale,
      root: this.#root,
      signal,
      sendKey: () => String(model.get("send_key") || "enter"),
      markdown: (element) => drawMarkdown(element, context),
      go: (id, focus = false) => this.#go(id, focus),
      say: (text) => this.#main.say(text),
      notify: (text, actions = []) => {
        this.#toast.show(text, actions);
        this.#main.say(text);
      },
    };
    this.#context = context;
    this.#toast = new Toast(t.dismiss);
    const panelId = uniqueId("panel");
    this.#main = new Panel(
      context,
      this.#single ? { id: panelId } : { id: panelId, role: "tabpanel" },
    );
    this.#empty = h("div", { class: "empty", hidden: true }, h("p", { text: t.noOpenSessions }));
    this.#panels.append(this.#main.element);
    if (this.#single) {
      this.#tabs = null;
      const header = h("div", { class: "header" }, this.#title);
      this.#root.append(header, this.#banner, this.#panels, this.#toast.element);
    } else {
      this.#tabs = new Tabs(
        context,
        {
          show: (id, focus) => this.#choose(id, focus),
          close: (id) => void this.#close(id),
          rename: (id, title) => void this.#do({ type: "rename", session_id: id, title }),
          menu: (id, anchor) => this.#menu(id, anchor),
          move: (id, before) => this.#move(id, before),
        },
        panelId,
      );
      const header = h(
        "div",
        { class: "header" },
        this.#tabs.element,
        iconButton("new", "new", t.newSession),
        h("span", { class: "space" }),
        iconButton("all", "list", t.allSessions, {
          "aria-haspopup": "dialog",
          "aria-expanded": "false",
        }),
        iconButton("menu", "menu", t.sessionMenu, {
          "aria-haspopup": "menu",
          "aria-expanded": "false",
        }),
      );
      this.#root.append(header, this.#banner, this.#empty, this.#panels, this.#toast.element);
    }

    guardKeys(this.#root, signal);
    this.#root.addEventListener("click", (event) => this.#click(event), { signal });
    this.#follow();
    this.#setHeight();
    el.append(this.#root);
    this.#watchVisibility(signal);
    const unsubscribe = runtime.store.subscribe((change) => {
      if (change.heads.size > 0 || change.other) this.#update();
      else if (this.#showsAny(change.sessions)) this.#updatePanels();
    });
    signal.addEventListener("abort", unsubscribe);
    this.#update();
  }

  dispose(): void {
    closePopups(this.#root);
    clearInterval(this.#timer);
    this.#runtime.viewing(this.#key, []);
    for (const { gone } of this.#beside.values()) gone.abort();
    this.#gone.abort();
    this.#root.remove();
  }

  /** Follow what a cell says to the model. */
  #follow(): void {
    const listeners: Readonly<Record<string, () => void>> = {
      "change:active": () => {
        if (choosing) return;
        const id = String(this.#model.get("active") ?? "");
        if (id) this.#go(id);
      },
      "change:sessions": () => this.#update(),
      "change:height": () => this.#setHeight(),
    };
    for (const [name, listener] of Object.entries(listeners)) {
      this.#model.on(name, listener);
      this.#gone.signal.addEventListener("abort", () => this.#model.off(name, listener));
    }
    const active = String(this.#model.get("active") ?? "");
    if (active) this.#wanted = { id: active, focus: false, messageId: "" };
  }

  #setHeight(): void {
    const height = String(this.#model.get("height") ?? "");
    this.#root.style.height = height || "560px";
  }

  /** An answer is read when its session is on screen, and only then. */
  #watchVisibility(signal: AbortSignal): void {
    if (typeof IntersectionObserver !== "function") return;
    const observer = new IntersectionObserver((entries) => {
      this.#visible = entries.at(-1)?.isIntersecting ?? true;
      this.#report();
    });
    observer.observe(this.#root);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  #report(): void {
    const ids = this.#visible ? [this.#shown, ...this.#beside.keys()].filter(Boolean) : [];
    const key = ids.join(" ");
    if (key === this.#reported) return;
    this.#reported = key;
    this.#runtime.viewing(this.#key, ids);
  }

  /** The sessions that this view has a tab for, in their order. */
  #open(): Head[] {
    const { heads } = this.#runtime.store;
    const only = this.#only();
    if (this.#single) {
      const head = heads.get(only?.[0] ?? String(this.#model.get("active") ?? ""));
      return head && !head.deleted ? [head] : [];
    }
    const rank = new Map((only ?? []).map((id, i) => [id, i]));
    this.#order.forEach((id, i) => {
      rank.set(id, i - this.#order.length);
    });
    const place = (head: Head) => rank.get(head.id) ?? Number.POSITIVE_INFINITY;
    return [...heads.values()]
      .filter(
        (head) =>
          !head.deleted &&
          !head.closed &&
          !head.archived &&
          (only ? only.includes(head.id) : !head.temporary),
      )
      .sort(
        (a, b) =>
          Number(b.pinned) - Number(a.pinned) ||
          compare(place(a), place(b)) ||
          a.created_at - b.created_at ||
          (a.id < b.id ? -1 : 1),
      );
  }

  #only(): readonly string[] | null {
    const sessions: unknown = this.#model.get("sessions");
    return Array.isArray(sessions) ? sessions.map(String) : null;
  }

  #update(): void {
    const { t } = this.#context;
    const { store } = this.#runtime;
    this.#updateBanner();
    const open = this.#open();
    // A kernel that is gone has no sessions; what was shown stays readable.
    if (open.length === 0 && this.#shown && store.heads.size === 0) return;
    const ids = open.map(({ id }) => id);
    const wanted = this.#wanted;
    if (wanted && ids.includes(wanted.id)) {
      this.#wanted = null;
      this.#show(wanted.id, wanted.focus);
      if (wanted.messageId) this.#main.reveal(wanted.messageId);
    } else if (!ids.includes(this.#shown)) {
      const next = this.#neighbour(ids);
      const focused = this.#tabs?.hasFocus === true || document.activeElement === document.body;
      this.#show(next, false);
      if (focused && next) {
        this.#tabs?.update(open, next);
        if (this.#closedByKey) this.#tabs?.focus(next);
      }
    }
    this.#closedByKey = false;
    this.#ids = ids;
    for (const id of [...this.#besideIds]) if (!ids.includes(id)) this.#setBeside(id, false);
    if (this.#tabs) {
      this.#tabs.update(open, this.#shown);
      setAttribute(this.#tabs.element, "hidden", open.length === 0);
      setAttribute(
        this.#main.element,
        "aria-labelledby",
        this.#shown && this.#tabs.idOf(this.#shown),
      );
    } else {
      const title = open[0] ? titleOf(open[0], t) : t.chatSessions;
      setAttribute(this.#root, "aria-label", title);
      setText(this.#title, title);
    }
    const none = this.#shown === "";
    show(this.#empty, none && store.connection !== "connecting");
    show(this.#main.element, !none);
    this.#notifyEnds(open);
    this.#updatePanels();
    this.#report();
  }

  #ids: readonly string[] = [];
  #closedByKey = false;

  /** The tab that takes the place of one that went away. */
  #neighbour(ids: readonly string[]): string {
    const place = this.#ids.indexOf(this.#shown);
    const after = this.#ids.slice(place + 1).find((id) => ids.includes(id));
    const before = this.#ids
      .slice(0, Math.max(0, place))
      .reverse()
      .find((id) => ids.includes(id));
    return after ?? before ?? ids[0] ?? "";
  }

  #updatePanels(): void {
    this.#main.update();
    for (const { panel } of this.#beside.values()) panel.update();
    this.#tick();
  }

  /** Count seconds while there is something to count, and not otherwise. */
  #tick(): void {
    let counting = this.#main.tick();
    for (const { panel } of this.#beside.values()) counting = panel.tick() || counting;
    if (counting && this.#timer === undefined) {
      this.#timer = setInterval(() => this.#tick(), 1000);
    } else if (!counting && this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #updateBanner(): void {
    const { t } = this.#context;
    const { connection, saving } = this.#runtime.store;
    const text =
      t.connection[connection] ??
      (saving?.error ? `${t.notSaved} ${reveal(causeOf(saving.error))}` : "");
    setText(this.#banner, text);
    setAttribute(this.#banner, "data-connection", connection);
    show(this.#banner, text !== "");
    if (connection !== "connecting" && text !== this.#bannerSaid) {
      this.#bannerSaid = text;
      this.#main.say(text);
    }
  }

  #bannerSaid = "";

  #showsAny(ids: ReadonlySet<string>): boolean {
    return ids.has(this.#shown) || [...this.#beside.keys()].some((id) => ids.has(id));
  }

  #show(id: string, focus: boolean): void {
    if (id !== this.#shown) {
      this.#shown = id;
      if (this.#beside.has(id)) this.#setBeside(id, false);
      this.#main.open(id);
      this.#report();
    }
    if (focus) this.#main.focusComposer();
  }

  /** Show a session now, or as soon as it is there. */
  #go(id: string, focus = false, messageId = ""): void {
    this.#wanted = { id, focus, messageId };
    this.#update();
    if (focus || this.#shown === id) this.#tell(id);
  }

  /** The user picked a tab. */
  #choose(id: string, focus: boolean): void {
    this.#wanted = null;
    this.#show(id, false);
    this.#tell(id);
    this.#update();
    if (focus) this.#tabs?.focus(id);
  }

  /** Tell the kernel which tab is shown. */
  #tell(id: string): void {
    if (this.#single || this.#model.get("active") === id) return;
    choosing = true;
    try {
      this.#model.set("active", id);
      this.#model.save_changes();
    } finally {
      choosing = false;
    }
  }

  #click(event: MouseEvent): void {
    const target =
      event.target instanceof Element && event.target.closest<HTMLElement>("[data-act]");
    if (!target) return;
    switch (target.getAttribute("data-act")) {
      case "new":
        void this.#new();
        break;
      case "all":
        openDirectory(this.#context, target, (head, messageId) => {
          void this.#reopen(head, messageId);
        });
        break;
      case "menu":
        if (this.#shown) this.#menu(this.#shown, target);
        break;
      case "toast":
        this.#toast.act(Number(target.getAttribute("data-i")));
        break;
      case "toast-close":
        this.#toast.hide();
        break;
      case "alone": {
        const id = target.closest("[data-beside]")?.getAttribute("data-beside");
        if (id) this.#setBeside(id, false);
        break;
      }
    }
  }

  async #do(command: CommandInput): Promise<boolean> {
    try {
      const { error } = await this.#runtime.do(command);
      if (!error) return true;
      this.#context.notify(reveal(causeOf(error)));
    } catch (reason) {
      this.#context.notify(reveal(thrown(reason)));
    }
    return false;
  }

  async #new(): Promise<void> {
    try {
      const ack = await this.#runtime.do({ type: "new_session", title: "" });
      if (ack.error) this.#context.notify(reveal(causeOf(ack.error)));
      else if (ack.session_id) this.#include(ack.session_id);
    } catch (reason) {
      this.#context.notify(reveal(thrown(reason)));
    }
  }

  /** Show a session in this view, also where the view has a list of its own. */
  #include(id: string, focus = true, messageId = ""): void {
    const only = this.#only();
    if (only && !only.includes(id)) {
      this.#model.set("sessions", [...only, id]);
      this.#model.save_changes();
    }
    this.#go(id, focus, messageId);
  }

  /** Show a session again, wherever it was put; with `messageId`, at that message. */
  async #reopen(head: Head, messageId = ""): Promise<void> {
    const session_id = head.id;
    if (head.deleted && !(await this.#do({ type: "delete", session_id, deleted: false }))) return;
    if (head.archived && !(await this.#do({ type: "archive", session_id, archived: false })))
      return;
    if (head.closed && !(await this.#do({ type: "close", session_id, closed: false }))) return;
    this.#include(session_id, messageId === "", messageId);
  }

  /** Hide a tab. What it generates goes on, and the page says so. */
  async #close(id: string): Promise<void> {
    const { t } = this.#context;
    const head = this.#runtime.store.heads.get(id);
    if (!head) return;
    const title = titleOf(head, t);
    this.#closedByKey = this.#tabs?.hasFocus === true;
    if (!(await this.#do({ type: "close", session_id: id, closed: true }))) return;
    const reopen = [t.reopen, () => void this.#reopen({ ...head, closed: true })] as const;
    const runId = head.run_id;
    if (!isOver(head.state) && runId) {
      const stop = () => void this.#do({ type: "stop_all", session_id: id });
      this.#context.notify(t.closedLive(title), [[t.stop, stop], reopen]);
    } else this.#context.notify(t.closed(title), [reopen]);
  }

  async #delete(head: Head): Promise<void> {
    const { t } = this.#context;
    this.#closedByKey = true;
    if (!(await this.#do({ type: "delete", session_id: head.id, deleted: true }))) return;
    this.#context.notify(t.deleted(titleOf(head, t)), [
      [t.undo, () => void this.#reopen({ ...head, deleted: true })],
    ]);
  }

  async #archive(head: Head): Promise<void> {
    const { t } = this.#context;
    this.#closedByKey = true;
    if (!(await this.#do({ type: "archive", session_id: head.id, archived: true }))) return;
    this.#context.notify(t.archived(titleOf(head, t)), [
      [t.undo, () => void this.#reopen({ ...head, archived: true })],
    ]);
  }

  #menu(id: string, anchor: Element): void {
    const { t } = this.#context;
    const head = this.#runtime.store.heads.get(id);
    if (!head) return;
    const ids = this.#open().map((open) => open.id);
    const here = ids.indexOf(id);
    const beside = this.#beside.has(id);
    openMenu(this.#root, anchor, t.sessionMenu, [
      { label: t.rename, run: () => this.#tabs?.rename(id) },
      {
        label: t.settings,
        run: () => {
          this.#choose(id, false);
          this.#main.openSettings();
        },
      },
      {
        label: t.pin,
        checked: head.pinned,
        run: () => void this.#do({ type: "pin", session_id: id, pinned: !head.pinned }),
      },
      null,
      ...(id === this.#shown
        ? []
        : [{ label: t.beside, checked: beside, run: () => this.#setBeside(id, !beside) }]),
      ...(here > 0
        ? [{ label: t.moveLeft, run: () => this.#move(id, ids[here - 1] ?? null) }]
        : []),
      ...(here < ids.length - 1
        ? [{ label: t.moveRight, run: () => this.#move(id, ids[here + 2] ?? null) }]
        : []),
      ...(typeof Notification === "function"
        ? [
            {
              label: t.notify,
              checked: this.#notifies,
              run: () => void this.#toggleNotify(),
            },
          ]
        : []),
      null,
      { label: t.archive, run: () => void this.#archive(head) },
      { label: t.close, run: () => void this.#close(id) },
      { label: t.deleteSession, run: () => void this.#delete(head) },
    ]);
  }

  #move(id: string, before: string | null): void {
    const ids = this.#open()
      .map((head) => head.id)
      .filter((other) => other !== id);
    const at = before === null ? -1 : ids.indexOf(before);
    ids.splice(at < 0 ? ids.length : at, 0, id);
    this.#order = ids;
    this.#update();
    this.#tabs?.focus(id);
  }

  /** Show a session in a column of its own, beside the others, or no longer. */
  #setBeside(id: string, beside: boolean): void {
    const { t } = this.#context;
    const known = this.#beside.get(id);
    if (!beside) {
      known?.gone.abort();
      known?.panel.element.parentElement?.remove();
      this.#beside.delete(id);
      this.#besideIds.splice(0, this.#besideIds.length, ...this.#beside.keys());
    } else if (!known) {
      const head = this.#runtime.store.heads.get(id);
      const title = head ? titleOf(head, t) : t.untitled;
      const gone = new AbortController();
      const context: Context = {
        ...this.#context,
        signal: gone.signal,
        say: (text) => panel.say(text),
      };
      const panel = new Panel(context);
      const column = h(
        "div",
        { class: "column", role: "group", "aria-label": title, "data-beside": id },
        h(
          "div",
          { class: "column-head" },
          h("bdi", { class: "tab-title", text: title }),
          iconButton("alone", "close", t.notBeside),
        ),
        panel.element,
      );
      this.#panels.append(column);
      this.#beside.set(id, { panel, gone });
      this.#besideIds.push(id);
      panel.open(id);
    }
    setAttribute(this.#root, "data-split", this.#beside.size > 0);
    this.#report();
  }

  get #notifies(): boolean {
    return (
      typeof Notification === "function" &&
      Notification.permission === "granted" &&
      readFlag(NOTIFY_KEY)
    );
  }

  async #toggleNotify(): Promise<void> {
    const on = !this.#notifies && (await Notification.requestPermission()) === "granted";
    writeFlag(NOTIFY_KEY, on);
  }

  /** Tell a user who looks elsewhere that an answer has ended, if that was asked for. */
  #notifyEnds(heads: readonly Head[]): void {
    const { t } = this.#context;
    for (const head of heads) {
      const before = this.#notified.get(head.id);
      this.#notified.set(head.id, head.state);
      if (!before || isOver(before) || !isOver(head.state) || !document.hidden) continue;
      if (this.#notifies) {
        new Notification(titleOf(head, t), { body: t.state[head.state] ?? "", tag: head.id });
      }
    }
  }
}

const NOTIFY_KEY = "nbchat:notify";

function readFlag(key: string): boolean {
  try {
    return localStorage.getItem(key) === "1";
  } catch {
    return false;
  }
}

function writeFlag(key: string, on: boolean): void {
  try {
    localStorage.setItem(key, on ? "1" : "0");
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page does not ask again.
  }
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a - b;
}

/** `View`: the tabs, the panel of the chosen session, side views, the banner and the toast. */

import type { Locale, Strings } from "../i18n";
import type { AnyModel } from "../jupyter";
import type { Head } from "../protocol";
import { isOver } from "../state/session";
import type { Context, Extras, Markdown, Runtime, SideViews, Way } from "../types";
import { handleActions } from "./actions";
import { Banner } from "./banner";
import { create, perform } from "./commands";
import { h, iconButton, setAttribute, setText, show, uniqueId, watchVisibility } from "./dom";
import { guardKeys } from "./keys";
import { useExtras } from "./load-extras";
import { Notifier } from "./notify";
import { moved, neighbour, openSessions } from "./order";
import { Panel } from "./panel";
import { Tabs, titleOf } from "./tabs";
import { Toast } from "./toast";

/** Default height of a view. */
export const HEIGHT = "560px";

/** Answers older than this when the page opens have continued in the background. */
const AWAY_S = 5;

/** Set while a view changes its own model, so that other views of the model keep their tab. */
let choosing = false;

export class View {
  readonly #runtime: Runtime;
  readonly #model: AnyModel;
  readonly #gone = new AbortController();
  readonly #key = Symbol("view");
  readonly #root: HTMLElement;
  readonly #context: Context;
  /** Null in a view of one session. */
  readonly #tabs: Tabs | null;
  readonly #main: Panel;
  /** Null until a session is shown there. */
  #columns: SideViews | null = null;
  readonly #panels: HTMLElement;
  readonly #notifier: Notifier;
  readonly #toast: Toast;
  readonly #banner: Banner;
  readonly #title = h("bdi", { class: "tab-title only" });
  readonly #empty = h("p", { class: "empty", hidden: true });
  /** Ids of the tabs, as last shown. */
  #ids: readonly string[] = [];
  /** An order of the tabs that the kernel has not confirmed; else empty. */
  #order: readonly string[] = [];
  #shown = "";
  /** Session to show as soon as it exists. */
  #wanted: ({ readonly id: string } & Way) | null = null;
  #visible = true;
  /** Whether any session has been shown. */
  #begun = false;
  #reported = "";
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    runtime: Runtime,
    kind: string,
    model: AnyModel,
    el: HTMLElement,
    { locale, t }: { readonly locale: Locale; readonly t: Strings },
    drawMarkdown: (element: HTMLElement, context: Context) => Markdown,
  ) {
    this.#runtime = runtime;
    this.#model = model;
    const { signal } = this.#gone;
    this.#root = h("section", { class: "view", lang: locale, "aria-label": t.chatSessions });
    this.#root.classList.add("nbchat");
    const context: Context = {
      runtime,
      t,
      locale,
      root: this.#root,
      signal,
      extras: (use) => this.#extras(use),
      sendKey: () => this.#trait("send_key") || "enter",
      markdown: (element) => drawMarkdown(element, context),
      go: (id, way = {}) => this.#go(id, way),
      say: (text) => this.#main.say(text),
      notify: (text, actions = []) => {
        this.#toast.show(text, actions);
        this.#main.say(text);
      },
    };
    this.#context = context;
    this.#toast = new Toast(t.dismiss);
    this.#banner = new Banner(context, model);
    this.#notifier = new Notifier(t);
    const single = kind !== "tabs";
    const panelId = uniqueId("panel");
    this.#main = new Panel(context, single ? {} : { id: panelId, role: "tabpanel" });
    this.#tabs = single ? null : this.#createTabs(panelId);
    const header = this.#tabs
      ? this.#tools(this.#tabs)
      : h("div", { class: "header" }, this.#title, this.#banner.hint);
    this.#panels = h("div", { class: "panels" }, this.#main.element);
    this.#empty.textContent = t.noOpenSessions;
    this.#root.append(header, this.#banner.element, this.#empty, this.#panels, this.#toast.element);

    guardKeys(this.#root, signal);
    handleActions<"view">(
      this.#root,
      {
        new: () => void create(context),
        all: (target) => this.#extras(({ openDirectory }) => openDirectory(context, target)),
        menu: (target) => this.#menu(this.#shown, target),
        alone: (_, id) => this.#setBeside(id, false),
      },
      signal,
    );
    // A file that is dropped elsewhere would replace JupyterLab in the browser.
    this.#root.addEventListener("dragover", (event) => event.preventDefault(), { signal });
    this.#root.addEventListener("drop", (event) => this.#main.drop(event), { signal });
    this.#followModel();
    this.#setHeight();
    el.append(this.#root);
    watchVisibility(this.#root, signal, (visible) => {
      this.#visible = visible; // sessions are read only while the view is on screen
      this.#report();
    });
    const unsubscribe = runtime.store.subscribe((change) => {
      if (change.heads.size > 0 || change.other) this.#updateTabs();
      const mine = (id: string): boolean => change.sessions.has(id) || change.heads.has(id);
      if (change.other || this.#looksAt().some(mine)) this.#updatePanels();
    });
    signal.addEventListener("abort", unsubscribe);
    this.#update();
  }

  dispose(): void {
    clearInterval(this.#timer);
    this.#runtime.viewing(this.#key, []);
    this.#gone.abort();
    this.#root.remove();
  }

  #extras(use: (extras: Extras) => void): void {
    const { runtime, t, notify } = this.#context;
    useExtras(runtime, this.#gone.signal, use, () => notify(t.notLoaded));
  }

  #trait(name: string): string {
    return String(this.#model.get(name) ?? "");
  }

  /** Ids from the author of the view, or null for all open sessions. */
  #only(): readonly string[] | null {
    const ids: unknown = this.#model.get("sessions");
    return Array.isArray(ids) ? ids.map(String) : null;
  }

  #createTabs(panelId: string): Tabs {
    const ask = (command: Parameters<typeof perform>[1]) => void perform(this.#context, command);
    const actions = {
      show: (id: string, focus: boolean) => this.#choose(id, focus),
      close: (id: string) =>
        this.#with(id, (head, extras) => void extras.closeSession(this.#context, head)),
      rename: (id: string, title: string) => ask({ type: "rename", session_id: id, title }),
      menu: (id: string, anchor: Element) => this.#menu(id, anchor),
      move: (id: string, before: string | null) => this.#move(id, before),
    };
    return new Tabs(this.#context, actions, panelId);
  }

  #tools(tabs: Tabs): HTMLElement {
    const { t } = this.#context;
    const opens = (popup: string) => ({ "aria-haspopup": popup, "aria-expanded": "false" });
    return h(
      "div",
      { class: "header" },
      tabs.element,
      iconButton("new", "new", t.newSession),
      h("span", { class: "space" }),
      this.#banner.hint,
      iconButton("all", "list", t.allSessions, opens("dialog")),
      iconButton("menu", "menu", t.sessionMenu, opens("menu")),
    );
  }

  /** React to changes of the model from cells. */
  #followModel(): void {
    const listeners: Readonly<Record<string, () => void>> = {
      "change:active": () => {
        const id = this.#trait("active");
        if (id && !choosing) this.#go(id, {});
      },
      "change:sessions": () => this.#update(),
      "change:height": () => this.#setHeight(),
    };
    for (const [name, listener] of Object.entries(listeners)) {
      this.#model.on(name, listener);
      this.#gone.signal.addEventListener("abort", () => this.#model.off(name, listener));
    }
    const active = this.#trait("active");
    if (active) this.#wanted = { id: active };
  }

  #setHeight(): void {
    const height = this.#trait("height") || HEIGHT;
    this.#root.style.height = height;
    this.#root.style.maxHeight = height === "auto" ? HEIGHT : "";
  }

  /** Report the sessions in view to the kernel, if they have changed. */
  #report(): void {
    const ids = this.#visible ? this.#looksAt() : [];
    const key = ids.join(" ");
    if (key === this.#reported) return;
    this.#reported = key;
    this.#runtime.viewing(this.#key, ids);
  }

  #looksAt(): string[] {
    return [this.#shown, ...(this.#columns?.ids ?? [])].filter(Boolean);
  }

  #open(): Head[] {
    const { heads } = this.#runtime.store;
    const only = this.#only();
    if (this.#tabs) return openSessions(heads.values(), only, this.#order);
    const head = heads.get(only?.[0] ?? this.#trait("active"));
    return head && !head.deleted ? [head] : [];
  }

  /** Show what has changed. */
  #update(): void {
    this.#updateTabs();
    this.#updatePanels();
  }

  /**
   * Show the view once a kernel has answered, and before that if there is a kernel, which may be busy.
   *
   * The transcript beside the view is for pages without a kernel, and is hidden by the answer; see `view.css`.
   */
  #reveal(): void {
    const { store, hasKernel } = this.#runtime;
    const welcomed = store.epoch !== "";
    if (welcomed) this.#root.setAttribute("data-welcomed", "");
    this.#root.hidden = !welcomed && !hasKernel;
  }

  /** Show what has changed of the sessions there are; of most of them that is a tab. */
  #updateTabs(): void {
    const { store } = this.#runtime;
    this.#reveal();
    this.#banner.update();
    const open = this.#open();
    // Without a kernel there are no sessions; what is shown stays readable.
    if (open.length === 0 && this.#shown && store.heads.size === 0) return;
    const ids = open.map(({ id }) => id);
    const tabFocused = this.#tabs?.hasFocus === true;
    const wanted = this.#wanted;
    if (wanted && ids.includes(wanted.id)) {
      this.#wanted = null;
      this.#show(wanted.id, wanted);
    } else if (!ids.includes(this.#shown)) {
      this.#show(neighbour(this.#ids, this.#shown, ids), {});
    }
    this.#ids = ids;
    this.#updateNames(open);
    if (tabFocused && !this.#tabs?.hasFocus && !wanted?.focus) {
      if (this.#shown) this.#tabs?.focus(this.#shown);
      else this.#root.querySelector<HTMLElement>('[data-act="new"]')?.focus();
    }
    const menu = this.#root.querySelector('[data-act="menu"]');
    if (menu) setAttribute(menu, "disabled", this.#shown === "");
    show(this.#main.element, this.#shown !== "");
    show(this.#empty, this.#shown === "" && store.connection !== "connecting");
    this.#columns?.keep(ids);
    this.#notifier.update(open);
    this.#begin(open);
    this.#report();
  }

  /** Announce once, in a new page, which answers continued in the background. */
  #begin(open: readonly Head[]): void {
    if (this.#begun || open.length === 0) return;
    this.#begun = true;
    const before = Date.now() / 1000 - AWAY_S;
    const live = open.filter((head) => !isOver(head.state) && (head.started_at ?? before) < before);
    if (live.length > 0) this.#main.say(this.#context.t.wentOn(live.length));
  }

  /** Update the tabs, or the title in a view of one session. */
  #updateNames(open: readonly Head[]): void {
    if (this.#tabs) {
      this.#tabs.update(open, this.#shown);
      setAttribute(this.#tabs.element, "hidden", open.length === 0);
      const name = this.#shown && this.#tabs.idOf(this.#shown);
      setAttribute(this.#main.element, "aria-labelledby", name);
    } else {
      const { t } = this.#context;
      const title = open[0] ? titleOf(open[0], t) : t.chatSessions;
      setAttribute(this.#root, "aria-label", title);
      setText(this.#title, title);
    }
  }

  #updatePanels(): void {
    this.#main.update();
    this.#columns?.update();
    this.#tick();
  }

  /** Tick once per second while a run is live. */
  #tick(): void {
    const main = this.#main.tick();
    const counting = this.#columns?.tick() || main;
    if (counting && this.#timer === undefined) {
      this.#timer = setInterval(() => this.#tick(), 1000);
    } else if (!counting && this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  #show(id: string, { focus, messageId }: Way): void {
    if (id !== this.#shown) {
      this.#shown = id;
      show(this.#main.element, id !== ""); // a hidden element cannot take the focus
      this.#columns?.hide(id);
      this.#main.open(id);
      this.#report();
    }
    if (messageId) this.#main.reveal(messageId);
    if (focus) this.#main.focusComposer();
  }

  /** Show a session in this view, now or as soon as it exists. */
  #go(id: string, way: Way): void {
    const only = this.#only();
    const byUser = way.focus !== undefined;
    if (byUser && only && !only.includes(id)) {
      this.#setSessions([...only, id]);
    }
    this.#wanted = { id, ...way };
    this.#update();
    if (byUser) this.#tell(id);
  }

  /** Show the tab that the user picked. */
  #choose(id: string, focus: boolean): void {
    this.#wanted = null;
    this.#show(id, {});
    this.#tell(id);
    this.#update();
    if (focus) this.#tabs?.focus(id);
  }

  /** Report the shown tab to the kernel. */
  #tell(id: string): void {
    if (!this.#tabs || this.#trait("active") === id) return;
    choosing = true;
    try {
      this.#model.set("active", id);
    } finally {
      choosing = false;
    }
    this.#runtime.setView(this.#trait("view_id"), { active: id });
  }

  /** Change the list of sessions, here and in the kernel. */
  #setSessions(ids: readonly string[]): void {
    this.#model.set("sessions", ids);
    this.#runtime.setView(this.#trait("view_id"), { session_ids: ids });
  }

  #move(id: string, before: string | null): void {
    const only = this.#only();
    if (only) {
      this.#setSessions(moved(only, id, before));
    } else {
      // Shown at once, until the kernel has confirmed it.
      const order = moved(this.#ids, id, before);
      this.#order = order;
      this.#update();
      void perform(this.#context, { type: "move", session_id: id, before }).then(() => {
        if (this.#order === order) this.#order = [];
        this.#update();
      });
    }
    this.#tabs?.focus(id);
  }

  /** Call `run` with a session and the extras. */
  #with(id: string, run: (head: Head, extras: Extras) => void): void {
    this.#extras((extras) => {
      const head = this.#runtime.store.heads.get(id);
      if (head) run(head, extras);
    });
  }

  #setBeside(id: string, beside: boolean): void {
    this.#extras(({ createSideViews }) => {
      this.#columns ??= createSideViews(
        this.#context,
        this.#panels,
        (context) => new Panel(context),
      );
      if (beside) this.#columns.show(id);
      else this.#columns.hide(id);
      this.#report();
    });
  }

  #menu(id: string, anchor: Element): void {
    this.#with(id, (head, { openSessionMenu }) =>
      openSessionMenu(this.#context, anchor, head, {
        ids: this.#ids,
        beside: id === this.#shown ? null : (this.#columns?.has(id) ?? false),
        notifier: Notifier.possible ? this.#notifier : null,
        rename: () => this.#tabs?.rename(id),
        openSettings: () => {
          this.#choose(id, false);
          this.#main.openSettings();
        },
        setBeside: (beside) => this.#setBeside(id, beside),
        viewId: this.#trait("view_id"),
        move: (before) => this.#move(id, before),
      }),
    );
  }
}

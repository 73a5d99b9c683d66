/**
 * `Log`: the messages of one session.
 *
 * Only a window of a long transcript has elements: the end, or the surroundings of the place that the reader
 * went to. The window grows when the reader comes near its edge. `Scroller` keeps what is read in its place.
 */

import type { Place } from "../state/drafts";
import type { SessionView } from "../state/replica";
import type { Context } from "../types";
import { handleActions } from "./actions";
import { Article } from "./article";
import { arrange, button, focusedIn, h, setText, show } from "./dom";
import { type Scrolled, Scroller } from "./scroller";
import { turnsOf } from "./turns";

/** Messages shown when a session is opened; doubled until they fill the screen. */
const FIRST = 2;
/** Messages that are added in one idle period. */
const NEXT = 4;
/** Messages that get elements in idle time, unless they are long. */
const WINDOW = 50;
/** No further messages are added in idle time beyond this number of elements, which slow the page down. */
const MANY_ELEMENTS = 2000;
/** Messages that a click on "earlier" adds. */
const STEP = 50;
/** Most messages with elements; those farthest from the reader are removed. */
const MOST = 400;
/** Distance from the end, in pixels, that still counts as being there. */
const NEAR = 24;

export class Log {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #scroller: Scroller;
  readonly #list = h("div", { class: "messages" });
  readonly #earlier: HTMLButtonElement;
  readonly #note = h("div", { class: "log-note", hidden: true });
  readonly #jump: HTMLButtonElement;
  readonly #articles = new Map<string, Article>();
  readonly #places = new Map<string, Place>();
  #session: SessionView | null = null;
  #sessionId = "";
  /** Id of the first message of the window; empty until there is one. */
  #first = "";
  /** Id of the first message after the window; empty if the window includes the last message. */
  #last = "";
  /** The last message when the reader left the end. */
  #seen = "";
  #filling: number | null = null;
  /** Number of omitted messages when earlier ones were requested; -1 without a request. */
  #asked = -1;
  /** Message to reveal as soon as it is loaded; empty if there is none. */
  #wanted = "";

  constructor(context: Context) {
    const { t, signal } = context;
    this.#context = context;
    this.#earlier = button("earlier", t.earlier, { class: "button earlier", hidden: true });
    this.#jump = button("latest", t.latest, { class: "button jump", hidden: true });
    const scroller = h(
      "div",
      {
        role: "log",
        "aria-live": "off",
        "aria-label": t.conversation,
        class: "log",
        tabindex: 0,
      },
      this.#note,
      this.#earlier,
      this.#list,
    );
    this.element = h("div", { class: "log-box" }, scroller, this.#jump);
    this.#scroller = new Scroller(
      scroller,
      this.#list,
      signal,
      () => this.#left(),
      (how) => this.#scrolled(how),
    );

    handleActions<"log">(
      this.element,
      { earlier: () => this.earlier(), latest: () => this.latest() },
      signal,
    );
    signal.addEventListener("abort", () => this.#clear());
  }

  get sessionId(): string {
    return this.#sessionId;
  }

  /** Show another session, at the reader's last place. */
  open(sessionId: string, session: SessionView | undefined): void {
    if (sessionId === this.#sessionId) return;
    this.#keep();
    this.#clear();
    this.#sessionId = sessionId;
    this.#session = null;
    this.#wanted = "";
    this.update(session);
    if (session) this.#restore();
  }

  /** Show what has changed. */
  update(session: SessionView | undefined): void {
    const opening = this.#session === null;
    setText(this.#note, session ? "" : this.#context.t.loading);
    show(this.#note, !session && this.#sessionId !== "" && this.#articles.size === 0);
    if (!session) return;
    this.#session = session;
    if (opening) {
      this.#scroller.join();
      this.#seen = "";
      const place = this.#kept;
      const wanted =
        place && place !== "end" ? session.path.findIndex((m) => m.id === place.id) : -1;
      const { path } = session;
      const start = wanted >= 0 ? wanted : Math.max(0, path.length - FIRST);
      this.#first = path[start]?.id ?? "";
      this.#last = wanted >= 0 ? (path[start + STEP]?.id ?? "") : "";
    }
    this.#draw(session);
    if (opening) {
      this.#fillScreen(session);
      this.#restore();
      this.#fill();
    } else if (typeof ResizeObserver !== "function") this.#scroller.follow();
    if (this.#asked > session.omitted) {
      this.#asked = -1;
      this.earlier();
    }
    if (this.#wanted) this.reveal(this.#wanted);
    this.#updateJump();
  }

  /** Show what changes with time alone. */
  tick(): void {
    for (const article of this.#articles.values()) if (article.ticks) article.tick();
  }

  get ticks(): boolean {
    for (const article of this.#articles.values()) if (article.ticks) return true;
    return false;
  }

  /** Return the article of a message, if it has one. */
  article(messageId: string): Article | undefined {
    return this.#articles.get(messageId);
  }

  /** Add earlier messages. */
  earlier(): void {
    const session = this.#session;
    if (!session) return;
    const start = this.#start(session);
    if (start > 0) {
      this.#scroller.keepPlace(() => {
        const first = Math.max(0, start - STEP);
        this.#first = session.path[first]?.id ?? "";
        if (this.#end(session) - first > MOST) this.#last = session.path[first + MOST]?.id ?? "";
        this.#draw(session);
      });
    } else if (session.omitted > 0) {
      setText(this.#earlier, this.#context.t.loadingEarlier);
      this.#asked = session.omitted;
      this.#context.runtime.earlier(this.#sessionId);
    }
  }

  /** Add later messages. */
  #later(): void {
    const session = this.#session;
    if (!session || this.#last === "") return;
    const end = this.#end(session) + STEP;
    this.#last = session.path[end]?.id ?? "";
    this.#scroller.keepPlace(() => {
      if (end - this.#start(session) > MOST) this.#first = session.path[end - MOST]?.id ?? "";
      this.#draw(session);
    });
  }

  /** Scroll to the end and follow it. */
  latest(): void {
    const session = this.#session;
    if (session && this.#last !== "") {
      this.#first = session.path.at(-FIRST)?.id ?? "";
      this.#last = "";
      this.#draw(session);
      this.#fillScreen(session);
    }
    this.#seen = this.#wanted = "";
    this.#scroller.toEnd();
    this.#updateJump();
  }

  /** Scroll a message into view and mark it, as soon as it is loaded. */
  reveal(messageId: string): void {
    const session = this.#session;
    const index = session?.path.findIndex(({ id }) => id === messageId) ?? -1;
    this.#wanted = index < 0 && session?.omitted !== 0 ? messageId : "";
    if (this.#wanted && session) this.#context.runtime.earlier(this.#sessionId);
    if (!session || index < 0) return;
    this.#scroller.leave();
    if (index < this.#start(session) || index >= this.#end(session)) {
      this.#first = messageId;
      this.#last = session.path[index + STEP]?.id ?? "";
      this.#draw(session);
    }
    const element = this.#articles.get(messageId)?.element;
    this.#list.querySelector(".nbchat-found")?.classList.remove("nbchat-found");
    element?.classList.add("nbchat-found");
    if (element) this.#scroller.align(element, 0);
  }

  #start(session: SessionView): number {
    const index = session.path.findIndex(({ id }) => id === this.#first);
    return index >= 0 ? index : Math.max(0, session.path.length - WINDOW);
  }

  /** Index of the first message after the window. */
  #end({ path }: SessionView): number {
    const index = this.#last === "" ? -1 : path.findIndex(({ id }) => id === this.#last);
    return index < 0 ? path.length : index;
  }

  #draw(session: SessionView): void {
    const { path } = session;
    let start = this.#start(session);
    if (this.#scroller.follows && path.length - start > MOST) start = path.length - WINDOW;
    this.#first = path[start]?.id ?? "";
    // Another version of the conversation may contain neither message.
    if (this.#end(session) <= start) this.#last = "";
    const end = this.#end(session);

    const { edits } = this.#context.runtime.drafts;
    const shown = new Set<string>();
    const elements: HTMLElement[] = [];
    for (const turn of turnsOf(session, start, end)) {
      const { message } = turn;
      let edited: string | undefined;
      let article = this.#articles.get(message.id);
      if (!article) {
        article = new Article(this.#context, message);
        this.#articles.set(message.id, article);
        edited = edits.get(message.id);
        edits.delete(message.id);
      }
      shown.add(message.id);
      elements.push(article.element);
      article.update(turn);
      if (edited !== undefined) article.edit(edited);
    }
    const focused = focusedIn(this.#list);
    let left = "";
    for (const [id, { element }] of this.#articles) {
      if (shown.has(id)) continue;
      if (element.contains(focused)) left = id;
      this.#drop(id);
    }
    arrange(this.#list, elements);
    if (left) this.#focusVersion(left, focused?.getAttribute("aria-label") ?? "");
    show(this.#earlier, start > 0 || session.omitted > 0);
    if (this.#asked < 0) setText(this.#earlier, this.#context.t.earlier);
  }

  /** Extend the window until it fills the screen. */
  #fillScreen(session: SessionView): void {
    let more = FIRST;
    for (let start = this.#start(session); start > 0; more *= 2) {
      if (this.#scroller.filled) break;
      start = Math.max(0, start - more);
      this.#first = session.path[start]?.id ?? "";
      this.#draw(session);
    }
  }

  /** Extend the window above the screen in idle time. */
  #fill(): void {
    const idle =
      typeof requestIdleCallback === "function"
        ? requestIdleCallback
        : (run: () => void) => window.setTimeout(run, 50);
    if (this.#filling !== null) return;
    this.#filling = idle(() => {
      this.#filling = null;
      const session = this.#session;
      if (!session || this.#context.signal.aborted) return;
      const start = this.#start(session);
      const shown = this.#end(session) - start;
      if (start === 0 || shown >= WINDOW) return;
      if (this.#list.getElementsByTagName("*").length >= MANY_ELEMENTS) return;
      this.#scroller.keepPlace(() => {
        this.#first = session.path[Math.max(0, start - NEXT)]?.id ?? "";
        this.#draw(session);
      });
      this.#fill();
    });
  }

  #clear(): void {
    for (const id of this.#articles.keys()) this.#drop(id);
    this.#list.replaceChildren();
    this.#first = this.#last = "";
    this.#asked = -1;
  }

  /** Move the focus from a replaced version to the same button of the new one, or to its first button. */
  #focusVersion(of: string, label: string): void {
    for (const { element, turn } of this.#articles.values()) {
      if (!turn?.versions.some(({ id }) => id === of)) continue;
      const buttons = [...element.querySelectorAll<HTMLElement>(".nbchat-actions button:enabled")];
      const same = buttons.find((one) => one.getAttribute("aria-label") === label);
      (same ?? buttons[0])?.focus({ preventScroll: true });
    }
  }

  #drop(id: string): void {
    const article = this.#articles.get(id);
    const edited = article?.edited ?? null;
    if (edited !== null) this.#context.runtime.drafts.edits.set(id, edited);
    article?.destroy();
    this.#articles.delete(id);
  }

  /** Store the reader's place for this view and for one that replaces it. */
  #keep(): void {
    if (this.#sessionId === "" || !this.#scroller.visible) return;
    const atEnd = this.#scroller.follows && this.#last === "";
    const place = atEnd ? "end" : this.#scroller.place();
    this.#places.set(this.#sessionId, place);
    this.#context.runtime.drafts.places.set(this.#sessionId, place);
  }

  get #kept(): Place | undefined {
    const { places } = this.#context.runtime.drafts;
    return this.#places.get(this.#sessionId) ?? places.get(this.#sessionId);
  }

  #restore(): void {
    const place = this.#kept ?? "end";
    const element = place === "end" ? undefined : this.#articles.get(place.id)?.element;
    if (place === "end" || !element) {
      this.#scroller.toEnd();
    } else {
      this.#scroller.leave();
      this.#scroller.align(element, place.offset);
    }
    this.#updateJump();
  }

  #left(): void {
    this.#seen = this.#session?.path.at(-1)?.id ?? "";
    this.#updateJump();
  }

  #scrolled({ distance, top, up }: Scrolled): void {
    if (this.#last !== "") {
      if (distance <= NEAR && !up) this.#later();
    } else if (distance <= 2 || (distance <= NEAR && !up)) {
      this.#scroller.join();
      this.#seen = "";
      this.#updateJump();
    } else if (up) {
      this.#scroller.leave();
    }
    if (!this.#scroller.follows && top < 40 && up && !this.#earlier.hidden) this.earlier();
    this.#keep();
  }

  #updateJump(): void {
    show(this.#jump, !this.#scroller.follows);
    if (this.#scroller.follows || !this.#session) return;
    const { path } = this.#session;
    const index = path.findIndex(({ id }) => id === this.#seen);
    const fresh = index < 0 ? 0 : path.length - 1 - index;
    const { t } = this.#context;
    setText(this.#jump, fresh > 0 ? t.latestNew(fresh) : t.latest);
  }
}

/**
 * The messages of one session, scrolled.
 *
 * Of a long transcript only a stretch has elements: the end, or what is around the place that the reader
 * went to; the others come when the reader gets near. Nothing that is being read moves: the view follows
 * the end only while the reader is there, and what is put in above is taken back by as much scrolling.
 */

import type { Message, RunRecord } from "../protocol";
import type { Place } from "../state/drafts";
import type { SessionView } from "../state/replica";
import { isLive } from "../state/session";
import type { Context } from "../types";
import { Article } from "./article";
import { arrange, button, h, setText, show } from "./dom";

/** Messages shown at once when a session is opened; twice as many again and again until they fill the screen. */
const FIRST = 2;
/** Messages that follow at a time while the page has nothing better to do. */
const NEXT = 4;
/** Messages that follow when the page has time, unless they are long. */
const WINDOW = 50;
/** Elements from which on nothing follows by itself: a page with many is slow wherever they are. */
const MANY_ELEMENTS = 2000;
/** Messages that a click on "earlier" brings. */
const STEP = 50;
/** Messages that have elements at most; those farthest from the reader are let go. */
const MOST = 400;
/** Distance from the end, in pixels, that still counts as being there. */
const NEAR = 24;

export class Log {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #scroller: HTMLElement;
  readonly #list = h("div", { class: "messages" });
  readonly #earlier: HTMLButtonElement;
  readonly #note = h("div", { class: "log-note", hidden: true });
  readonly #jump: HTMLButtonElement;
  readonly #articles = new Map<string, Article>();
  readonly #places = new Map<string, Place>();
  #session: SessionView | null = null;
  #sessionId = "";
  /** Id of the first message that has elements; empty until there is one. */
  #first = "";
  /** Id of the first message after those that have elements; empty where the transcript's last has some. */
  #last = "";
  #follows = true;
  #held = false;
  /** It has no size: its output is collapsed. */
  #hidden = false;
  #lastTop = 0;
  /** The last message when the reader left the end. */
  #seen = "";
  #filling: number | null = null;
  /** How many messages were missing when earlier ones were asked for; -1: they were not. */
  #asked = -1;
  /** Message to be shown as soon as it is here; empty: none. */
  #wanted = "";

  constructor(context: Context) {
    const { t, signal } = context;
    this.#context = context;
    this.#earlier = button("earlier", t.earlier, { class: "button earlier", hidden: true });
    this.#jump = button("latest", t.latest, { class: "button jump", hidden: true });
    this.#scroller = h(
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
    this.element = h("div", { class: "log-box" }, this.#scroller, this.#jump);

    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true, signal });
    this.#scroller.addEventListener(
      "wheel",
      (event) => {
        // Before the scroll event: the next piece of text must not pull the reader back.
        if (event.deltaY < 0 && this.#scroller.scrollHeight > this.#scroller.clientHeight) {
          this.#leave();
        }
      },
      { passive: true, signal },
    );
    // Text under the pointer stays where it is while it is being selected.
    this.#list.addEventListener(
      "pointerdown",
      () => {
        this.#held = true;
      },
      { signal },
    );
    for (const type of ["pointerup", "pointercancel"] as const) {
      window.addEventListener(
        type,
        () => {
          this.#held = false;
        },
        { signal },
      );
    }
    if (typeof ResizeObserver === "function") {
      const observer = new ResizeObserver(() => {
        const hidden = this.#scroller.clientHeight === 0;
        // A collapsed output comes back scrolled to its top.
        if (this.#hidden && !hidden && !this.#follows) this.#scroller.scrollTop = this.#lastTop;
        this.#hidden = hidden;
        this.#follow();
      });
      observer.observe(this.#list);
      observer.observe(this.#scroller);
      signal.addEventListener("abort", () => observer.disconnect());
    }
    signal.addEventListener("abort", () => this.#clear());
  }

  /** Show another session, at the place where the reader left it. */
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
      this.#follows = true;
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
    } else if (typeof ResizeObserver !== "function") this.#follow();
    if (this.#asked > session.omitted) {
      this.#asked = -1;
      this.earlier();
    }
    if (this.#wanted) this.reveal(this.#wanted);
    this.#updateJump();
  }

  /** Count what counts down. */
  tick(): void {
    for (const article of this.#articles.values()) if (article.ticks) article.tick();
  }

  get ticks(): boolean {
    for (const article of this.#articles.values()) if (article.ticks) return true;
    return false;
  }

  /** Return the elements of a message, if it is shown. */
  article(messageId: string): Article | undefined {
    return this.#articles.get(messageId);
  }

  /** Show more of what came before. */
  earlier(): void {
    const session = this.#session;
    if (!session) return;
    const start = this.#start(session);
    if (start > 0) {
      this.#keepPlace(() => {
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

  /** Show more of what comes after. */
  #later(): void {
    const session = this.#session;
    if (!session || this.#last === "") return;
    const end = this.#end(session) + STEP;
    this.#last = session.path[end]?.id ?? "";
    this.#keepPlace(() => {
      if (end - this.#start(session) > MOST) this.#first = session.path[end - MOST]?.id ?? "";
      this.#draw(session);
    });
  }

  /** Go to the end and stay there. */
  latest(): void {
    const session = this.#session;
    if (session && this.#last !== "") {
      this.#first = session.path.at(-FIRST)?.id ?? "";
      this.#last = "";
      this.#draw(session);
      this.#fillScreen(session);
    }
    this.#follows = true;
    this.#seen = this.#wanted = "";
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#updateJump();
  }

  /** Scroll a message into view and mark it, once it is here: it may be far before what is loaded. */
  reveal(messageId: string): void {
    const session = this.#session;
    const index = session?.path.findIndex(({ id }) => id === messageId) ?? -1;
    this.#wanted = index < 0 && session?.omitted !== 0 ? messageId : "";
    if (this.#wanted && session) this.#context.runtime.earlier(this.#sessionId);
    if (!session || index < 0) return;
    this.#leave();
    if (index < this.#start(session) || index >= this.#end(session)) {
      this.#first = messageId;
      this.#last = session.path[index + STEP]?.id ?? "";
      this.#draw(session);
    }
    const element = this.#articles.get(messageId)?.element;
    this.#list.querySelector(".nbchat-found")?.classList.remove("nbchat-found");
    element?.classList.add("nbchat-found");
    if (element) this.#align(element, 0);
    this.#lastTop = this.#scroller.scrollTop;
  }

  #start(session: SessionView): number {
    const index = session.path.findIndex(({ id }) => id === this.#first);
    return index >= 0 ? index : Math.max(0, session.path.length - WINDOW);
  }

  /** Number of the first message after those that have elements. */
  #end({ path }: SessionView): number {
    const index = this.#last === "" ? -1 : path.findIndex(({ id }) => id === this.#last);
    return index < 0 ? path.length : index;
  }

  #draw(session: SessionView): void {
    const { path, state } = session;
    let start = this.#start(session);
    if (this.#follows && path.length - start > MOST) start = path.length - WINDOW;
    this.#first = path[start]?.id ?? "";
    // Another version of the conversation may have neither message.
    if (this.#end(session) <= start) this.#last = "";
    const end = this.#end(session);

    const runs = new Map<string, RunRecord>();
    const seams = new Map<string, number[]>();
    let busy = false;
    for (const run of state.runs) {
      runs.set(run.id, run);
      busy ||= isLive(run);
      if ((run.kind === "continue" || run.kind === "resume") && run.started_at !== null) {
        const known = seams.get(run.message_id);
        if (known) known.push(run.first_part);
        else seams.set(run.message_id, [run.first_part]);
      }
    }
    const versions = new Map<string, Message[]>();
    for (const message of Object.values(state.messages)) {
      const turn = `${message.role} ${message.parent_id ?? ""}`;
      const known = versions.get(turn);
      if (known) known.push(message);
      else versions.set(turn, [message]);
    }

    const { edits } = this.#context.runtime.drafts;
    const shown = new Set<string>();
    const elements: HTMLElement[] = [];
    for (let index = start; index < end; index += 1) {
      const message = path[index] as Message;
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
      article.update({
        message,
        run: (message.run_id !== null && runs.get(message.run_id)) || null,
        versions: versions.get(`${message.role} ${message.parent_id ?? ""}`) ?? [message],
        seams: seams.get(message.id) ?? [],
        last: index === path.length - 1,
        runs: state.runs,
        busy,
        generation: session.generation,
      });
      if (edited !== undefined) article.edit(edited);
    }
    const focused = document.activeElement;
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

  /** Give elements to as many messages as fill the screen. */
  #fillScreen(session: SessionView): void {
    const { clientHeight } = this.#scroller;
    let more = FIRST;
    for (let start = this.#start(session); start > 0; more *= 2) {
      if (this.#list.offsetHeight >= clientHeight) break;
      start = Math.max(0, start - more);
      this.#first = session.path[start]?.id ?? "";
      this.#draw(session);
    }
  }

  /** Give elements to the messages above the first screen, when the page has nothing better to do. */
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
      this.#keepPlace(() => {
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

  /** Another version took the place of one that had the focus: its button of that name gets it, or another. */
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

  /** Change what is above without moving what is read. */
  #keepPlace(change: () => void): void {
    const anchor = this.#topArticle();
    const before = anchor?.getBoundingClientRect().top ?? 0;
    change();
    if (this.#follows) this.#follow();
    else if (anchor?.isConnected) {
      this.#scroller.scrollTop += anchor.getBoundingClientRect().top - before;
    }
    if (!this.#hidden) this.#lastTop = this.#scroller.scrollTop;
  }

  /** The first message that the reader sees. */
  #topArticle(): Element | null {
    const top = this.#scroller.getBoundingClientRect().top;
    for (const element of this.#list.children) {
      if (element.getBoundingClientRect().bottom > top) return element;
    }
    return null;
  }

  /** Remember where the reader is, for this view and for one that comes in its place. */
  #keep(): void {
    if (this.#sessionId === "" || this.#scroller.clientHeight === 0) return;
    const place = this.#place();
    this.#places.set(this.#sessionId, place);
    this.#context.runtime.drafts.places.set(this.#sessionId, place);
  }

  get #kept(): Place | undefined {
    const { places } = this.#context.runtime.drafts;
    return this.#places.get(this.#sessionId) ?? places.get(this.#sessionId);
  }

  #place(): Place {
    if (this.#follows && this.#last === "") return "end";
    const element = this.#topArticle();
    const id = element?.getAttribute("data-message-id");
    if (!element || !id) return "end";
    const top = this.#scroller.getBoundingClientRect().top;
    return { id, offset: element.getBoundingClientRect().top - top };
  }

  #restore(): void {
    const place = this.#kept ?? "end";
    const element = place === "end" ? undefined : this.#articles.get(place.id)?.element;
    if (place === "end" || !element) {
      this.#follows = true;
      this.#scroller.scrollTop = this.#scroller.scrollHeight;
    } else {
      this.#follows = false;
      this.#seen = this.#session?.path.at(-1)?.id ?? "";
      this.#align(element, place.offset);
    }
    this.#lastTop = this.#scroller.scrollTop;
    this.#updateJump();
  }

  /** Scroll so that an element is `offset` pixels below the upper edge. */
  #align(element: Element, offset: number): void {
    const { top } = this.#scroller.getBoundingClientRect();
    this.#scroller.scrollTop += element.getBoundingClientRect().top - top - offset;
  }

  #follow(): void {
    if (!this.#follows || this.#held) return;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#lastTop = this.#scroller.scrollTop;
  }

  #leave(): void {
    if (!this.#follows) return;
    this.#follows = false;
    this.#seen = this.#session?.path.at(-1)?.id ?? "";
    this.#updateJump();
  }

  #scrolled(): void {
    if (this.#hidden) return;
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const distance = scrollHeight - clientHeight - scrollTop;
    const up = scrollTop < this.#lastTop - 2;
    this.#lastTop = scrollTop;
    if (this.#last !== "") {
      if (distance <= NEAR && !up) this.#later();
    } else if (distance <= 2 || (distance <= NEAR && !up)) {
      this.#follows = true;
      this.#seen = "";
      this.#updateJump();
    } else if (up) {
      this.#leave();
    }
    if (!this.#follows && scrollTop < 40 && up && !this.#earlier.hidden) this.earlier();
    this.#keep();
  }

  #updateJump(): void {
    show(this.#jump, !this.#follows);
    if (this.#follows || !this.#session) return;
    const { path } = this.#session;
    const index = path.findIndex(({ id }) => id === this.#seen);
    const fresh = index < 0 ? 0 : path.length - 1 - index;
    const { t } = this.#context;
    setText(this.#jump, fresh > 0 ? t.latestNew(fresh) : t.latest);
  }
}

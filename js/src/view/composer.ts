/** `Composer`: the text field. A text stays in it until the kernel has acknowledged it. */

import type { Attachment, Head } from "../protocol";
import { isOver } from "../state/session";
import type { Context, Extras, Ready } from "../types";
import { handleActions } from "./actions";
import { chipOf, isVariable } from "./chip";
import { button, focusedIn, h, iconButton, setAttribute, setText, show, uniqueId } from "./dom";
import { isComposing, sends } from "./keys";
import { Recall } from "./recall";
import { causeOf, estimateTokens, inBytes, MOST_BYTES, reveal, thrown } from "./text";

/** Longer texts keep their direction, since the browser would compute it again at every key. */
const LONG = 50_000;
/** Estimated tokens of a message above which sending asks first. */
const LARGE_TOKENS = 50_000;

export class Composer {
  readonly element: HTMLElement;
  readonly #context: Context;
  readonly #text: HTMLTextAreaElement;
  readonly #send: HTMLButtonElement;
  readonly #live = h("span", { class: "live-buttons" });
  readonly #stop: HTMLButtonElement;
  readonly #pause: HTMLButtonElement;
  readonly #resume: HTMLButtonElement;
  readonly #error: HTMLElement;
  readonly #files: HTMLInputElement;
  readonly #attached: HTMLElement;
  readonly #pending = new Map<string, string>();
  readonly #errors = new Map<string, string>();
  /** Called when the kernel has taken a text. */
  readonly #sent: (sessionId: string) => void;
  readonly #recalled: Recall;
  /** Descriptions of variables that are on their way. */
  readonly #preparing = new Set<Promise<void>>();
  #sessionId = "";
  #head: Head | undefined;
  /** The attachments of the chips. */
  #chips: readonly Attachment[] = [];
  /** The large message that the user was asked about last. */
  #large: {
    readonly sessionId: string;
    readonly text: string;
    readonly attachments: readonly Attachment[];
  } | null = null;

  constructor(context: Context, sent: (sessionId: string) => void, asked: () => readonly string[]) {
    const { t, signal } = context;
    this.#context = context;
    this.#sent = sent;
    const errorId = uniqueId("error");
    this.#text = h("textarea", {
      class: "input",
      "aria-label": t.message,
      "aria-describedby": errorId,
      rows: 1,
      placeholder: t.placeholder,
      title: hint(context),
    });
    this.#recalled = new Recall(this.#text, asked);
    this.#send = button("send", t.send, { class: "button primary" });
    this.#stop = button("stop", t.stop, { title: t.goesOn });
    this.#pause = button("pause", t.pause);
    this.#resume = button("resume-run", t.resume);
    this.#error = h("p", { class: "composer-error", id: errorId, hidden: true });
    this.#files = h("input", { type: "file", multiple: true, hidden: true, tabindex: -1 });
    this.#attached = h("div", {
      class: "attached",
      role: "group",
      "aria-label": t.attachments,
      hidden: true,
    });
    this.element = h(
      "div",
      { class: "composer" },
      this.#error,
      this.#attached,
      h(
        "div",
        { class: "composer-row" },
        this.#text,
        h(
          "div",
          { class: "composer-buttons" },
          iconButton("attach", "attach", t.attach),
          this.#live,
          this.#send,
        ),
      ),
      this.#files,
    );

    handleActions<"composer">(
      this.element,
      {
        send: () => void this.send(),
        attach: () => this.#files.click(),
        detach: (_, index) => this.#detach(Number(index)),
        "show-sent": (anchor, index) => {
          const part = this.#chips[Number(index)];
          if (part) context.extras((extras) => extras.showSent(context, anchor, part));
        },
      },
      signal,
    );
    this.#text.addEventListener("input", () => this.#typed(), { signal });
    this.#text.addEventListener("keydown", (event) => this.#key(event), { signal });
    this.#text.addEventListener(
      "paste",
      (event) => {
        // Office programs copy a picture beside the text and the HTML; only the text is wanted.
        const { clipboardData: data } = event;
        const text = data?.getData("text/plain") ?? "";
        if (!text || !data?.getData("text/html")) this.take(data, event);
        this.#direct(this.#text.value.length + text.length);
      },
      { signal },
    );
    this.#files.addEventListener(
      "change",
      () => {
        void this.#read(Array.from(this.#files.files ?? []));
        this.#files.value = "";
      },
      { signal },
    );
  }

  /** Switch to another session and restore its draft. */
  open(sessionId: string): void {
    if (sessionId === this.#sessionId) return;
    this.#sessionId = sessionId;
    this.#recalled.reset();
    const draft = this.#context.runtime.drafts.get(sessionId);
    this.#direct(draft.length);
    this.#text.value = draft;
    this.#text.disabled = sessionId === "";
    this.#grow();
    this.#refresh();
  }

  /** Show the buttons for the session's live run. */
  update(head: Head | undefined): void {
    this.#head = head;
    const live = head !== undefined && !isOver(head.state);
    const wanted = live ? [head.state === "paused" ? this.#resume : this.#pause, this.#stop] : [];
    const focused = focusedIn(this.#live);
    if (
      this.#live.children.length !== wanted.length ||
      wanted.some((element, i) => this.#live.children[i] !== element)
    ) {
      this.#live.replaceChildren(...wanted);
      if (focused && !focusedIn(this.#live)) {
        (wanted[0] ?? this.#text).focus({ preventScroll: true });
      }
    }
    setAttribute(this.#stop, "aria-disabled", head?.state === "stopping" ? "true" : null);
    // While tools wait or run, nothing is read that could be paused.
    const readsNothing = ["stopping", "awaiting_approval", "acting"].includes(head?.state ?? "");
    setAttribute(this.#pause, "aria-disabled", readsNothing ? "true" : null);
    this.#refresh();
  }

  /** Whether the field is empty. */
  get empty(): boolean {
    return this.#text.value === "";
  }

  get focused(): boolean {
    return focusedIn(this.#text) !== null;
  }

  focus(): void {
    this.#text.focus({ preventScroll: true });
  }

  /** Append a text, and add attachments. */
  put(text: string, attachments: readonly Attachment[] = []): void {
    this.#attach(this.#sessionId, attachments);
    this.#text.value = this.#text.value ? `${this.#text.value}\n${text}` : text;
    this.#typed();
    this.focus();
    this.#text.setSelectionRange(this.#text.value.length, this.#text.value.length);
  }

  #detach(index: number): void {
    const { drafts } = this.#context.runtime;
    const attached = drafts.attached(this.#sessionId);
    drafts.attach(
      this.#sessionId,
      attached.filter((_, i) => i !== index),
    );
    this.#refresh();
    this.focus();
  }

  /** Send what is written, when the variables that it mentions are attached. */
  async send(): Promise<void> {
    const { runtime, t } = this.#context;
    const sessionId = this.#sessionId;
    if (this.#preparing.size > 0) {
      while (this.#preparing.size > 0) await Promise.all(this.#preparing);
      if (sessionId !== this.#sessionId || this.#errors.has(sessionId)) return;
    }
    const text = this.#text.value;
    const attachments = runtime.drafts.attached(sessionId);
    // A pending text is not sent again: a double click is one question.
    if (!sessionId || this.#pending.has(sessionId) || (!text.trim() && attachments.length === 0))
      return;
    const bytes = new TextEncoder().encode(JSON.stringify([text, attachments])).length;
    if (bytes > MOST_BYTES) {
      this.#refuse(sessionId, `${t.notSent} ${t.tooLong(inBytes(bytes), inBytes(MOST_BYTES))}`);
      return;
    }
    if (!this.#mayBeLarge(sessionId, text, attachments)) return;
    // If a recalled question is sent, the draft that it replaced is restored.
    const draft = this.#recalled.draft;
    this.#errors.delete(sessionId);
    this.#pending.set(sessionId, text);
    this.#refresh();
    let error = "";
    try {
      let message: Ready = { text, attachments };
      if (text.includes("\\@") || attachments.some(isVariable)) {
        const { extras } = await runtime.load("extras");
        message = (await extras?.readyToSend(this.#context, sessionId, message)) ?? message;
      }
      const ack = await runtime.do({
        type: "send",
        session_id: sessionId,
        ...message,
        run_id: null,
        message_id: null,
        params: {},
      });
      if (ack.error) error = causeOf(ack.error);
    } catch (reason) {
      error = thrown(reason);
    }
    this.#pending.delete(sessionId);
    if (error) {
      this.#refuse(sessionId, `${t.notSent} ${error}`);
      return;
    }
    // Attachments that were added meanwhile stay.
    runtime.drafts.attach(
      sessionId,
      runtime.drafts.attached(sessionId).filter((one) => !attachments.includes(one)),
    );
    const here = sessionId === this.#sessionId;
    const now = here ? this.#text.value : runtime.drafts.get(sessionId);
    // Text that was typed meanwhile stays.
    const rest = (now.startsWith(text) ? now.slice(text.length) : now) || draft;
    runtime.drafts.set(sessionId, rest);
    if (here) {
      this.#text.value = rest;
      this.#recalled.reset();
      this.#grow();
    }
    this.#refresh();
    this.#sent(sessionId);
  }

  /** Return whether a message may be sent: a large one only if this very message was refused before. */
  #mayBeLarge(sessionId: string, text: string, attachments: readonly Attachment[]): boolean {
    const files = attachments.filter(({ type }) => type === "file");
    const tokens = [text, ...files.map((file) => file.text)]
      .map(estimateTokens)
      .reduce((sum, count) => sum + count, 0);
    if (tokens <= LARGE_TOKENS) return true;
    const asked = this.#large;
    const isSame =
      asked?.sessionId === sessionId && asked.text === text && asked.attachments === attachments;
    this.#large = isSame ? null : { sessionId, text, attachments };
    const { t, locale } = this.#context;
    if (!isSame) this.#refuse(sessionId, t.largeMessage(tokens.toLocaleString(locale)));
    return isSame;
  }

  #refuse(sessionId: string, why: string): void {
    this.#errors.set(sessionId, reveal(why));
    this.#refresh();
    if (sessionId === this.#sessionId) {
      this.#context.say(reveal(why));
    }
  }

  #refresh(): void {
    const { t, runtime } = this.#context;
    const id = this.#sessionId;
    const pending = this.#pending.has(id);
    const attached = runtime.drafts.attached(id);
    const nothing = this.#text.value.trim() === "" && attached.length === 0;
    setAttribute(this.#send, "disabled", nothing || pending || !this.#head);
    setAttribute(this.element, "data-pending", pending);
    const error = this.#errors.get(id) ?? "";
    const waits = runtime.store.connection === "waiting" ? t.sendingWaits : t.sending;
    setText(this.#error, error || (pending ? waits : ""));
    setAttribute(this.#error, "data-tone", error ? "error" : null);
    show(this.#error, error !== "" || pending);
    setAttribute(this.#text, "aria-invalid", error ? "true" : null);
    if (this.#chips !== attached) {
      this.#chips = attached;
      this.#attached.replaceChildren(...attached.map((part, i) => chipOf(this.#context, part, i)));
    }
    show(this.#attached, attached.length > 0);
  }

  #typed(): void {
    this.#recalled.reset();
    if (this.#errors.delete(this.#sessionId)) this.#context.say("");
    if (this.#text.value.includes("@")) this.#suggest();
    this.#context.runtime.drafts.set(this.#sessionId, this.#text.value);
    this.#direct(this.#text.value.length);
    this.#grow();
    this.#refresh();
  }

  /** Derive the direction from the text's first letter, unless the text is long. */
  #direct(length: number): void {
    setAttribute(this.#text, "dir", length < LONG ? "auto" : null);
  }

  #grow(): void {
    if (globalThis.CSS?.supports?.("field-sizing", "content")) return;
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight + 2}px`;
  }

  #key(event: KeyboardEvent): void {
    if (isComposing(event)) return;
    if (event.key === "Enter") {
      if (!sends(event, this.#context.sendKey())) return;
      event.preventDefault();
      void this.send();
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      if (event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
      if (!this.#recalled.step(event.key === "ArrowUp" ? 1 : -1)) return;
      event.preventDefault();
      this.#grow();
      this.#refresh();
    }
  }

  /** Attach the files that were pasted or dropped. */
  take(data: DataTransfer | null, event: Event): void {
    const files = Array.from(data?.files ?? []);
    if (files.length === 0) return;
    event.preventDefault();
    event.stopPropagation();
    void this.#read(files);
  }

  /** Offer variables at `@`, and attach those that are chosen. */
  #suggest(): void {
    const context = this.#context;
    const sessionId = this.#sessionId;
    const prepare = (preparation: Promise<void>): Promise<void> => {
      const prepared = preparation.then(
        () => this.#refresh(),
        (reason) => this.#refuse(sessionId, thrown(reason)),
      );
      this.#preparing.add(prepared);
      return prepared.then(() => void this.#preparing.delete(prepared));
    };
    const offered = context.runtime
      .load("extras")
      .then(({ extras }) => extras?.suggestVariables(context, this.#text, sessionId, prepare));
    void prepare(offered);
  }

  #attach(sessionId: string, attachments: readonly Attachment[]): void {
    if (attachments.length === 0) return;
    const { drafts } = this.#context.runtime;
    drafts.attach(sessionId, [...drafts.attached(sessionId), ...attachments]);
    this.#refresh();
  }

  /** Read files and attach them to the message. */
  async #read(files: readonly File[]): Promise<void> {
    const sessionId = this.#sessionId;
    this.#errors.delete(sessionId);
    const { readAttachment } = await new Promise<Extras>(this.#context.extras);
    for (const file of files) {
      const read = await readAttachment(this.#context, file).catch(thrown);
      if (typeof read === "string") this.#refuse(sessionId, read);
      else this.#attach(sessionId, [read]);
    }
  }
}

function hint({ t, sendKey }: Context): string {
  const habit = sendKey();
  if (habit === "shift-enter") return t.hintShiftEnter;
  return habit === "ctrl-enter" ? t.hintCtrlEnter : t.hintEnter;
}

/** `Others`: who else is here, and who is typing; shown below the messages of a session in a service. */

import { allStrings } from "../i18n/extras";
import type { Person } from "../protocol";
import type { Context, PeopleView } from "../types";
import { h, installStyles, setText, show } from "./dom";
import css from "./extras.css";
import { label } from "./text";

/** Interval of reports that the user is typing; the service forgets after twice as long. */
const TYPING_MS = 3000;
/** Interval while the service does not show it, as after a message was sent. */
const NEW_MS = 500;
/** People who are shown by their initials; the others are counted. */
const MOST = 3;
/** Graphemes of a name. */
const NAME = 40;

export class Others implements PeopleView {
  readonly #context: Context;
  readonly #typing = h("span", { class: "typing" });
  readonly #list: HTMLElement;
  readonly #element: HTMLElement;
  #sessionId = "";
  #drawn = "";
  /** When it was reported last that the user is typing here; 0 if it was reported that the text is empty. */
  #reported = 0;
  /** Set while a report of what was typed shortly after another report is due. */
  #later: ReturnType<typeof setTimeout> | undefined;

  /** @param panel shows the session; the list is put into its foot. */
  constructor(context: Context, panel: HTMLElement) {
    installStyles(context.root, css);
    this.#context = context;
    this.#list = h("ul", { class: "people", "aria-label": allStrings(context.t).alsoHere });
    this.#element = h("span", { class: "presence", hidden: true }, this.#typing, this.#list);
    panel.querySelector(".nbchat-space")?.after(this.#element);
    const { signal } = context;
    const input = ({ target }: Event): void => {
      if (target instanceof HTMLTextAreaElement && target.matches(".nbchat-input")) {
        this.#typed(target);
      }
    };
    panel.addEventListener("input", input, { signal });
    signal.addEventListener("abort", () => clearTimeout(this.#later));
  }

  /** Show what has changed. */
  update(sessionId: string): void {
    if (sessionId !== this.#sessionId) {
      clearTimeout(this.#later);
      this.#reported = 0;
    }
    this.#sessionId = sessionId;
    const others = this.#others;
    show(this.#element, others.length > 0);
    const key = JSON.stringify([sessionId, others]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    const t = allStrings(this.#context.t);
    const names = others
      .filter(({ typing }) => typing === sessionId)
      .map(({ name }) => label(name, NAME));
    setText(this.#typing, names[0] === undefined ? "" : t.typing(names[0], names.length));
    const shown = others.length > MOST ? others.slice(0, MOST - 1) : others;
    const rest = others.slice(shown.length);
    this.#list.replaceChildren(
      ...shown.map((person) => item(initials(person.name), this.#described(person))),
    );
    if (rest.length > 0) {
      const all = rest.map((person) => this.#described(person)).join(", ");
      this.#list.append(item(`+${rest.length}`, all));
    }
  }

  get #others(): readonly Person[] {
    const { people, person } = this.#context.runtime.store;
    return people.filter(({ name }) => name !== person);
  }

  /** Whether the service shows that the user is typing here. */
  get #isShown(): boolean {
    const { people, person } = this.#context.runtime.store;
    return people.find(({ name }) => name === person)?.typing === this.#sessionId;
  }

  #described({ name, role }: Person): string {
    const t = allStrings(this.#context.t);
    const word = t.roles[role];
    return word === undefined ? label(name, NAME) : t.withRole(label(name, NAME), word);
  }

  #typed(box: HTMLTextAreaElement): void {
    const { runtime } = this.#context;
    clearTimeout(this.#later);
    if (this.#others.length === 0 || this.#sessionId === "") return;
    const wait = this.#reported + (this.#isShown ? TYPING_MS : NEW_MS) - Date.now();
    if (box.value === "") {
      if (this.#reported !== 0) runtime.typing("");
      this.#reported = 0;
    } else if (wait <= 0) {
      this.#reported = Date.now();
      runtime.typing(this.#sessionId);
    } else if (!this.#isShown) {
      this.#later = setTimeout(() => {
        // A message that is being sent stays in the box until the kernel has it.
        if (box.value && !box.closest("[data-pending]")) this.#typed(box);
      }, wait);
    }
  }
}

/** Return a person as initials, with a description as tooltip and for screen readers. */
function item(short: string, description: string): HTMLElement {
  return h(
    "li",
    { class: "person", title: description },
    h("span", { "aria-hidden": "true", text: short }),
    h("span", { class: "unseen", text: description }),
  );
}

/** Return up to two letters for a name, such as `AL` for `ada.lovelace`. */
function initials(name: string): string {
  const words = label(name, NAME).match(/[\p{L}\p{N}]+/gu) ?? ["?"];
  const ends = words.length > 1 ? [words[0], words.at(-1)] : words;
  return ends.map((word) => Array.from(word ?? "")[0]?.toUpperCase()).join("");
}

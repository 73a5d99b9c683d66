import { h, iconButton, show } from "./dom";

/** The one line at the bottom that says what was done, and offers to take it back. */
export class Toast {
  readonly element = h("div", { class: "toast", hidden: true });
  readonly #text = h("bdi", { class: "toast-text" });
  readonly #buttons = h("span", { class: "toast-buttons" });
  #actions: readonly (() => void)[] = [];

  constructor(dismiss: string) {
    this.element.append(
      this.#text,
      this.#buttons,
      iconButton("toast-close", "close", dismiss, { class: "icon-button i-close" }),
    );
  }

  /** Show a text with what can be done about it; it stays until dismissed or replaced. */
  show(text: string, actions: readonly (readonly [string, () => void])[]): void {
    this.#text.textContent = text;
    this.#actions = actions.map(([, run]) => run);
    this.#buttons.replaceChildren(
      ...actions.map(([label], i) =>
        h("button", {
          type: "button",
          class: "button",
          "data-act": "toast",
          "data-i": i,
          text: label,
        }),
      ),
    );
    show(this.element, true);
  }

  /** Do what button number `index` says. */
  act(index: number): void {
    this.hide();
    this.#actions[index]?.();
  }

  hide(): void {
    show(this.element, false);
  }
}

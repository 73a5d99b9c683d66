/** `Toast`: the line at the bottom that reports what was done, with buttons such as Undo. */

import { button, h, iconButton, show } from "./dom";

export class Toast {
  readonly element = h("div", { class: "toast", hidden: true });
  readonly #text = h("bdi", { class: "toast-text" });
  readonly #buttons = h("span", { class: "toast-buttons" });

  constructor(dismiss: string) {
    const close = iconButton(null, "close", dismiss);
    close.addEventListener("click", () => this.#hide());
    this.element.append(this.#text, this.#buttons, close);
  }

  /** Show a text with buttons; it stays until it is dismissed or replaced. */
  show(text: string, actions: readonly (readonly [string, () => void])[]): void {
    this.#text.textContent = text;
    this.#buttons.replaceChildren(
      ...actions.map(([label, run]) => {
        const control = button(null, label);
        control.addEventListener("click", () => {
          this.#hide();
          run();
        });
        return control;
      }),
    );
    show(this.element, true);
  }

  #hide(): void {
    show(this.element, false);
  }
}

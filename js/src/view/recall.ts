/** `Recall`: recalls earlier questions in a text field by the arrow keys. */

export class Recall {
  readonly #field: HTMLTextAreaElement;
  /** Returns the session's questions, oldest first. */
  readonly #questions: () => readonly string[];
  /** Index of the recalled question, from the newest; -1 if none is recalled. */
  #index = -1;
  /** The text that a recalled question has replaced. */
  #draft = "";

  constructor(field: HTMLTextAreaElement, questions: () => readonly string[]) {
    this.#field = field;
    this.#questions = questions;
  }

  /** The text to restore after a recalled question has been sent. */
  get draft(): string {
    return this.#index < 0 ? "" : this.#draft;
  }

  /** Forget the recalled question, since the text is another one now. */
  reset(): void {
    this.#index = -1;
  }

  /** Recall an earlier question (1) or a later one (-1), if the cursor is at the edge of the text. */
  step(step: 1 | -1): boolean {
    const { value, selectionStart, selectionEnd } = this.#field;
    if (selectionStart !== selectionEnd) return false;
    const inside = this.#index >= 0;
    const edge = step > 0 ? selectionStart === 0 : selectionStart === value.length;
    if (!edge && !(inside && selectionStart === value.length && !value.includes("\n")))
      return false;
    const questions = this.#questions();
    const next = this.#index + step;
    if (next < -1 || next >= questions.length || (step < 0 && !inside)) return false;
    if (!inside) this.#draft = value;
    this.#index = next;
    this.#field.value = next < 0 ? this.#draft : (questions.at(-1 - next) ?? "");
    this.#field.setSelectionRange(this.#field.value.length, this.#field.value.length);
    return true;
  }
}

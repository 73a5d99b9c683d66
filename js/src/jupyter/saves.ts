/** `Saves`: whether the notebook's file contains the output of a view. JupyterLab drops other outputs at a reload. */

import { type AnyModel, follow } from ".";
import type { Host } from "./host";

export class Saves {
  readonly #host: Host;
  readonly #model: AnyModel;
  /** `displayed_at` of the view at the last save that this page has seen. */
  #saved = 0;

  /** @param changed called when the answer may be another one. */
  constructor(host: Host, model: AnyModel, signal: AbortSignal, changed: () => void) {
    this.#host = host;
    this.#model = model;
    follow(host.context?.saveState, signal, (state) => {
      if (state !== "completed") return;
      this.#saved = this.#displayed;
      changed();
    });
    model.on("change:displayed_at", changed);
    signal.addEventListener("abort", () => model.off("change:displayed_at", changed));
  }

  /** Whether a reload of the page would remove the view, as far as that is known. */
  isMissing(element: Element): boolean {
    const modified = Date.parse(this.#host.context?.contentsModel?.last_modified ?? "");
    // The clock of the kernel can differ from that of the server: a save that was seen decides.
    const isNewer = modified < this.#displayed * 1000 && this.#saved < this.#displayed;
    return isNewer && element.closest(".jp-Cell-outputArea") !== null;
  }

  get #displayed(): number {
    return Number(this.#model.get("displayed_at") ?? 0);
  }
}

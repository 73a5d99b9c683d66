/**
 * What few pages need, or none at first: maths and the highlighter, what opens at a click, other
 * languages. It comes from the kernel when it is wanted, since a notebook's page can fetch nothing else.
 */

import type { Asset, AssetName } from "../protocol";
import type { AssetModule } from "../types";

/** Unanswered, a question is asked again after this long, and given up after so many times. */
const AGAIN_MS = 2000;
const TIMES = 8;

export class Assets {
  readonly #modules = new Map<AssetName, Promise<AssetModule>>();
  readonly #here = new Map<AssetName, AssetModule>();
  readonly #waiting = new Map<AssetName, (text: string) => void>();

  /** Sends the request; it may get lost. */
  readonly #want: (name: AssetName) => void;

  constructor(want: (name: AssetName) => void) {
    this.#want = want;
  }

  /** Return the module of a bundle, loaded once for all views; rejects where it cannot be had. */
  load(name: AssetName): Promise<AssetModule> {
    let module = this.#modules.get(name);
    if (module === undefined) {
      module = this.#fetch(name).then(evaluate);
      this.#modules.set(name, module);
      module.then(
        (loaded) => this.#here.set(name, loaded),
        // What failed may succeed with the next kernel.
        () => this.#modules.delete(name),
      );
    }
    return module;
  }

  /** Return the module of a bundle that has been loaded. */
  loaded(name: AssetName): AssetModule | undefined {
    return this.#here.get(name);
  }

  /** Take what the kernel sent. */
  take(asset: Asset): void {
    this.#waiting.get(asset.name)?.(asset.text);
  }

  #fetch(name: AssetName): Promise<string> {
    return new Promise((resolve, reject) => {
      let times = 0;
      const ask = (): void => {
        if (times++ >= TIMES) {
          this.#waiting.delete(name);
          clearInterval(timer);
          reject(new Error(`the kernel did not send ${name}`));
        } else this.#want(name);
      };
      const timer = setInterval(ask, AGAIN_MS);
      this.#waiting.set(name, (text) => {
        this.#waiting.delete(name);
        clearInterval(timer);
        resolve(text);
      });
      ask();
    });
  }
}

async function evaluate(text: string): Promise<AssetModule> {
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return (await import(url)) as AssetModule;
  } finally {
    URL.revokeObjectURL(url);
  }
}

/**
 * `Assets`: loads bundles that not every page needs, such as maths, the highlighter and languages.
 *
 * They come from the kernel over the wire, since a notebook's page cannot fetch them by URL.
 */

import type { Asset, AssetName } from "../protocol";
import type { AssetModule } from "../types";

/** An unanswered request is repeated after this long, and given up after this many times. */
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

  /** Return the module of a bundle, loaded once for all views; rejects if the kernel does not send it. */
  load(name: AssetName): Promise<AssetModule> {
    let module = this.#modules.get(name);
    if (module === undefined) {
      module = this.#fetch(name).then(evaluate);
      this.#modules.set(name, module);
      module.then(
        (loaded) => this.#here.set(name, loaded),
        // Loading may succeed with the next kernel.
        () => this.#modules.delete(name),
      );
    }
    return module;
  }

  /** Return the module of a bundle that has been loaded. */
  loaded(name: AssetName): AssetModule | undefined {
    return this.#here.get(name);
  }

  /** Take a bundle from the kernel. */
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

/**
 * `Assets`: loads bundles that not every page needs, such as maths, the highlighter and languages.
 *
 * They come from the kernel over the wire, since a notebook's page cannot fetch them by URL.
 */

import type { Asset, AssetName } from "../protocol";
import type { AssetModule } from "../types";

export class Assets {
  readonly #modules = new Map<AssetName, Promise<AssetModule>>();
  readonly #here = new Map<AssetName, AssetModule>();

  /** Requests the text of a bundle. */
  readonly #fetch: (name: AssetName) => Promise<Asset>;

  constructor(fetch: (name: AssetName) => Promise<Asset>) {
    this.#fetch = fetch;
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
}

async function evaluate({ text }: Asset): Promise<AssetModule> {
  const url = URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
  try {
    return (await import(url)) as AssetModule;
  } finally {
    URL.revokeObjectURL(url);
  }
}

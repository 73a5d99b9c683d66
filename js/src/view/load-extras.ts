/** Loads the bundle `extras`, which holds what most pages need only after a click. */

import { whenIdle } from "../later";
import type { Extras, Runtime } from "../types";

const preloaded = new WeakSet<Runtime>();

/**
 * Load the extras once the kernel has answered and the page is idle, so that the first click is quick.
 *
 * Outputs that an earlier version wrote as raw Markdown are replaced then.
 */
export function preloadExtras(runtime: Runtime): void {
  if (preloaded.has(runtime)) return;
  preloaded.add(runtime);
  const begin = (): void => {
    if (runtime.store.connection !== "live") return;
    unsubscribe();
    whenIdle(() => {
      runtime
        .load("extras")
        .then(
          ({ extras }) => extras?.replaceRawOutputs(runtime.host.context?.model),
          () => {}, // loaded again at the first click
        )
        .catch((error: unknown) => {
          console.warn("nbchat: outputs of an earlier version could not be replaced", error);
        });
    });
  };
  const unsubscribe = runtime.store.subscribe(begin);
  begin();
}

/** Call `use` with the extras: immediately if they are loaded, else when they arrive before `signal` aborts. */
export function useExtras(
  runtime: Runtime,
  signal: AbortSignal,
  use: (extras: Extras) => void,
  failed: () => void,
): void {
  const loaded = runtime.loaded("extras")?.extras;
  if (loaded) {
    use(loaded);
    return;
  }
  runtime
    .load("extras")
    .then(({ extras }) => {
      if (extras && !signal.aborted) use(extras);
    })
    .catch(failed);
}

/**
 * Where hub and views of one page find each other.
 *
 * Each widget's module is loaded on its own, from memory, so the runtime is handed over through the
 * page's global object. It belongs to a widget manager and a kernel's epoch: a notebook that is closed
 * and opened again in the same page has a new manager, with the same models and no old connections.
 */

import type { AnyModel } from "../jupyter";
import type { Runtime } from "../types";

const NAME = Symbol.for("nbchat.runtimes");

/** A runtime as hubs hand it to each other. */
export interface SharedRuntime extends Runtime {
  /** nbchat's version, whose code this is. */
  readonly version: string;
  /** The kernel is gone for good; another one's hub may take the runtime over. */
  readonly orphaned: boolean;
  attach(hub: AnyModel): void;
  /** End, unless another hub has taken over. */
  release(hub: AnyModel): void;
}

/** A runtime that somebody waits for or has made. */
export class Place {
  /** What was offered last. */
  made: SharedRuntime | null = null;
  #resolve: (runtime: SharedRuntime) => void = () => {};
  #promise = new Promise<SharedRuntime>((resolve) => {
    this.#resolve = resolve;
  });

  /** The runtime, as soon as it is there. */
  get runtime(): Promise<SharedRuntime> {
    return this.#promise;
  }

  /** Hand a runtime to those who wait, and to those who come later. */
  offer(made: SharedRuntime): void {
    this.made = made;
    this.#resolve(made);
    this.#promise = Promise.resolve(made);
  }
}

type Places = Map<string, Place>;

/** Return the place of a kernel's runtime, whoever comes first. */
export function placeOf(manager: object, epoch: string): Place {
  const places = placesOf(manager);
  const place = places.get(epoch) ?? new Place();
  places.set(epoch, place);
  return place;
}

/** Return every runtime that was made under a widget manager. */
export function runtimesOf(manager: object): SharedRuntime[] {
  const made = [...placesOf(manager).values()].map((place) => place.made);
  return [...new Set(made.filter((runtime) => runtime !== null))];
}

function placesOf(manager: object): Places {
  const page = globalThis as typeof globalThis & { [NAME]?: WeakMap<object, Places> };
  page[NAME] ??= new WeakMap();
  let places = page[NAME].get(manager);
  if (places === undefined) {
    places = new Map();
    page[NAME].set(manager, places);
  }
  return places;
}

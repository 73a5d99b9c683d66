/**
 * `Place`: lets the hub and the views of one page find each other.
 *
 * The module of each widget is loaded separately, from memory, so the runtime is passed through the page's global
 * object. It is keyed by widget manager and epoch: a notebook that is closed and reopened in the same page has a
 * new manager, with the same models and without the old connections. Hosts without Jupyter, such as marimo, pass a
 * new manager with every model; there, the page itself takes its place.
 */

import type { AnyModel, WidgetManager } from "../jupyter";
import type { Runtime } from "../types";

const NAME = Symbol.for("nbchat.runtimes");

/** A runtime that can be passed from one hub to the next. */
export interface SharedRuntime extends Runtime {
  /** Version of nbchat that this code is from. */
  readonly version: string;
  /** The kernel is gone for good; the hub of the next kernel may take over the runtime. */
  readonly orphaned: boolean;
  attach(hub: AnyModel): void;
  /** End the runtime, unless another hub has taken it over. */
  release(hub: AnyModel): void;
}

/** A runtime that exists or is expected. */
export class Place {
  /** The last runtime that was offered. */
  made: SharedRuntime | null = null;
  #resolve: (runtime: SharedRuntime) => void = () => {};
  #promise = new Promise<SharedRuntime>((resolve) => {
    this.#resolve = resolve;
  });

  /** Resolves to the runtime as soon as one is offered. */
  get runtime(): Promise<SharedRuntime> {
    return this.#promise;
  }

  /** Provide a runtime to current and later callers. */
  offer(made: SharedRuntime): void {
    this.made = made;
    this.#resolve(made);
    this.#promise = Promise.resolve(made);
  }
}

type Places = Map<string, Place>;

/** Return the place of a kernel's runtime; it is created on first use. */
export function placeOf(manager: WidgetManager | undefined, epoch: string): Place {
  const places = placesOf(manager);
  const place = places.get(epoch) ?? new Place();
  places.set(epoch, place);
  return place;
}

/** Return every runtime of a widget manager. */
export function runtimesOf(manager: WidgetManager | undefined): SharedRuntime[] {
  const made = [...placesOf(manager).values()].map((place) => place.made);
  return [...new Set(made.filter((runtime) => runtime !== null))];
}

function placesOf(manager: WidgetManager | undefined): Places {
  const page = globalThis as typeof globalThis & { [NAME]?: WeakMap<object, Places> };
  const key = manager && "kernel" in manager ? manager : page;
  page[NAME] ??= new WeakMap();
  let places = page[NAME].get(key);
  if (places === undefined) {
    places = new Map();
    page[NAME].set(key, places);
  }
  return places;
}

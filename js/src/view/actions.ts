/** `ACTIONS`: every button's action by name, and the listener that carries actions out. */

interface Action {
  /** The part of a view that carries it out. */
  readonly by: "view" | "panel" | "log" | "message" | "composer" | "queue";
  /** A double click counts as one click: the action sends or creates something. */
  readonly once?: true;
}

export const ACTIONS = {
  new: { by: "view", once: true },
  all: { by: "view" },
  menu: { by: "view" },
  alone: { by: "view" },
  stop: { by: "panel" },
  pause: { by: "panel" },
  "resume-run": { by: "panel" },
  settings: { by: "panel" },
  connect: { by: "panel" },
  tools: { by: "panel" },
  adopt: { by: "panel", once: true },
  suggest: { by: "panel", once: true },
  earlier: { by: "log" },
  latest: { by: "log" },
  resume: { by: "message", once: true },
  keep: { by: "message", once: true },
  "retry-now": { by: "message", once: true },
  retry: { by: "message", once: true },
  regenerate: { by: "message", once: true },
  continue_: { by: "message", once: true },
  discard: { by: "message", once: true },
  version: { by: "message" },
  fork: { by: "message", once: true },
  copy: { by: "message" },
  details: { by: "message" },
  edit: { by: "message" },
  "edit-cancel": { by: "message" },
  "edit-send": { by: "message", once: true },
  send: { by: "composer", once: true },
  attach: { by: "composer" },
  detach: { by: "composer" },
  "show-sent": { by: "composer" },
  "queue-edit": { by: "queue" },
  "queue-remove": { by: "queue", once: true },
  "queue-back": { by: "queue", once: true },
} as const satisfies Readonly<Record<string, Action>>;

export type ActionName = keyof typeof ACTIONS;

type ActionsOf<Part extends Action["by"]> = {
  [Name in ActionName]: (typeof ACTIONS)[Name]["by"] extends Part ? Name : never;
}[ActionName];

/** A function for each action of a part. `arg` is the button's `data-arg`. */
export type Handlers<Part extends Action["by"]> = Readonly<
  Record<ActionsOf<Part>, (target: HTMLElement, arg: string) => void>
>;

/** Return handlers of a part that find the real ones when an action is clicked. */
export function deferred<Part extends Action["by"]>(
  part: Part,
  find: (use: (handlers: Partial<Handlers<Part>>) => void) => void,
): Handlers<Part> {
  const names = (Object.keys(ACTIONS) as ActionsOf<Part>[]).filter(
    (name) => ACTIONS[name].by === part,
  );
  const handlers = names.map((name): [string, Handlers<Part>[ActionsOf<Part>]] => [
    name,
    (target, arg) => find((found) => found[name]?.(target, arg)),
  ]);
  return Object.fromEntries(handlers) as Handlers<Part>;
}

/** Carry out the actions of one part that are clicked inside `root`; the others are left to their parts. */
export function handleActions<Part extends Action["by"]>(
  root: HTMLElement,
  handlers: Handlers<Part>,
  signal: AbortSignal,
): void {
  const byName: ReadonlyMap<string, Handlers<Part>[ActionsOf<Part>]> = new Map(
    Object.entries(handlers),
  );
  const click = (event: MouseEvent): void => {
    const target =
      event.target instanceof Element ? event.target.closest<HTMLElement>("[data-act]") : null;
    const name = target?.getAttribute("data-act") ?? "";
    const handler = byName.get(name);
    if (!target || !handler || target.getAttribute("aria-disabled") === "true") return;
    const { once }: Action = ACTIONS[name as ActionName];
    if (once && event.detail > 1) return;
    handler(target, target.getAttribute("data-arg") ?? "");
  };
  root.addEventListener("click", click, { signal });
}

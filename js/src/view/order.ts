/** Chooses the sessions with a tab, and their order. */

import type { Head } from "../protocol";

/**
 * Return the sessions of a tabbed view, in order.
 *
 * @param only ids from the author of the view, in that order; null for all open sessions, by rank.
 * @param wanted ids in an order that the kernel has not confirmed; they come first.
 */
export function openSessions(
  heads: Iterable<Head>,
  only: readonly string[] | null,
  wanted: readonly string[],
): Head[] {
  const rank = new Map((only ?? []).map((id, i) => [id, i]));
  wanted.forEach((id, i) => {
    rank.set(id, i - wanted.length);
  });
  const place = ({ id }: Head) => rank.get(id) ?? Number.MAX_SAFE_INTEGER;
  return [...heads]
    .filter(({ deleted, closed, archived }) => !deleted && !closed && !archived)
    .filter(({ id, temporary }) => (only ? only.includes(id) : !temporary))
    .sort(
      (a, b) =>
        Number(b.pinned) - Number(a.pinned) ||
        place(a) - place(b) ||
        a.rank - b.rank ||
        (a.id < b.id ? -1 : 1),
    );
}

/** Return the tab to show in place of `gone`: the next one that is left, else the previous one. */
export function neighbour(
  before: readonly string[],
  gone: string,
  left: readonly string[],
): string {
  const place = before.indexOf(gone);
  const next = before.slice(place + 1).find((id) => left.includes(id));
  const previous = before.slice(0, Math.max(0, place)).findLast((id) => left.includes(id));
  return next ?? previous ?? left[0] ?? "";
}

/** Return `ids` with `id` before another one; null moves it to the end. */
export function moved(ids: readonly string[], id: string, before: string | null): string[] {
  const others = ids.filter((other) => other !== id);
  const at = before === null ? -1 : others.indexOf(before);
  return others.toSpliced(at < 0 ? others.length : at, 0, id);
}

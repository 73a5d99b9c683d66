/**
 * Checks whether an event fits the state of a page.
 *
 * Deltas carry their offset, and the end of a part carries its length and checksum. A page that has only a window
 * of a long conversation cannot fold events outside of it. In both cases the page requests the whole state.
 */

import type { Event, Message } from "../protocol";
import type { Draft } from "./fold";
import { isOver } from "./session";

/** A part whose text can be compared with its checksum. */
export interface Ended {
  readonly message_id: string;
  readonly part_index: number;
  readonly length: number;
  readonly crc32: number;
}

/** Return why `event` cannot be folded into `draft`; null if it can. */
export function misfit(draft: Draft, event: Event, windowed: boolean): "text" | "outside" | null {
  switch (event.type) {
    case "part_delta":
      return lengthOf(draft, event, event.offset, windowed);
    case "part_ended":
      return lengthOf(draft, event, event.length, windowed);
    case "message_selected":
      // The window holds all versions of a turn, but only the descendants of the selected one.
      return windowed ? "outside" : null;
    case "message_removed":
      return windowed && !isOnlyVersion(draft, event.message_id) ? "outside" : null;
    case "message_added":
      return windowed && !inside(draft, event.message) ? "outside" : null;
    case "run_started": {
      if (!windowed) return null;
      const replaced = draft.run(event.run_id)?.replaces ?? null;
      const fits =
        (event.prompt === null ? inside(draft, event.answer) : inside(draft, event.prompt)) &&
        (replaced === null || inside(draft, draft.message(replaced)));
      return fits ? null : "outside";
    }
    default:
      return null;
  }
}

/** Return the part that an event ends; null for any other event. */
export function endedBy(draft: Draft, event: Event): Ended | null {
  if (event.type !== "part_ended") return null;
  const run = draft.run(event.run_id);
  const message = run && draft.message(run.message_id);
  if (message?.parts[event.part_index] === undefined) return null;
  const { part_index, length, crc32 } = event;
  return { message_id: message.id, part_index, length, crc32 };
}

function lengthOf(
  draft: Draft,
  event: Extract<Event, { type: "part_delta" | "part_ended" }>,
  expected: number,
  windowed: boolean,
): "text" | "outside" | null {
  const run = draft.run(event.run_id);
  if (run === undefined || isOver(run.state)) return null;
  const message = draft.message(run.message_id);
  if (message === undefined) return windowed ? "outside" : null;
  const part = message.parts[event.part_index];
  return part === undefined || part.text.length === expected ? null : "text";
}

function isOnlyVersion(draft: Draft, id: string): boolean {
  const message = draft.message(id);
  return inside(draft, message) && draft.children(message?.parent_id ?? null) === 1;
}

/** Whether a message belongs into the window: its parent is loaded. */
function inside(draft: Draft, message: Message | null | undefined): boolean {
  if (!message) return message === null; // a run that appends to an answer adds no message
  return message.parent_id !== null && draft.message(message.parent_id) !== undefined;
}

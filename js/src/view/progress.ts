/** Formats the progress of an answer: queue, characters, time, speed. */

import type { Head } from "../protocol";
import type { Context } from "../types";
import { inSeconds } from "./text";

/** A call is shown as waiting for the running cell after this long, in milliseconds; an idle kernel is quicker. */
export const WAITS_AFTER_MS = 300;

type Words = Pick<Context, "t">;

/** Return the progress of a session's live run as one line; empty before it has any. */
export function progressOf({ t }: Words, head: Head): string {
  const facts: string[] = [];
  if (head.position !== null) facts.push(t.place(head.position));
  if (head.characters > 0) facts.push(t.characters(head.characters));
  if (head.started_at !== null && head.state !== "paused" && head.state !== "awaiting_approval") {
    const seconds = Math.max(0, Date.now() / 1000 - head.started_at);
    facts.push(elapsed({ t }, seconds));
    if (head.characters > 0 && seconds >= 1 && head.state === "streaming") {
      facts.push(t.perSecond(Math.round(head.characters / seconds)));
    }
  }
  if (head.queued > 0) facts.push(t.queuedBehind(head.queued));
  return facts.join(" · ");
}

/** Return a duration as text. */
export function elapsed({ t }: Words, seconds: number): string {
  if (seconds < 60)
    return t.seconds(seconds < 10 ? inSeconds(seconds) : String(Math.round(seconds)));
  return t.minutes(Math.floor(seconds / 60), Math.floor(seconds % 60));
}

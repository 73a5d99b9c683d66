/** Closes, archives, deletes and reopens sessions, and offers to undo that. */

import { allStrings } from "../i18n/extras";
import type { Head } from "../protocol";
import { isOver } from "../state/session";
import type { CommandInput, Context } from "../types";
import { perform } from "./commands";
import { titleOf } from "./tabs";

/** Show a session, also a closed, archived or deleted one; with `messageId`, at that message. */
export async function reopen(context: Context, head: Head, messageId = ""): Promise<void> {
  const session_id = head.id;
  const steps: readonly (readonly [boolean, CommandInput])[] = [
    [head.deleted, { type: "delete", session_id, deleted: false }],
    [head.archived, { type: "archive", session_id, archived: false }],
    [head.closed, { type: "close", session_id, closed: false }],
  ];
  for (const [needed, command] of steps) {
    if (needed && !(await perform(context, command))) return;
  }
  context.go(session_id, { focus: messageId === "", messageId });
}

/** Hide a tab. Its answer continues, and the page offers to stop it. */
export async function close(context: Context, head: Head): Promise<void> {
  const t = allStrings(context.t);
  const session_id = head.id;
  if (!(await perform(context, { type: "close", session_id, closed: true }))) return;
  const title = titleOf(head, t);
  const back = [t.reopen, () => void reopen(context, { ...head, closed: true })] as const;
  if (isOver(head.state)) {
    context.notify(t.closed(title), [back]);
  } else {
    const stop = () => void perform(context, { type: "stop_all", session_id });
    context.notify(t.closedLive(title), [[t.stop, stop], back]);
  }
}

/** Delete a session, with undo. */
export async function remove(context: Context, head: Head): Promise<void> {
  const t = allStrings(context.t);
  if (!(await perform(context, { type: "delete", session_id: head.id, deleted: true }))) return;
  context.notify(t.deleted(titleOf(head, t)), [
    [t.undo, () => void reopen(context, { ...head, deleted: true })],
  ]);
}

/** Archive a session, with undo. */
export async function archive(context: Context, head: Head): Promise<void> {
  const t = allStrings(context.t);
  if (!(await perform(context, { type: "archive", session_id: head.id, archived: true }))) return;
  context.notify(t.archived(titleOf(head, t)), [
    [t.undo, () => void reopen(context, { ...head, archived: true })],
  ]);
}

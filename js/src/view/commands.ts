/** Carries out the user's actions on sessions, and reports refusals and how to undo. */

import type { Ack, Head } from "../protocol";
import { isOver } from "../state/session";
import type { CommandInput, Context } from "../types";
import { titleOf } from "./tabs";
import { causeOf, reveal, sentence, thrown } from "./text";

/** Send a command. A refusal is shown, and null is returned then. */
export async function perform(context: Context, command: CommandInput): Promise<Ack | null> {
  try {
    const ack = await context.runtime.do(command);
    if (!ack.error) return ack;
    context.notify(reveal(sentence(causeOf(ack.error))));
  } catch (reason) {
    context.notify(reveal(thrown(reason)));
  }
  return null;
}

/** Create a session and show it. */
export async function create(context: Context): Promise<void> {
  const ack = await perform(context, { type: "new_session", title: "" });
  if (ack?.session_id) context.go(ack.session_id, { focus: true });
}

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
  const { t } = context;
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
  const { t } = context;
  if (!(await perform(context, { type: "delete", session_id: head.id, deleted: true }))) return;
  context.notify(t.deleted(titleOf(head, t)), [
    [t.undo, () => void reopen(context, { ...head, deleted: true })],
  ]);
}

/** Archive a session, with undo. */
export async function archive(context: Context, head: Head): Promise<void> {
  const { t } = context;
  if (!(await perform(context, { type: "archive", session_id: head.id, archived: true }))) return;
  context.notify(t.archived(titleOf(head, t)), [
    [t.undo, () => void reopen(context, { ...head, archived: true })],
  ]);
}

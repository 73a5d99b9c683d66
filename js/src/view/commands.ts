/** Sends commands, and reports refusals. */

import type { Ack } from "../protocol";
import type { CommandInput, Context } from "../types";
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

/** `messageActions`: carries out the buttons of a message. */

import { allStrings } from "../i18n/extras";
import { copyText } from "../markdown/clipboard";
import type { CommandInput, Context, MessageHandle, MessageLog } from "../types";
import type { Handlers } from "./actions";
import { perform } from "./commands";
import { causeOf, sentence, textOf, thrown } from "./text";

/** How long a copy button shows that it has copied, in milliseconds. */
const COPIED_MS = 1500;

/**
 * Return what the buttons of a message do.
 *
 * @param edited called when an edited question has been sent.
 */
export function messageActions(
  context: Context,
  log: MessageLog,
  edited: () => void,
): Handlers<"message"> {
  const ask = (command: CommandInput): void => void perform(context, command);
  const onMessage =
    (type: "retry" | "regenerate" | "continue" | "discard") =>
    (target: Element): void => {
      ask({ type, session_id: log.sessionId, message_id: messageIdOf(target) });
    };
  const onRun =
    (type: "resume" | "keep" | "retry_now") =>
    (target: Element): void => {
      const run = messageOf(log, target)?.turn?.run;
      if (run) ask({ type, session_id: log.sessionId, run_id: run.id });
    };
  const copied = copier(context);
  return {
    resume: onRun("resume"),
    keep: onRun("keep"),
    "retry-now": onRun("retry_now"),
    retry: onMessage("retry"),
    regenerate: onMessage("regenerate"),
    discard: onMessage("discard"),
    continue_: onMessage("continue"),
    version: (_, message_id) =>
      ask({ type: "select_version", session_id: log.sessionId, message_id }),
    fork: (target) => void fork(context, log.sessionId, messageIdOf(target)),
    copy: (target) => void copied(target, messageOf(log, target)),
    details: (target) => messageOf(log, target)?.toggleDetails(),
    edit: (target) => messageOf(log, target)?.edit(),
    "edit-cancel": (target) => messageOf(log, target)?.endEdit(),
    "edit-send": (target) => void sendEdit(context, log, target, edited),
  };
}

function messageOf(log: MessageLog, target: Element): MessageHandle | undefined {
  return log.article(messageIdOf(target));
}

async function fork(context: Context, session_id: string, message_id: string): Promise<void> {
  const word = allStrings(context.t).forkWord;
  const command = { type: "fork", session_id, message_id, title: null, word } as const;
  const ack = await perform(context, command);
  if (ack?.session_id) context.go(ack.session_id, { focus: true });
}

/** Return a function that copies a message and marks its button for a moment. */
function copier(
  context: Context,
): (control: HTMLElement, message: MessageHandle | undefined) => Promise<void> {
  let mark: ReturnType<typeof setTimeout> | undefined;
  context.signal.addEventListener("abort", () => clearTimeout(mark));
  return async (control, message) => {
    if (!message?.turn) return;
    const { t } = context;
    const done = await copyText(textOf(message.turn.message));
    context.say(done ? t.copied : t.copyFailed);
    if (!done) return;
    control.classList.add("nbchat-done");
    clearTimeout(mark);
    mark = setTimeout(() => control.classList.remove("nbchat-done"), COPIED_MS);
  };
}

async function sendEdit(
  context: Context,
  log: MessageLog,
  target: Element,
  edited: () => void,
): Promise<void> {
  const message = messageOf(log, target);
  const text = message?.edited;
  const message_id = message?.turn?.message.id;
  if (!message || !message_id || !text?.trim()) return;
  const session_id = log.sessionId;
  try {
    const ack = await context.runtime.do({ type: "edit", session_id, message_id, text });
    if (ack.error) message.refuseEdit(sentence(causeOf(ack.error)));
    else {
      message.endEdit();
      edited();
    }
  } catch (reason) {
    message.refuseEdit(thrown(reason));
  }
}

function messageIdOf(target: Element): string {
  return target.closest("[data-message-id]")?.getAttribute("data-message-id") ?? "";
}

/** Splits long commands into chunks. */
import { type Command, MAX_PART, type PageMessage } from "../protocol";

/** Return the messages that carry a command: one, or several chunks if it is long. */
export function messagesOf(command: Command, page: string, epoch: string): PageMessage[] {
  // Surrogates are escaped, so that a cut between two of them leaves valid text on both sides.
  const json = JSON.stringify(command).replace(/[\ud800-\udfff]/g, (half) => {
    return `\\u${half.charCodeAt(0).toString(16)}`;
  });
  if (json.length <= MAX_PART) return [{ type: "run_command", page, epoch, command }];
  const of = Math.ceil(json.length / MAX_PART);
  return Array.from({ length: of }, (_, part) => {
    const text = json.slice(part * MAX_PART, (part + 1) * MAX_PART);
    return { type: "command_chunk", id: command.id, page, epoch, part, of, text };
  });
}

/** Long commands go in parts. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Command, MAX_PART } from "../../src/protocol";
import { messagesOf } from "../../src/wire/chunks";

function send(text: string): Command {
  return {
    type: "send",
    id: "cmd_1",
    session_id: "s",
    text,
    attachments: [],
    run_id: null,
    message_id: null,
    params: {},
  };
}

test("a short command is sent as one message", () => {
  const command = send("Rivers? 🏞️");
  expect(messagesOf(command, "p", "k")).toEqual([
    { type: "run_command", page: "p", epoch: "k", command },
  ]);
});

test("a long command is sent in chunks of valid text, which make the same command again", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 3 }),
      fc.constantFrom("é", "😀", '"', "\n"),
      (shift, sign) => {
        const command = send("x".repeat(shift) + sign.repeat(MAX_PART));
        const messages = messagesOf(command, "p", "k");
        const texts = messages.map((message, part) => {
          expect(message).toMatchObject({
            type: "command_chunk",
            id: "cmd_1",
            part,
            of: messages.length,
          });
          return message.type === "command_chunk" ? message.text : "";
        });
        for (const text of texts) {
          expect(text.length).toBeLessThanOrEqual(MAX_PART);
          expect(text).not.toMatch(/\p{Surrogate}/u);
        }
        expect(JSON.parse(texts.join(""))).toEqual(command);
      },
    ),
    { numRuns: 12 },
  );
});

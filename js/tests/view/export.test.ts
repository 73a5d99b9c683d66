/** The text that goes to the clipboard. */
import { expect, test } from "vitest";
import { withoutMarks } from "../../src/view/export";

test("copied Markdown has no comments of nbchat, and an answer's own comments stay", () => {
  const exported =
    "<!-- nbchat: session 6f057dd0 -->\n# a\n\n<!-- nbchat: user 6f057dd0 -->\n## User\n\n<!-- nbchat: user 00000000 -->\nhi\n";
  expect(withoutMarks(exported)).toBe("# a\n\n## User\n\n<!-- nbchat: user 00000000 -->\nhi\n");
  expect(withoutMarks("plain")).toBe("plain");
});

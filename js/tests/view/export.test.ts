/** The text that goes to the clipboard. */
import { expect, test } from "vitest";
import { withoutMarks } from "../../src/view/export";

test("copied Markdown omits nbchat's comments and keeps an answer's own comments", () => {
  const exported =
    "<!-- nbchat: session 6f057dd0 -->\n# a\n\n<!-- nbchat: user 6f057dd0 -->\n## User\n\n<!-- nbchat: user 00000000 -->\nhi\n";
  expect(withoutMarks(exported)).toBe("# a\n\n## User\n\n<!-- nbchat: user 00000000 -->\nhi\n");
  expect(withoutMarks("plain")).toBe("plain");
});

/** The code that the panel shows. */
import { expect, test } from "vitest";
import { connectionCode } from "../../src/view/connect";

test("the code for a cell asks for the key when it runs, and only if one is needed", () => {
  expect(connectionCode("https://example.org/v1", "m", true)).toBe(
    [
      "import os",
      "from getpass import getpass",
      "",
      "import nbchat",
      "",
      'os.environ["OPENAI_API_KEY"] = getpass("API key: ")',
      'nbchat.config(base_url="https://example.org/v1", model="m")',
    ].join("\n"),
  );
  expect(connectionCode("http://localhost:11434/v1", "", false)).toBe(
    'import nbchat\n\nnbchat.config(base_url="http://localhost:11434/v1")',
  );
});

test("a URL or model cannot end the string that it is in", () => {
  expect(connectionCode('x")\nimport os#', 'a"\\', false)).toContain(
    'base_url="x\\")\\nimport os#", model="a\\"\\\\")',
  );
});

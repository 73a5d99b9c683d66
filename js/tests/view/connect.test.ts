// @vitest-environment jsdom
/** The panel in which a server is connected, and the code that it shows. */
import { expect, test, vi } from "vitest";
import { en as t } from "../../src/i18n";
import type { Context } from "../../src/types";
import { connectionCode, openConnect } from "../../src/view/connect";
import { FakeKernel } from "../../testing/kernel";
import { FakePage } from "../../testing/page";

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

test("without a private channel the panel sends no key, says so, and shows the code instead", async () => {
  const page = await new FakePage(new FakeKernel(), { control: false }).connected();
  const end = new AbortController();
  const { runtime } = page;
  const context = { t, runtime, root: document.body, signal: end.signal } as unknown as Context;
  openConnect(context, document.body);
  const find = <E extends Element>(selector: string): E =>
    document.querySelector(`[role=dialog] ${selector}`) as E;
  const inCode = find<HTMLDetailsElement>("details");
  expect(inCode.open).toBe(false);
  find<HTMLInputElement>("[type=password]").value = "sk-typed";
  find<HTMLButtonElement>("[type=submit]").click();
  await vi.waitFor(() => expect(find("[role=alert]").textContent).toContain("no private channel"));
  expect(inCode.open).toBe(true);
  expect(find("code").textContent).toContain("getpass");
  expect(page.host.channels).not.toContain("control");
  expect(JSON.stringify(page.kernel.heard)).not.toContain("sk-typed");
  end.abort();
  page.close();
});

test("spaces around a URL make no difference to whether a key is needed", async () => {
  const page = await new FakePage().connected();
  const end = new AbortController();
  const { runtime } = page;
  const context = { t, runtime, root: document.body, signal: end.signal } as unknown as Context;
  openConnect(context, document.body);
  const url = document.querySelector("[role=dialog] [inputmode=url]") as HTMLInputElement;
  url.value = " https://api.openai.com/v1 ";
  url.dispatchEvent(new InputEvent("input", { bubbles: true }));
  expect(document.querySelector("[role=dialog] code")?.textContent).toContain("getpass");
  end.abort();
  page.close();
});

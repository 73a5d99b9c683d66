// @vitest-environment jsdom
/** What becomes of a file that the user adds to a message. */
import { describe, expect, test } from "vitest";
import { en as t } from "../../src/i18n";
import { readAttachment } from "../../src/view/attachment";

describe("a file", () => {
  const read = (name: string, bytes: BlobPart, type = "") =>
    readAttachment({ t }, new File([bytes], name, { type }));

  test("of text is attached unchanged, whatever its declared type", async () => {
    const text = "x = '````'\r\n";
    expect(await read("a`b.py", text, "application/octet-stream")).toEqual({
      type: "file",
      kind: "file",
      name: "a`b.py",
      text,
    });
  });
  test("that is a picture is attached as one", async () => {
    const gif = await read("dot.gif", new Uint8Array([71, 73, 70]), "image/gif");
    expect(gif).toEqual({ type: "image", name: "dot.gif", text: "data:image/gif;base64,R0lG" });
  });
  test.each([
    ["bytes.bin", new Uint8Array([0, 1])],
    ["latin1.txt", new Uint8Array([0xe9, 0x20])],
  ])("that is neither is refused: %s", async (name, bytes) => {
    expect(await read(name, bytes)).toMatch(name);
  });
  test("that is larger than a message can be is refused before it is read", async () => {
    const large = new File([], "large.csv");
    Object.defineProperty(large, "size", { value: 17 * 1024 * 1024 });
    Object.defineProperty(large, "text", { value: () => Promise.reject(new Error("read")) });
    expect(await readAttachment({ t }, large)).toMatch(/large\.csv: too large \(17\.0 MB\)/);
  });
});

/** The view's rules that need no page: order of tabs, keys, labels, parameters, pieces of a message. */
import { describe, expect, test } from "vitest";
import { en } from "../../src/i18n";
import { allStrings } from "../../src/i18n/extras";
import type { Head, Message, Part } from "../../src/protocol";
import { ago, matches } from "../../src/view/directory";
import { staysInside } from "../../src/view/keys";
import { moved, neighbour, openSessions } from "../../src/view/order";
import { blocksOf } from "../../src/view/parts";
import { readParams, writeParams } from "../../src/view/settings";
import { cut, inBytes, inSeconds, label, reveal } from "../../src/view/text";
import { thinkingOf } from "../../src/view/thinking";

const t = allStrings(en);

function head(id: string, more: Partial<Head> = {}): Head {
  return {
    id,
    title: id,
    state: "idle",
    model: null,
    pinned: false,
    rank: 0,
    ...more,
  } as Head;
}

describe("tabs", () => {
  const ids = (heads: Head[], only: string[] | null = null, order: string[] = []) =>
    openSessions(heads, only, order).map(({ id }) => id);

  test("are sorted by rank, pinned ones first, and the user's last move counts most", () => {
    const heads = [
      head("c", { rank: 3 }),
      head("a", { rank: 1 }),
      head("b", { rank: 2, pinned: true }),
    ];
    expect(ids(heads)).toEqual(["b", "a", "c"]);
    expect(ids(heads, null, ["c", "a"])).toEqual(["b", "c", "a"]);
    expect(ids(heads, ["c", "a"])).toEqual(["c", "a"]);
  });

  test("are shown for open sessions, and for temporary ones only if they are named", () => {
    const heads = [
      head("closed", { closed: true }),
      head("deleted", { deleted: true }),
      head("archived", { archived: true }),
      head("temporary", { temporary: true }),
      head("open"),
    ];
    expect(ids(heads)).toEqual(["open"]);
    expect(ids(heads, ["closed", "temporary"])).toEqual(["temporary"]);
  });

  test("pass the selection to the next one when one is closed, else to the previous one", () => {
    expect(neighbour(["a", "b", "c"], "b", ["a", "c"])).toBe("c");
    expect(neighbour(["a", "b", "c"], "c", ["a", "b"])).toBe("b");
    expect(neighbour([], "", ["a"])).toBe("a");
    expect(neighbour(["a"], "a", [])).toBe("");
  });

  test("move in front of another, or to the end", () => {
    expect(moved(["a", "b", "c"], "c", "a")).toEqual(["c", "a", "b"]);
    expect(moved(["a", "b", "c"], "a", null)).toEqual(["b", "c", "a"]);
    expect(moved(["a", "b"], "a", "gone")).toEqual(["b", "a"]);
  });
});

describe("keys", () => {
  const key = (name: string, held: Partial<KeyboardEvent> = {}): KeyboardEvent =>
    ({ key: name, getModifierState: () => false, ...held }) as KeyboardEvent;

  test.each(["a", "Enter", "Escape", "Delete", "ArrowUp", "F2", " ", "Tab"])("%s stays", (name) => {
    expect(staysInside(key(name))).toBe(true);
  });
  test.each(["a", "C", "v", "x", "z", "y", "Enter", "ArrowLeft", "Backspace"])(
    "Ctrl+%s edits",
    (name) => {
      expect(staysInside(key(name, { ctrlKey: true }))).toBe(true);
      expect(staysInside(key(name, { metaKey: true }))).toBe(true);
    },
  );
  test.each(["s", "b", "f", "p", "S"])("Ctrl+%s is the notebook's", (name) => {
    expect(staysInside(key(name, { ctrlKey: true }))).toBe(false);
  });
  test("Ctrl+Shift+C is the notebook's, Ctrl+Shift+Z is redo, F5 reloads, AltGr types", () => {
    expect(staysInside(key("C", { ctrlKey: true, shiftKey: true }))).toBe(false);
    expect(staysInside(key("Z", { ctrlKey: true, shiftKey: true }))).toBe(true);
    expect(staysInside(key("F5"))).toBe(false);
    const altGraph = { ctrlKey: true, altKey: true, getModifierState: () => true };
    expect(staysInside(key("@", altGraph))).toBe(true);
  });
});

describe("labels", () => {
  test("are truncated between graphemes", () => {
    const family = "👩‍👩‍👧";
    expect(cut(`${family}${family}`, family.length + 3)).toBe(family);
    expect(cut("🇩🇪🇫🇷", 6)).toBe("🇩🇪");
    expect(cut("a\u0301".repeat(500), 999)).toBe("a\u0301".repeat(499));
    expect(cut("abc", 2)).toBe("ab");
    expect(cut("abc", 3)).toBe("abc");
    expect(label(family.repeat(64))).toBe(family.repeat(64));
    expect(label(family.repeat(65))).toBe(`${family.repeat(63)}…`);
  });
  test("are one line, with invisible characters shown", () => {
    expect(label("  a\n\tb ")).toBe("a b");
    expect(reveal("a\u202eb\u0007\u200b")).toBe("a⟦U+202E⟧b⟦U+0007⟧⟦U+200B⟧");
    expect(reveal("line\n\ttab")).toBe("line\n\ttab");
  });
  test("format sizes and times", () => {
    expect([inBytes(12), inBytes(2048), inBytes(3 << 20)]).toEqual(["12 B", "2.0 KB", "3.0 MB"]);
    expect([inSeconds(0.34), inSeconds(12.6)]).toEqual(["0.3", "13"]);
    expect([ago(100, "en", 130), ago(0, "en", 7200), ago(0, "zh-CN", 3 * 86400)]).toEqual([
      "this minute",
      "2 hr. ago",
      "3天前",
    ]);
  });
});

describe("parameters", () => {
  test("that the form does not show are kept unchanged", () => {
    const params = { temperature: 0.2, max_tokens: 100, stop: ["\n"], seed: 7 };
    expect(readParams(writeParams(params), t)).toEqual(params);
    expect(readParams(writeParams({}), t)).toEqual({});
  });
  test.each(["[1]", "{", "null", '"a"'])("%s is refused, as it is not a JSON object", (other) => {
    expect(readParams({ temperature: "", maxTokens: "", other }, t)).toBe(t.badParams);
  });
  test("that are numbers are refused if they are not", () => {
    expect(readParams({ temperature: "1e999", maxTokens: "", other: "" }, t)).toBe(
      "Temperature must be a number.",
    );
  });
});

describe("the blocks of a message", () => {
  const text = (words: string): Part => ({ type: "text", text: words });
  const thought = (words: string): Part => ({ type: "reasoning", text: words, seconds: 1 });
  const call: Part = {
    type: "tool_call",
    call_id: "c",
    name: "f",
    text: "{}",
    started_at: null,
  };
  const blocks = (parts: Part[], seams: number[] = []) =>
    blocksOf({ parts } as unknown as Message, seams).map(
      ({ type, parts: own }) => `${type}:${own.map((part) => part.text).join("+")}`,
    );

  test("keep the order of its parts", () => {
    expect(blocks([thought("hm"), text("a"), call, text("b")])).toEqual([
      "reasoning:hm",
      "text:a",
      "tool_call:{}",
      "text:b",
    ]);
    expect(blocks([text("a"), thought("hm"), text("b")])).toEqual([
      "text:a",
      "reasoning:hm",
      "text:b",
    ]);
  });
  test("join the result of a tool to its call, also to the last of several with one id", () => {
    const result = (call_id: string, words: string): Part => ({
      type: "tool_result",
      call_id,
      text: words,
      is_error: false,
      not_run: false,
      images: [],
    });
    const other: Part = { ...call, call_id: "d", text: "[]" };
    expect(blocks([call, other, result("c", "1"), result("d", "2"), text("a")])).toEqual([
      "tool_call:{}+1",
      "tool_call:[]+2",
      "text:a",
    ]);
    expect(blocks([call, result("c", "1"), call, result("c", "2"), result("x", "3")])).toEqual([
      "tool_call:{}+1",
      "tool_call:{}+2",
      "tool_result:3",
    ]);
  });

  test("continue across a continuation, with its reasoning in front", () => {
    expect(blocks([text("a"), text("b")], [1])).toEqual(["text:a+b"]);
    expect(blocks([text("a"), thought("hm"), text("b")], [1])).toEqual([
      "reasoning:hm",
      "text:a+b",
    ]);
    expect(blocks([text("a"), text("b"), thought("hm"), text("c")], [1, 2])).toEqual([
      "reasoning:hm",
      "text:a+b+c",
    ]);
  });
});

test("sessions are found by words of title, model and state, messages by their text", () => {
  expect(matches(head("Rivers of Paris", { model: "gpt-x" }), "paris GPT")).toBe(true);
  expect(matches(head("Rivers"), "lake")).toBe(false);
});

describe("a thought in a text", () => {
  test.each([
    ["<think>a</think>b", "a", "b", true],
    ["\n <think>\na\n</think>\n\nb <think>c</think>", "a", "b <think>c</think>", true],
    ["<think></think>", "", "", true],
    ["<think>a</thin", "a", "", false],
    ["<think>a < b", "a < b", "", false],
    ["<think>", "", "", false],
  ])("%j", (text, thought, answer, ended) => {
    expect(thinkingOf(text)).toEqual({ thought, answer, ended });
  });

  test.each(["", "<thin", "a <think>b</think>", "<thinking>a</thinking>", "`<think>`"])(
    "%j is text",
    (text) => {
      expect(thinkingOf(text)).toBeNull();
    },
  );

  test("is not recognized in the user's text, or after other text", () => {
    const text = (value: string) => ({ type: "text", text: value });
    const types = (role: string, ...parts: object[]) =>
      blocksOf({ role, parts } as unknown as Message, []).map(({ type }) => type);
    expect(types("user", text("<think>a</think>b"))).toEqual(["text"]);
    expect(types("assistant", text("<think>a</think>b"))).toEqual(["reasoning", "text"]);
    const call = { type: "tool_call", text: "{}" };
    expect(types("assistant", text("a"), call, text("<think>b"))).toEqual([
      "text",
      "tool_call",
      "text",
    ]);
  });
});

// @vitest-environment jsdom
import { describe, expect, it, vi } from "vitest";
import { highlighter } from "../../src/entries/highlight";
import { maths } from "../../src/entries/math";
import { MarkdownView, renderMarkdown } from "../../src/markdown";

/** Return what a text becomes, and see that it becomes the same when it is streamed by character. */
function shown(text: string): string {
  const whole = document.createElement("div");
  whole.append(renderMarkdown(text));
  const root = document.createElement("div");
  const view = new MarkdownView(root);
  for (const character of text.split("")) view.append(character);
  view.end();
  expect(root.innerHTML).toBe(whole.innerHTML);
  view.destroy();
  // The sections are there for the browser's sake.
  return Array.from(whole.children, (child) =>
    child.className === "nbc-section" ? child.innerHTML : child.outerHTML,
  ).join("");
}

const link = (href: string, text: string) =>
  `<a href="${href}" rel="noopener noreferrer" target="_blank">${text}</a>`;

describe("GitHub's additions", () => {
  it.each([
    ["~~gone~~", "<p><del>gone</del></p>"],
    ["~gone~", "<p>~gone~</p>"],
    [
      "see https://example.org/a_b_c.",
      `<p>see ${link("https://example.org/a_b_c", "https://example.org/a_b_c")}.</p>`,
    ],
    ["(www.example.org/x)", `<p>(${link("http://www.example.org/x", "www.example.org/x")})</p>`],
    [
      "https://example.org/a(b)",
      `<p>${link("https://example.org/a(b)", "https://example.org/a(b)")}</p>`,
    ],
    [
      "**https://example.org**",
      `<p><strong>${link("https://example.org/", "https://example.org")}</strong></p>`,
    ],
    ["[https://a.org/](https://a.org/)", `<p>${link("https://a.org/", "https://a.org/")}</p>`],
    ["to me@example.org!", `<p>to ${link("mailto:me@example.org", "me@example.org")}!</p>`],
    [
      "请看https://example.org。",
      `<p>请看${link("https://example.org/", "https://example.org")}。</p>`,
    ],
    ["ahttps://example.org", "<p>ahttps://example.org</p>"],
    ["`https://example.org`", "<p><code>https://example.org</code></p>"],
  ])("%s", (text, html) => {
    expect(shown(text)).toBe(html);
  });

  it("draw a table in a scrollable frame, with aligned columns", () => {
    expect(shown("| a | b | c |\n|:--|--:|:-:|\n| 1 | `x\\|y` |\n")).toBe(
      '<div class="nbc-table" tabindex="0" role="group" aria-label="Table"><table>' +
        '<thead><tr><th class="nbc-left">a</th><th class="nbc-right">b</th><th class="nbc-center">c</th></tr></thead>' +
        '<tbody><tr><td class="nbc-left">1</td><td class="nbc-right"><code>x|y</code></td><td class="nbc-center"></td></tr></tbody>' +
        "</table></div>",
    );
  });

  it("draw a task list with check boxes", () => {
    expect(shown("- [ ] a\n- [x] b\n- [y] c\n- [ ]\n")).toBe(
      '<ul><li class="nbc-task"><input type="checkbox" disabled="" aria-label="To do"> a</li>' +
        '<li class="nbc-task"><input type="checkbox" disabled="" checked="" aria-label="Done"> b</li>' +
        "<li>[y] c</li><li>[ ]</li></ul>",
    );
  });

  it("move footnotes to the end, in order, wherever they are defined", () => {
    const html = shown(
      "[^early]: first defined\n\nSee [^late] and [^early], again [^late].\n\n[^late]: *late*\n\n    more\n\n[^none]: alone",
    );
    const reference = (n: number) =>
      `<sup><button class="nbc-noteref" type="button" aria-label="Footnote ${n}">${n}</button></sup>`;
    const back = (n: number) =>
      ` <button type="button" class="nbc-noteback" aria-label="Back to reference ${n}">↩</button>`;
    expect(html).toBe(
      `<p>See ${reference(1)} and ${reference(2)}, again ${reference(1)}.</p>` +
        '<div class="nbc-notes" role="group" aria-label="Footnotes"><ol>' +
        `<li><p><em>late</em></p><p>more${back(1)}</p></li>` +
        `<li><p>first defined${back(2)}</p></li>` +
        "<li><p>alone</p></li></ol></div>",
    );
  });

  it("resolve link references that are defined after many closed blocks", () => {
    const html = shown(`[a] and [b][A]\n\n${"text\n\n".repeat(40)}[a]: https://example.org "t"`);
    const a = '<a href="https://example.org/" rel="noopener noreferrer" target="_blank" title="t">';
    expect(html).toContain(`<p>${a}a</a> and ${a}b</a></p>`);
  });
});

describe("text from right to left", () => {
  it("has bullets and quote bars on the right", () => {
    expect(shown("- שלום\n- עולם")).toContain('<ul dir="auto">');
    expect(shown("1. one\n2. مرحبا")).toContain('<ol dir="auto">');
    expect(shown("> مرحبا")).toContain('<blockquote dir="auto">');
    expect(shown("- one\n- two\n\n> three")).not.toContain("dir=");
  });
});

describe("links", () => {
  it.each([
    ["[x](relative/path.md)", "<p>x</p>"],
    ["[x](#part)", "<p>x</p>"],
    [`[x](https://example.org/${"a".repeat(2048)})`, "<p>x</p>"],
    ["[x](mailto:me@example.org)", `<p>${link("mailto:me@example.org", "x")}</p>`],
  ])("lead only to http, https and mail: %s", (text, html) => {
    expect(shown(text)).toBe(html);
  });

  it.each([
    ["[bank.com](https://evil.test)", "evil.test"],
    ["[https://www.bank.com/login](https://evil.test/)", "evil.test"],
    ["[bank.com](https://bank.com@evil.test/)", "evil.test"],
    ["[bank.com](https://bank.com.evil.test)", "bank.com.evil.test"],
    ["[аррӏе.com](https://аррӏе.com)", "xn--80ak6aa92e.com"],
    ["[me@bank.com](mailto:me@evil.test)", "evil.test"],
  ])("show their host if their text looks like another one: %s", (text, host) => {
    expect(shown(text)).toContain(`<span class="nbc-host"> (${host})</span>`);
  });

  it.each([
    "[pandas](https://pandas.pydata.org)",
    "[`np.array`](https://numpy.org)",
    "[setup.py](https://github.com/x)",
    "[github.com/x](https://github.com/x)",
    "[www.github.com](https://github.com)",
    "[read_csv](https://pandas.pydata.org)",
  ])("show no host otherwise: %s", (text) => {
    expect(shown(text)).not.toContain("nbc-host");
  });
});

describe("images", () => {
  const pixel = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

  it("are shown at once if they are data URLs", () => {
    expect(shown(`![dot](${pixel})`)).toBe(`<p><img class="nbc-img" alt="dot" src="${pixel}"></p>`);
  });

  it("are fetched only after the reader presses their button", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.reset("- ![a plot](https://example.org:8080/p.png?q=1)", false);
    const button = root.querySelector("button");
    expect(root.querySelector("img")).toBeNull();
    expect(button?.textContent).toBe("Load image from example.org:8080 a plot");
    expect(root.innerHTML).not.toContain("p.png");

    button?.click();
    view.append("\n- more");
    view.end();
    const image = root.querySelector("img");
    expect(image?.getAttribute("src")).toBe("https://example.org:8080/p.png?q=1");
    expect(image?.getAttribute("referrerpolicy")).toBe("no-referrer");
    expect(image?.alt).toBe("a plot");
    view.destroy();
  });
});

describe("code", () => {
  it("is in a frame with its language and a copy button", () => {
    expect(shown("```Python title=x\na < b\n```")).toBe(
      '<div class="nbc-code"><div class="nbc-code-head"><span class="nbc-language">python</span>' +
        '<button class="nbc-copy" type="button" aria-label="Copy code">Copy</button></div>' +
        '<pre tabindex="0"><code class="language-python">a &lt; b\n</code></pre></div>',
    );
  });

  it("shows invisible characters", () => {
    expect(shown("`a\u202eb` \u202ec")).toBe("<p><code>a⟦U+202E⟧b</code> c</p>");
    expect(shown("```\nx\u200b\u{e0041} 👩‍🔬 می‌خواهم ❤️\n```")).toContain(
      ">x⟦U+200B⟧⟦U+E0041⟧ 👩‍🔬 می‌خواهم ❤️\n<",
    );
  });

  it("is passed to actions and copied as it is shown", async () => {
    const write = vi.fn(async () => undefined);
    vi.stubGlobal("navigator", { clipboard: { writeText: write } });
    const run = vi.fn();
    const root = document.createElement("div");
    const view = new MarkdownView(root, {
      codeActions: [
        { label: "Other", suits: () => false, run: vi.fn() },
        { label: "Insert", suits: () => true, run: vi.fn() },
        { label: "Run", suits: (language) => language === "py", run },
      ],
    });
    const labels = () => Array.from(root.querySelectorAll(".nbc-action"), (b) => b.textContent);
    view.reset("```sql\na\n```", true);
    expect(labels()).toEqual(["Insert"]);
    view.reset("```py\na\nb\n```", true);
    expect(labels()).toEqual(["Insert", "Run"]);
    root.querySelectorAll<HTMLElement>(".nbc-action")[1]?.click();
    root.querySelector<HTMLElement>(".nbc-copy")?.click();
    await vi.waitFor(() => expect(root.querySelector(".nbc-copy")?.textContent).toBe("Copied"));
    expect(run).toHaveBeenCalledWith("a\nb", "py");
    expect(write).toHaveBeenCalledWith("a\nb");
    vi.unstubAllGlobals();
    view.destroy();
  });

  it("is reported as copied only if the browser has copied it", async () => {
    vi.stubGlobal("navigator", { clipboard: { writeText: () => Promise.reject(new Error("no")) } });
    const root = document.createElement("div");
    document.body.append(root);
    const view = new MarkdownView(root, {});
    view.reset("```py\na\n```", true);
    const button = root.querySelector<HTMLElement>(".nbc-copy");
    for (const [allowed, shown] of [
      [false, "Not copied"],
      [true, "Copied"],
    ] as const) {
      document.execCommand = () => allowed;
      button?.click();
      await vi.waitFor(() => expect(button?.textContent).toBe(shown));
    }
    document.execCommand = () => {
      throw new Error("not allowed");
    };
    button?.click();
    await vi.waitFor(() => expect(button?.textContent).toBe("Not copied"));
    expect(document.querySelector("textarea")).toBeNull();
    vi.unstubAllGlobals();
    view.destroy();
    root.remove();
  });

  it("is highlighted once it is closed, without a change of its text", async () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root, { loadHighlight: async () => highlighter });
    const code = 'def f(x):\n    return f"<{x}> & y"  # note\n';
    for (const character of `\`\`\`python\n${code}\`\`\`\n\nnext\n`) view.append(character);
    await view.settled();
    const element = root.querySelector("code");
    expect(element?.textContent).toBe(code);
    expect(element?.querySelector(".nbc-tok-keyword")?.textContent).toBe("def");
    expect(element?.querySelector(".nbc-tok-comment")?.textContent).toBe("# note");
    expect(element?.querySelectorAll("*").length).toBe(
      element?.querySelectorAll("span[class]").length,
    );
    view.destroy();
  });

  it("is not highlighted if it is very long", async () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root, { loadHighlight: async () => highlighter });
    view.reset(`\`\`\`java\n${"$".repeat(20_000)}\n\`\`\``, true);
    await view.settled();
    expect(root.querySelector("code")?.childElementCount).toBe(0);
    view.destroy();
  });

  it("stays as it is when its highlighter fails", async () => {
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
    const root = document.createElement("div");
    const view = new MarkdownView(root, {
      loadHighlight: async () => ({
        knows: () => true,
        highlight: () => {
          throw new Error("broken");
        },
      }),
    });
    view.reset("```x\n<b>\n```\n\nrest", true);
    await view.settled();
    expect(root.querySelector("code")?.innerHTML).toBe("&lt;b&gt;\n");
    expect(root.textContent).toContain("rest");
    view.destroy();
  });
});

describe("formulas", () => {
  it.each([
    [
      "$x_1$ and \\(y_2\\)",
      '<p><span class="nbc-math">$x_1$</span> and <span class="nbc-math">\\(y_2\\)</span></p>',
    ],
    [
      "a\n$$\nx_1 < 2\n$$\nb",
      '<p>a</p><div class="nbc-math nbc-display">$$\nx_1 &lt; 2\n$$</div><p>b</p>',
    ],
    ["\\[ x \\]", '<div class="nbc-math nbc-display">\\[ x \\]</div>'],
    ["so $$x$$ it", '<p>so <span class="nbc-math nbc-display">$$x$$</span> it</p>'],
    ["It costs $5 and $10.", "<p>It costs $5 and $10.</p>"],
    ["US$5, $HOME/$USER, $5-$6", "<p>US$5, $HOME/$USER, $5-$6</p>"],
    ["$$\nnever closed\n\n*text*", "<p>$$\nnever closed</p><p><em>text</em></p>"],
    ["`$x$` \\$x\\$", "<p><code>$x$</code> $x$</p>"],
  ])("are distinguished from money and escapes: %s", (text, html) => {
    expect(shown(text)).toBe(html);
  });

  it("become MathML when they are closed, and stay source if TeX cannot parse them", async () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root, { loadMath: async () => maths });
    view.reset("$\\frac{a}{b}$ and $\\nosuch{$\n\n$$\\begin{aligned}a&=b\\end{aligned}$$", true);
    await view.settled();
    const [fraction, failed, display] = Array.from(root.querySelectorAll(".nbc-math"));
    expect(fraction?.innerHTML).toBe("<math><mfrac><mi>a</mi><mi>b</mi></mfrac></math>");
    expect(failed?.className).toBe("nbc-math nbc-failed");
    expect(failed?.textContent).toBe("$\\nosuch{$");
    expect(display?.querySelector("mtable")).not.toBeNull();
    expect(root.querySelector("[style]")).toBeNull();
    view.destroy();
  });

  it("are typeset as soon as they are closed, and stay typeset while their paragraph grows", async () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root, { loadMath: async () => maths });
    view.append("The mean $\\bar{x}$ and more **words");
    await view.settled();
    const formula = root.querySelector("math");
    expect(formula).not.toBeNull();
    for (const text of ["** about", " it, *and", "* the $n$", " samples.\n\n", "End."])
      view.append(text);
    view.end();
    await view.settled();
    expect(root.querySelector("math")).toBe(formula);
    expect(root.querySelectorAll("math")).toHaveLength(2);
  });

  it.each([
    ["The ratio $\\frac{a", "$\\frac{a"],
    ["The ratio \\(a", "\\(a"],
    ["$$\na + b", "$$\na + b"],
  ])("are held back while they are open: %j", (text, open) => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    for (const character of text) view.append(character);
    expect(root.querySelector(".nbc-open")?.textContent).toBe(open);
    view.end();
    expect(root.querySelector(".nbc-open")).toBeNull();
  });

  it.each(["It costs $5", "US$5_000", "$HOME/x", "$ \\x", "a $b c"])(
    "do not begin at prices and variables: %j",
    (text) => {
      const root = document.createElement("div");
      const view = new MarkdownView(root);
      for (const character of text) view.append(character);
      expect(root.querySelector(".nbc-math")).toBeNull();
    },
  );
});

it("typesets a formula once, also if a late definition rebuilds its block", async () => {
  const root = document.createElement("div");
  const view = new MarkdownView(root, { loadMath: async () => maths });
  for (const character of "$E=mc^2$ [^1]\n\n[^1]: note\n") view.append(character);
  view.end();
  await view.settled();
  expect(root.querySelector(".nbc-math")?.textContent).toBe("E=mc2");
  view.destroy();
});

describe("a stream", () => {
  it("drops terminal sequences and control characters, wherever the text is split", () => {
    expect(
      shown(
        "\x1b[31mred\x1b[0m \x1b]8;;https://evil.test\x07text\x1b]8;;\x1b\\ a\x00\x08b\r\nc\rd",
      ),
    ).toBe("<p>red text ab\nc\nd</p>");
    expect(shown("\ud83d\ude00 \ud83d x \ude00")).toBe("<p>😀 \ufffd x \ufffd</p>");
    expect(shown("\ud83d")).toBe("<p>\ufffd</p>");
  });

  it("keeps closed blocks and arrived text nodes as the same nodes", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.append("# Title\n\nA first paragraph.\n\nSome wor");
    const [heading, first] = [root.querySelector("h1"), root.querySelector("p")];
    const words = root.querySelectorAll("p")[1]?.firstChild;
    view.append("ds, **bold** and");
    view.append(" more\n\n```py\nx = 1\n");
    const code = root.querySelector("code")?.firstChild;
    view.append("y = 2\n```\n\n[late] end\n\n[late]: https://example.org");
    view.end();
    expect(root.querySelector("h1")).toBe(heading);
    expect(root.querySelector("p")).toBe(first);
    expect(root.querySelectorAll("p")[1]?.firstChild).toBe(words);
    expect(root.querySelector("code")?.firstChild).toBe(code);
    expect(words?.textContent).toBe("Some words, ");
    view.destroy();
  });

  it("keeps the selection while more text arrives", () => {
    const root = document.body.appendChild(document.createElement("div"));
    const view = new MarkdownView(root);
    view.append("Some words");
    const text = root.querySelector("p")?.firstChild;
    const selection = document.getSelection();
    selection?.setBaseAndExtent(text as Node, 5, text as Node, 10);
    for (const piece of [" and *more", "* to", " come\n\nnext", " one [x]", "(https://a.org)"])
      view.append(piece);
    view.end();
    expect(selection?.toString()).toBe("words");
    view.destroy();
    root.remove();
  });

  it("can continue after its end, with the same result as without the end", () => {
    const text =
      "a [^1]\n\n[^1]: note\n\n- x\n- y [r] 😀\n\n[r]: https://a.org\n\nlast [^2]\n\n[^2]: two";
    const expected = document.createElement("div");
    expected.append(renderMarkdown(text));
    for (let cut = 1; cut < text.length; cut++) {
      const root = document.createElement("div");
      const view = new MarkdownView(root);
      view.append(text.slice(0, cut));
      view.end();
      view.append(text.slice(cut));
      view.end();
      expect(root.innerHTML, text.slice(0, cut)).toBe(expected.innerHTML);
      view.destroy();
    }
  }, 60_000);

  it("can be replaced or extended by another text", () => {
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.reset("one\n\ntwo", true);
    const first = root.querySelector("p");
    view.reset("one\n\ntwo and more", false);
    expect(root.querySelector("p")).toBe(first);
    expect(view.text).toBe("one\n\ntwo and more");
    view.reset("other", true);
    expect(root.innerHTML).toBe('<div class="nbc-section"><p>other</p></div>');
    view.reset("", true);
    expect(root.textContent).toBe("");
    view.destroy();
  });

  it.each(["text\n$$\n- a\n$$\n- b\n\nmore", "- a\n\\[\n> x\n\\]\ny", "> a\n$$\n1. x\n# y\n$$\n"])(
    "closes no block that a formula may still end, when its end comes: %j",
    (text) => {
      shown(text);
    },
  );

  it("shows new text verbatim where parsing it each time would be slow", () => {
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => (now += 20));
    const root = document.createElement("div");
    const view = new MarkdownView(root);
    view.append(`- ${"word ".repeat(200)}\n- last`);
    view.append(" *one*");
    view.append(" <two>");
    expect(root.querySelectorAll("li")[1]?.innerHTML).toBe(
      'last<span class="nbc-source"> *one* &lt;two&gt;</span>',
    );
    view.append(` ${"more ".repeat(100)}`);
    expect(root.querySelector(".nbc-source")).toBeNull();
    expect(root.querySelectorAll("li")[1]?.innerHTML).toMatch(
      /^last <em>one<\/em> &lt;two&gt; more/,
    );
    view.destroy();
  });

  it("groups its blocks in the same sections, however they arrive", () => {
    const html = shown("a\n\n".repeat(60));
    expect(html).toBe("<p>a</p>".repeat(60));
    const root = document.createElement("div");
    root.append(renderMarkdown("a\n\n".repeat(60)));
    expect(Array.from(root.children, ({ childElementCount }) => childElementCount)).toEqual([
      24, 24, 12,
    ]);
  });

  it("shows blocks that are nested too deeply as text", () => {
    const html = shown(`${"> ".repeat(100)}deep`);
    expect(html).toContain("deep");
    expect(html.match(/<blockquote>/g)?.length).toBe(40);
  });
});

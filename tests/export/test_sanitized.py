r"""Text from models as sanitized HTML: inert, undamaged, and typeset only where the page does so."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from nbchat.export.maths import _symbols, typesettable
from nbchat.export.sanitized import (
    MAX_BRACKETS,
    MAX_PARAGRAPH_CHARS,
    fragment,
    plain,
    render,
    sanitize_page,
    table,
)
from nbchat.export.turns import turn_of
from tests.hostile import HOSTILE, Elements

MATHS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "maths.json").read_text())
TYPESET = re.compile(
    r"\$[^\0]*\$|\\\([^\0]*\\\)|\\\[[^\0]*\\\]|\\begin\s*\{[^\0]*\\end\s*\{|\\(?:eq)?ref\{|\\\$"
)
"""Formulas that MathJax would find within one text; `\0` separates texts."""


REACHING = r"""
    \href \url \style \class \cssId \rule \kern \mkern \hskip \mskip \hspace \mspace \raise \lower
    \moveleft \llap \rlap \smash \mathllap \require \def \newcommand \renewcommand \let \unicode
    \bbox \enclose \Tip \toggle \action \html \data \texttip \mmlToken \ref \eqref \includegraphics
    \verb \hbox \vcenter \above \genfrac \Huge
"""
"""Commands that set links, styles, names, macros or lengths."""


def text_of(html: str) -> str:
    """Return the text of HTML."""
    return unescape(re.sub(r"<[^>]*>", "", html))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_inert(text: str) -> None:
    """Hostile text cannot run, load, style or name anything, complete or cut off, in outputs and pages."""
    for end in {*range(0, len(text), 7), len(text)}:
        assert Elements(fragment(text[:end])).dangers == []
    assert Elements(sanitize_page(render(text, "1-"))).dangers == []
    assert Elements(plain(text)).dangers == []
    assert Elements(table([text], [[text]])).dangers == []


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_inert_in_every_part_of_a_message(text: str) -> None:
    """Hostile text is inert in reasoning, tool calls, tool results and names of files."""
    parts = (
        TextPart(text=text),
        ReasoningPart(text=text),
        ToolCallPart(name=text, text=text),
        ToolResultPart(text=text),
        ImagePart(name=text, text=text),
        FilePart(name=text, text=text),
    )
    turn = turn_of(Message(id="m", role="assistant", parts=parts))
    assert Elements(turn.html).dangers == []
    assert "#nbchat-transcript" not in [value for _, _, value in Elements(turn.html).attributes]
    assert "\x1b" not in turn.text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_host_typesets_no_dangerous_formula(text: str) -> None:
    """Formulas left for a host to typeset contain no link, style, class, macro or length."""
    for found in TYPESET.findall(Elements(fragment(text)).text):
        assert typesettable(found) == found


@pytest.mark.parametrize("case", MATHS, ids=lambda case: case["text"][:30])
def test_only_formulas_are_typeset(case: dict[str, Any]) -> None:
    """A host and the page find the same formulas, and no price, variable or escaped sign."""
    found = TYPESET.findall(Elements(fragment(case["text"])).text)
    assert found == case["formulas"]
    maths = re.findall(r"<math\b", sanitize_page(render(case["text"], "1-")))
    assert len(maths) == len(case["formulas"])


def test_prices_read_as_they_were_written() -> None:
    """Prices in a sentence are not changed."""
    text = "It costs $5 to $10 per customer."
    assert text_of(fragment(text)).strip() == text
    assert text_of(sanitize_page(render(text, "1-"))).strip() == text
    assert text_of(plain(text)) == text


@pytest.mark.parametrize(
    "command",
    REACHING.split(),
)
def test_commands_that_reach_out_of_a_formula_are_not_typeset(command: str) -> None:
    """A formula with a command that sets links, styles, names, macros or lengths is shown as its source."""
    assert typesettable(f"${command}{{1}}{{x}}$") is None
    assert command not in _symbols()
    assert f"<code>${command}" in fragment(f"${command}{{1}}{{x}}$")


@pytest.mark.parametrize(
    "formula",
    [
        r"$\frac{a}{b} \le \sqrt[3]{x_1^2} \cdot \alpha\beta\Gamma \to \infty$",
        r"$$\begin{pmatrix} a & b \\ c & d \end{pmatrix}$$",
        r"$$\begin{aligned} a &= b \\ &\quad + c \end{aligned}$$",
        r"$$f(x) = \begin{cases} 1 & \text{if } x > 0 \\ 0 & \text{else} \end{cases}$$",
        r"$$\begin{gathered} a = b \\ c \end{gathered}$$",
        r"$\mathbb{E}[X] = \sum_{i=1}^{n} x_i\,p_i \quad \forall i \in \mathbb{N}$",
        r"$\left( \int_0^\infty e^{-x^2}\,dx \right)^2 = \frac{\pi}{4}$",
        r"$\hat{\theta} = \operatorname*{arg\,max}_\theta \mathcal{L}(\theta) \tag{1}$",
        r"$\overline{AB} \perp \overrightarrow{CD}, \; \nabla \times \vec{F} = \partial_t, \boldsymbol{\mu}$",
        r"$$\begin{array}{c|c} p & q \\ \hline 0 & 1 \end{array}$$",
    ],
)
def test_usual_formulas_are_typeset(formula: str) -> None:
    """Formulas in the usual form reach the host unchanged, and are MathML in an exported page."""
    assert TYPESET.findall(Elements(fragment(formula)).text) == [formula]
    page = sanitize_page(render(formula, "1-"))
    assert "<math" in page
    assert "&amp;" not in page
    assert page.count("<mtr>") == (formula.count(r"\\") + 1 if r"\begin" in formula else 0)


def test_good_answers_are_undamaged() -> None:
    """Code keeps every character, and lists, quotes, tables and tasks keep their structure."""
    code = 'if a < b and c & d:\n    print("$x$", \'\\\\n\')\n\n\treturn {"a": [1]}'
    inner = "\n".join(f"   {line}" if line else "" for line in code.split("\n"))
    text = (
        f"# A *title*\n\n1. first\n\n   ```python\n{inner}\n   ```\n\n2. second\n   - nested\n"
        "     > quoted\n\n"
        "| a | b |\n|--:|---|\n| 1 | `x` |\n\n- [ ] open\n- [x] done\n\n"
        "~~gone~~ <https://a.example/x?a=1&b=2>, "
        "https://b.example/(c). Note[^1].\n\n[^1]: The *note*.\n"
    )
    html = fragment(text)
    (found,) = re.findall(r"<pre><code>(.*?)</code></pre>", html, re.DOTALL)
    assert unescape(found) == f"{code}\n"
    assert html.count("<ol>") == 2  # one list of the answer, one of notes
    for piece in (
        "<h1>A <em>title</em></h1>",
        "<blockquote>\n<p>quoted</p>",
        '<td align="right"><div align="right">1</div></td>',
        "<li>☐ open</li>\n<li>☑ done</li>",
        "<del>gone</del>",
        '<a href="https://a.example/x?a=1&amp;b=2" rel="noopener noreferrer">',
        '<a href="https://b.example/(c)" rel="noopener noreferrer">https://b.example/(c)</a>.',
        "Note<sup>1</sup>",
        "<li><p>The <em>note</em>.</p>",
    ):
        assert piece in html
    page = sanitize_page(render(text, "1-"))
    assert unescape(re.sub(r"<[^>]*>", "", page.split("<pre>")[1].split("</pre>")[0])) == f"{code}\n"
    assert '<span class="nbchat-k">if</span>' in page
    assert '<a href="#nbchat-1-note-1" id="nbchat-1-ref-1"' in page


def test_an_image_waits_for_a_click() -> None:
    """A remote image becomes a link, and an embedded bitmap is shown in a page only."""
    bitmap = "data:image/png;base64,AAAA"
    html = fragment(
        f"![a *chart*](https://a.example/c.png) ![dot]({bitmap}) [![in](https://b.example/)](https://c.example)"
    )
    assert Elements(html).tags == {"p", "a"}
    assert '<a href="https://a.example/c.png" rel="noopener noreferrer">a chart</a> dot' in html
    assert '<a href="https://c.example" rel="noopener noreferrer">in</a>' in html
    assert f'<img alt="dot" src="{bitmap}">' in sanitize_page(render(f"![dot]({bitmap})", "1-"))


@pytest.mark.parametrize(
    "text", ["> " * 300 + "deep", "- " * 300 + "deep", "*a " * 3000, "[" * 9000 + "deep"]
)
def test_no_word_is_lost_in_deep_nesting(text: str) -> None:
    """Very deep quotes, lists and brackets lose their markup but no text."""
    assert text.rsplit(maxsplit=1)[-1].lstrip("[") in text_of(fragment(text))


def test_a_paragraph_of_unusual_length_is_text() -> None:
    """A paragraph too long to parse, in quadratic time, is shown as text without loss."""
    for text in ("*a* " * MAX_PARAGRAPH_CHARS, "*a*" + "![" * (MAX_BRACKETS + 1)):
        assert text_of(fragment(text)).strip() == text.strip()
    assert text_of(fragment("*a*" + "[" * MAX_BRACKETS)).startswith("a[")


def test_a_text_that_the_parser_fails_at_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the parser raises, the text is shown unchanged."""

    def broken() -> Any:
        raise RecursionError

    monkeypatch.setattr("nbchat.export.sanitized._parser", broken)
    assert fragment("a < *b*") == "<pre><code>a &lt; *b*</code></pre>"

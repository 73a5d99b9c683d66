r"""Finds formulas by the same rules as the page, and decides which of them a host may typeset.

`js/src/markdown/maths.ts` has the same rules: `$$…$$` and `\[…\]` as blocks; `$$…$$`, `$…$` and `\(…\)`
inline; a dollar sign next to a letter or digit is a currency sign. Both implementations are tested with
`tests/export/maths.json`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

MAX_BLOCK_LINES: Final = 100
MAX_INLINE_CHARS: Final = 2000
MAX_CHARS: Final = 10_000
"""Maximum characters of a formula that is typeset; a longer one is shown as its source."""
MAX_NEGATIVE_SPACES: Final = 8
"""Maximum negative spaces in a formula that is typeset. Many of them would move it out of its box."""
MAX_DEPTH: Final = 30
"""Maximum nesting of braces in a formula that is typeset."""

_CLOSING: Final = {"$$": "$$", "\\[": "\\]", "\\(": "\\)"}
_DOLLARS: Final = re.compile(r"(?=\S)(?:[^$\\]|\\[\s\S])*?\$")
_COMMAND: Final = re.compile(r"\\(?:[a-zA-Z]+\*?|[\s\S]|$)")
_ENVIRONMENT: Final = re.compile(r"\\(?:begin|end)\s*(?:\{([^{}]*)\})?")
_ARRAY: Final = re.compile(r"\\begin\s*\{array\*?\}")
_COLUMNS: Final = re.compile(r"\s*(?:\[[tbc]\]\s*)?\{[lcr|:\s]*\}")
_LABEL: Final = re.compile(r"\\label\s*\{[^{}]*\}")
_ROW_GAP: Final = re.compile(r"\\\\\s*\*?\s*\[")
_NEGATIVE_SPACE: Final = re.compile(r"\\(?:!|neg(?:thin|med|thick)space\b)")

_STRUCTURE_NAMES: Final = r"""
    \frac \dfrac \tfrac \cfrac \binom \dbinom \tbinom \over \choose \atop \sqrt \root \overset \underset
    \stackrel \acute \bar \breve \check \dot \ddot \dddot \ddddot \grave \hat \mathring \tilde \vec
    \widehat \widetilde \overbrace \underbrace \overline \underline \overleftarrow \overrightarrow
    \overleftrightarrow \xleftarrow \xrightarrow \xleftrightarrow \xmapsto \xlongequal \text \textbf
    \textit \textrm \textsf \texttt \textnormal \mbox \emph \mathbb \mathbf \mathcal \mathfrak \mathit
    \mathrm \mathscr \mathsf \mathtt \mathnormal \boldsymbol \bm \pmb \bf \rm \it \mathop \mathbin
    \mathrel \mathord \mathopen \mathclose \mathpunct \mathinner \operatorname \operatorname* \limits
    \nolimits \displaystyle \textstyle \scriptstyle \scriptscriptstyle \left \right \middle \big \Big
    \bigg \Bigg \bigl \Bigl \biggl \Biggl \bigr \Bigr \biggr \Biggr \bigm \Bigm \lbrace \rbrace \lbrack
    \rbrack \langle \rangle \lvert \rvert \lVert \rVert \vert \Vert \arccos \arcsin \arctan \arg \cos
    \cosh \cot \coth \csc \deg \det \dim \exp \gcd \hom \inf \injlim \ker \lg \lim \liminf \limsup \ln
    \log \max \min \Pr \projlim \sec \sin \sinh \sup \tan \tanh \argmax \argmin \int \iint \iiint \oint
    \sum \prod \coprod \mod \pmod \bmod \pod \not \dots \ldots \cdots \vdots \ddots \hline \nonumber
    \notag \tag \tag* \boxed \phantom \hphantom \vphantom \substack \sideset \color \textcolor \quad
    \qquad \enspace \thinspace \thickspace \negthinspace \negmedspace \negthickspace \space
    \nobreakspace \begin \end \cr \bra \ket \braket \, \: \; \! \> \\ \{ \} \| \% \$ \& \# \_ \( \) \[
    \]
"""
_STRUCTURE: Final = frozenset([*_STRUCTURE_NAMES.split(), "\\ ", "\\\n"])
_ENVIRONMENT_NAMES: Final = """
    align aligned alignat alignedat array Bmatrix bmatrix cases dcases equation gather gathered matrix
    multline pmatrix rcases smallmatrix split Vmatrix vmatrix
"""
_ENVIRONMENTS: Final = frozenset(f"{name}{star}" for name in _ENVIRONMENT_NAMES.split() for star in ("", "*"))

_ALIKE: Final = {
    "aligned": "align",
    **dict.fromkeys(
        ("equation", "equation*", "gather", "gather*", "gathered", "multline", "multline*"), "matrix"
    ),
    "dcases": "cases",
}
"""Environments that latex2mathml does not support, and similar ones to use instead."""


def maths(md: MarkdownIt) -> None:
    """Add the rules for formulas. Their tokens, `math_block` and `math_inline`, contain the source."""
    md.inline.ruler.before("escape", "math", _inline)
    md.block.ruler.before("fence", "math", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})


def is_display(source: str) -> bool:
    """Return whether a formula, given with its delimiters, is displayed on a separate line."""
    return source.startswith(("$$", "\\["))


def typesettable(source: str) -> str | None:
    """Return a formula for a host to typeset, without labels; `None` if it must be shown as its source.

    Only commands that draw symbols and lay them out within the formula's box are allowed. Commands that set
    links, styles, classes, ids, macros or lengths are not allowed.
    """
    source = _LABEL.sub("", source)
    if len(source) > MAX_CHARS or len(_NEGATIVE_SPACE.findall(source)) > MAX_NEGATIVE_SPACES:
        return None
    if _ROW_GAP.search(source[_size(source) :]) or _depth(source) > MAX_DEPTH:
        return None
    if any(found[1] not in _ENVIRONMENTS for found in _ENVIRONMENT.finditer(source)):
        return None
    if any(_COLUMNS.match(source, found.end()) is None for found in _ARRAY.finditer(source)):
        return None
    commands = set(_COMMAND.findall(source)) - _STRUCTURE
    # `\frac*` is `\frac` and an asterisk.
    commands = {one.rstrip("*") for one in commands} - _STRUCTURE
    return source if not commands or commands <= _symbols() else None


def _size(source: str) -> int:
    """Return the length of a formula's opening delimiter."""
    return 2 if source[:2] in _CLOSING else 1


@cache
def _symbols() -> frozenset[str]:
    from latex2mathml.symbols_parser import SYMBOLS  # noqa: PLC0415 - a table of 200 KB, loaded when needed

    return frozenset(name for name in SYMBOLS if re.fullmatch(r"\\[A-Za-z]+", name)) - {"\\mathchar"}


def _depth(source: str) -> int:
    depth = deepest = 0
    for mark in re.findall(r"\\[\s\S]|[{}]", source):
        if mark in "{}":
            depth += 1 if mark == "{" else -1
            deepest = max(deepest, depth)
    return deepest


def mathml(source: str) -> str | None:
    """Return a formula as MathML; `None` if it must be shown as its source."""
    tex = typesettable(source)
    if tex is None:
        return None
    from latex2mathml.commands import MATRICES  # noqa: PLC0415 - as the next line
    from latex2mathml.converter import convert  # noqa: PLC0415 - loaded when the first formula is exported

    size = _size(tex)
    tex = _ENVIRONMENT.sub(lambda found: found[0].replace(found[1], _ALIKE.get(found[1], found[1])), tex)
    if any(f"\\{found[1]}" not in MATRICES for found in _ENVIRONMENT.finditer(tex)):
        return None
    try:
        return str(convert(tex[size:-size].strip(), display="block" if is_display(tex) else "inline"))
    except Exception:  # noqa: BLE001 - a formula that the library cannot convert is shown as its source
        return None


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.sCount[start] - state.blkIndent >= 4:  # noqa: PLR2004 - indented code
        return False
    begin = state.bMarks[start] + state.tShift[start]
    opening = state.src[begin : begin + 2]
    if opening not in ("$$", "\\[") or state.src[begin + 2 : begin + 3] == "$":
        return False
    closing = _CLOSING[opening]
    last = min(end, start + MAX_BLOCK_LINES)
    if state.src.find(closing, begin + 2, state.eMarks[last - 1]) < 0:
        return False
    closed = False
    line = start
    while line < last:
        if state.isEmpty(line) or state.sCount[line] < state.blkIndent:
            break
        first = begin + 2 if line == start else state.bMarks[line]
        text = state.src[first : state.eMarks[line]].rstrip()
        if closing in text:
            # If text follows on the line, it is an inline formula.
            closed = text.find(closing) == len(text) - len(closing)
            break
        line += 1
    if not closed or silent:
        return closed
    state.line = line + 1
    token = state.push("math_block", "", 0)
    token.content = state.getLines(start, state.line, state.sCount[start], False).strip()
    token.map = [start, state.line]
    return True


def _inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "$\\":
        return False
    end = _end(state)
    if end is None:
        return False
    if not silent:
        state.push("math_inline", "", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


def _end(state: StateInline) -> int | None:
    """Return the end of the formula at the current position; `None` if no formula starts there."""
    src, pos = state.src, state.pos
    opening = src[pos : pos + 2]
    before = src[pos - 1] if pos else ""
    if opening in _CLOSING:
        if src[pos + 2 : pos + 3] == "$" or (opening == "$$" and before == "$"):
            return None
        # An escaped bracket is common in the middle of a text.
        if opening == "\\[" and before not in ("", "\n"):
            return None
        return _end_at(state, _CLOSING[opening])
    if src[pos] != "$" or before == "$" or before.isalnum():
        return None
    found = _DOLLARS.match(src, pos + 1, min(state.posMax, pos + MAX_INLINE_CHARS))
    if found is None or found[0][-2:-1].isspace():
        return None
    after = src[found.end() : found.end() + 1] if found.end() < state.posMax else ""
    return None if after == "$" or after.isalnum() else found.end()


def _end_at(state: StateInline, closing: str) -> int | None:
    # A missing closing delimiter is searched for once, not again from every opening delimiter.
    absent: dict[tuple[str, str], int] = state.env.setdefault("absent", {})
    if state.pos >= absent.get((state.src, closing), len(state.src)):
        return None
    at = state.src.find(closing, state.pos + 2)
    if at < 0:
        absent[state.src, closing] = state.pos
        return None
    end = at + len(closing)
    if end > state.posMax or end > state.pos + MAX_INLINE_CHARS:
        return None
    return end if state.src[state.pos + 2 : at].strip() else None

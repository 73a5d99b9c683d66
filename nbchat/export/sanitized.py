r"""Renders Markdown from models as sanitized HTML; the only module that converts their text to markup.

Rendering has two steps. markdown-it-py parses CommonMark and GitHub's tables, strikethrough and footnotes,
with raw HTML as text. nh3 removes every element and attribute that is not on the allowlists below. The
result cannot run scripts, load resources, style the page or define names in it.

JupyterLab, Notebook and nbconvert typeset `$…$`, `\(…\)` and `\begin…` in HTML. A dollar sign or backslash
that is not part of a formula is therefore wrapped in a `span`, since typesetters do not match across
elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from mdit_py_plugins.footnote import footnote_plugin

from nbchat.core.messages import Source
from nbchat.export.deceptive import host_to_show, with_hidden_shown, without_hidden
from nbchat.export.maths import is_display, mathml, maths, typesettable

MAX_NESTING: Final = 40
"""Maximum nesting of block quotes and lists; deeper content is text. A list counts twice."""
MAX_PARAGRAPH_CHARS: Final = 10_000
"""Maximum characters of a paragraph whose Markdown is parsed."""
MAX_BRACKETS: Final = 2000
"""Maximum opening brackets of a paragraph whose Markdown is parsed. Parsing time is quadratic in them."""
MAX_URL_CHARS: Final = 2048
MAX_COLOURED_CHARS: Final = 100_000
"""Maximum characters of a code block with syntax highlighting."""
PREFIX: Final = "nbchat-"
"""Prefix of every class and id in an exported page."""

_LINK: Final = re.compile(r"https?://[^\s/]|mailto:.", re.IGNORECASE)
_WEB: Final = re.compile(r"https?://[^\s<>\"'`\\]{1,2000}", re.IGNORECASE)
_BITMAP: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=%\s]{1,1400000}")
_ADDRESS: Final = re.compile(
    r"(?<![A-Za-z0-9])https?://\w[^\s<>\[\]`\u3000-\u303f\uff00-\uffef]{1,2000}", re.IGNORECASE
)
_TRAILING: Final = re.compile(r"[?!.,:;*_~'\"]{1,40}\Z")
_TASK: Final = re.compile(r"\[([ xX])\]\s+(?=\S)")
_LANGUAGE: Final = re.compile(r"\s*\{?\s*\.?([\w+#.-]{1,32})")
_RIGHT_TO_LEFT: Final = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
_OWN: Final = re.compile(r"nbchat-[\w-]+(?: nbchat-[\w-]+)*")


def _words(text: str) -> set[str]:
    return set(text.split())


_TAGS: Final = _words(
    """
    a bdi blockquote br code del details div em h1 h2 h3 h4 h5 h6 hr li ol p pre span strong sub summary
    sup table tbody td th thead tr ul
    """
)
_HEADINGS: Final = ("h1", "h2", "h3", "h4", "h5", "h6")
_ATTRIBUTES: Final[Mapping[str, set[str]]] = {"a": {"href", "title"}, "ol": {"start"}}
_VALUES: Final[Mapping[str, Mapping[str, set[str]]]] = {
    **{tag: {"align": {"left", "right", "center"}} for tag in ("td", "th")},
    "div": {"align": {"left", "right", "center"}, "dir": {"auto"}},
    **{tag: {"dir": {"auto", "ltr"}} for tag in ("p", *_HEADINGS, "ul", "ol", "blockquote", "table", "pre")},
}
_CONTAINERS: Final = frozenset({"blockquote", "ul", "ol"})
_OUTERMOST: Final = frozenset({"p", "table", *_HEADINGS})
"""Elements that get a writing direction if they are outside containers."""
_MATHML: Final = _words(
    """
    math semantics mrow mi mn mo ms mtext mspace mfrac msqrt mroot mstyle merror mpadded mphantom
    menclose msub msup msubsup munder mover munderover mmultiscripts mprescripts mtable mtr mtd
    """
)
_MATHML_ATTRIBUTES: Final = _words(
    """
    display displaystyle scriptlevel mathvariant mathcolor mathsize width lspace rspace stretchy
    symmetric fence separator form largeop movablelimits accent accentunder minsize maxsize
    linethickness columnalign rowalign columnspacing rowspacing columnlines rowlines frame notation
    columnspan rowspan
    """
)

_OUTPUT: Final = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags=set(),
    attributes={tag: set(names) for tag, names in _ATTRIBUTES.items()},
    tag_attribute_values={tag: dict(values) for tag, values in _VALUES.items()},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener noreferrer",
)


def sanitize(html: str) -> str:
    """Return HTML with only the elements and attributes allowed in the outputs of cells."""
    return _OUTPUT.clean(html)


def sanitize_page(html: str) -> str:
    """Return HTML for an exported page, which also allows maths, bitmaps, and prefixed classes and ids."""
    return _page_cleaner().clean(html)


@cache
def _page_cleaner() -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=_TAGS | _MATHML | {"img", "article", "section", "header"},
        clean_content_tags=set(),
        attributes={
            **{tag: set(names) for tag, names in _ATTRIBUTES.items()},
            **{tag: set(_MATHML_ATTRIBUTES) for tag in _MATHML},
            "img": {"src", "alt"},
            "*": {"class", "id"},
        },
        tag_attribute_values={tag: dict(values) for tag, values in _VALUES.items()},
        attribute_filter=_own_only,
        url_schemes={"http", "https", "mailto", "data"},
        url_relative=lambda url: url if url.startswith(f"#{PREFIX}") else None,
        link_rel="noopener noreferrer",
    )


def _own_only(_tag: str, name: str, value: str) -> str | None:
    if name in ("class", "id"):
        return value if _OWN.fullmatch(value) else None
    if name == "src":
        return value if _BITMAP.fullmatch(value) else None
    if name == "href" and value.lower().startswith("data:"):
        return None
    return value


def fragment(text: str) -> str:
    """Return Markdown as HTML for the output of a cell."""
    return sanitize(render(text))


def render(text: str, page: str = "") -> str:
    """Return Markdown as HTML that is not yet sanitized.

    Parameters
    ----------
    page
        For an exported page, the prefix of ids in this text, after `PREFIX`. Empty for an output.
    """
    env: dict[str, Any] = {"page": page}
    try:
        html: str = _parser().render(text, env)
    except Exception:  # noqa: BLE001 - text that the parser fails on is shown unchanged
        html = f"<pre><code>{escape(text)}</code></pre>"
    return html


def plain(text: str) -> str:
    """Return text, such as a title, a name or an error, as HTML without markup or formulas."""
    return re.sub(r"[$\\]", lambda found: f"<span>{found[0]}</span>", escape(without_hidden(text)))


def sources(cited: Sequence[Source]) -> str:
    """Return the sources of an answer as a numbered list that is not yet sanitized."""
    if not cited:
        return ""
    return f"<p>Sources:</p>\n<ol>\n{''.join(map(_source, cited))}\n</ol>"


def _source(cited: Source) -> str:
    title = cited.title or cited.url
    shown = f"<bdi>{plain(title)}</bdi>"
    if not _WEB.fullmatch(cited.url):
        return f"<li>{shown}</li>"
    host = host_to_show(title, cited.url)
    return f'<li><a href="{escape(cited.url)}">{shown}</a>{f" ({plain(host)})" if host else ""}</li>'


def code_block(text: str) -> str:
    """Return text as a code block."""
    return f"<pre><code>{escape(with_hidden_shown(text))}</code></pre>"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of texts as HTML."""
    head = "".join(f"<th>{plain(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{plain(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return sanitize(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


@cache
def _parser() -> MarkdownIt:
    md = MarkdownIt("commonmark", {"html": False, "maxNesting": 2 * MAX_NESTING})
    md.enable(["table", "strikethrough"])
    md.disable(["html_block", "html_inline"])
    md.validateLink = lambda url: True  # type: ignore[method-assign] # noqa: ARG005 - `_settle` decides
    md.use(footnote_plugin, inline=False)
    md.use(maths)
    paragraph = md.block.ruler.getRules("")[-1]

    def too_deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
        # markdown-it omits content that is nested too deeply.
        return not silent and state.level >= MAX_NESTING and paragraph(state, start, end, False)

    md.block.ruler.before("table", "too_deep", too_deep)
    md.core.ruler.before("inline", "long_paragraphs", _long_paragraphs)
    md.core.ruler.push("settle", _settle)
    for name, rule in _RULES.items():
        md.add_render_rule(name, rule)
    return md


def _long_paragraphs(state: StateCore) -> None:
    """Treat paragraphs that exceed the limits of length or brackets as text."""
    for token in state.tokens:
        if token.type == "inline" and (
            len(token.content) > MAX_PARAGRAPH_CHARS or token.content.count("[") > MAX_BRACKETS
        ):
            token.children = [Token("text", "", 0, content=token.content)]
            token.content = ""


def _settle(state: StateCore) -> None:
    """Process links, images, task boxes and writing directions after the whole text is parsed."""
    item = False
    state.env["rtl"] = rtl = _RIGHT_TO_LEFT.search(state.src) is not None
    for token in state.tokens:
        if (
            rtl
            and token.nesting == 1
            and (token.tag in _CONTAINERS or (token.level == 0 and token.tag in _OUTERMOST))
        ):
            token.attrSet("dir", "auto")
        if token.type == "inline":
            children = token.children or []
            if item and children and children[0].type == "text":
                children[0].content = _TASK.sub(_box, children[0].content, count=1)
            token.children = _settle_links(list(_with_literal_links(children)))
        elif token.type in ("th_open", "td_open") and (style := str(token.attrs.pop("style", ""))):
            token.attrSet("align", style.removeprefix("text-align:"))
        if token.type == "list_item_open":
            item = True
        elif token.type != "paragraph_open":
            item = False


def _box(found: re.Match[str]) -> str:
    return "☐ " if found[1] == " " else "☑ "


def _with_literal_links(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens of a paragraph, with links for the web addresses in its text."""
    links = 0
    for token in tokens:
        links += token.nesting if token.type in ("link_open", "link_close") else 0
        if token.type != "text" or links:
            yield token
            continue
        done = 0
        for found in _ADDRESS.finditer(token.content):
            address = _without_trailing(found[0])
            yield Token("text", "", 0, content=token.content[done : found.start()])
            yield Token("link_open", "a", 1, attrs={"href": address})
            yield Token("text", "", 0, content=address)
            yield Token("link_close", "a", -1)
            done = found.start() + len(address)
        yield Token("text", "", 0, content=token.content[done:])


def _without_trailing(address: str) -> str:
    """Return an address without the punctuation of the sentence around it."""
    while True:
        shorter = _TRAILING.sub("", address)
        if shorter.endswith(")") and shorter.count(")") > shorter.count("("):
            shorter = shorter[:-1]
        if shorter == address:
            return address
        address = shorter


def _settle_links(tokens: Sequence[Token]) -> list[Token]:
    """Remove links that are not allowed, and append the host to links that look like another address."""
    settled: list[Token] = []
    open_links: list[bool] = []
    label, href = "", ""
    for token in tokens:
        settled.append(token)
        label += token.content
        if token.type == "link_open":
            open_links.append(_is_link(str(token.attrs.get("href", ""))))
            label, href = "", str(token.attrs.get("href", ""))
            if not open_links[-1]:
                token.tag, token.attrs = "span", {}
        elif token.type == "link_close":
            if not open_links.pop():
                token.tag = "span"
            elif host := host_to_show(label, href):
                settled.append(Token("text", "", 0, content=f" ({host})"))
        elif token.tag == "s":
            token.tag = "del"
        elif token.type == "image":
            token.meta["linked"] = bool(open_links)
    return settled


def _is_link(href: str) -> bool:
    return len(href) <= MAX_URL_CHARS and _LINK.match(href) is not None


def _text(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:  # noqa: ANN401
    return plain(tokens[at].content)


def _code(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, env: Any) -> str:  # noqa: ANN401
    token = tokens[at]
    found = _LANGUAGE.match(token.info) if token.type == "fence" else None
    content = with_hidden_shown(token.content)
    coloured = _coloured(content, found[1]) if env["page"] and found else None
    left_to_right = ' dir="ltr"' if env.get("rtl") else ""
    return f"<pre{left_to_right}><code>{escape(content) if coloured is None else coloured}</code></pre>\n"


def _coloured(code: str, language: str) -> str | None:
    """Return code with a `span` for each highlighted token; `None` if the language is unknown."""
    from pygments import highlight  # noqa: PLC0415 - for exported pages only
    from pygments.formatters import HtmlFormatter  # noqa: PLC0415
    from pygments.lexers import get_lexer_by_name  # noqa: PLC0415

    language = _ALIASES.get(language.lower(), language.lower())
    if language not in _COLOURED or len(code) > MAX_COLOURED_CHARS:
        return None
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True, classprefix=PREFIX)))


_COLOURED: Final = _words(
    """
    bash c cpp css diff go html ini java javascript json julia latex markdown python r rust sql toml
    typescript xml yaml
    """
)
"""Languages with syntax highlighting, the same as in the page."""
_ALIASES: Final = {
    **dict.fromkeys(("ipython", "ipython3", "py", "py3", "python3"), "python"),
    **dict.fromkeys(("postgresql", "mysql", "sqlite"), "sql"),
    **dict.fromkeys(("sh", "shell", "zsh", "console"), "bash"),
    "c++": "cpp",
    "js": "javascript",
    "ts": "typescript",
    "md": "markdown",
    "yml": "yaml",
    "jsonl": "json",
    "tex": "latex",
    "rs": "rust",
    "golang": "go",
}


def _code_inline(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:  # noqa: ANN401
    return f"<code>{escape(with_hidden_shown(tokens[at].content))}</code>"


def _maths(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, env: Any) -> str:  # noqa: ANN401
    token = tokens[at]
    block = token.type == "math_block"
    shown = mathml(token.content) if env["page"] else _tex(token.content, block=block)
    if shown is None:
        return code_block(token.content) if block else f"<code>{escape(token.content)}</code>"
    if not env["page"]:
        return shown
    kind = "display" if block or is_display(token.content) else "inline"
    return f'<{"div" if block else "span"} class="{PREFIX}{kind}">{shown}</{"div" if block else "span"}>'


def _tex(source: str, *, block: bool) -> str | None:
    tex = typesettable(source)
    if tex is None:
        return None
    # A separate text: the host typesets only the content between the delimiters.
    tex = escape(without_hidden(tex))
    return f"<div>{tex}</div>\n" if block else f"<span>{tex}</span>"


def _cell(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:  # noqa: ANN401
    # Hosts align the cells of all tables to the right, but not the elements inside the cells.
    align = tokens[at].attrs.get("align", "center" if tokens[at].tag == "th" else "left")
    return f'<{tokens[at].tag} align="{align}"><div align="{align}">'


def _cell_end(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, _env: Any) -> str:  # noqa: ANN401
    return f"</div></{tokens[at].tag}>"


def _image(renderer: Any, tokens: Sequence[Token], at: int, options: Any, env: Any) -> str:  # noqa: ANN401
    token = tokens[at]
    alt = renderer.renderInlineAsText(token.children or [], options, env)
    src = str(token.attrs.get("src", ""))
    if env["page"] and _BITMAP.fullmatch(src):
        return f'<img alt="{escape(alt)}" src="{escape(src)}">'
    if not _is_link(src) or src.lower().startswith("mailto:") or token.meta["linked"]:
        return plain(alt)
    return f'<a href="{escape(src)}">{plain(alt or "image")}</a>'


def _footnote_ref(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, env: Any) -> str:  # noqa: ANN401
    number = tokens[at].meta["id"] + 1
    if not env["page"]:
        return f"<sup>{number}</sup>"
    own = f"{PREFIX}{env['page']}"
    # A footnote may have several references; its backlink leads to the first.
    first = tokens[at].meta.get("subId", 0) == 0
    mark = f' id="{own}ref-{number}"' if first else ""
    return f'<sup><a href="#{own}note-{number}"{mark}>{number}</a></sup>'


def _footnotes(_renderer: Any, _tokens: Sequence[Token], _at: int, _options: Any, _env: Any) -> str:  # noqa: ANN401
    return "<hr>\n<ol>\n"


def _footnotes_end(_renderer: Any, _tokens: Sequence[Token], _at: int, _options: Any, _env: Any) -> str:  # noqa: ANN401
    return "</ol>\n"


def _footnote(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, env: Any) -> str:  # noqa: ANN401
    number = tokens[at].meta["id"] + 1
    return f'<li id="{PREFIX}{env["page"]}note-{number}">' if env["page"] else "<li>"


def _footnote_back(_renderer: Any, tokens: Sequence[Token], at: int, _options: Any, env: Any) -> str:  # noqa: ANN401
    if not env["page"] or tokens[at].meta.get("subId", 0) > 0:
        return ""
    return f' <a href="#{PREFIX}{env["page"]}ref-{tokens[at].meta["id"] + 1}">↩</a>'


_RULES: Final = {
    "text": _text,
    "fence": _code,
    "code_block": _code,
    "code_inline": _code_inline,
    "math_inline": _maths,
    "math_block": _maths,
    "image": _image,
    **dict.fromkeys(("td_open", "th_open"), _cell),
    **dict.fromkeys(("td_close", "th_close"), _cell_end),
    "footnote_ref": _footnote_ref,
    "footnote_block_open": _footnotes,
    "footnote_block_close": _footnotes_end,
    "footnote_open": _footnote,
    "footnote_anchor": _footnote_back,
}

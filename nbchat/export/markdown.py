"""Markdown: for people, for GitHub and nbviewer, and to be read in again.

Other programs render it, with other rules than the page's: `inert` leaves nothing in a model's text that
a renderer could take for HTML, for an image to load, or for a link that is not one of the web.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from nbchat.core.text import cut, fenced
from nbchat.core.transcript import SessionState

SPEAKERS: Final = {"user": "User", "assistant": "Assistant", "system": "Instructions", "tool": "Tool"}
"""Headings by role."""

MARK: Final = "<!-- nbchat: {} -->"
"""Stands before every heading of ours, so that one in a text is not taken for it."""

PARAGRAPH: Final = 4000
"""Characters of a paragraph at most, in a transcript."""

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})([^`]*)$")
_LINK: Final = re.compile(r"\](?=\((?!https?://|mailto:|#))")
_DEFINITION: Final = re.compile(r"^(\s{0,3})\[(?=[^\]]*\]:(?!\s*(?:https?://|mailto:|#)\S))", re.MULTILINE)
_SPAN: Final = re.compile(r"(?<![\\`])(`+)(?!`)(.+?)(?<!`)\1(?!`)")
_WEB: Final = re.compile(r"https?://[^\s<>\"'`\\\x00-\x1f]{1,2000}", re.IGNORECASE)
_PUNCTUATION: Final = re.compile(r"[^\w\s]")


def to_markdown(states: Sequence[SessionState]) -> str:
    """Return conversations as Markdown, which `reading.from_markdown` reads in again."""
    return "\n\n---\n\n".join(_conversation(state) for state in states) + "\n"


def _conversation(state: SessionState) -> str:
    lines = [f"{MARK.format('session')}\n# {inert_line(state.title) or 'Chat'}"]
    if state.settings.instructions:
        lines.append(_turn("system", inert(state.settings.instructions)))
    lines += [_turn(message.role, "\n\n".join(_marked_parts(message))) for message in state.path]
    return "\n\n".join(lines)


def _turn(role: str, text: str) -> str:
    return f"{MARK.format(role)}\n## {SPEAKERS[role]}\n\n{text}".rstrip()


def _marked_parts(message: Message) -> Iterator[str]:
    message = message.as_shown()
    for part, text in zip(message.parts, parts(message), strict=True):
        # Else it would be read in again as what the model answered.
        yield f"{MARK.format('reasoning')}\n{text}" if isinstance(part, ReasoningPart) else text
    if message.sources:
        yield f"{MARK.format('sources')}\n{sources(message)}"


def parts(message: Message) -> Iterator[str]:
    """Yield a message's parts as Markdown that is inert."""
    for part in message.parts:
        if isinstance(part, TextPart):
            yield inert(part.text)
        elif isinstance(part, ReasoningPart):
            yield "\n".join(f"> {line}".rstrip() for line in inert(part.text).split("\n"))
        elif isinstance(part, ToolCallPart):
            yield f"*Tool call:* {inert_line(part.name)}\n\n{fenced(part.text, 'json')}"
        elif isinstance(part, ToolResultPart):
            yield f"*Tool result:*\n\n{fenced(part.text)}"
        elif isinstance(part, ImagePart):
            yield f"*Image:* {inert_line(part.name) or 'without a name'}"
        elif isinstance(part, FilePart):
            yield f"*File:* {inert_line(part.name) or 'without a name'}\n\n{fenced(part.text)}"


def sources(message: Message) -> str:
    """Return what a message cites as a numbered list; only addresses of the web are links."""
    lines = ["*Sources:*"]
    for number, source in enumerate(message.sources, 1):
        title = inert_line(source.title or source.url) or "?"
        url = web_url(source.url)
        lines.append(f"{number}. [{title}](<{url}>)" if url else f"{number}. {title}")
    return "\n".join(lines)


def web_url(url: str) -> str:
    """Return an address of the web that is safe to stand in a link; empty for any other."""
    return url if _WEB.fullmatch(url) else ""


def transcript(states: Sequence[SessionState], limit: int = 262_144) -> tuple[str, str]:
    """Return conversations as Markdown and as plain text, for an output of a notebook.

    Parameters
    ----------
    limit
        Characters of each; of a longer conversation the newest turns are there, and a line says so.
    """
    shown: list[tuple[str, str]] = []
    size = 0
    for rich, plain in _newest_first(states):
        size += len(rich) + 2
        if size > limit and shown:
            left = "*Earlier messages are not shown here.*"
            shown.append((left, left.strip("*")))
            break
        shown.append((rich[:limit], plain[:limit]))
    shown.reverse()
    return "\n\n".join(rich for rich, _ in shown), "\n\n".join(plain for _, plain in shown)


def _newest_first(states: Sequence[SessionState]) -> Iterator[tuple[str, str]]:
    """Yield turns and titles from the end, as Markdown and as plain text; what nobody takes costs nothing."""
    for state in reversed(states):
        for message in map(Message.as_shown, reversed(state.path)):
            who = SPEAKERS[message.role]
            text = "\n\n".join(parts(replace(message, parts=tuple(map(_readable, message.parts)))))
            cited = f"\n\n{sources(message)}" if message.sources else ""
            yield f"**{who}**\n\n{text}{cited}".rstrip(), f"{who}: {message.text}".rstrip()
        yield f"# {inert_line(state.title) or 'Chat'}", state.title or "Chat"


def _readable(part: Part) -> Part:
    if isinstance(part, TextPart | ReasoningPart):
        return replace(part, text=_in_paragraphs(part.text))
    return part


def _in_paragraphs(text: str) -> str:
    """Return Markdown without paragraphs of more than `PARAGRAPH` characters; tables and code stay whole.

    The time that JupyterLab's renderer takes grows with the square of a paragraph's length.
    """
    out: list[str] = []
    size = 0
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            closes = mark is not None and mark[1].startswith(fence) and not mark[2].strip()
            fence = "" if closes else fence
        elif mark is not None:
            fence, size = mark[1], 0
        elif not line.strip() or line.startswith("|"):
            size = 0
        else:
            if size + len(line) > PARAGRAPH and size:
                out.append("")
                size = 0
            while len(line) > PARAGRAPH:
                at = line.rfind(" ", 1, PARAGRAPH) + 1 or PARAGRAPH
                out += [line[:at].rstrip(), ""]
                line = line[at:]  # noqa: PLW2901
            size += len(line) + 1
        out.append(line)
    return "\n".join(out)


def inert_line(text: str) -> str:
    """Return one line of text in which nothing is Markdown."""
    return _PUNCTUATION.sub(lambda m: f"&#{ord(m[0])};", cut(" ".join(text.split()), 300))


def inert(text: str) -> str:
    """Return Markdown without HTML, images and foreign links, for a renderer that is not ours.

    Code stays code: fenced blocks are written again with fences that nothing in them can close.
    """
    out: list[str] = []
    prose: list[str] = []
    lines = iter(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))
    for line in lines:
        fence = _FENCE.match(line)
        if fence is None:
            prose.append(line)
            continue
        code: list[str] = []
        closing = re.compile(rf"^ {{0,3}}{re.escape(fence[1][0])}{{{len(fence[1])},}}\s*$")
        for inner in lines:
            if closing.match(inner):
                break
            code.append(inner)
        out.append(_inert_prose("\n".join(prose)))
        out.append(fenced("\n".join(code), _language(fence[2])))
        prose = []
    out.append(_inert_prose("\n".join(prose)))
    return "\n\n".join(block for block in (block.strip("\n") for block in out) if block)


def _language(info: str) -> str:
    """Return the first word of a fence's line, as far as it can be the name of a language."""
    return re.sub(r"[^\w+#.-]", "", info.split(maxsplit=1)[0] if info.strip() else "")[:30]


def _inert_prose(text: str) -> str:
    """Escape what is not code, and put code spans with angle brackets into a form that all agree on."""
    out: list[str] = []
    at = 0
    for span in _SPAN.finditer(text):
        out.append(_escaped(text[at : span.start()]))
        inner = span[2]
        if "<" in inner or "&" in inner or "]" in inner or "[" in inner:
            out.append(f"<code>{_PUNCTUATION.sub(lambda m: f'&#{ord(m[0])};', inner)}</code>")
        else:
            out.append(span[0])
        at = span.end()
    out.append(_escaped(text[at:]))
    return _DEFINITION.sub(r"\1\\[", "".join(out))


def _escaped(text: str) -> str:
    text = text.replace("&", "&amp;").replace("<", "&lt;")
    # An image would be fetched by whoever looks; as a link it waits for a click.
    text = re.sub(r"!+(?=\[)", "", text)
    return _LINK.sub(r"\\]", text)

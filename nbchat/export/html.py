"""HTML in one file: inert, without script, and with a policy that lets nothing be loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    Source,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from nbchat.core.transcript import SessionState
from nbchat.export.markdown import SPEAKERS, web_url

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)

_STYLE: Final = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}
article{margin:1rem 0;padding:.5rem 1rem;border-radius:.5rem;border:1px solid #8886}
article.user{background:#8882}
h2{font-size:.8rem;margin:0;opacity:.7}
pre{overflow:auto;padding:.75rem;background:#8882;border-radius:.25rem}
details{opacity:.8}
""".replace("\n", "")

_FENCE: Final = re.compile(r"^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$")
_HEADING: Final = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")
_ITEM: Final = re.compile(r"^\s*(?:[-*+]|(\d{1,9})[.)])\s+(.*)$")
_INLINE: Final = re.compile(
    r"(?P<code>(?<!`)(`+)(?!`)(?P<span>.+?)(?<!`)\2(?!`))"
    r"|\[(?P<label>[^\[\]]{1,500})\]\((?P<url>(?:https?://|mailto:)[^\s()<>\"]{1,2000})\)"
    r"|\*\*(?P<bold>[^*\n]{1,2000})\*\*"
    r"|(?<![\w*])\*(?P<italic>[^*\s][^*\n]{0,2000})\*(?![\w*])"
)


def to_html(states: Sequence[SessionState]) -> str:
    """Return conversations as one HTML page."""
    title = escape(states[0].title if len(states) == 1 else "Chats") or "Chat"
    body = "\n".join(_conversation(state) for state in states)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _conversation(state: SessionState) -> str:
    parts = [f"<h1><bdi>{escape(state.title or 'Chat')}</bdi></h1>"]
    if state.settings.instructions:
        parts.append(_article("system", blocks(state.settings.instructions)))
    parts += [_article(message.role, "".join(_parts(message))) for message in state.path]
    return f"<section>\n{chr(10).join(parts)}\n</section>"


def _article(role: str, body: str) -> str:
    return f'<article class="{role}">\n<h2>{SPEAKERS[role]}</h2>\n{body}\n</article>'


def _parts(message: Message) -> Iterator[str]:
    message = message.as_shown()
    for part in message.parts:
        if isinstance(part, TextPart):
            yield blocks(part.text)
        elif isinstance(part, ReasoningPart):
            yield f"<details><summary>Reasoning</summary>{blocks(part.text)}</details>"
        elif isinstance(part, ToolCallPart):
            yield f"<p>Tool call: <bdi>{escape(part.name)}</bdi></p>"
            yield f"<pre><code>{escape(part.text)}</code></pre>"
        elif isinstance(part, ToolResultPart):
            yield f"<p>Tool result:</p><pre><code>{escape(part.text)}</code></pre>"
        elif isinstance(part, ImagePart):
            yield _image(part)
        elif isinstance(part, FilePart):
            yield f"<details><summary>File: <bdi>{escape(part.name)}</bdi></summary>"
            yield f"<pre><code>{escape(part.text)}</code></pre></details>"

    if message.sources:
        yield f"<p>Sources:</p><ol>{''.join(map(_source, message.sources))}</ol>"


def _source(source: Source) -> str:
    title, url = escape(source.title or source.url), web_url(source.url)
    if not url:
        return f"<li><bdi>{title}</bdi></li>"
    return f'<li><a href="{escape(url)}" rel="noopener noreferrer"><bdi>{title}</bdi></a></li>'


def _image(part: ImagePart) -> str:
    if re.fullmatch(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+", part.text):
        return f'<p><img alt="{escape(part.name)}" src="{part.text}"></p>'
    return f"<p>Image: <bdi>{escape(part.name)}</bdi></p>"


def blocks(text: str) -> str:
    """Return the blocks of Markdown that matter in answers, as HTML; everything else as its own text."""
    out: list[str] = []
    lines = text.replace("\r\n", "\n").split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        if fence := _FENCE.match(line):
            end = at + 1
            while end < len(lines) and not lines[end].strip().startswith(fence[1]):
                end += 1
            out.append(f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>")
            at = end + 1
        elif heading := _HEADING.match(line):
            level = min(len(heading[1]) + 2, 6)
            out.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
            at += 1
        elif item := _ITEM.match(line):
            tag = "ol" if item[1] else "ul"
            items = []
            while at < len(lines) and (item := _ITEM.match(lines[at])):
                items.append(f"<li>{_inline(item[2])}</li>")
                at += 1
            out.append(f"<{tag}>{''.join(items)}</{tag}>")
        elif not line.strip():
            at += 1
        else:
            end = at + 1
            while end < len(lines) and lines[end].strip() and not _begins_block(lines[end]):
                end += 1
            out.append(f"<p>{'<br>'.join(_inline(one) for one in lines[at:end])}</p>")
            at = end
    return "\n".join(out)


def _begins_block(line: str) -> bool:
    return bool(_FENCE.match(line) or _HEADING.match(line) or _ITEM.match(line))


def _inline(text: str) -> str:
    out: list[str] = []
    at = 0
    for found in _INLINE.finditer(text):
        out.append(escape(text[at : found.start()]))
        if found["span"] is not None:
            out.append(f"<code>{escape(found['span'].strip())}</code>")
        elif found["url"] is not None:
            href = escape(found["url"])
            out.append(f'<a href="{href}" rel="noopener noreferrer">{escape(found["label"])}</a>')
        elif found["bold"] is not None:
            out.append(f"<strong>{escape(found['bold'])}</strong>")
        else:
            out.append(f"<em>{escape(found['italic'])}</em>")
        at = found.end()
    out.append(escape(text[at:]))
    return "".join(out)

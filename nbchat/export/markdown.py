"""`to_markdown` writes conversations as Markdown that can be imported again.

The text of a message is written unchanged. The program that renders the file decides which content runs or
is loaded. HTML and notebooks are the safe formats for rendering by other programs.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Final

from nbchat.core.calls import ToolCall
from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolResultPart,
)
from nbchat.core.refusals import refused_questions
from nbchat.core.run import RunRecord
from nbchat.core.text import fenced
from nbchat.core.transcript import SessionState
from nbchat.export.calls import WORDS, Shown, code_of, runs_of, shown_parts
from nbchat.export.marks import MARK, SEPARATOR
from nbchat.export.turns import SPEAKERS, pictures, speaker

NOT_SENT: Final = "*Not sent with later questions.*"
"""Line above a question that a server refused for its content."""

_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>&$!~|#]")
_WEB: Final = re.compile(r"https?://[^\s<>]{1,2000}", re.IGNORECASE)


def to_markdown(states: Sequence[SessionState]) -> str:
    """Return conversations as Markdown, which `reading.from_markdown` can import."""
    key = _key(states)
    return f"{SEPARATOR}\n\n".join(_conversation(state, key) for state in states) + "\n"


def _key(states: Sequence[SessionState]) -> str:
    """Return a short text that does not occur in these conversations. The result is deterministic."""
    texts = [
        text for state in states for text in (state.title, state.settings.instructions or "", *_texts(state))
    ]
    start = zlib.crc32("\n".join(texts).encode("utf-8", "replace"))
    candidates = (f"{(start + number) % 2**32:08x}" for number in count())
    return next(key for key in candidates if not any(key in text for text in texts))


def _texts(state: SessionState, key: str = "") -> Iterator[str]:
    """Yield the messages of a conversation as Markdown."""
    runs = runs_of(state)
    for message in state.path:
        yield _markdown(message, runs.get(message.id), key)


def _conversation(state: SessionState, key: str) -> str:
    lines = [f"{MARK.format('session', key)}\n# {' '.join(state.title.split()) or 'Chat'}"]
    if state.settings.instructions:
        lines.append(_turn("system", SPEAKERS["system"], state.settings.instructions, key))
    refused = refused_questions(state, state.path)
    for message, text in zip(state.path, _texts(state, key), strict=True):
        who = _escaped(speaker(message))
        if message.id in refused:
            lines.append(_turn("refused", who, f"{NOT_SENT}\n\n{text}", key))
        else:
            lines.append(_turn(message.role, who, text, key))
    return "\n\n".join(lines)


def _turn(kind: str, who: str, text: str, key: str) -> str:
    return f"{MARK.format(kind, key)}\n## {who}\n\n{text}"


def _escaped(text: str) -> str:
    """Return a text as Markdown on one line, without markup."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _markdown(message: Message, run: RunRecord | None, key: str) -> str:
    parts = [_part(part, key) for part in shown_parts(message, run)]
    return "\n\n".join([*parts, *_sources(message, key)])


def _sources(message: Message, key: str) -> Iterator[str]:
    """Yield the sources of a message as a numbered list, marked as not part of the answer."""
    if message.sources:
        lines = [MARK.format("sources", key), "*Sources:*"]
        for number, source in enumerate(message.sources, 1):
            title = _escaped(source.title or source.url or "?")
            url = _WEB.fullmatch(source.url)
            lines.append(f"{number}. [{title}](<{source.url}>)" if url else f"{number}. {title}")
        yield "\n".join(lines)


def _part(part: Shown, key: str) -> str:
    match part:
        case TextPart():
            return part.text
        case ReasoningPart():
            # Marked, so that it is not imported as part of the model's answer.
            quoted = "\n".join(f"> {line}".rstrip() for line in re.split(r"\r\n|\r|\n", part.text))
            return f"{MARK.format('reasoning', key)}\n{quoted}"
        case ToolCall():
            code = code_of(part)
            shown = fenced(part.text, "json") if code is None else fenced(code, "python")
            lines = [f"*Tool call:* {_name(part.name)} {WORDS[part.state]}", shown]
            if part.result is not None:
                lines.append(_part(part.result, key))
                lines += [_part(picture, key) for picture in pictures(part.result, part.name)]
            return "\n\n".join(lines)
        case ToolResultPart():
            return f"*Tool result:*\n\n{fenced(part.text)}"
        case ImagePart():
            return f"*Image:* {_name(part.name)}"
        case FilePart():
            kind = "Variable" if part.kind == "variable" else "File"
            return f"*{kind}:* {_name(part.name)}\n\n{fenced(part.text)}"


def _name(name: str) -> str:
    """Return a name as code, on one line."""
    return f"`{' '.join(name.replace('`', '').split())}`" if name.strip("` \n") else "without a name"

"""Renders messages as sanitized HTML and as plain text, for outputs and cells of notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
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
from nbchat.core.run import RunState
from nbchat.core.text import cut, printable
from nbchat.core.transcript import SessionState
from nbchat.export.sanitized import code_block, plain, render, sanitize, sources

SPEAKERS: Final = {"user": "User", "assistant": "Assistant", "system": "Instructions", "tool": "Tool"}
"""Headings by role."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A rendered message."""

    html: str
    text: str


Rendered = MutableMapping[Message, Turn]
"""Turns by message, so that unchanged messages are not rendered again."""


def title_of(state: SessionState) -> Turn:
    """Return the rendered title of a conversation."""
    title = cut(" ".join(state.title.split()), 300, "…") or "Chat"
    return Turn(f"<h1><bdi>{plain(title)}</bdi></h1>", printable(title))


def turn_of(message: Message) -> Turn:
    """Return a rendered message under the name of its role."""
    message = message.as_shown()
    who = SPEAKERS[message.role]
    body = "\n".join(_parts(message))
    html = sanitize(f'<p><strong>{who}</strong></p>\n<div dir="auto">\n{body}\n</div>')
    return Turn(html, printable(f"{who}: {message.text}").rstrip())


def _parts(message: Message) -> Iterator[str]:
    for part in message.parts:
        if isinstance(part, TextPart):
            yield render(part.text)
        elif isinstance(part, ReasoningPart):
            yield _folded("Reasoning", render(part.text))
        elif isinstance(part, ToolCallPart):
            yield f"<p>Tool call: <bdi>{plain(part.name)}</bdi></p>{code_block(part.text)}"
        elif isinstance(part, ToolResultPart):
            yield f"<p>Tool result:</p>{code_block(part.text)}"
        elif isinstance(part, ImagePart):
            yield image(part)
        elif isinstance(part, FilePart):
            kind = "Variable" if part.kind == "variable" else "File"
            yield _folded(f"{kind}: <bdi>{plain(part.name or 'without a name')}</bdi>", code_block(part.text))
    yield beside(message)


def beside(message: Message) -> str:
    """Return the notices and sources below a message's parts, not yet sanitized."""
    notices = [f"<p><em>{plain(notice)}</em></p>" for notice in message.notices]
    return "\n".join([*notices, sources(message.sources)])


def image(part: ImagePart) -> str:
    """Return the name of an image, which is shown in its place."""
    return f"<p>Image: <bdi>{plain(part.name or 'without a name')}</bdi></p>"


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n{body}\n</details>"


def transcript(
    states: Sequence[SessionState], limit: int = 262_144, rendered: Rendered | None = None
) -> Turn:
    """Return conversations for an output of a notebook.

    Parameters
    ----------
    limit
        Maximum characters of the HTML. If they are exceeded, only the newest turns are shown, with a notice.
    rendered
        Cache of rendered messages. It is updated to hold those of this transcript.
    """
    earlier = dict(rendered or {})
    used: dict[Message, Turn] = {}
    shown: list[Turn] = []
    size = 0
    for item in _newest_first(states):
        if isinstance(item, Message):
            turn = used[item] = earlier.get(item) or _bounded(item, limit)
        else:
            turn = item
        size += len(turn.html)
        if size > limit and shown:
            left = "Earlier messages are not shown here."
            shown.append(Turn(f"<p><em>{left}</em></p>", left))
            break
        shown.append(turn)
    if rendered is not None:
        rendered.clear()
        rendered.update(used)
    shown.reverse()
    return Turn("\n".join(turn.html for turn in shown), "\n\n".join(turn.text for turn in shown))


def _bounded(message: Message, limit: int) -> Turn:
    """Return a rendered message, truncated if it is very long."""
    parts: list[Part] = []
    left = limit // 2
    for part in message.parts:
        if not isinstance(part, ImagePart) and len(part.text) > left:
            parts.append(replace(part, text=f"{part.text[:left]}…"))
            break
        parts.append(part)
        left -= 0 if isinstance(part, ImagePart) else len(part.text)
    return turn_of(replace(message, parts=tuple(parts)))


def _newest_first(states: Sequence[SessionState]) -> Iterator[Message | Turn]:
    """Yield messages, notes about incomplete answers, and titles, newest first."""
    for state in reversed(states):
        runs = {run.message_id: run for run in state.runs}
        for run in reversed(state.runs):
            if run.state is RunState.QUEUED and run.prompt is not None:
                yield _note("This question had not been sent yet.")
                yield run.prompt
        for message in reversed(state.path):
            last = runs.get(message.id)
            if last is not None and (words := _NOTES.get(last.state)):
                yield _note(words)
            yield message
        yield title_of(state)


_NOTES: Final[Mapping[RunState, str]] = {
    **dict.fromkeys(
        (RunState.CONNECTING, RunState.STREAMING, RunState.PAUSED, RunState.RETRYING, RunState.STOPPING),
        "This answer was still being generated.",
    ),
    RunState.INCOMPLETE: "The model stopped before this answer was complete.",
    RunState.STOPPED: "This answer was stopped.",
    RunState.INTERRUPTED: "This answer was interrupted.",
    RunState.FAILED: "This question got no answer.",
}
"""Notes below incomplete answers, by state."""


def _note(words: str) -> Turn:
    return Turn(f"<p><em>{words}</em></p>", f"({words})")

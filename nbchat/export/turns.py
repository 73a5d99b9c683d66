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

SPEAKERS: Final = {"user": "You", "assistant": "Assistant", "system": "Instructions", "tool": "Tool"}
"""Headings by role."""

OPEN_MESSAGES: Final = 6
"""Newest messages of a conversation that a transcript does not fold."""

MIN_FOLDED: Final = 4
"""Fewer earlier messages are not folded."""


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

    Of a long conversation the newest messages are open, and the earlier ones are folded.

    Parameters
    ----------
    limit
        Maximum characters of the HTML. If they are exceeded, only the newest turns are shown, with a notice.
    rendered
        Cache of rendered messages. It is updated to hold those of this transcript.
    """
    earlier = dict(rendered or {})
    used: dict[Message, Turn] = {}
    conversations: list[Turn] = []
    size = 0
    for state in reversed(states):
        shown: list[Turn] = []
        folded_at: int | None = None
        count, has_note = 0, False
        for item in _newest_first(state):
            if isinstance(item, Message):
                turn = used[item] = earlier.get(item) or _bounded(item, limit)
                count += 1
                if count == OPEN_MESSAGES + 1:
                    folded_at = len(shown) - has_note  # the note belongs to this message
            else:
                turn = item
            has_note = turn is item
            size += len(turn.html)
            if size > limit and (shown or conversations):
                count -= isinstance(item, Message)  # this one is not shown
                shown.append(_LEFT)
                break
            shown.append(turn)
        conversations.append(_conversation(title_of(state), shown, folded_at, count - OPEN_MESSAGES))
        if size > limit:
            break
    if rendered is not None:
        rendered.clear()
        rendered.update(used)
    conversations.reverse()
    return Turn("\n".join(one.html for one in conversations), "\n\n".join(one.text for one in conversations))


def _conversation(title: Turn, newest_first: Sequence[Turn], folded_at: int | None, folded: int) -> Turn:
    """Return a conversation with the turns from `folded_at` on, which are the earlier ones, folded."""
    turns = list(reversed(newest_first))
    split = len(turns) - folded_at if folded_at is not None and folded >= MIN_FOLDED else 0
    html = [turn.html for turn in turns]
    if split:
        html[:split] = [_folded(f"Earlier messages ({folded})", "\n".join(html[:split]))]
    return Turn("\n".join([title.html, *html]), "\n\n".join([title.text, *(turn.text for turn in turns)]))


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


def _newest_first(state: SessionState) -> Iterator[Message | Turn]:
    """Yield messages and notes about incomplete answers, newest first."""
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


_LEFT: Final = Turn(
    "<p><em>Earlier messages are not shown here.</em></p>", "Earlier messages are not shown here."
)
"""Note in place of what exceeds the limit."""

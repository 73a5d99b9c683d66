"""Renders messages as sanitized HTML and as plain text, for outputs and cells of notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from nbchat.core.calls import CallState, ToolCall, calls_of
from nbchat.core.messages import FilePart, ImagePart, Message, ReasoningPart, TextPart, ToolResultPart
from nbchat.core.run import RunRecord, RunState
from nbchat.core.text import cut, fenced, printable
from nbchat.core.transcript import SessionState
from nbchat.export.calls import WORDS, Shown, code_of, runs_of, shown_parts
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


Rendered = MutableMapping[tuple[Message, tuple[CallState, ...]], Turn]
"""Turns by message and states of its tool calls, so that unchanged messages are not rendered again."""


def speaker(message: Message) -> str:
    """Return the heading of a message as text: the name of its author, or its role."""
    return (message.author if message.role == "user" else None) or SPEAKERS[message.role]


def title_of(state: SessionState) -> Turn:
    """Return the rendered title of a conversation."""
    title = cut(" ".join(state.title.split()), 300, "…") or "Chat"
    return Turn(f"<h1><bdi>{plain(title)}</bdi></h1>", printable(title))


def turn_of(message: Message, run: RunRecord | None = None) -> Turn:
    """Return a rendered message under the name of its role.

    Parameters
    ----------
    run
        The last run of the message; `None` if it is unknown, and therefore over.
    """
    return _turn(message, shown_parts(message, run))


def _turn(message: Message, parts: Sequence[Shown]) -> Turn:
    who = speaker(message)
    text = "".join(part.text for part in parts if isinstance(part, TextPart))
    body = "\n".join([*html_of(parts), beside(message)])
    return Turn(section(body, who), printable(f"{who}: {text}").rstrip())


def image(part: ImagePart) -> str:
    """Return the name of an image, which is shown in its place."""
    return f"<p>Image: <bdi>{plain(part.name or 'without a name')}</bdi></p>"


def section(body: str, who: str = "") -> str:
    """Return the sanitized HTML of a message, or of a piece of it, under the text `who`."""
    heading = f"<p><strong>{plain(who)}</strong></p>\n" if who else ""
    return sanitize(f'{heading}<div dir="auto">\n{body}\n</div>')


def html_of(
    parts: Sequence[Shown], picture: Callable[[ImagePart], str] = image, page: str = ""
) -> Iterator[str]:
    """Yield the parts of a message as HTML that is not yet sanitized.

    Parameters
    ----------
    picture
        Returns the HTML of an image.
    page
        For an exported page, the prefix of ids in this message. Empty for an output.
    """
    for number, part in enumerate(parts):
        own = page and f"{page}{number}-"
        if isinstance(part, TextPart):
            yield render(part.text, own)
        elif isinstance(part, ReasoningPart):
            yield collapsed("Reasoning", render(part.text, own))
        elif isinstance(part, ToolCall):
            yield call_title(part)
            code = code_of(part)
            yield code_block(part.text) if code is None else render(fenced(code, "python"), own)
            if part.result is not None:
                yield _result(part.result)
                yield from map(picture, pictures(part.result, part.name))
        elif isinstance(part, ToolResultPart):
            yield _result(part)
        elif isinstance(part, ImagePart):
            yield picture(part)
        elif isinstance(part, FilePart):
            kind = "Variable" if part.kind == "variable" else "File"
            yield collapsed(
                f"{kind}: <bdi>{plain(part.name or 'without a name')}</bdi>", code_block(part.text)
            )


def call_title(call: ToolCall) -> str:
    """Return the name and the state of a tool call, not yet sanitized."""
    return f"<p>Tool call: <bdi>{plain(call.name)}</bdi> {WORDS[call.state]}</p>"


def _result(part: ToolResultPart) -> str:
    """Return the text of a tool's result, not yet sanitized."""
    return f"<p>Tool result:</p>{code_block(part.text)}"


def pictures(part: ToolResultPart, name: str) -> Iterator[ImagePart]:
    """Yield the pictures of a tool's result, with their numbers."""
    for number, url in enumerate(part.images, 1):
        yield ImagePart(name=f"Picture {number} of {name}", text=url)


def beside(message: Message) -> str:
    """Return the notices and sources below a message's parts, not yet sanitized."""
    notices = [f"<p><em>{plain(notice)}</em></p>" for notice in message.notices]
    return "\n".join([*notices, sources(message.sources)])


def collapsed(summary: str, body: str) -> str:
    """Return a body that a click on the summary opens, not yet sanitized. Both are HTML."""
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
    used: dict[tuple[Message, tuple[CallState, ...]], Turn] = {}
    conversations: list[Turn] = []
    size = 0
    for state in reversed(states):
        shown: list[Turn] = []
        folded_at: int | None = None
        count, has_note = 0, False
        for item in _newest_first(state):
            if isinstance(item, _Shown):
                key = item.key
                turn = used[key] = earlier.get(key) or _bounded(item, limit)
                count += 1
                if count == OPEN_MESSAGES + 1:
                    folded_at = len(shown) - has_note  # the note belongs to this message
            else:
                turn = item
            has_note = turn is item
            size += len(turn.html)
            if size > limit and (shown or conversations):
                count -= isinstance(item, _Shown)  # this message is not shown
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
        html[:split] = [collapsed(f"Earlier messages ({folded})", "\n".join(html[:split]))]
    return Turn("\n".join([title.html, *html]), "\n\n".join([title.text, *(turn.text for turn in turns)]))


@dataclass(frozen=True, slots=True)
class _Shown:
    """A message with its last run."""

    message: Message
    run: RunRecord | None = None

    @property
    def key(self) -> tuple[Message, tuple[CallState, ...]]:
        """Key of its turn among the rendered ones."""
        return self.message, tuple(call.state for call in calls_of(self.message, self.run))


def _bounded(shown: _Shown, limit: int) -> Turn:
    """Return a rendered message, truncated if it is very long."""
    parts: list[Shown] = []
    left = limit // 2
    for part in shown_parts(shown.message, shown.run):
        if isinstance(part, ImagePart):  # its name is shown
            parts.append(part)
            continue
        if len(part.text) > left:
            without = {"result": None} if isinstance(part, ToolCall) else {}  # it keeps its state
            parts.append(replace(part, text=f"{part.text[:left]}…", **without))
            break
        left -= len(part.text)
        if isinstance(part, ToolCall) and part.result is not None:
            text = part.result.text
            if len(text) > left:
                parts.append(replace(part, result=replace(part.result, text=f"{text[:left]}…")))
                break
            left -= len(text)
        parts.append(part)
    return _turn(shown.message, parts)


def _newest_first(state: SessionState) -> Iterator[_Shown | Turn]:
    """Yield messages and notes about incomplete answers, newest first."""
    runs = runs_of(state)
    for run in reversed(state.runs):
        if run.state is RunState.QUEUED and run.prompt is not None:
            yield _note("This question had not been sent yet.")
            yield _Shown(run.prompt)
    for message in reversed(state.path):
        last = runs.get(message.id)
        if last is not None and (words := _NOTES.get(last.state)):
            yield _note(words)
        yield _Shown(message, last)


_NOTES: Final[Mapping[RunState, str]] = {
    **dict.fromkeys(
        (RunState.CONNECTING, RunState.STREAMING, RunState.PAUSED, RunState.RETRYING, RunState.STOPPING),
        "This answer was still being generated.",
    ),
    RunState.AWAITING_APPROVAL: "A tool call of this answer was waiting for approval.",
    RunState.ACTING: "Tools were running for this answer.",
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

"""`shown_parts` joins the tool calls of a message with their results, and `WORDS` describes their states."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from nbchat.core.calls import CallState, ToolCall, calls_of
from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from nbchat.core.run import RunRecord
from nbchat.core.text import clean
from nbchat.core.transcript import SessionState

WORDS: Final[Mapping[CallState, str]] = {
    "arriving": "was not complete",
    "asking": "was waiting for approval",
    "running": "was running",
    "ran": "ran",
    "not_run": "was not run",
    "unknown": "has an unknown outcome",
}
"""The state of a call, after the name of its tool. An export shows the moment at which it was written."""

Shown = TextPart | ReasoningPart | ToolCall | ToolResultPart | ImagePart | FilePart
"""A part of a message, or a tool call with its result."""


def runs_of(state: SessionState) -> Mapping[str, RunRecord]:
    """Return the last run of each answer, by the id of the answer."""
    return {run.message_id: run for run in state.runs}


def shown_parts(message: Message, run: RunRecord | None) -> Sequence[Shown]:
    """Return the parts of a message as they are shown, with each call in place of its part and its result.

    Parameters
    ----------
    run
        The last run of the message; `None` if it is unknown, and therefore over.
    """
    return list(_joined(message, run))


def _joined(message: Message, run: RunRecord | None) -> Iterator[Shown]:
    # From the message itself, since reasoning that is shown as a separate part changes the indexes.
    calls = list(calls_of(message, run))
    results = {id(call.result) for call in calls}
    following = iter(calls)
    for part in message.as_shown().parts:
        if isinstance(part, ToolCallPart):
            yield next(following)
        elif not isinstance(part, ToolResultPart) or id(part) not in results:
            yield part


def code_of(call: ToolCall) -> str | None:
    """Return the code of a call of `python`; `None` for other calls and other arguments."""
    if call.name != "python":
        return None
    try:
        pairs = json.loads(call.text, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        return None
    match pairs:
        case (("code", str() as code),) if isinstance(pairs, tuple) and code == clean(code):
            return code
    return None

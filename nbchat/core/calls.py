"""`ToolCall`: a tool call of an answer, with its state, derived from the answer and its run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from nbchat.core.messages import Message, ToolCallPart, ToolResultPart
from nbchat.core.run import RunRecord, RunState
from nbchat.core.values import Value

CallState = Literal["arriving", "asking", "running", "ran", "not_run", "unknown"]
"""`arriving`: the arguments are incomplete, or the call is about to be checked. `asking`: it waits for
approval. `not_run`: it was refused, invalid, or its run ended before it was started. `unknown`: it was
started, and its run ended before its result arrived."""


class ToolCall(Value, frozen=True, kw_only=True):
    """A tool call of an answer, as in `run.calls`.

    Examples
    --------
    >>> geo.send("Seine").wait(30).calls
    ()
    """

    id: str
    name: str
    text: str
    """The JSON of the arguments, as received."""
    state: CallState
    result: ToolResultPart | None = None
    started_at: float | None = None
    """When it was started, in seconds since 1970-01-01 UTC; `None` if it was not."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The arguments; empty if they are not a JSON object."""
        try:
            value = json.loads(self.text or "{}")
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


def calls_of(message: Message, run: RunRecord | None, first_part: int = 0) -> Iterator[ToolCall]:
    """Yield the calls of an answer, from a part on.

    Parameters
    ----------
    run
        The run that generates the answer; `None` if it is unknown, and therefore over.
    first_part
        Index of the first part to look at.
    """
    for index, part in enumerate(message.parts):
        if index < first_part or not isinstance(part, ToolCallPart):
            continue
        result = _result(message, index, part.call_id)
        yield ToolCall(
            id=part.call_id,
            name=part.name,
            text=part.text,
            # A run that continues an answer does not run the calls of earlier runs.
            state=_state(part, result, run if run is not None and index >= run.first_part else None),
            result=result,
            started_at=part.started_at,
        )


def _result(message: Message, index: int, call_id: str) -> ToolResultPart | None:
    """Return the result that follows a call; a later call may have the same id."""
    for part in message.parts[index + 1 :]:
        if isinstance(part, ToolResultPart) and part.call_id == call_id:
            return part
        if isinstance(part, ToolCallPart) and part.call_id == call_id:
            return None
    return None


def _state(part: ToolCallPart, result: ToolResultPart | None, run: RunRecord | None) -> CallState:
    if result is not None:
        return "not_run" if part.started_at is None or result.not_run else "ran"
    is_over = run is None or run.state.is_over or run.state is RunState.STOPPING
    if part.started_at is not None:
        return "unknown" if is_over else "running"
    if is_over or run is None:
        return "not_run"
    return "asking" if part.call_id in run.asking else "arriving"

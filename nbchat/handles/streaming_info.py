"""`StreamingInfo`: a live run, as `registry.streaming_info()` and similar methods return it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from nbchat.core.run import RunState
from nbchat.engine import lookup

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState


class StreamingInfo(Struct, frozen=True, kw_only=True):
    """The live run of a session.

    Examples
    --------
    >>> from nbchat.providers.scripted import HANG, ScriptedProvider
    >>> run = nbchat.session("busy", provider=ScriptedProvider("so far", HANG)).send("Go.")
    >>> next(iter(run))
    'so far'
    >>> info = nbchat.registry.streaming_info("busy")
    >>> info.run == run.id, info.state, info.characters
    (True, <RunState.STREAMING: 'streaming'>, 6)
    >>> run.stop()
    """

    session_id: str
    run_id: str
    state: RunState
    started_at: float | None
    """Seconds since 1970-01-01 UTC; `None` while it is queued."""
    last_delta_at: float | None
    """Time of the last content; `None` before the first."""
    characters: int
    """Characters accepted so far, text and reasoning."""
    text: str = ""
    """The answer so far."""

    @property
    def session(self) -> str:
        """The session's id."""
        return self.session_id

    @property
    def run(self) -> str:
        """The run's id."""
        return self.run_id


def info_of(state: SessionState, run_id: str) -> StreamingInfo:
    """Return the information about a run of a session."""
    run = lookup.run(state, run_id)
    answer = state.messages.get(run.message_id)
    return StreamingInfo(
        session_id=state.id,
        run_id=run.id,
        state=run.state,
        started_at=run.started_at,
        last_delta_at=run.last_delta_at,
        characters=run.characters,
        text=answer.text if answer is not None else "",
    )

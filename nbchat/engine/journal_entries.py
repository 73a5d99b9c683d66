"""`entries_of`: turns the waiting events of a session into the entries of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from nbchat.core.events import EndEvent, Event
from nbchat.core.rfc3339 import to_rfc3339
from nbchat.core.saved import SavedSession, Tombstone
from nbchat.core.session import run_moved_by
from nbchat.core.snapshot import encode_session
from nbchat.engine.journal_events import encode_events
from nbchat.stores.base import Base, Entry, Gone, RunEvents, Stretch

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState


class Waiting(Struct):
    """Events of one session that are not written yet."""

    events: list[tuple[int, Event]] = field(default_factory=list)
    whole: bool = False
    """Write its state instead of its events."""
    gone: Tombstone | None = None


def entries_of(
    session_id: str, waiting: Waiting, state: SavedSession | None, epoch: str, *, fenced: bool
) -> list[Entry]:
    """Return the entries for the waiting events of one session, or for its whole state.

    Parameters
    ----------
    state
        Written in place of the events.
    fenced
        Add the runs that the entries are about, for a store with a lease.
    """
    if waiting.gone is not None:
        stone = {"clock": dict(waiting.gone.clock), "at": to_rfc3339(waiting.gone.at)}
        return [Gone(session_id=session_id, body=msgspec.json.encode(stone))]
    if state is not None:
        runs = _runs_of(state.state) if fenced else ()
        return [Base(session_id=session_id, seq=state.state.seq, body=encode_session(state), runs=runs)]
    if not waiting.events:
        return []
    first = waiting.events[0][0]
    return [
        Stretch(
            session_id=session_id,
            first_seq=first,
            count=len(waiting.events),
            epoch=epoch,
            body=encode_events([event for _, event in waiting.events]),
            runs=_runs_in(waiting.events) if fenced else (),
        )
    ]


def _runs_of(state: SessionState) -> tuple[RunEvents, ...]:
    return tuple(RunEvents(run_id=run.id, seq=state.seq, over=run.state.is_over) for run in state.runs)


def _runs_in(events: Sequence[tuple[int, Event]]) -> tuple[RunEvents, ...]:
    """Return the last event of each run in `events`, without those that may follow its end."""
    runs: dict[str, RunEvents] = {}
    for seq, event in events:
        run_id = run_moved_by(event)
        if run_id is not None:
            runs[run_id] = RunEvents(run_id=run_id, seq=seq, over=isinstance(event, EndEvent))
    return tuple(runs.values())

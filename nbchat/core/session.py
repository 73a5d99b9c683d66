"""`SessionRecord`: a session's log and the state folded from it, updated by the engine's loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nbchat.core.events import RunAcknowledged, RunQueued, RunSaved
from nbchat.core.log import EventLog
from nbchat.core.run import Illegal, Moved, RunState, Stale, transition
from nbchat.core.transcript import SessionState, apply_event

if TYPE_CHECKING:
    from nbchat.core.events import Event

KEEP_EVENTS: Final = 512
"""Events that stay readable after a compaction, so that views slightly behind do not need the state."""

COMPACT_AT: Final = 2048
"""Number of events in memory above which the log is compacted."""


class SessionRecord:
    """A session's log and the state folded from it.

    Attributes
    ----------
    state
        The fold of all events. Immutable, so any thread may read it at any time.
    shown
        The state for readers: `state`, except that a run whose end is not yet in the journal is `stopping`.
    visible
        Number of the last event for readers. It is behind the log's head only while the end of a run is
        being written to the journal.
    """

    __slots__ = ("_ending", "_held_from", "log", "shown", "state")

    def __init__(self, state: SessionState) -> None:
        self.state: SessionState = state
        self.shown: SessionState = state
        self.log: EventLog = EventLog(base=state.seq)
        self._held_from: int | None = None
        self._ending = ""

    def __repr__(self) -> str:
        """Return the id, the number of messages and the log's range."""
        return f"<SessionRecord {self.state.id}, {len(self.state.messages)} messages, {self.log!r}>"

    def append(self, event: Event) -> Moved | Illegal | Stale | None:
        """Append an event to the log and fold it. An event that its run does not accept changes nothing.

        Returns
        -------
        The outcome of the run's transition; `None` for an event that changes no run's state.
        """
        outcome = self.check(event)
        if not isinstance(outcome, Illegal | Stale):
            # Folded first: if folding fails, the event must not be in the log, where it would shift the
            # numbers of all later events.
            self.state = apply_event(self.state, event)
            self.log.append(event)
            self.shown = with_pending_end(self.state, self._ending) if self._ending else self.state
            if self.log.head - self.log.base > COMPACT_AT:
                self.log.compact(self.visible - KEEP_EVENTS)
        return outcome

    def check(self, event: Event) -> Moved | Illegal | Stale | None:
        """Return the result that `append` would return, without changing anything."""
        run_id = run_moved_by(event)
        if run_id is None:
            return None
        record = self.state.run(run_id)
        return Stale(event) if record is None else transition(record.state, event)

    @property
    def visible(self) -> int:
        """Number of the last event for readers."""
        return self.log.head if self._held_from is None else self._held_from

    def hold(self, run_id: str) -> None:
        """Hide the end of a run, which is appended next, and all later events until `release`."""
        if self._held_from is None:
            self._held_from = self.log.head
            self._ending = run_id

    def release(self) -> None:
        """Show all events again."""
        self._held_from = None
        self._ending = ""
        self.shown = self.state


def with_pending_end(state: SessionState, run_id: str) -> SessionState:
    """Return `state` with this run `stopping` if it has ended, since its end is not announced yet.

    This derived state is determined only here.
    """
    if not any(run.id == run_id and run.state.is_over for run in state.runs):
        return state
    runs = tuple(
        replace(run, state=RunState.STOPPING, ended_at=None, error=None) if run.id == run_id else run
        for run in state.runs
    )
    return replace(state, runs=runs)


_NOT_MOVING: Final = frozenset({RunQueued, RunAcknowledged, RunSaved})


def run_moved_by(event: Event) -> str | None:
    """Return the run whose state an event can change; such events end with the run. Else `None`."""
    run_id: str | None = getattr(event, "run_id", None)
    return None if type(event) in _NOT_MOVING else run_id

"""A session: its log, and the state that the log folds to, kept in step.

This is the record that the engine's loop owns. What users hold is `nbchat.Session`, a handle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nbchat.core.events import RunAcknowledged, RunQueued, RunSaved
from nbchat.core.log import EventLog
from nbchat.core.run import Illegal, Moved, Stale, transition
from nbchat.core.transcript import SessionState, apply_event

if TYPE_CHECKING:
    from nbchat.core.events import Event

KEEP_EVENTS: Final = 512
"""Events that stay readable after a compaction, so that views that are a little behind need no state."""

COMPACT_AT: Final = 2048
"""Events in memory at which the older ones are folded away."""


class SessionRecord:
    """One writer's view of a session: append, and the state follows.

    Attributes
    ----------
    state
        The fold of all events. Immutable, so any thread may read it at any time.
    visible
        Readers see events up to this number. It runs behind the log's head only while the end of a
        run waits for the journal.
    """

    __slots__ = ("_held_from", "log", "state")

    def __init__(self, state: SessionState) -> None:
        self.state: SessionState = state
        self.log: EventLog = EventLog(base=state.seq)
        self._held_from: int | None = None

    def __repr__(self) -> str:
        """Return the id, the number of messages and the log's range."""
        return f"<SessionRecord {self.state.id}, {len(self.state.messages)} messages, {self.log!r}>"

    def append(self, event: Event) -> Moved | Illegal | Stale | None:
        """Add an event to the log and fold it; one that a run cannot take changes nothing.

        Returns
        -------
        What the run's table said; None for an event that moves no run.
        """
        outcome = self.check(event)
        if not isinstance(outcome, Illegal | Stale):
            # Folded first: an event that cannot be folded must not be in the log, where it would shift all
            # numbers that follow.
            self.state = apply_event(self.state, event)
            self.log.append(event)
            if self.log.head - self.log.base > COMPACT_AT:
                self.log.compact(self.visible - KEEP_EVENTS)
        return outcome

    def check(self, event: Event) -> Moved | Illegal | Stale | None:
        """Return what `append` would say, and change nothing."""
        run_id = getattr(event, "run_id", None)
        if run_id is None or type(event) in _NOT_MOVING:
            return None
        record = self.state.run(run_id)
        return Stale(event) if record is None else transition(record.state, event)

    @property
    def visible(self) -> int:
        """Number of the last event that readers may see."""
        return self.log.head if self._held_from is None else self._held_from

    def hold(self) -> None:
        """Let readers see no further than here until `release`."""
        if self._held_from is None:
            self._held_from = self.log.head

    def release(self) -> None:
        """Let readers see everything again."""
        self._held_from = None


_NOT_MOVING: Final = frozenset({RunQueued, RunAcknowledged, RunSaved})

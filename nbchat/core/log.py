"""`EventLog`: the events of a session, numbered without gaps and readable by any number of views."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbchat.core.events import Event


class LogCompacted(LookupError):
    """The requested events have been folded into the state. Send the state and continue from its `seq`."""


class EventLog:
    """An append-only list of events, of which the oldest can be removed by compaction.

    `base` is the number of the last removed event (0 if all are present), `head` that of the newest event.
    """

    __slots__ = ("_events", "base")

    def __init__(self, base: int = 0) -> None:
        self.base: int = base
        self._events: deque[Event] = deque()

    def __repr__(self) -> str:
        """Return the range of readable event numbers."""
        return f"<EventLog {self.base + 1}..{self.head}>"

    @property
    def head(self) -> int:
        """Number of the newest event; `base` if the log is empty."""
        return self.base + len(self._events)

    def append(self, event: Event) -> int:
        """Add an event and return its number."""
        self._events.append(event)
        return self.head

    def read_from(self, after: int) -> Sequence[Event]:
        """Return the events after `after`, oldest first.

        Reading is non-blocking and non-destructive, so any number of views can follow one log.

        Parameters
        ----------
        after
            `seq` of the last event applied, or 0 before the first. Numbers count one session's events from 1,
            without gaps.

        Returns
        -------
        Events `after + 1` to `head`; empty if the view is up to date.

        Raises
        ------
        LogCompacted
            If `after < base`: those events have been folded into the state. Send the session's state and
            continue from its `seq`.
        ValueError
            If `after > head`: the log has not assigned that number.

        Notes
        -----
        The contract of `Last-Event-ID` in server-sent events (HTML Standard, section 9.2).
        """
        if after < self.base:
            raise LogCompacted(f"events up to {self.base} are folded away; {after + 1} was asked for")
        if after > self.head:
            raise ValueError(f"the log ends at {self.head}; {after + 1} was asked for")
        if after == self.head:
            return ()
        if after - self.base > len(self._events) // 2:
            # Most readers need only the last few events: iterate from the end.
            newest = list(islice(reversed(self._events), self.head - after))
            newest.reverse()
            return newest
        return list(islice(self._events, after - self.base, None))

    def compact(self, upto: int) -> None:
        """Remove the events up to number `upto`. Readers that need them get the state instead."""
        while self.base < min(upto, self.base + len(self._events)):
            self._events.popleft()
            self.base += 1

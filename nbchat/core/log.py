"""The log of a session: events numbered without gaps, read by any number of readers from any place."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbchat.core.events import Event


class LogCompacted(LookupError):
    """The events asked for are folded away; send the session's state, and read on from there."""


class EventLog:
    """An append-only list of events, from which the oldest may be folded away.

    `base` is the number of the last event that is folded away (0: none), `head` that of the newest.
    """

    __slots__ = ("_events", "base")

    def __init__(self, base: int = 0) -> None:
        self.base: int = base
        self._events: deque[Event] = deque()

    def __repr__(self) -> str:
        """Return the range of numbers that can be read."""
        return f"<EventLog {self.base + 1}..{self.head}>"

    @property
    def head(self) -> int:
        """Number of the newest event; `base` when there is none."""
        return self.base + len(self._events)

    def append(self, event: Event) -> int:
        """Add an event and return its number."""
        self._events.append(event)
        return self.head

    def read_from(self, after: int) -> Sequence[Event]:
        """Return the events a view has not seen yet, oldest first.

        Reading removes nothing and never waits, so any number of views can follow one log.

        Parameters
        ----------
        after
            `seq` of the last event applied; 0 for none. Numbers count one session's events from 1,
            without gaps.

        Returns
        -------
        Events numbered `after + 1` to `head`; empty when the view is up to date.

        Raises
        ------
        LogCompacted
            `after < base`: those events are folded away. Send the session's state and read on from it.
        ValueError
            `after > head`: that number was never given out by this log.

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
            # The usual reader wants the last few: walk from the near end.
            newest = list(islice(reversed(self._events), self.head - after))
            newest.reverse()
            return newest
        return list(islice(self._events, after - self.base, None))

    def compact(self, upto: int) -> None:
        """Fold away the events numbered up to `upto`; readers that need them get the state instead."""
        while self.base < min(upto, self.base + len(self._events)):
            self._events.popleft()
            self.base += 1

"""`Scheduler`: bounds the number of runs that have a connection; others queue, first come, first served.

A session is in the queue once, with its oldest prompt, so a session with many prompts does not delay the
others.
"""

from __future__ import annotations

from typing import Protocol

from nbchat.engine.limits import Limits


class Waiting(Protocol):
    """An entry of the queue: the runs of one session."""

    def start_next(self) -> bool:
        """Start the oldest prompt; return False if none is waiting."""
        ...

    def moved_up(self) -> None:
        """React to a new position in the queue."""
        ...


class Scheduler:
    """Slots and the queue for them. Only for the engine's loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._queue: dict[Waiting, None] = {}
        self.live: int = 0
        """Slots in use."""

    def __len__(self) -> int:
        """Return the length of the queue."""
        return len(self._queue)

    def submit(self, waiting: Waiting) -> None:
        """Enter the queue; an entry that is already queued keeps its position."""
        self._queue.setdefault(waiting, None)
        self.pump()

    def withdraw(self, waiting: Waiting) -> None:
        """Leave the queue."""
        if self._queue.pop(waiting, self) is None:
            self._publish_positions()

    def position(self, waiting: Waiting) -> int | None:
        """Return the position in the queue, from 1; `None` if it is not in it."""
        if waiting not in self._queue:
            return None
        return next(place for place, other in enumerate(self._queue, 1) if other is waiting)

    def release(self) -> None:
        """Release a slot; the first entry of the queue gets it."""
        self.live -= 1
        self.pump()

    def pump(self) -> None:
        """Fill the free slots."""
        started = False
        while self._queue and self.live < self._limits.live_runs:
            waiting = next(iter(self._queue))
            del self._queue[waiting]
            self.live += 1
            if waiting.start_next():
                started = True
            else:
                self.live -= 1
        if started:
            self._publish_positions()

    def _publish_positions(self) -> None:
        for waiting in self._queue:
            waiting.moved_up()

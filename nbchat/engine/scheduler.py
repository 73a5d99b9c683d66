"""Who may have a connection: a bounded number of runs, first come, first served.

A session stands in the queue once, with its oldest prompt, so a session with many prompts does not
keep the others waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from nbchat.engine.limits import Limits


class Waiting(Protocol):
    """What stands in the queue."""

    def start_next(self) -> bool:
        """Start the oldest prompt; False when there is none (any more)."""
        ...

    def moved_up(self) -> None:
        """Hear that the place in the queue changed."""
        ...


class Scheduler:
    """Slots and the queue for them. Only for the engine's thread."""

    def __init__(self, limits: Limits, changed: Callable[[], None] = lambda: None) -> None:
        self._limits = limits
        self._queue: dict[Waiting, None] = {}
        self._changed = changed
        self.live: int = 0
        """Slots in use."""

    def __len__(self) -> int:
        """Return how many stand in the queue."""
        return len(self._queue)

    def submit(self, waiting: Waiting) -> None:
        """Stand in the queue; who stands there already stays where it is."""
        self._queue.setdefault(waiting, None)
        self.pump()

    def withdraw(self, waiting: Waiting) -> None:
        """Leave the queue."""
        if self._queue.pop(waiting, self) is None:
            self._tell()

    def position(self, waiting: Waiting) -> int | None:
        """Return the place in the queue, from 1; None for who is not in it."""
        if waiting not in self._queue:
            return None
        return next(place for place, other in enumerate(self._queue, 1) if other is waiting)

    def release(self) -> None:
        """Give a slot back; the first in the queue gets it."""
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
            self._tell()

    def _tell(self) -> None:
        for waiting in self._queue:
            waiting.moved_up()

"""`Wakeup`: lets a thread wait for the engine; an interrupt of that thread cannot block the engine.

`threading.Event`, `Condition` and `concurrent.futures.Future` take their lock in Python code: an interrupt
between two of its lines leaves the lock taken, and a notifying thread then waits forever. Here that would be
the engine, with all sessions on it. `SimpleQueue.put` is a single step of the interpreter and never waits,
regardless of the thread at the other end.
"""

from __future__ import annotations

import queue
from contextlib import suppress


class Wakeup:
    """A signal from any thread to one waiting thread. Several signals before a wait count as one."""

    def __init__(self) -> None:
        self._signals: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Wake the waiting thread, now or at its next wait. Never blocks."""
        if self._signals.empty():  # one is enough, and the waiting thread may be gone
            self._signals.put(None)

    def wait(self, timeout_s: float) -> None:
        """Wait until `set` is called, at any time since the last wait, or for `timeout_s`."""
        with suppress(queue.Empty):
            self._signals.get(timeout=max(timeout_s, 0.0))
            while True:
                self._signals.get_nowait()

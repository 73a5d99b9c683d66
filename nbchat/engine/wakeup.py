"""How a thread waits for the engine without ever being in its way.

`threading.Event`, `Condition` and `concurrent.futures.Future` take their lock in Python code: an interrupt
that strikes between two of its lines leaves the lock taken, and whoever would ring waits for ever. That
would be the engine, with all sessions on it. A `SimpleQueue` is one step of the interpreter: putting
something into it never waits, whatever became of the thread at the other end.
"""

from __future__ import annotations

import queue
from contextlib import suppress


class Wakeup:
    """Rung by any thread, heard by one that waits. Rings in between are one."""

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Wake the one that waits, or that will. Never waits itself."""
        if self._rings.empty():  # one is enough, and nobody may ever come to take it
            self._rings.put(None)

    def wait(self, timeout_s: float) -> None:
        """Return when it has rung since the last time, or after `timeout_s`."""
        with suppress(queue.Empty):
            self._rings.get(timeout=max(timeout_s, 0.0))
            while True:
                self._rings.get_nowait()

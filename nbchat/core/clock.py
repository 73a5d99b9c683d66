"""`Clock`: the time of events, which never runs backwards within a process."""

from __future__ import annotations

import threading
import time
from typing import Final

STEP_S: Final = 1e-6
"""Minimum difference of two times, so that times order events."""


class Clock:
    """Wall time that continues when the machine's clock is set back.

    It follows the machine's clock forwards. When that clock is set back, it continues at the speed of the
    monotonic clock, so that durations stay correct and later events have later times.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wall = time.time()
        self._monotonic = time.monotonic()

    def now(self) -> float:
        """Return seconds since 1970-01-01 UTC, always more than the previous result."""
        with self._lock:
            monotonic = time.monotonic()
            continued = self._wall + max(monotonic - self._monotonic, STEP_S)
            # Whole microseconds can be sent as integers without loss.
            self._wall, self._monotonic = round(max(time.time(), continued), 6), monotonic
            return self._wall


_clock: Final = Clock()

now: Final = _clock.now
"""Return the time of an event, in seconds since 1970-01-01 UTC."""

"""`UnsavedTime`: measures for how long events have not been saved, and reports the alert `unsaved`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbchat.core.errors import NbchatError
    from nbchat.engine.base import EngineBase


class UnsavedTime:
    """Measures the age of the oldest pending event. Only for the engine's loop.

    Parameters
    ----------
    engine
        Has the limit, and the alerts.
    error
        Returns the reason why nothing is saved; `None` if the store has not answered.
    """

    def __init__(self, engine: EngineBase, error: Callable[[], NbchatError | None]) -> None:
        self._engine = engine
        self._error = error
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    @property
    def seconds(self) -> float:
        """Upper bound of the age of the oldest pending event; 0 if there is none."""
        return 0.0 if self._since is None else self._engine.loop.aio.time() - self._since

    def recorded(self) -> None:
        """Start to measure, if no event was pending."""
        if self._since is None:
            self._since = self._engine.loop.aio.time()
            self.check()

    def written(self, *, waiting: bool) -> None:
        """Start again after a batch was written; `waiting`: later events are still pending."""
        self._since = self._engine.loop.aio.time() if waiting else None
        self.check()

    def check(self) -> None:
        """Report the time now, and again when it may reach the limit."""
        limit = self._engine.limits.unsaved_s
        if self._is_over or limit is None:
            return
        seconds, error = self.seconds, self._error()
        reason = "The store does not finish writing." if error is None else str(error)
        hint = f"{reason} Everything is kept in memory and is written when that is possible."
        self._engine.alerts.observe("unsaved", seconds, limit, hint)
        if self._since is not None and self._timer is None:
            wait_s = limit - seconds if seconds < limit else limit
            self._timer = self._engine.loop.aio.call_later(wait_s, self._check_later)

    def _check_later(self) -> None:
        self._timer = None
        self.check()

    def end(self) -> None:
        """Report nothing further. From any thread."""
        self._is_over = True

"""`RunCosts` shows pages the cost of a session's last run, without waiting for the prices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from nbchat.engine import prices

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession


class RunCosts:
    """Returns the cost of a session's last run. Only for the engine's loop.

    The prices are loaded on a thread when the first run ends that can have a price.

    Parameters
    ----------
    changed
        Called for each session whose cost has become known.
    """

    def __init__(self, engine: Engine, changed: Callable[[LiveSession], None]) -> None:
        self._engine = engine
        self._changed = changed
        self._waiting: dict[str, LiveSession] = {}
        self._is_loading = False
        self._is_missing = False

    def last(self, session: LiveSession) -> str:
        """Return the cost of a session's last run for display; empty if it is not known, or a run is live."""
        state = session.shown
        run = state.runs[-1] if state.runs else None
        if run is None or run.usage is None or run.server is None or state.live is not None:
            return ""
        if self._is_missing and not prices.is_loaded():
            return ""
        if prices.is_loaded():
            return prices.shown(prices.run_cost(state, run))
        self._waiting[session.id] = session
        if not self._is_loading:
            self._is_loading = True
            self._engine.loop.spawn(self._load(), name="nbchat-prices")
        return ""

    def close(self) -> None:
        """Stop calling `changed`."""
        self._waiting.clear()

    async def _load(self) -> None:
        # If it is not installed, or its import fails, it is not searched for again.
        self._is_missing = not await asyncio.to_thread(prices.load)
        waiting, self._waiting = self._waiting, {}
        for session in waiting.values():
            self._changed(session)

"""`Limiter`: when a request may be sent; `RateLimiter`: the limiter of one process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Limiter(Protocol):
    """Spaces requests evenly, and holds all of them while the server asks to wait."""

    async def close_for(self, seconds: float) -> None:
        """Hold all requests for this time; of several calls the latest end applies."""
        ...

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for this caller's turn, which lasts as long as the `with` block."""
        ...


class RateLimiter:
    """Spaces requests evenly, so that no time window exceeds its share. Implements `Limiter`; for one loop.

    Parameters
    ----------
    per_minute
        Requests per minute; `None` disables the limit.
    """

    def __init__(self, per_minute: float | None) -> None:
        self._interval_s = 60.0 / per_minute if per_minute else 0.0
        self._turn = asyncio.Lock()
        self._next = 0.0
        self._closed_until = 0.0

    async def close_for(self, seconds: float) -> None:
        """Hold all requests for this time; of several calls the latest end applies."""
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + seconds)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for this caller's turn, which lasts as long as the `with` block."""
        loop = asyncio.get_running_loop()
        # One at a time, and measured from the actual time of the one before: late timers or a slow disk
        # would otherwise let two pass together.
        async with self._turn:
            while (wait_s := max(self._next, self._closed_until) - loop.time()) > 0:  # noqa: ASYNC110 - the time may move
                await asyncio.sleep(wait_s)
            yield
            self._next = loop.time() + self._interval_s

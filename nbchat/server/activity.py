"""`Activity` counts the answers being generated, for tests and for an orderly shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts the answers being generated for all clients."""

    def __init__(self) -> None:
        self.count: int = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one answer for the duration of the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Increment the count."""
        self.count += 1
        self._quiet.clear()

    def end(self) -> None:
        """Decrement the count."""
        self.count -= 1
        if not self.count:
            self._quiet.set()

    async def quiet(self) -> None:
        """Wait until no answer is being generated."""
        await self._quiet.wait()

"""How many answers are being generated; for tests, and for whoever wants to close when all is quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Activity:
    """Counts answers, whoever they are for."""

    def __init__(self) -> None:
        self.count: int = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count one answer while the block runs."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def begin(self) -> None:
        """Count one more."""
        self.count += 1
        self._quiet.clear()

    def end(self) -> None:
        """Count one less."""
        self.count -= 1
        if not self.count:
            self._quiet.set()

    async def quiet(self) -> None:
        """Return when no answer is being generated."""
        await self._quiet.wait()

"""Timing of answers: `Tempo` of a model, `Clock`, and `play`, which yields pieces when they are due."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Protocol

PACE_VARIABLE = "NBCHAT_DEMO_PACE"
MAX_PACE = 1000.0

_BATCH = 64
_GRID_S = 0.008


@dataclass(frozen=True, slots=True)
class Tempo:
    """The speed of a model, at pace 1."""

    first_token_s: float
    tokens_per_s: tuple[float, float]
    """Minimum and maximum; each answer has its own speed in this range."""
    tokens_per_piece: tuple[int, int] = (1, 2)
    """Minimum and maximum number of tokens per piece."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer that is sent at once."""

    text: str
    delay_s: float
    """Seconds after the previous piece, at pace 1."""
    reasoning: bool = False


class Clock(Protocol):
    """The clock of `play`; tests pass their own."""

    def time(self) -> float:
        """Return the time of a monotonic clock, in seconds."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`, or until the next iteration of the loop if that is past."""
        ...


class LoopClock:
    """The running event loop's clock."""

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`, rounded up to a grid of 8 ms.

        On the grid, the timers of many streams expire in the same iteration of the loop, which then wakes
        at most 125 times per second instead of once per piece.
        """
        loop = asyncio.get_running_loop()
        if when <= loop.time():
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = loop.create_future()
        timer = loop.call_at(math.ceil(when / _GRID_S) * _GRID_S, _wake, woken)
        try:
            await woken
        finally:
            timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def play(pieces: Iterable[Piece], clock: Clock, pace: float) -> AsyncIterator[list[Piece]]:
    """Yield the pieces when they are due; pieces due together are yielded in one list.

    Parameters
    ----------
    pace
        Factor on every delay: 1 is the model's own pace, 0 as fast as possible, 2 half as fast.

    Notes
    -----
    Due times are cumulative and do not drift. A late reader receives all pieces that are due, at most 64 at
    a time. Other tasks of the loop can run between two lists.
    """
    due = clock.time()
    batch: list[Piece] = []
    for piece in pieces:
        due += piece.delay_s * pace
        if len(batch) >= _BATCH or due > clock.time():
            if batch:
                yield batch
                batch = []
            await clock.sleep_until(due)
        batch.append(piece)
    if batch:
        yield batch


def parse_pace(value: str | float, source: str) -> float:
    """Parse a pace.

    Raises
    ------
    ValueError
        If it is not a number from 0 to 1000; the message contains `source`.
    """
    try:
        pace = float(value)
    except ValueError:
        pace = math.nan
    if not 0 <= pace <= MAX_PACE:
        raise ValueError(
            f"{source} must be a number from 0 (as fast as possible) to {MAX_PACE:g}, "
            f"1 being a model's own pace; it is {value!r}."
        )
    return pace


def default_pace() -> float:
    """Return the pace in `NBCHAT_DEMO_PACE`, else 1."""
    return parse_pace(os.environ.get(PACE_VARIABLE) or 1.0, PACE_VARIABLE)

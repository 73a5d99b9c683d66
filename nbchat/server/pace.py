"""When each piece of an answer is said: the tempo of a model, the clock, and the player that keeps both."""

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
    """How a model speaks, at pace 1."""

    first_token_s: float
    tokens_per_s: tuple[float, float]
    """Slowest and fastest; each answer has its own speed between them."""
    tokens_per_piece: tuple[int, int] = (1, 2)
    """Fewest and most tokens that come at once."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What is said at once."""

    text: str
    delay_s: float
    """Seconds after the piece before it, at pace 1."""
    reasoning: bool = False


class Clock(Protocol):
    """Time as the player sees it; tests bring their own."""

    def time(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return at `when`, or at the loop's next turn if that is past."""
        ...


class LoopClock:
    """The running event loop's clock."""

    def time(self) -> float:
        """Return the loop's time in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep_until(self, when: float) -> None:
        """Sleep until `when`, rounded up to a grid of 8 ms.

        On the grid the timers of many streams fall due in the same turn of the loop, which then wakes
        125 times per second at most and not once per piece.
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
    """Yield the pieces when they are due, those that are due together in one list.

    Parameters
    ----------
    pace
        Factor on every delay: 1 as the model speaks, 0 as fast as the reader reads, 2 half as fast.

    Notes
    -----
    Due times are added up and do not drift. A reader who is late gets what was said meanwhile at once,
    at most 64 pieces at a time, and other tasks of the loop have their turn between two lists.
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
    """Return a pace that was written somewhere.

    Raises
    ------
    ValueError
        It is not a number between 0 and 1000; the message names the `source`.
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
    """Return what `NBCHAT_DEMO_PACE` says, else 1."""
    return parse_pace(os.environ.get(PACE_VARIABLE) or 1.0, PACE_VARIABLE)

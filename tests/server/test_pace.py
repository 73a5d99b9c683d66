"""Timing of the pieces of an answer."""

from __future__ import annotations

import asyncio

import pytest

from nbchat.server.conversation import Conversation, Turn
from nbchat.server.generation import Generation
from nbchat.server.models import MODELS
from nbchat.server.pace import LoopClock, Piece, default_pace, parse_pace, play


class QuickClock:
    """A clock in which sleeping takes no real time."""

    def __init__(self) -> None:
        self.now = 100.0

    def time(self) -> float:
        """Return the time."""
        return self.now

    async def sleep_until(self, when: float) -> None:
        """Advance the clock to `when`."""
        self.now = max(self.now, when)


def pieces(*delays_s: float) -> list[Piece]:
    """Return pieces named after their position."""
    return [Piece(str(index), delay_s) for index, delay_s in enumerate(delays_s)]


async def played(given: list[Piece], pace: float, late_s: float = 0.0) -> list[tuple[float, str]]:
    """Return texts with their times; `late_s` is the time that the reader takes for each list."""
    clock, heard = QuickClock(), []
    async for batch in play(given, clock, pace):
        heard.append((round(clock.now - 100.0, 3), "".join([piece.text for piece in batch])))
        clock.now += late_s
    return heard


async def test_pieces_come_when_they_are_due() -> None:
    """Delays add up; pieces without a delay come with the one before."""
    assert await played(pieces(1.0, 0.5, 0.0, 2.0), 1) == [(1.0, "0"), (1.5, "12"), (3.5, "3")]


async def test_the_pace_is_a_factor() -> None:
    """The pace multiplies delays: 2 doubles them, and 0 removes them."""
    assert await played(pieces(1.0, 0.5), 2) == [(2.0, "0"), (3.0, "1")]
    assert await played(pieces(1.0, 0.5), 0) == [(0.0, "01")]


async def test_a_late_reader_receives_the_missed_text_at_once() -> None:
    """Due times do not drift when the reader is slow."""
    assert await played(pieces(1, 1, 1, 1, 1), 1, late_s=2.5) == [(1.0, "0"), (3.5, "12"), (6.0, "34")]


async def test_no_list_is_longer_than_64_pieces() -> None:
    """At pace 0, lists are limited so that other tasks get their turn."""
    sizes = [len(batch) async for batch in play(pieces(*[0.0] * 200), QuickClock(), 0)]
    assert sizes == [64, 64, 64, 8]


async def test_nothing_is_played_of_nothing() -> None:
    """An empty answer has no pieces and no delay."""
    assert await played([], 1) == []


async def test_the_loops_clock_sleeps_long_enough() -> None:
    """The loop's clock never wakes too early, and returns at once for a time in the past."""
    clock = LoopClock()
    when = clock.time() + 0.02
    await clock.sleep_until(when)
    assert clock.time() >= when
    await clock.sleep_until(when - 1000)


async def test_a_sleep_can_be_cancelled() -> None:
    """Cancelling a sleep ends it at once."""
    clock = LoopClock()
    task = asyncio.ensure_future(clock.sleep_until(clock.time() + 1000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("value", "expected"), [("0", 0.0), (0.5, 0.5), ("1000", 1000.0), (" 2 ", 2.0)])
def test_a_pace_is_a_number(value: str | float, expected: float) -> None:
    """Paces are read from text and numbers."""
    assert parse_pace(value, "pace") == expected


@pytest.mark.parametrize("value", ["fast", "-1", "nan", "inf", "", 1001, float("nan")])
def test_a_wrong_pace_is_named(value: str | float) -> None:
    """The error names the source of the wrong number."""
    with pytest.raises(ValueError, match="NBCHAT_DEMO_PACE must be a number from 0"):
        parse_pace(value, "NBCHAT_DEMO_PACE")


def test_the_environment_sets_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """`NBCHAT_DEMO_PACE` is read when a server is made; unset or empty it is 1."""
    monkeypatch.delenv("NBCHAT_DEMO_PACE", raising=False)
    assert default_pace() == 1.0
    monkeypatch.setenv("NBCHAT_DEMO_PACE", "")
    assert default_pace() == 1.0
    monkeypatch.setenv("NBCHAT_DEMO_PACE", "0.25")
    assert default_pace() == 0.25


@pytest.mark.parametrize(
    ("model", "first_token_s", "tokens_per_s"),
    [
        ("nbchat-tour", (0.2, 0.4), (35, 85)),
        ("nbchat-long", (0.2, 0.4), (35, 85)),
        ("nbchat-slow", (1.6, 2.4), (3.5, 7)),
    ],
)
def test_models_speak_like_models(
    model: str, first_token_s: tuple[float, float], tokens_per_s: tuple[float, float]
) -> None:
    """First token, speed and size of pieces are like those of real models, with a random jitter."""
    for number in range(5):
        asked = Conversation((Turn("user", f"{number}: how do I stop an answer in 300 words?"),))
        generation = Generation(MODELS[model], asked)
        said = list(generation)
        delays = [piece.delay_s for piece in said]
        assert first_token_s[0] <= delays[0] <= first_token_s[1]
        assert tokens_per_s[0] <= generation.output_tokens / sum(delays[1:]) <= tokens_per_s[1]
        assert 1 <= generation.output_tokens / len(said) <= 2
        assert len({round(delay, 6) for delay in delays}) > len(delays) / 2

"""The documented time and size limits, in virtual time, so that the machine's speed does not matter."""

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from nbchat.core.events import Settings
from nbchat.core.messages import Message, TextPart
from nbchat.engine.limits import Limits
from nbchat.providers.base import Delta, Request, TextDelta
from tests.engines import engine_of, live
from tests.simulation.world import PageModel, World


class Stubborn:
    """A provider that streams 1,000 words a second without end, and may ignore its cancellation.

    Parameters
    ----------
    silent_s
        Seconds before the first word.
    deaf_s
        Seconds for which it continues after its cancellation.
    """

    name = "stubborn"
    can_prefill = False
    can_resume = False

    def __init__(self, silent_s: float, deaf_s: float) -> None:
        self._silent_s, self._deaf_s = silent_s, deaf_s

    async def stream(self, _request: Request) -> AsyncIterator[Delta]:
        """Stream words without end."""
        try:
            await asyncio.sleep(self._silent_s)
            while True:
                yield TextDelta("word ")
                await asyncio.sleep(0.001)
        finally:
            if self._deaf_s:
                await asyncio.sleep(self._deaf_s)

    async def models(self) -> Sequence[str]:
        """List one model."""
        return ["stubborn"]

    async def aclose(self) -> None:
        """Close nothing."""


async def until(condition: Callable[[], bool]) -> float:
    """Wait until a condition holds, and return the time."""
    while not condition():  # noqa: ASYNC110 - virtual time costs nothing
        await asyncio.sleep(0.005)
    return asyncio.get_running_loop().time()


def shows(page: PageModel, session_id: str, state: str) -> bool:
    """Return whether the page shows a session in that state."""
    return session_id in page.heads and page.heads[session_id][1].state == state


async def stop_and_measure(
    world: World, *, deaf_s: float, silent_s: float, after_s: float
) -> tuple[float, float]:
    """Send a prompt and a Stop, and return the seconds until the acknowledgement and until the end."""
    page = world.pages[0]
    session = world.registry.create(provider=Stubborn(silent_s, deaf_s))
    await asyncio.sleep(0.5)
    run = session.send("?")
    await asyncio.sleep(after_s)
    pressed = world.loop.time()
    command = page.do({"type": "stop", "session_id": session.id, "run_id": run.id})
    answered = await until(lambda: command in page.acks)
    ended = await until(lambda: shows(page, session.id, "stopped"))
    assert page.states[session.id] == live(session).state
    return answered - pressed, ended - pressed


def test_stop_is_quick_at_every_instant_and_at_a_thousand_words_a_second() -> None:
    """Stop is acknowledged in 100 ms, and ends 95 % of runs in 200 ms and all runs in 500 ms."""
    world = World(0, pages=1)

    async def story() -> tuple[list[float], list[float]]:
        answers, ends = [], []
        for number in range(100):
            silent_s = 0.15 if number % 2 else 0.0
            took = await stop_and_measure(
                world, deaf_s=3600 if number % 25 == 24 else 0, silent_s=silent_s, after_s=number * 0.003
            )
            answers.append(took[0])
            ends.append(took[1])
        return answers, ends

    answers, ends = world.run(story())
    assert max(answers) <= 0.1
    assert statistics.quantiles(ends, n=20)[-1] <= 0.2
    assert max(ends) <= 0.5


@pytest.mark.parametrize(("loss", "bound_s"), [(0.0, 0.2), (0.5, 1.5)])
def test_pages_are_up_to_date_in_time(loss: float, bound_s: float) -> None:
    """A page shows 95 % of changes within 0.2 s, and within 1.5 s if half of all messages are lost."""
    took: list[float] = []
    for seed in range(4):
        world = World(seed, loss=loss, pages=1)

        async def story(world: World = world) -> None:
            page, session = world.pages[0], world.registry.create()
            await asyncio.sleep(3)
            for number in range(50):
                await asyncio.sleep(world.chance.random())
                session.rename(f"news {number}")
                said = world.loop.time()
                here = live(session).state
                took.append(await until(lambda: page.states.get(here.id) == here) - said)  # noqa: B023 - at once

        world.run(story())
    assert statistics.quantiles(took, n=20)[-1] <= bound_s


def test_the_limits_are_those_that_are_promised() -> None:
    """The defaults of the time and size limits are the documented ones."""
    limits = Limits()
    assert (limits.connect_s, limits.first_token_s, limits.idle_s) == (10.0, 120.0, 120.0)
    assert (limits.stop_s, limits.retry_after_s, limits.retries) == (0.4, 120.0, 2)
    assert limits.answer_chars == 2_000_000


def test_twenty_megabytes_are_framed_and_sent_hardly_more_than_once() -> None:
    """T26: a page gets a huge answer in messages of at most 256 KiB, in total at most 1.1 times its size."""
    world = World(0, pages=0)
    text = "Wörter " * 3_000_000
    question = Message(id="m-1", role="user", parts=(TextPart(text="?"),))
    answer = Message(id="m-2", role="assistant", parts=(TextPart(text=text),), parent_id="m-1")
    state = engine_of(world.registry).create(Settings(), messages=(question, answer)).state

    async def story() -> None:
        await asyncio.sleep(60)  # messages sent before the page opened are over
        world.sent.clear()
        page = PageModel(world.loop, world._up)
        world.line.ends.append(page.receive)
        await until(lambda: page.states.get(state.id) == state)
        await asyncio.sleep(10)

    world.run(story())
    sizes = [size for _, size in world.sent]
    assert max(sizes) <= 256 * 1024
    assert len(text.encode()) < sum(sizes) <= 1.1 * len(text.encode())

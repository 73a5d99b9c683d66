"""Calls cannot deadlock: blocking calls are refused on the engine's own thread and work elsewhere."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

import nbchat
from nbchat.engine.live_session import LiveSession
from nbchat.providers.base import Delta, Finish, Request, TextDelta
from nbchat.providers.scripted import HANG, ScriptedProvider
from tests.engines import engine_of


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """Leave the process's registry empty."""
    yield
    nbchat.registry.stop_all()
    nbchat.registry.wait_all(30)
    for session in list(nbchat.registry.values()):
        session.delete()


BLOCKING: dict[str, Callable[[nbchat.Session, nbchat.Run], object]] = {
    "session.ask": lambda session, _run: session.ask("x"),
    "nbchat.ask": lambda _session, _run: nbchat.ask("x"),
    "get_completion": lambda _session, _run: nbchat.get_completion("x", thread_id="u"),
    "run.wait": lambda _session, run: run.wait(),
    "run.result": lambda _session, run: run.result(),
    "iterating": lambda _session, run: list(run),
    "wait_all": lambda _session, _run: nbchat.registry.wait_all(),
    "map": lambda _session, _run: nbchat.map(["x"]),
    "discover": lambda _session, _run: nbchat.discover(),
    "compare().wait": lambda session, _run: nbchat.Comparison("x", [session], session.runs).wait(),
}


@pytest.mark.parametrize("name", BLOCKING)
def test_a_blocking_call_on_the_engines_thread_is_refused(name: str) -> None:
    """It raises `WouldDeadlock` at once, and the run that is live continues."""
    session = nbchat.session("live", provider=ScriptedProvider("so far", HANG))
    run = session.send("Go.")
    next(iter(run))

    def call() -> BaseException | None:
        try:
            BLOCKING[name](session, run)
        except nbchat.WouldDeadlock as error:
            return error
        return None

    assert isinstance(engine_of(nbchat.registry).loop.call(call), nbchat.WouldDeadlock)
    assert run.state == "streaming"


def test_a_callback_may_block_and_ask() -> None:
    """A callback that asks another session gets its answer, while runs continue."""
    other = nbchat.session("other", provider=ScriptedProvider("from the callback"))
    said: list[str] = []
    heard = threading.Event()

    def on_end(_event: nbchat.Notification) -> None:
        said.append(other.ask("x").text)
        heard.set()

    session = nbchat.session("told", provider=ScriptedProvider("text"))
    off = session.on("end", on_end)
    session.ask("Go.")
    assert heard.wait(30)
    off()
    assert said == ["from the callback"]


def test_a_provider_may_await_another_session() -> None:
    """A provider that asks another session awaits the run, on the engine's own loop."""
    inner = nbchat.session("inner", provider=ScriptedProvider("from inside"))

    class Asking:
        name, can_prefill, can_resume = "asking", False, False

        async def models(self) -> list[str]:
            return ["asking"]

        async def stream(self, _request: Request) -> AsyncIterator[Delta]:
            yield TextDelta((await inner.send("x")).text)
            yield Finish("stop")

        async def aclose(self) -> None:
            """Do nothing: no resource is open."""

    provider: Any = Asking()
    assert nbchat.session("outer", provider=provider).ask("Go.", timeout=30).text == "from inside"


async def test_a_blocking_call_inside_another_loop_blocks_that_loop_alone() -> None:
    """Blocking calls work inside a running loop, as in a cell; two loops can wait for the same run."""
    session = nbchat.session("shared", provider=ScriptedProvider("text"))
    assert session.ask("Inside a loop.").text == "text"
    run = session.send("Twice.")

    async def wait() -> str:
        return (await run).text

    elsewhere = asyncio.to_thread(lambda: asyncio.run(wait()))
    assert await asyncio.gather(wait(), elsewhere) == ["text", "text"]


def test_a_batch_leaves_nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch holds only a few conversations per concurrent prompt, and none after its end."""
    provider = ScriptedProvider("x")
    # Not gc.get_objects(): it breaks a tuple that another thread is building just then.
    made: weakref.WeakSet[LiveSession] = weakref.WeakSet()
    created: list[str] = []
    initialize = LiveSession.__init__

    def counted(session: LiveSession, *args: Any, **options: Any) -> None:
        initialize(session, *args, **options)
        made.add(session)
        created.append(session.id)

    monkeypatch.setattr(LiveSession, "__init__", counted)
    nbchat.map([str(n) for n in range(200)], provider=provider, progress=False)

    def held() -> int:
        gc.collect()
        return len(made)

    before = held()
    most = 0

    def look(now: nbchat.BatchProgress) -> None:
        nonlocal most
        if now.done in (100, 200, 300):
            # A conversation that ends during a collection is counted once, but not again and again.
            most = max(most, min(held() for _ in range(5)))

    nbchat.map([str(n) for n in range(400)], provider=provider, concurrency=4, progress=look)
    # Running, next in turn, and ended but not yet released by the loop: far below the batch's 400.
    assert most <= before + 4 * 16
    assert held() <= before
    assert len(created) == 200 + 400

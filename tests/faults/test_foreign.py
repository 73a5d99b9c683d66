"""Third-party code in a kernel: providers and callbacks that misbehave, and unexpected arguments."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from nbchat.core import errors
from nbchat.engine import run_outcome
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.run import Run
from nbchat.providers.base import Delta, Finish, Request, TextDelta
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engines import engine_of, live
from tests.faults.invariants import check_end, check_free
from tests.waiting import wait_for


class Foreign:
    """A provider written from no more than the signature of `stream`."""

    name = "foreign"
    can_prefill = False
    can_resume = False

    def __init__(self, stream: Callable[[Request], Any]) -> None:
        self.stream = stream

    async def models(self) -> Sequence[str]:
        """List one model."""
        return ["foreign"]

    async def aclose(self) -> None:
        """Do nothing."""


def test_a_provider_that_swallows_the_cancellation_is_stopped(registry: SessionRegistry) -> None:
    """T64: a stream that catches its cancellation and continues ends as `stopped`, not as failed."""

    async def stream(_request: Request) -> AsyncIterator[Delta]:
        yield TextDelta("a")
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            yield TextDelta("late")

    session = registry.create(provider=Foreign(stream))
    run = session.send("?")
    next(iter(run))
    run.stop()
    assert run.wait(10).state == "stopped"
    assert run.text == "a"
    check_end(session, run)
    check_free(registry, session)


def test_a_provider_that_never_waits_leaves_the_others_their_turn(registry: SessionRegistry) -> None:
    """T77: a stream without a pause cannot block a stop or another session."""

    async def stream(_request: Request) -> AsyncIterator[Delta]:
        while True:
            yield TextDelta("")

    session = registry.create(provider=Foreign(stream))
    run = session.send("?")
    assert registry.create(provider=ScriptedProvider("beside")).ask("?", timeout=10).text == "beside"
    run.stop()
    assert run.wait(10).state == "stopped"
    check_free(registry, session)


def test_an_iterator_need_not_be_a_generator(registry: SessionRegistry) -> None:
    """P42: an object with only the methods of an asynchronous iterator is accepted as a stream."""

    class Stream:
        def __init__(self) -> None:
            self.left = [TextDelta("a"), Finish("stop")]

        def __aiter__(self) -> "Stream":
            return self

        async def __anext__(self) -> Delta:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    run = registry.create(provider=Foreign(lambda _request: Stream())).send("?").wait(10)
    assert (run.state, run.text) == ("completed", "a")


def test_stopping_the_callers_loop_stops_no_run(registry: SessionRegistry) -> None:
    """K12: `loop.stop()` called by a provider does not end any session's run."""

    async def stream(_request: Request) -> AsyncIterator[Delta]:
        yield TextDelta("a")
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0)
        yield TextDelta("b")
        yield Finish("stop")

    session = registry.create(provider=Foreign(stream))
    run = session.send("?").wait(10)
    assert (run.state, run.text) == ("completed", "ab")
    check_free(registry, session)


class Mute(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class NoInfo(errors.ProviderError):
    """A third-party error whose summary fails."""

    @property
    def info(self) -> errors.ErrorInfo:
        """Fail."""
        raise RuntimeError("no info")


@pytest.mark.parametrize("error", [Mute(), NoInfo("x")], ids=["words", "summary"])
def test_an_error_that_cannot_be_shown_is_named(registry: SessionRegistry, error: Exception) -> None:
    """T54: an exception that raises when it is formatted ends its run, and the message names the provider."""
    session = registry.create(provider=ScriptedProvider("kept", error))
    run = session.send("?").wait(10)
    assert (run.state, run.text) == ("interrupted", "kept")
    assert "the provider raised RuntimeError" in str(run.error)
    check_end(session, run)
    check_free(registry, session)


def test_of_a_huge_error_only_the_beginning_is_read(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T77: megabytes of an error's text are not searched for secrets on the engine's loop."""
    sizes: list[int] = []
    redact = run_outcome.redact
    monkeypatch.setattr(run_outcome, "redact", lambda text: (sizes.append(len(text)), redact(text))[1])
    run = registry.create(provider=ScriptedProvider(errors.StreamBroken("no! " * 10**6))).send("?").wait(30)
    assert "no! no!" in str(run.error)
    assert max(sizes) <= run_outcome.LOOKED_AT


def test_a_callback_that_would_never_run_is_refused(registry: SessionRegistry) -> None:
    """K4: registering an `async def` callback raises at once, because a call would only make a coroutine."""

    async def callback(_event: object) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        registry.on("end", callback)
    assert engine_of(registry).callbacks._callbacks == []


@pytest.mark.parametrize("title", ["\0", "\ud800", "x" * 20_000, "a\r\nb", ""], ids=repr)
def test_a_title_is_found_as_it_was_given(registry: SessionRegistry, title: str) -> None:
    """U5, U11: a title that is stored in another form, cleaned or shortened, still finds its session."""
    made = registry.create(title)
    assert registry.get_or_create(title) is made
    assert registry[title] is made
    assert title in registry


def test_a_fork_is_titled_as_any_session(registry: SessionRegistry) -> None:
    """U5: an invalid title is refused before anything is created."""
    session = registry.create(provider=ScriptedProvider("x"))
    with pytest.raises(TypeError, match="title must be a string"):
        session.fork(title=5)  # type: ignore[arg-type]
    assert len(registry) == 1


def test_ask_leaves_no_run_behind_whatever_ends_it(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K2: if the wait in `ask` ends by any error, such as one from a signal handler, the run ends too."""
    session = registry.create(provider=ScriptedProvider("a", HANG))

    def out_of_memory(_run: Run, _timeout: float | None = None) -> Run:
        raise MemoryError

    monkeypatch.setattr(Run, "wait", out_of_memory)
    with pytest.raises(MemoryError):
        session.ask("?")
    (run,) = session.runs
    wait_for(lambda: run.is_over, "the run was stopped")
    assert run.state == "stopped"


def test_a_pause_right_after_a_resume_holds(
    registry: SessionRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """T51: a run paused again before its stream continued stays paused, and nothing is read or lost."""
    provider = ScriptedProvider(PAUSE, TextDelta("a"), "b")
    session = registry.create(provider=provider)
    conversation = live(session)
    run = session.send("?")
    provider.wait_paused()
    run.pause()
    provider.go()
    wait_for(
        lambda: engine_of(registry).loop.call(lambda: conversation.live._attempts._resumed._waiters),
        "it is held",
    )

    def again() -> None:
        conversation.resume()
        conversation.pause()

    engine_of(registry).loop.call(again)
    for _ in range(20):
        engine_of(registry).loop.call(lambda: None)
    assert (run.state, run.text) == ("paused", "")
    run.resume()
    assert (run.wait(10).state, run.text) == ("completed", "ab")
    assert "cannot take" not in caplog.text
    check_end(session, run)

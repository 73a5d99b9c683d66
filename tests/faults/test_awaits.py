"""Fail the n-th await, for every n, as SQLite fails the n-th call (K20, U2)."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nbchat.engine.live_run import LiveRun
from nbchat.engine.live_session import LiveSession
from nbchat.engine.run_queue import RunQueue
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import ReasoningDelta, ToolCallDelta
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import engine_of
from tests.faults.invariants import check_end, check_free


class Fuse:
    """Counts awaits and triggers at the n-th."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def burns(self) -> bool:
        """Count one more await; return `True` at the n-th."""
        self.count += 1
        return self.count == self.at


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine that calls a function when it awaits for the n-th time."""

    def __init__(self, inner: Coroutine[Any, Any, Any], fuse: Fuse, what: Callable[[], object]) -> None:
        self._inner, self._fuse, self._what = inner, fuse, what

    def send(self, value: Any) -> Any:
        """Continue to the next await."""
        return self._waits(self._inner.send(value))

    def throw(self, *error: Any) -> Any:
        """Raise inside the coroutine, and continue to the next await."""
        return self._waits(self._inner.throw(*error))

    def close(self) -> None:
        """Close the coroutine."""
        self._inner.close()

    def __await__(self) -> Any:
        return self._inner.__await__()

    def _waits(self, waited_for: Any) -> Any:
        if self._fuse.burns() and isinstance(error := self._what(), BaseException):
            if waited_for is not None:
                waited_for._asyncio_future_blocking = False
            return self._inner.throw(error)
        return waited_for


SCRIPT = (ReasoningDelta("Hm."), "one ", "two ", ToolCallDelta(0, "c", "f", "{}"), "three")


def watch(monkeypatch: pytest.MonkeyPatch, at: int, what: Callable[[LiveSession], object]) -> Fuse:
    """Call `what` at the n-th await of a run, its start and its end; an error it raises is raised there."""
    fuse = Fuse(at)
    here: list[LiveSession] = []
    for cls, name in ((LiveRun, "_main"), (RunQueue, "_settled")):
        original = getattr(cls, name)

        def watched(self: Any, *args: Any, original: Any = original) -> Any:
            if isinstance(self, RunQueue):
                here[:] = [self._session]
            return Watched(original(self, *args), fuse, lambda: what(here[0]))

        monkeypatch.setattr(cls, name, watched)
    return fuse


class Slow:
    """A journal whose `settled` takes a turn of the loop."""

    def record(self, *_event: object) -> None:
        """Accept any event."""

    async def settled(self, _session_id: str) -> None:
        """Return after one turn of the loop."""
        await asyncio.sleep(0)


def once(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, at: int, what: Any) -> tuple[int, str]:
    """Run the script with `what` called at one await, check all invariants, and return the await count."""
    monkeypatch.setattr(engine_of(registry), "journal", Slow())
    session = registry.create(provider=ScriptedProvider(*SCRIPT))
    with monkeypatch.context() as patch:
        fuse = watch(patch, at, what)
        run = session.send("?")
        run.wait(20)
    check_end(session, run)
    text = "one two three"
    assert text.startswith(run.text)
    if run.state == "completed":
        assert run.text == text
    check_free(registry, session)
    session.delete()
    return fuse.count, str(run.state)


def at_every_await(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, what: Any) -> list[str]:
    """Call `what` at each await in turn; return the states in which the runs ended.

    The number of awaits depends on how deltas and timers meet, so it is not counted in advance.
    """
    states: list[str] = []
    while True:
        at = len(states) + 1
        awaits, state = once(registry, monkeypatch, at, what)
        if awaits < at:  # `what` was not called
            assert state == "completed"
            return states
        states.append(state)


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (asyncio.CancelledError, {"failed", "interrupted", "completed"}),
        (MemoryError, {"failed", "interrupted", "completed"}),
    ],
)
def test_an_error_at_every_await(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], ends: set[str]
) -> None:
    """A cancellation or `MemoryError` at any await gives one end, keeps the text and frees everything."""
    seen = at_every_await(registry, monkeypatch, lambda _conversation: error("injected"))
    assert len(seen) >= 7
    assert set(seen) <= ends
    assert len(set(seen)) > 1, "the error made a difference somewhere"


def test_a_stop_at_every_await(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """U2: a run stopped at any await ends as `stopped` or by itself, keeps its text and frees everything."""
    seen = at_every_await(registry, monkeypatch, lambda conversation: conversation.stop() and None)
    assert len(seen) >= 7
    assert "stopped" in seen
    assert set(seen) <= {"stopped", "completed"}


def test_a_deletion_at_every_await(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """U4: a session deleted and restored at any await gets no late events, and everything is freed."""

    def delete_and_undo(conversation: LiveSession) -> None:
        engine_of(registry).delete(conversation)
        engine_of(registry).undelete(conversation.id)

    assert len(at_every_await(registry, monkeypatch, delete_and_undo)) >= 7

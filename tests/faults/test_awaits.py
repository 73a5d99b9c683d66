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
    """Counts the moments at which something waits, and burns at the n-th of them."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0

    def burns(self) -> bool:
        """Count one more."""
        self.count += 1
        return self.count == self.at


class Watched(Coroutine[Any, Any, Any]):
    """A coroutine in which something happens when it waits for the n-th time."""

    def __init__(self, inner: Coroutine[Any, Any, Any], fuse: Fuse, what: Callable[[], object]) -> None:
        self._inner, self._fuse, self._what = inner, fuse, what

    def send(self, value: Any) -> Any:
        """Go on to the next await."""
        return self._waits(self._inner.send(value))

    def throw(self, *error: Any) -> Any:
        """Raise inside, and continue to the next await."""
        return self._waits(self._inner.throw(*error))

    def close(self) -> None:
        """Give up."""
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
    """Let `what` happen at the n-th await of a run, its start and its end; an error is raised there."""
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
    """A journal that has to be waited for."""

    def record(self, *_event: object) -> None:
        """Take anything."""

    async def settled(self, _session_id: str) -> None:
        """Be done after a turn of the loop."""
        await asyncio.sleep(0)


def once(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch, at: int, what: Any) -> tuple[int, str]:
    """Run the script while `what` happens at one await; check everything, and return how often it waited."""
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
    """Cancelled, or out of memory, at each await of a run's way: one end, the text kept, all free."""
    awaits, state = once(registry, monkeypatch, 0, lambda _conversation: None)
    assert state == "completed"
    assert awaits >= 7
    seen = set()
    for at in range(1, awaits + 1):
        seen.add(once(registry, monkeypatch, at, lambda _conversation: error("injected"))[1])
    assert seen <= ends
    assert len(seen) > 1, "the error made a difference somewhere"


def test_a_stop_at_every_await(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """U2: stopped at each instant of a run's way: `stopped` or its own end, the text kept, all free."""
    awaits, _ = once(registry, monkeypatch, 0, lambda _conversation: None)
    seen = [
        once(registry, monkeypatch, at, lambda conversation: conversation.stop() and None)[1]
        for at in range(1, awaits + 1)
    ]
    assert set(seen) == {"stopped", "completed"}


def test_a_deletion_at_every_await(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """U4: deleted at each instant, and taken back: stopped or over, nothing late, all free."""
    awaits, _ = once(registry, monkeypatch, 0, lambda _conversation: None)

    def delete_and_undo(conversation: LiveSession) -> None:
        engine_of(registry).delete(conversation)
        engine_of(registry).undelete(conversation.id)

    for at in range(1, awaits + 1):
        once(registry, monkeypatch, at, delete_and_undo)

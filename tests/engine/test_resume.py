"""Resuming answers that the server keeps after a kernel was killed: no text is lost or repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from nbchat.core.errors import NothingToDo
from nbchat.core.messages import Message
from nbchat.core.transcript import SessionState
from nbchat.engine import journal_writer
from nbchat.engine.journal_reader import read_back
from nbchat.engine.loop_thread import LoopThread
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.session import Session
from nbchat.providers.base import Answering, TextDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.server import DemoServer
from nbchat.stores.base import Contents, Entry
from tests.engines import engine_of, live
from tests.stores.memory import MemoryStore
from tests.waiting import wait_for

Kernel = Callable[..., SessionRegistry]

QUESTION = "What is a run?"


class CopyingStore(MemoryStore):
    """Copies its contents after each write, as a kernel killed at that moment would leave them."""

    def __init__(self) -> None:
        super().__init__()
        self.moments: list[Contents] = []

    def write(self, entries: Sequence[Entry]) -> None:
        """Write, and copy the contents."""
        super().write(entries)
        self.moments.append(self.read())


@pytest.fixture
def demo() -> Iterator[DemoServer]:
    """Run the embedded server on its own loop, so that it outlives every kernel."""
    engine = LoopThread()
    server = DemoServer()
    engine.run(server.start(), 10)
    yield server
    engine.run(server.close(), 10)
    engine.close(5)


@pytest.fixture
def kernel(demo: DemoServer) -> Iterator[Kernel]:
    """Start kernels that use the server's Responses API, with the contents of a store at some moment."""
    made: list[SessionRegistry] = []

    def start(store: MemoryStore | None = None, left: Contents | None = None) -> SessionRegistry:
        registry = SessionRegistry()
        made.append(registry)
        engine_of(registry).providers.defaults.set({"base_url": demo.base_url, "api": "responses"})
        snapshot = read_back(Contents(sessions={}) if left is None else left)
        known = {one.state.id: one.state for one in snapshot.sessions}

        def begin() -> None:
            engine_of(registry).open_journal(MemoryStore() if store is None else store)
            engine_of(registry).snapshots.restore(snapshot, known=known)

        engine_of(registry).loop.call(begin)
        return registry

    yield start
    for registry in made:
        engine_of(registry).shutdown()


def said(session: Session) -> Message:
    """Return the last answer."""
    return session.messages[-1]


def test_an_answer_is_read_on_from_every_moment(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, soak: bool
) -> None:
    """Whenever the kernel was killed, `resume` completes reasoning and text, with each word once."""
    monkeypatch.setattr(journal_writer, "FLUSH_S", 0.02)
    store = CopyingStore()
    first = kernel(store)
    geo = first.create("geo", model="nbchat-think", params={"nbchat_pace": 0.3})
    geo.ask(QUESTION)
    whole = said(geo)
    assert whole.reasoning
    assert whole.text

    moments = [left for left in store.moments if _is_resumable(left)]
    # The first word is written at once, later words in batches.
    first_word = next(i for i, left in enumerate(moments) if _state(left).characters > len(QUESTION))
    step = 1 if soak else max(len(moments) // 4, 1)
    for left in (moments[first_word], *moments[::step], moments[-1]):
        second = kernel(left=left)
        again = second[geo.id]
        assert again.resume().result(30).text == whole.text
        assert said(again).reasoning == whole.reasoning
        assert said(again).finish_reason == "stop"
        assert said(again).id == whole.id


def _state(left: Contents) -> SessionState:
    return read_back(left).sessions[0].state


def _is_resumable(left: Contents) -> bool:
    last = _state(left).runs[-1:]
    return bool(last and last[0].response_id and last[0].state.is_live)


def test_stop_ends_it_at_the_server(kernel: Kernel, demo: DemoServer) -> None:
    """Stop ends generation at the server, also for a resumed answer; an interruption does not."""
    registry = kernel()
    geo = registry.create("geo", model="nbchat-slow")
    run = geo.send("Tell me")
    assert next(iter(run))
    geo.stop()
    run.wait(10)
    wait_for(lambda: demo.generating == 0, "the end at the server")

    registry.limits.pause_limit_s = 0.1
    run = geo.send("Again")
    assert next(iter(run))
    run.pause()
    assert run.wait(10).state == "interrupted"
    assert demo.generating == 1
    resumed = geo.resume()
    wait_for(lambda: resumed.state == "streaming", "more of it")
    geo.stop()
    assert resumed.wait(10).state == "stopped"
    wait_for(lambda: demo.generating == 0, "the end at the server")


def test_a_resume_that_was_interrupted_can_be_resumed(kernel: Kernel) -> None:
    """If a kernel dies during a resume without new text, the run can be resumed from the same position."""
    store = MemoryStore()
    first = kernel(store)
    begun = ScriptedProvider(
        lambda _: [Answering("m", "resp_1", 0), TextDelta("Half"), Answering("m", "resp_1", 7), HANG]
    )
    run = first.create("geo", provider=begun).send("go")
    wait_for(lambda: run.text == "Half", "the first half")
    first.save()

    store_2 = MemoryStore()
    second = kernel(store_2, store.read())
    waiting = ScriptedProvider(HANG)
    live(second["geo"]).provider = waiting
    second["geo"].resume()
    waiting.wait_until(lambda p: p.requests)
    second.save()

    third = kernel(left=store_2.read())
    rest = ScriptedProvider(" and half")
    live(third["geo"]).provider = rest
    assert third["geo"].resume().result(10).text == "Half and half"
    assert [(p.requests[0].resume_id, p.requests[0].resume_after) for p in (waiting, rest)] == [
        ("resp_1", 7),
        ("resp_1", 7),
    ]


def test_an_answer_cut_off_by_a_limit_is_not_resumed(kernel: Kernel, demo: DemoServer) -> None:
    """An answer cut off by a limit of the kernel cannot be resumed, and the server stops generating it."""
    registry = kernel()
    registry.limits.answer_chars = 50
    geo = registry.create("geo", model="nbchat-long")
    assert geo.send("Write").wait(10).state == "interrupted"
    with pytest.raises(NothingToDo, match="a limit of this kernel"):
        geo.resume()
    wait_for(lambda: demo.generating == 0, "the end at the server")


def test_by_chat_nothing_can_be_resumed(kernel: Kernel) -> None:
    """Runs by Chat Completions have no response id; runs by Responses have one."""
    registry = kernel()
    engine_of(registry).providers.defaults.set({"api": "chat"})
    geo = registry.create("geo", model="nbchat-echo")
    geo.ask("hello")
    assert live(geo).state.runs[-1].response_id is None
    engine_of(registry).providers.defaults.set({"api": "responses"})
    geo.ask("hello")
    assert live(geo).state.runs[-1].response_id is not None
    assert isinstance(
        engine_of(registry).loop.run(engine_of(registry).providers.provider(None), 5), OpenAIProvider
    )

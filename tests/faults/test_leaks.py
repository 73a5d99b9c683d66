"""Threads, tasks, files, memory and records of deleted sessions do not grow over many rounds."""

import gc
import threading
import weakref

import pytest

import nbchat
from nbchat.engine.session_index import UNDO
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import PROTOCOL_VERSION
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from nbchat.wire.server import WireServer
from tests.engines import drain_callbacks, engine_of, live, use
from tests.faults.invariants import open_files, slots, tasks
from tests.waiting import wait_for


@pytest.mark.timeout(1800)
def test_two_hundred_rounds_leave_nothing(registry: SessionRegistry, soak: bool) -> None:
    """200 rounds of create, stream, stop, close and delete, with a page connected, leak nothing."""
    rounds = 10_000 if soak else 200
    wire = engine_of(registry).loop.call(WireServer, engine_of(registry), lambda _content, _buffers: None)
    heard: list[str] = []

    def one_round(number: int) -> None:
        provider = ScriptedProvider("some text ", PAUSE, "more")
        session = registry.create(f"round {number}", provider=provider)
        off = session.on("end", lambda event: heard.append(event.event))
        run = session.send("?")
        wire.receive(
            {
                "type": "hello",
                "id": f"a-{number}",
                "page": f"p-{number}",
                "protocol": PROTOCOL_VERSION,
                "version": "0",
                "sessions": {session.id: 0},
            }
        )
        provider.wait_paused()
        if number % 2:
            run.stop()
        else:
            provider.go()
        run.wait(10)
        session.close()
        session.delete()
        assert drain_callbacks(registry)
        off()

    def flat() -> tuple[int, ...]:
        wait_for(lambda: not tasks(registry), "no task is left")
        gc.collect()
        return (
            threading.active_count(),
            open_files(),
            len(registry._sessions._handles),
            len(engine_of(registry).sessions._deleted),
            len(list(engine_of(registry).sessions)),
            len(engine_of(registry).callbacks._callbacks),
            len(engine_of(registry).counters),
        )

    for number in range(UNDO + 50):
        one_round(number)
    wait_for(
        lambda: engine_of(registry).loop.call(lambda: not wire.is_pending), "the wire has said everything"
    )
    before, objects = flat(), len(gc.get_objects())
    for number in range(UNDO + 50, rounds):
        one_round(number)
    wait_for(
        lambda: engine_of(registry).loop.call(lambda: not wire.is_pending), "the wire has said everything"
    )
    after, grown = flat(), len(gc.get_objects()) - objects

    assert after == before
    assert engine_of(registry).loop.call(lambda: len(wire._subscriptions._readers)) <= UNDO + 1
    assert engine_of(registry).loop.call(lambda: len(engine_of(registry).presence.pages)) <= 64
    assert slots(registry) == (0, 0)
    # A deleted session's id, clock and time are kept, so that no other page restores it.
    assert grown < 1500 + 5 * rounds, f"{grown / rounds:.0f} objects are left of each round"
    assert len(heard) == rounds
    engine_of(registry).loop.call(wire.close)


def test_a_deleted_session_is_collected(registry: SessionRegistry) -> None:
    """Once a deletion cannot be undone, no reference to the session, its runs or its provider is left."""
    provider = ScriptedProvider("x")
    session = registry.create(provider=provider)
    session.send("?").wait(10)
    gone = [weakref.ref(session), weakref.ref(live(session)), weakref.ref(provider)]
    session.delete()
    del session, provider
    for _ in range(UNDO + 1):
        registry.create().delete()
    wait_for(lambda: gc.collect() >= 0 and not any(ref() for ref in gone), "it is collected")


def test_a_stopped_run_is_let_go_at_once(registry: SessionRegistry) -> None:
    """The timer that would end a provider that does not close is released once the provider has closed."""
    registry.limits.stop_s = 600.0
    provider = ScriptedProvider("x", PAUSE)
    session = registry.create(provider=provider)
    run = session.send("?")
    provider.wait_paused()
    held = weakref.ref(engine_of(registry).loop.call(lambda: live(session).live))
    run.stop()
    run.wait(10)
    wait_for(lambda: gc.collect() >= 0 and held() is None, "it is collected")


def test_one_off_questions_leave_no_session(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred calls of `ask` and similar functions leave no session, handle or thread id."""
    use(monkeypatch, registry)
    for number in range(100):
        assert nbchat.ask(f"{number}?", provider=ScriptedProvider("x")).text == "x"
    assert list(engine_of(registry).sessions) == []
    gc.collect()
    assert len(registry._sessions._handles) == 0
    assert len(registry) == 0

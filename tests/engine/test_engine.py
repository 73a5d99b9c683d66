"""The engine's state is read and changed on its own thread only."""

from collections.abc import Callable
from typing import Any

import pytest

from nbchat.core.commands import Stop
from nbchat.core.errors import CommandError
from nbchat.core.events import Settings, UnreadChanged
from nbchat.core.ids import new_id
from nbchat.core.settings import patch
from nbchat.engine.carry_out import carry_out
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from nbchat.wire.server import WireServer
from tests.engines import engine_of, live

FORBIDDEN: dict[str, Callable[[Any, Any], object]] = {
    "engine.session": lambda engine, session: engine.session(session.id),
    "engine.create": lambda engine, _: engine.create(Settings()),
    "engine.delete": lambda engine, session: engine.delete(session),
    "engine.undelete": lambda engine, session: engine.undelete(session.id),
    "engine.move": lambda engine, session: engine.move(session, None),
    "engine.changed": lambda engine, session: engine.changed(session),
    "engine.clean_up_stale": lambda engine, _: engine.clean_up_stale(0.0),
    "engine.request_checkpoint": lambda engine, _: engine.request_checkpoint(),
    "sessions.remove": lambda engine, session: engine.sessions.remove(session),
    "snapshots.take": lambda engine, _: engine.snapshots.take(),
    "snapshots.restore": lambda engine, _: engine.snapshots.restore(),
    "eviction.trim": lambda engine, _: engine.eviction.trim(),
    "session.append": lambda _, session: session.append(UnreadChanged(unread=True)),
    "session.publish": lambda _, session: session.publish(),
    "session.configure": lambda _, session: session.configure(patch(title="x")),
    "session.send": lambda _, session: session.send("?"),
    "session.stop_all": lambda _, session: session.stop_all(),
    "session.delete": lambda _, session: session.delete(),
    "carry_out": lambda engine, session: carry_out(engine, Stop(id="c", session_id=session.id, run_id="r")),
    "wire": lambda engine, _: WireServer(engine, lambda _content, _buffers: None),
    "spawn": lambda engine, _: engine.loop.spawn(None, "task"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_the_engine_is_touched_on_its_own_thread_only(registry: SessionRegistry, what: str) -> None:
    """Methods that read or change live sessions raise on any other thread, and change nothing."""
    session = registry.create(provider=ScriptedProvider("a", HANG))
    run = session.send("?")
    assert next(iter(run)) == "a"
    before = live(session).state
    with pytest.raises(RuntimeError, match="cannot touch the engine's sessions"):
        FORBIDDEN[what](engine_of(registry), live(session))
    assert live(session).state is before
    assert run.state == "streaming"


def test_an_acknowledged_command_can_be_read_at_once(registry: SessionRegistry) -> None:
    """When `send` returns with the acknowledgement, the state contains the command's effect."""
    provider = ScriptedProvider("a", PAUSE)
    session = registry.create(provider=provider)
    first, second = session.send("one"), session.send("two")
    assert [run.id for run in session.runs] == [first.id, second.id]
    assert second.state == "queued"
    session.title = "read back"
    assert session.title == "read back"
    provider.wait_paused()
    session.stop()
    assert first.wait(10).state == "stopped"


def test_an_id_is_used_for_one_run_only(registry: SessionRegistry) -> None:
    """A second prompt with the id of an earlier run or question is refused, and changes nothing."""
    session = registry.create(provider=ScriptedProvider("a"))
    session.ask("one")
    send, before = live(session).send, live(session).state
    call = engine_of(registry).loop.call
    for ids in ({"run_id": session.runs[0].id}, {"message_id": session.messages[0].id}, {"run_id": "r" * 65}):
        with pytest.raises(CommandError, match=r"is taken|from 1 to 64"):
            call(lambda ids=ids: send("two", **ids))
    assert live(session).state == before
    chosen = new_id("r-")
    assert call(lambda: send("two", run_id=chosen)) == chosen

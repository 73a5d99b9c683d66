"""Pages that can miss all answers, because their host drops packets while no cell runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nbchat.core.ids import new_id
from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import PROTOCOL_VERSION
from nbchat.providers.scripted import ScriptedProvider
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.wire.page import Page

HELLO = {"type": "hello", "id": "ask_1.1", "page": "p", "protocol": PROTOCOL_VERSION, "version": "0"}


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """Return a registry with one answered session."""
    made = SessionRegistry()
    made.create("geo", provider=ScriptedProvider("Seine")).ask("Rivers?")
    yield made
    made.shutdown()


class Deaf(Page):
    """A page that receives packets only while `hears` is set."""

    hears = False

    def take(self, content: Any, buffers: list[bytes]) -> None:
        """Take a comm message, or drop it."""
        if self.hears:
            super().take(content, buffers)


def serve(engine: Engine, page: Page) -> WireServer:
    """Return a wire server for a page."""
    return engine.loop.call(WireServer, engine, page.take)


def refresh(engine: Engine, wire: WireServer) -> None:
    """Refresh the pages, and wait until that has ended."""
    engine.loop.run(wire.refresh(), 30)


def test_a_page_that_heard_nothing_is_welcomed_with_every_session(registry: SessionRegistry) -> None:
    """When `refresh` returns, a page that missed everything has the welcome and each open session."""
    engine, page = engine_of(registry), Deaf()
    wire = serve(engine, page)
    session = registry["geo"]
    command = {"type": "viewing", "id": new_id("cmd_"), "session_ids": []}
    for message in (
        HELLO,
        {"type": "run_command", "page": "p", "epoch": engine.epoch, "command": command},
        {"type": "get_asset", "id": "ask_2", "page": "p", "epoch": engine.epoch, "name": "extras"},
    ):
        wire.receive(message, late=True)
    refresh(engine, wire)
    assert page.messages == []
    wire.receive({**HELLO, "id": "ask_1.2"}, late=True)
    engine.loop.call(lambda: None)
    page.hears = True
    refresh(engine, wire)
    assert page.heard("welcome", to="p")
    state = page.heard("session_state", to="p")
    assert state is not None
    assert state["state"]["id"] == session.id
    assert "Seine" in str(state["state"])
    assert page.heard("synced", id="ask_1.2")


def test_answers_that_were_not_heard_are_repeated(registry: SessionRegistry) -> None:
    """Missed acknowledgements and files are sent again, without executing the command again."""
    engine, page = engine_of(registry), Deaf()
    wire = serve(engine, page)
    asked = {"type": "send", "id": new_id("cmd_"), "session_id": registry["geo"].id, "text": "Lakes?"}
    wire.receive({"type": "run_command", "page": "p", "epoch": engine.epoch, "command": asked}, late=True)
    ask = {"type": "get_asset", "id": "ask_2", "page": "p", "epoch": engine.epoch, "name": "extras"}
    wire.receive(ask, late=True)
    registry.wait_all(30)
    page.hears = True
    refresh(engine, wire)
    assert page.heard("ack", id=asked["id"])
    assert page.heard("asset", name="extras")
    assert [message.role for message in registry["geo"].messages] == ["user", "assistant"] * 2


def test_a_page_with_a_control_channel_is_not_refreshed(registry: SessionRegistry) -> None:
    """A page whose messages arrive without waiting for cells is not refreshed."""
    engine, page = engine_of(registry), Page()
    wire = serve(engine, page)
    wire.receive(HELLO, late=True)
    engine.loop.call(lambda: None)
    assert wire.has_late_pages
    wire.receive({**HELLO, "id": "ask_1.2"})
    engine.loop.call(lambda: None)
    assert not wire.has_late_pages

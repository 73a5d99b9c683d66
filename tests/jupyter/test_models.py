"""The models that a page offers in a session's settings."""

import asyncio
from collections.abc import Sequence

from nbchat.core.errors import RequestRejected
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from nbchat.wire.commands import MAX_LISTS
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.waiting import wait_for
from tests.wire.page import Page


class Silent(ScriptedProvider):
    """Raises an error instead of listing models."""

    async def models(self) -> Sequence[str]:
        """Raise an error."""
        raise RequestRejected("there is no such page.", http_status=404)


def test_models_are_those_of_the_sessions_own_server() -> None:
    """Each session's provider is asked, and the models or the error are reported for that session."""
    registry = SessionRegistry()
    own = registry.create("own", provider=ScriptedProvider("x", models=["small", "large"]))
    mute = registry.create("mute", provider=Silent("x"))
    usual = registry.create("usual")
    page = Page()
    wire = engine_of(registry).loop.call(WireServer, engine_of(registry), page.take)

    def listed(session_id: str | None) -> list[str]:
        command = {"type": "list_models", "id": f"c-{session_id}", "session_id": session_id}
        wire.receive(
            {"type": "run_command", "page": "p", "epoch": engine_of(registry).epoch, "command": command}
        )
        answer = wait_for(lambda: page.heard("models", session_id=session_id), "the list of models")
        assert (answer["error"] is None) == bool(answer["models"])
        assert answer["model"] == next(iter(answer["models"]), None)
        return list(answer["models"])

    assert listed(own.id) == ["small", "large"]
    assert listed(mute.id) == []
    assert listed(usual.id) == listed(None)
    assert "nbchat-echo" in listed(None)
    # The models of a session's own provider do not affect sessions without one.
    assert engine_of(registry).providers.model == listed(None)[0]
    run = own.send("Which model?")
    run.wait()
    assert run.model == "small"
    assert engine_of(registry).providers.model == listed(None)[0]
    engine_of(registry).loop.call(wire.close)
    engine_of(registry).shutdown()


class Slow(ScriptedProvider):
    """Lists its models when the test lets it."""

    def __init__(self) -> None:
        super().__init__("x")
        self.lists = 0
        """Number of requests for the models so far."""
        self.allowed = asyncio.Semaphore(0)

    async def models(self) -> Sequence[str]:
        """Return a model of each request."""
        self.lists += 1
        number = self.lists
        await self.allowed.acquire()
        return [f"model {number}"]


def test_lists_of_models_are_limited() -> None:
    """A session's server gets one request at a time, and all pages of a kernel have a limit together."""
    registry = SessionRegistry()
    loop = engine_of(registry).loop
    providers = [Slow() for _ in range(MAX_LISTS + 1)]
    sessions = [registry.create(f"session {n}", provider=one) for n, one in enumerate(providers)]
    page = Page()
    wire = loop.call(WireServer, engine_of(registry), page.take)

    def ask(session: int, number: int) -> bool:
        """Ask for the models of a session; return whether this was accepted."""
        command = {"type": "list_models", "id": f"c-{session}-{number}", "session_id": sessions[session].id}
        wire.receive(
            {"type": "run_command", "page": "p", "epoch": engine_of(registry).epoch, "command": command}
        )
        ack = wait_for(lambda: page.heard("ack", id=command["id"]), "the acknowledgement")
        return ack["error"] is None

    assert all(ask(0, number) for number in range(20))
    assert providers[0].lists == 1
    loop.call(providers[0].allowed.release)
    wait_for(lambda: page.heard("models", models=["model 1"]), "the first list")
    wait_for(lambda: providers[0].lists == 2, "the one request for all others")
    assert all(ask(session, 0) for session in range(1, MAX_LISTS))
    assert not ask(MAX_LISTS, 0)
    assert providers[MAX_LISTS].lists == 0
    loop.call(providers[0].allowed.release)
    wait_for(lambda: page.heard("models", models=["model 2"]), "the second list")
    wait_for(lambda: loop.call(lambda: sessions[0].id not in wire._commands._listing), "the end of the task")
    assert ask(MAX_LISTS, 1)
    for provider in providers[1:]:
        loop.call(provider.allowed.release)
    wait_for(lambda: loop.call(lambda: not wire._commands._listing), "the end of all tasks")
    assert [provider.lists for provider in providers] == [2] + [1] * MAX_LISTS
    loop.call(wire.close)
    engine_of(registry).shutdown()


def test_a_head_shows_whether_a_provider_object_answers() -> None:
    """The page must not label the answers of a provider object as those of the demo."""
    registry = SessionRegistry()
    page = Page()
    wire = engine_of(registry).loop.call(WireServer, engine_of(registry), page.take)

    def told(session_id: str, *, own: bool) -> bool:
        heads = [head for said in page.messages if said["type"] == "heads" for head in said["heads"]]
        newest = [head for head in heads if head["id"] == session_id][-1:]
        return [head["own_provider"] for head in newest] == [own]

    usual = registry.get_or_create("usual")
    wait_for(lambda: told(usual.id, own=False), "its head")
    registry.get_or_create("usual", provider=ScriptedProvider("mine"))
    wait_for(lambda: told(usual.id, own=True), "the object's head")
    assert usual.ask("Who?").text == "mine"
    registry.get_or_create("usual", provider="demo", model="nbchat-echo")
    wait_for(lambda: told(usual.id, own=False), "the name's head")
    assert usual.ask("Who?").text != "mine"
    engine_of(registry).loop.call(wire.close)
    engine_of(registry).shutdown()

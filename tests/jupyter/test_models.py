"""The models that a page offers in a session's settings."""

from collections.abc import Sequence

from nbchat.core.errors import RequestRejected
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
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

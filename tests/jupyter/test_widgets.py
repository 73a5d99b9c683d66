"""`ChatTabs` as used in cells."""

import pytest

import nbchat
from nbchat.handles.registry import SessionRegistry
from nbchat.jupyter.widgets import ChatTabs
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from tests.engine.conftest import registry
from tests.engines import engine_of
from tests.engines import use as use_registry

__all__ = ["registry"]


@pytest.fixture(autouse=True)
def _of_this_test(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make views use the registry of this test."""
    use_registry(monkeypatch, registry)


def titles(registry: SessionRegistry) -> list[str]:
    """Return the titles of all sessions."""
    return [session.title for session in registry.values()]


def test_the_empty_session_of_a_first_view_goes_when_another_is_shown(registry: SessionRegistry) -> None:
    """A first view starts with an empty session, which is replaced by a session made in code."""
    chat = ChatTabs()
    assert titles(registry) == [""]
    geo = chat.session("geo")
    assert titles(registry) == ["geo"]
    assert chat.active == geo.id
    chat.session("art")
    assert titles(registry) == ["geo", "art"]


@pytest.mark.parametrize("use", ["ask", "rename", "model", "pin", "draft"])
def test_an_empty_session_that_was_used_stays(registry: SessionRegistry, use: str) -> None:
    """A first session that has a question, a title, a model, a pin or unsent text in a page is kept."""
    chat = ChatTabs()
    first = registry[chat.active]
    if use == "ask":
        registry.get_or_create(first.id, provider=ScriptedProvider("Seine")).ask("Which river?")
    elif use == "rename":
        first.rename("mine")
    elif use == "model":
        first.model = "nbchat-echo"
    elif use == "draft":
        engine = engine_of(registry)
        viewing = {"type": "viewing", "id": "cmd_1", "session_ids": [first.id], "drafts": [first.id]}
        chat.hub.wire.receive({"type": "run_command", "page": "p", "epoch": engine.epoch, "command": viewing})
        engine.loop.call(lambda: None)  # the draft has been received
    else:
        first.pin()
    chat.session("geo")
    assert first.id in registry
    assert len(registry) == 2


def test_sessions_that_the_user_made_stay(registry: SessionRegistry) -> None:
    """Only the session that the view itself made is removed, not other empty ones."""
    own = registry.create()
    chat = ChatTabs()
    chat.session("geo")
    assert own.id in registry
    assert len(registry) == 2


def test_a_session_and_a_view_wait_for_their_runs(registry: SessionRegistry) -> None:
    """`wait` returns when live and queued runs are over; on a timeout it raises and does not stop them."""
    provider = ScriptedProvider("Sei", PAUSE, "ne")
    geo = registry.create("geo", provider=provider)
    other = registry.create("other", provider=ScriptedProvider(HANG))
    chat = ChatTabs([geo])
    runs = [geo.send("One?"), geo.send("Two?")]
    other.send("Not shown?")
    with pytest.raises(TimeoutError):
        geo.wait(0.01)
    with pytest.raises(TimeoutError):
        chat.wait(0.01)
    for _ in runs:
        provider.wait_paused()
        provider.go()
        provider.wait_until(lambda one: one.closed)
    chat.wait(30)
    assert geo.wait(30) is geo
    assert [run.text for run in runs] == ["Seine", "Seine"]
    assert other.run is not None
    other.stop_all()


def test_tools_of_a_view_are_those_of_its_sessions(registry: SessionRegistry) -> None:
    """`ChatTabs(tools=…)` switches tools on in the sessions shown, and in those that it creates."""

    @nbchat.tool
    def rate() -> float:
        """Return a rate."""
        return 1.08

    geo = registry.create("geo")
    chat = ChatTabs(tools=[rate])
    assert geo.tools == (rate,)
    assert chat.session("art").tools == (rate,)
    assert chat.new("bare", tools=()).tools == ()
    assert ChatTabs().session("geo").tools == (rate,)

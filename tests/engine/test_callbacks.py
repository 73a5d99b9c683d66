"""Callbacks of users: which events they are called with, and what they may do."""

import pytest

from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from tests.engines import drain_callbacks


def test_callbacks_are_notified_of_a_run_and_may_fail(registry: SessionRegistry) -> None:
    """A callback gets each event once, and one that raises does not affect runs or other callbacks."""
    heard: list[tuple[str, str | None]] = []
    session = registry.create(provider=ScriptedProvider("x"))

    def fail(_event: object) -> None:
        raise RuntimeError("a user's mistake")

    registry.on("end", fail)
    off = session.on("end", lambda event: heard.append((event.event, event.state)))
    session.send("?").wait(10)
    assert drain_callbacks(registry)
    assert heard == [("end", "completed")]
    assert registry.stats()["callback_errors"] == 1
    off()
    session.send("?").wait(10)
    assert drain_callbacks(registry)
    assert len(heard) == 1
    with pytest.raises(ValueError, match="there is no event 'finish'"):
        session.on("finish", fail)


def test_a_callback_may_send(registry: SessionRegistry) -> None:
    """Calling nbchat from a callback does not deadlock."""
    session = registry.create(provider=ScriptedProvider("x"))
    answers: list[str] = []

    def once(_event: object) -> None:
        if not answers:
            answers.append(session.ask("from a callback", timeout=10).text)

    session.on("end", once)
    session.send("?").wait(10)
    registry.wait_all(10)
    assert drain_callbacks(registry)
    assert answers == ["x"]

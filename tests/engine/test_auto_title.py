"""Titles that the model makes: asked for once, apart from the conversation, and never over the user's."""

from collections.abc import Iterator

import pytest

from nbchat.core.errors import RequestRejected
from nbchat.engine.auto_title import MAX_TITLE, title_in
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from tests.engines import engine_of
from tests.waiting import wait_for


@pytest.fixture
def asking(registry: SessionRegistry) -> Iterator[SessionRegistry]:
    """Return a registry whose user wants titles from the model."""
    engine_of(registry).providers.defaults.set({"titles": "model"})
    return registry


def is_quiet(registry: SessionRegistry) -> bool:
    """Tell whether nobody is being asked for a title."""
    return not engine_of(registry).loop.call(
        lambda: [t for t in engine_of(registry).loop._tasks if "title" in t.get_name()]
    )


def test_the_first_answer_brings_a_title(asking: SessionRegistry) -> None:
    """The model reads question and answer; the transcript has nothing of it, and it is asked once."""
    provider = ScriptedProvider(
        lambda r: ['"Rivers of Paris."'] if "<question>" in r.messages[0].text else ["Seine"]
    )
    session = asking.create(provider=provider)
    session.ask("Which rivers cross it?")
    wait_for(lambda: session.title == "Rivers of Paris", "it has a title")
    session.ask("And Lyon?")
    wait_for(lambda: is_quiet(asking), "nobody is asked")
    assert [message.role for message in session.messages] == ["user", "assistant"] * 2
    asked = [request.messages[-1].text for request in provider.requests]
    assert ["<question>" in text for text in asked] == [False, True, False]
    assert "Which rivers" in asked[1]
    assert "Seine" in asked[1]


def test_the_users_title_wins(asking: SessionRegistry) -> None:
    """A name that is given while the model thinks stays, and one that was there is not asked for."""
    provider = ScriptedProvider(
        lambda r: ["From the ", PAUSE, "model"] if "<question>" in r.messages[0].text else ["a"]
    )
    session = asking.create(provider=provider)
    session.ask("?")
    provider.wait_paused()
    session.rename("Mine")
    provider.go()
    wait_for(lambda: is_quiet(asking), "nobody is asked")
    assert session.title == "Mine"
    named = asking.create("named", provider=ScriptedProvider("a"))
    named.ask("?")
    assert is_quiet(asking)
    assert named.title == "named"


def test_no_title_is_no_trouble(asking: SessionRegistry) -> None:
    """Where the server refuses, the first words stay."""
    provider = ScriptedProvider(
        lambda r: [RequestRejected("no.")] if "<question>" in r.messages[0].text else ["a"]
    )
    session = asking.create(provider=provider)
    session.ask("Some words")
    wait_for(lambda: len(provider.requests) > 1 and is_quiet(asking), "it was refused")
    assert session.title == "Some words"
    assert session.status == "completed"


def test_no_title_is_requested_unless_enabled(registry: SessionRegistry) -> None:
    """As it begins, one question is one request."""
    provider = ScriptedProvider("a")
    session = registry.create(provider=provider)
    session.ask("Some words")
    assert is_quiet(registry)
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("answer", "title"),
    [
        ("Rivers", "Rivers"),
        ("\n\n## **Rivers of Paris**\n\nBecause ...", "Rivers of Paris"),
        ("Title: “Rivers”.", "Rivers"),
        ("  two\t words  ", "two words"),
        ('""', ""),
        ("", ""),
        ("word " * 40, ("word " * 16)[: MAX_TITLE - 1].rstrip() + "…"),
    ],
)
def test_a_title_is_one_plain_line(answer: str, title: str) -> None:
    """Quotation marks, Markdown and what follows are not part of it."""
    assert title_in(answer) == title

"""Titles from the model: requested once, outside the conversation, and never replacing the user's title."""

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
    """Return a registry with titles from the model enabled."""
    engine_of(registry).providers.defaults.set({"titles": "model"})
    return registry


def is_quiet(registry: SessionRegistry) -> bool:
    """Return whether no request for a title is in progress."""
    return not engine_of(registry).loop.call(
        lambda: [t for t in engine_of(registry).loop._tasks if "title" in t.get_name()]
    )


def test_the_first_answer_brings_a_title(asking: SessionRegistry) -> None:
    """The first answer leads to one request for a title, which does not enter the transcript."""
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
    """A title set during the request is kept, and no title is requested for a session that has one."""
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
    """If the server rejects the request, the first words of the question remain the title."""
    provider = ScriptedProvider(
        lambda r: [RequestRejected("no.")] if "<question>" in r.messages[0].text else ["a"]
    )
    session = asking.create(provider=provider)
    session.ask("Some words")
    wait_for(lambda: len(provider.requests) > 1 and is_quiet(asking), "it was refused")
    assert session.title == "Some words"
    assert session.status == "completed"


def test_no_title_is_requested_unless_enabled(registry: SessionRegistry) -> None:
    """By default a question leads to one request only."""
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
    """Quotation marks, Markdown and further lines are removed from a title."""
    assert title_in(answer) == title

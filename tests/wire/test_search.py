"""Search in the messages of all sessions. The tests simulate the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from nbchat.core.errors import SnapshotError
from nbchat.core.messages import FilePart, ImagePart, Message, TextPart
from nbchat.core.transcript import ROOT, SessionState
from nbchat.engine.journal_reader import read_back
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from nbchat.wire.search import AFTER, BEFORE, search
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.stores.memory import MemoryStore
from tests.waiting import wait_for
from tests.wire.page import Page


def session(session_id: str, *texts: str) -> SessionState:
    """Return a session with these messages."""
    messages = [
        Message(
            id=f"{session_id}{i}",
            role="user",
            parent_id=f"{session_id}{i - 1}" if i else None,
            parts=(TextPart(text=text),),
        )
        for i, text in enumerate(texts)
    ]
    selected = {message.parent_id or ROOT: message.id for message in messages}
    return SessionState(id=session_id, messages={m.id: m for m in messages}, selected=selected)


def states(*sessions: SessionState) -> list[Callable[[], SessionState]]:
    """Return session states in the form that `search` accepts."""
    return [lambda state=state: state for state in sessions]  # type: ignore[misc]


def test_a_place_is_found_with_the_words_around_it() -> None:
    """Matches ignore case, are sorted by newest message, and include the surrounding text."""
    long = "x" * 500 + " the SEINE flows " + "y" * 500
    result = search("seine", states(session("a", long, "nothing", "La Seine")))
    assert [hit.message_id for hit in result.hits] == ["a2", "a0"]
    assert [hit.match for hit in result.hits] == ["Seine", "SEINE"]
    hit = result.hits[1]
    assert hit.before + hit.match + hit.after in long
    assert (len(hit.before), len(hit.after)) == (BEFORE, AFTER)
    assert not result.more


def test_files_are_found_by_name_and_content() -> None:
    """Attachments are found by name, and text files also by content."""
    question = Message(
        id="m",
        role="user",
        parts=(
            TextPart(text="Look."),
            FilePart(name="rivers.csv", text="Seine,775"),
            ImagePart(name="map.png", text="data:image/png;base64,SEIN"),
        ),
    )
    state = SessionState(id="s", messages={"m": question}, selected={ROOT: "m"})
    for words, match in (("rivers", "rivers"), ("seine", "Seine"), ("MAP.", "map.")):
        assert [hit.match for hit in search(words, [lambda: state]).hits] == [match]
    assert search("base64", [lambda: state]).hits == ()


def test_accents_are_found_however_they_are_typed() -> None:
    """Composed and decomposed accents match each other."""
    for said in ("Rhône", "Rho\u0302ne"):
        for asked in ("rhône", "RHO\u0302NE"):
            assert [hit.match for hit in search(asked, states(session("a", said))).hits] == [said]


def test_queries_are_not_patterns() -> None:
    """Special characters are matched literally, and white space alone finds nothing."""
    assert [h.match for h in search(" a.*( ", states(session("a", "abc(", "a.*(b"))).hits] == ["a.*("]
    assert search("  ", states(session("a", "a  b"))).hits == ()


def test_a_search_ends_at_its_limits_and_reports_it() -> None:
    """A search is limited in hits and time, and ends when the page has sent another one."""
    many = session("a", *("word" for _ in range(5)))
    assert len(search("word", states(many), most=3).hits) == 3
    assert search("word", states(many), most=3).more
    assert not search("word", states(many), most=5).more
    assert search("word", states(many), seconds=-1).more
    assert search("word", states(many), is_wanted=lambda: False).hits == ()


def test_a_session_that_cannot_be_read_hides_no_other() -> None:
    """If one session cannot be read, the others are searched, and the result is marked as incomplete."""

    def broken() -> SessionState:
        raise SnapshotError("gone")

    result = search("word", [broken, *states(session("b", "a word"))])
    assert [hit.session_id for hit in result.hits] == ["b"]
    assert result.more


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """Return a registry with its own store."""
    made = SessionRegistry()
    store = MemoryStore()

    def begin() -> None:
        engine_of(made).open_journal(store)
        engine_of(made).snapshots.restore(read_back(store.read()), known={})

    engine_of(made).loop.call(begin)
    yield made
    engine_of(made).shutdown()


def test_a_page_searches_every_session(registry: SessionRegistry) -> None:
    """A search includes sessions that no page has loaded, and evicted sessions without reloading them."""
    registry.limits.sessions = 3
    ids = []
    for number in range(4):
        ids.append(registry.create(f"s{number}", provider=ScriptedProvider("In France.")).id)
        registry[ids[-1]].ask("Where is the Loire?")
        registry.save()
    assert [c.evicted for c in list(engine_of(registry).sessions)] == [True, False, False, False]
    page = Page()
    wire = engine_of(registry).loop.call(WireServer, engine_of(registry), page.take)
    ask = {"type": "search", "page": "p", "epoch": engine_of(registry).epoch}
    wire.receive({**ask, "id": "1", "query": "loire"})
    found = wait_for(lambda: page.heard("search_results", id="1"), "the answer to the search")
    assert [hit["session_id"] for hit in found["hits"]] == [ids[3], ids[2], ids[1], ids[0]]
    assert {hit["match"] for hit in found["hits"]} == {"Loire"}
    assert found["more"] is False
    assert next(iter(engine_of(registry).sessions)).evicted  # it was searched without being reloaded
    engine_of(registry).loop.call(wire.close)

"""Requests of pages: exports and repeated requests. The tests simulate the pages."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from nbchat.core.ids import new_id
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from nbchat.wire import requests
from nbchat.wire.search import Result, search
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.waiting import wait_for
from tests.wire.page import Page


@pytest.fixture
def page() -> Page:
    """Return a page that records the kernel's messages."""
    return Page()


def export(wire: WireServer, page: Page, session_id: str, to: str) -> dict[str, object]:
    """Request an export as a page does, and return the answer."""
    ask = {"type": "want_export", "id": new_id("ask_"), "page": "p", "epoch": "e"}
    wire.receive({**ask, "session_id": session_id, "format": to})
    return dict(wait_for(lambda: page.heard("exported", id=ask["id"]), "the export"))


@pytest.mark.parametrize("to", ["md", "html", "ipynb"])
def test_a_page_exports_what_a_cell_exports(
    page: Page, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page gets the text of `session.export` with a file name, and the kernel writes no file."""
    monkeypatch.chdir(tmp_path)
    registry = SessionRegistry()
    try:
        session = registry.create("Rivers of France", provider=ScriptedProvider("The **Loire**."))
        session.ask("Which is the longest?")
        wire = engine_of(registry).loop.call(WireServer, engine_of(registry), page.take)
        answer = export(wire, page, session.id, to)
        assert answer["error"] is None
        assert answer["name"] == f"rivers-of-france.{to}"
        text = str(answer["text"])
        if to == "ipynb":  # its cells get new ids each time
            sources = [cell["source"] for cell in json.loads(text)["cells"]]
            assert sources == [cell["source"] for cell in json.loads(str(session.export(to)))["cells"]]
        else:
            assert text == session.export(to)
        assert list(tmp_path.iterdir()) == []
        engine_of(registry).loop.call(wire.close)
    finally:
        registry.shutdown()


def test_an_export_of_an_unknown_session_is_refused(page: Page) -> None:
    """An export of an unknown session is answered with the reason."""
    registry = SessionRegistry()
    try:
        wire = engine_of(registry).loop.call(WireServer, engine_of(registry), page.take)
        answer = export(wire, page, "ses_gone", "md")
        assert answer["error"]
        assert answer["text"] == ""
        engine_of(registry).loop.call(wire.close)
    finally:
        registry.shutdown()


def test_a_request_in_progress_is_not_started_again(
    registry: SessionRegistry, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that its page repeats runs once; that of another page, or after the answer, runs again."""
    hold = threading.Event()
    queries: list[str] = []

    def held(query: str, *args: Any, **options: Any) -> Result:
        queries.append(query)
        hold.wait()
        return search(query, *args, **options)

    monkeypatch.setattr(requests, "search", held)
    loop = engine_of(registry).loop
    wire = loop.call(WireServer, engine_of(registry), page.take)
    ask = {"type": "search", "epoch": engine_of(registry).epoch, "id": "1", "query": "loire"}
    for sender in ("p", "p", "q", "p"):
        wire.receive({**ask, "page": sender})
    loop.call(lambda: None)
    hold.set()
    for sender in ("p", "q"):
        wait_for(lambda: page.heard("search_results", to=sender), "the answer to each page")  # noqa: B023
    assert len(queries) == 2

    page.messages.clear()
    wire.receive({**ask, "page": "p"})
    wait_for(lambda: page.heard("search_results", to="p"), "the answer that was repeated")
    assert len(queries) == 3
    loop.call(wire.close)

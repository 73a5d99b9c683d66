"""Exports that a page requests. The tests simulate the pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nbchat.core.ids import new_id
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
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

"""The cost of an answer in the line below a conversation."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nbchat.engine import prices
from nbchat.handles.registry import SessionRegistry
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.prices import price_table, priced
from tests.waiting import wait_for
from tests.wire.page import Page


@contextmanager
def paged(registry: SessionRegistry) -> Iterator[Page]:
    """Connect a page to a registry."""
    engine, page = engine_of(registry), Page()
    wire = engine.loop.call(WireServer, engine, page.take)
    try:
        yield page
    finally:
        engine.loop.call(wire.close)


def heads(page: Page) -> list[dict[str, Any]]:
    """Return the heads that a page has received."""
    return [one for message in list(page.messages) if message["type"] == "heads" for one in message["heads"]]


def test_the_cost_of_the_last_answer_is_in_the_head(registry: SessionRegistry) -> None:
    """After the end of a run its cost is sent as text, and while another run is live there is none."""
    with price_table(), paged(registry) as page:
        session = registry.create("geo", model="m", provider=priced())
        session.send("Capital of France?").wait(30)
        wait_for(lambda: heads(page) and heads(page)[-1].get("cost") == "$0.0020", "the cost")
        run = session.send("hang")
        wait_for(lambda: heads(page)[-1].get("run_id") == run.id and run.text == "Par", "the next answer")
        assert not heads(page)[-1].get("cost")
        run.stop()
        run.wait(30)
        wait_for(lambda: not heads(page)[-1].get("run_id"), "its end")
        assert not heads(page)[-1].get("cost")


def test_the_prices_are_loaded_while_sessions_continue(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the prices are loaded heads have no cost; those that could have one are sent again then."""
    loaded: list[bool] = []
    monkeypatch.setattr(prices, "is_loaded", lambda: bool(loaded))
    monkeypatch.setattr(prices, "load", lambda: loaded.append(True) or True)
    with price_table(), paged(registry) as page:
        names = ["geo", "art"]
        for name in names:
            registry.create(name, model="m", provider=priced()).send("?").wait(30)
        wait_for(
            lambda: {one["title"] for one in heads(page) if one.get("cost")} == set(names),
            "the costs of both",
        )
    assert loaded == [True]


def test_without_the_library_it_is_looked_for_once(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the extra is not installed, pages get no cost, and runs do not search for it again."""
    asked: list[bool] = []
    monkeypatch.setattr(prices, "is_loaded", lambda: False)
    monkeypatch.setattr(prices, "load", lambda: bool(asked.append(True)))
    with paged(registry) as page:
        session = registry.create("geo", model="m", provider=priced())
        session.send("?").wait(30)
        wait_for(lambda: asked, "the search")
        engine_of(registry).loop.call(lambda: None)
        session.send("?").wait(30)
        wait_for(lambda: heads(page)[-1].get("messages") == 4 and not heads(page)[-1].get("run_id"), "ends")
        assert not any(one.get("cost") for one in heads(page))
    assert asked == [True]


def test_a_demo_answer_looks_for_no_prices(
    registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of a server on this machine causes no import of the library."""
    monkeypatch.setattr(prices, "is_loaded", lambda: False)
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    asked: list[bool] = []
    monkeypatch.setattr(prices, "load", lambda: bool(asked.append(True)))
    with paged(registry) as page:
        registry.create("geo", model="m", provider=priced(server=None)).send("?").wait(30)
        wait_for(lambda: heads(page) and heads(page)[-1].get("messages") == 2, "the messages")
        wait_for(lambda: not heads(page)[-1].get("run_id"), "the end")
    assert asked == []

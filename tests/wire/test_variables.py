"""Requests of pages for the notebook's variables: contents, thread and timing."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

import nbchat
from nbchat.handles.registry import SessionRegistry
from nbchat.jupyter import variables
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.waiting import wait_for
from tests.wire.page import Page


class Wire:
    """A page connected to a kernel with the variables `names`."""

    def __init__(self, registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.page = Page()
        self.names: dict[str, object] = {}
        self.history = SimpleNamespace(input_hist_raw=[""], outputs={})
        shell = SimpleNamespace(user_ns=self.names, user_ns_hidden={}, history_manager=self.history)
        for name in ("last_exc", "last_value"):
            monkeypatch.setattr(sys, name, None, raising=False)
        monkeypatch.setattr(variables, "_shell", lambda: shell)
        self.engine = engine_of(registry)
        self.threads: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

        def answer(message: Any) -> Any:
            self.hold.wait()
            self.threads.append(threading.current_thread().name)
            return variables.answer(self.engine.providers.defaults, message)

        self.server: WireServer = self.engine.loop.call(
            lambda: WireServer(self.engine, self.page.take, variables=partial(asyncio.to_thread, answer))
        )

    def ask(self, kind: str, ask_id: str, **fields: Any) -> Any:
        """Return the kernel's answer to a page."""
        message = {"type": kind, "id": ask_id, "page": "p", "epoch": self.engine.epoch, **fields}
        self.server.receive(message)
        answers = {"want_variables": "variables", "want_described": "described"}
        return wait_for(lambda: self.page.heard(answers[kind], to="p", id=ask_id), "the answer")


@pytest.fixture
def wire(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    """Return a page whose kernel has a data frame and other variables."""
    made = Wire(registry, monkeypatch)
    made.names |= {
        "df": pd.DataFrame({"owner": ["Lovelace 1", "Lovelace 2"]}),
        "_private": 1,
        "pd": pd,
        "function": lambda: None,
        "text": "Lovelace",
    }
    yield made
    made.engine.loop.call(made.server.close)


def test_a_page_receives_names_types_and_sizes(wire: Wire) -> None:
    """The list has names, types and sizes of data, without private names, modules and functions."""
    times = "\N{MULTIPLICATION SIGN}"
    assert wire.ask("want_variables", "a")["variables"] == [
        {"name": "df", "kind": "DataFrame", "size": f"2 {times} 1"},
        {"name": "text", "kind": "str", "size": "8"},
    ]


def test_a_page_previews_exactly_the_text_that_is_sent(wire: Wire) -> None:
    """A preview is the text of `nbchat.describe` at the level of `share`, made on a worker thread."""
    part = {"type": "file", "kind": "variable", "name": "df", "text": nbchat.describe(wire.names["df"])}
    assert wire.ask("want_described", "a", name="df")["parts"] == [part]
    wire.engine.providers.defaults.set({"share": "schema"})
    (schema,) = wire.ask("want_described", "b", name="df")["parts"]
    assert schema["text"] == nbchat.describe(wire.names["df"], "schema")
    assert threading.main_thread().name not in wire.threads
    loop = wire.engine.loop.call(lambda: threading.current_thread().name)
    assert loop not in wire.threads


@pytest.mark.parametrize("name", ["_private", "missing", "df.owner", "__builtins__", ""])
def test_names_that_are_not_variables_are_not_described(wire: Wire, name: str) -> None:
    """Private names, attributes and expressions are not described."""
    assert wire.ask("want_described", "a", name=name)["parts"] == []


def test_the_last_error_and_cells_are_listed_and_described(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`error`, `cell` and the last cells follow the variables, unless a variable has the same name."""
    assert wire.ask("want_described", "a", name="error")["parts"] == []
    assert wire.ask("want_described", "b", name="cell")["error"] == "no cell has been run yet in this kernel."
    monkeypatch.setattr(sys, "last_exc", ZeroDivisionError("division by zero"))
    wire.history.input_hist_raw += ["# load\nload()", "%chat config", "1 / 0"]
    listed = wire.ask("want_variables", "c")["variables"][2:]
    assert [(one["name"], one["kind"], one["size"]) for one in listed] == [
        ("error", "ZeroDivisionError", ""),
        ("cell", "", "[3]"),
        ("cell:3", "1 / 0", ""),
        ("cell:1", "# load", ""),
    ]
    (error,) = wire.ask("want_described", "d", name="error")["parts"]
    assert (error["name"], error["kind"]) == ("error", "variable")
    assert "ZeroDivisionError: division by zero" in error["text"]
    (last,) = wire.ask("want_described", "e", name="cell")["parts"]
    assert last == {"type": "file", "kind": "variable", "name": "cell 3", "text": "```python\n1 / 0\n```"}
    assert wire.ask("want_described", "f", name="cell:3")["parts"] == [last]
    assert wire.ask("want_described", "g", name="cell 3")["parts"] == [last]
    assert wire.ask("want_described", "h", name="cell:load")["parts"][0]["name"] == "cell 1"
    unknown = wire.ask("want_described", "i", name="cell:99")
    assert unknown["parts"] == []
    assert unknown["error"].startswith("there is no cell '99'")
    wire.names |= {"error": 1, "cell": 2}
    names = [one["name"] for one in wire.ask("want_variables", "j")["variables"]]
    assert names == ["cell", "df", "error", "text"]
    assert wire.ask("want_described", "k", name="error")["parts"][0]["text"] == "int: 1"


def test_the_descriptions_of_one_message_share_its_limit(wire: Wire) -> None:
    """A description is shortened to the space left in its message, and refused if it does not fit."""
    wire.names["wide"] = pd.DataFrame({f"column {i}": [0.5] for i in range(70)})
    summary, schema = (nbchat.describe(wire.names["wide"], level) for level in ("summary", "schema"))
    room = 24_000 - len(summary)
    assert wire.ask("want_described", "a", name="wide", used=room)["parts"][0]["text"] == summary
    assert wire.ask("want_described", "b", name="wide", used=room + 1)["parts"][0]["text"] == schema
    refused = wire.ask("want_described", "c", name="wide", used=24_000 - 100)
    assert refused["parts"] == []
    assert refused["error"] == (
        "the context has more than 24,000 characters, and 'wide' does not fit; name fewer values."
    )


def test_a_value_that_hangs_blocks_no_session(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """A description that hangs blocks nothing else, and is replaced by the type after a deadline."""
    monkeypatch.setattr(variables, "DEADLINE_S", 0.3)
    release = threading.Event()

    class Hanging:
        def __repr__(self) -> str:
            release.wait()
            return "late"

    wire.names["hanging"] = Hanging()
    epoch = wire.engine.epoch
    wire.server.receive(
        {"type": "want_described", "id": "slow", "page": "p", "epoch": epoch, "name": "hanging"}
    )
    assert wire.ask("want_described", "b", name="text")["parts"]
    slow = wait_for(lambda: wire.page.heard("described", id="slow"), "the answer")
    assert slow["parts"][0]["text"].endswith("Hanging (its description took longer than two seconds)")
    release.set()


def test_a_question_that_is_repeated_is_answered_once(wire: Wire) -> None:
    """A request that a page repeats while it is being answered is answered once."""
    wire.hold.clear()
    for _ in range(3):
        wire.server.receive({"type": "want_variables", "id": "a", "page": "p", "epoch": wire.engine.epoch})
    wire.engine.loop.call(lambda: None)
    wire.hold.set()
    wait_for(lambda: wire.page.heard("variables", id="a"), "the answer")
    assert wire.ask("want_variables", "b")
    assert sum(message["type"] == "variables" for message in wire.page.messages) == 2
    assert len(wire.threads) == 2

"""Notebooks of engines that share their journal, as in a process beside the kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from nbchat.core import commands as c
from nbchat.core.errors import CommandError, StoreBusy
from nbchat.engine.carry_out import execute_once
from nbchat.engine.engine import Engine
from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.registry import SessionRegistry
from nbchat.jupyter import notebook_identity
from nbchat.jupyter.notebook import Notebook
from nbchat.providers.scripted import ScriptedProvider
from nbchat.stores import places
from nbchat.stores.sqlite import SqliteStore
from tests.engines import engine_of, live
from tests.waiting import wait_for

Start = Callable[..., SessionRegistry]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a notebook that was never saved with an id."""
    monkeypatch.setenv("NBCHAT_JOURNAL_DIR", str(tmp_path / "journals"))
    path = tmp_path / "a.ipynb"
    nbformat.write(nbformat.v4.new_notebook(), path)
    return path


def no_page() -> None:
    """Refuse to connect."""
    raise CommandError("there is no page.")


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Start engines of the notebook, which restore at once."""
    made: list[SessionRegistry] = []

    def begin(*, leased: bool) -> SessionRegistry:
        registry = SessionRegistry(backend=LocalBackend(Engine(leased=leased)))
        made.append(registry)
        Notebook(engine_of(registry), str(path)).restore(no_page)
        return registry

    yield begin
    for registry in made:
        engine_of(registry).shutdown()


def journal_of(registry: SessionRegistry) -> SqliteStore:
    """Open a second connection to the journal of a registry."""
    return SqliteStore(places.journal(engine_of(registry).snapshots.notebook_id), 10.0, shared=True)


def test_its_epoch_is_the_token_of_the_journal(start: Start) -> None:
    """Others can open the journal while it is in use, and it names the engine that writes."""
    registry = start(leased=True)
    registry.create("geo", provider=ScriptedProvider("The Seine.")).ask("Which river?")
    registry.save()
    beside = journal_of(registry)
    assert beside.holder() == engine_of(registry).epoch
    assert len(beside.read().sessions) == 1
    engine_of(registry).shutdown(30.0)
    assert beside.holder() is None
    beside.close()


def test_a_kernel_with_an_engine_of_its_own_does_not_disturb_it(start: Start) -> None:
    """A kernel without the setting works in memory while the lease is held, as with any busy journal."""
    runner = start(leased=True)
    runner.create("geo", provider=ScriptedProvider("The Seine.")).ask("Which river?")
    runner.save()

    kernel = start(leased=False)
    kernel.create("mine")
    with pytest.raises(StoreBusy):
        kernel.save()
    runner["geo"].rename("rivers")
    assert runner.save()
    engine_of(runner).shutdown(30.0)

    def is_merged() -> bool:
        return {session.title for session in kernel.values()} == {"mine", "rivers"}

    wait_for(is_merged, "the journal", 60)


def test_the_next_engine_waits_for_one_that_finishes_its_answers(start: Start) -> None:
    """An engine that starts while another one still writes restores everything that was written."""
    first = start(leased=True)
    geo = first.create("geo", provider=ScriptedProvider("The Seine."))
    found: list[SessionRegistry] = []
    thread = threading.Thread(target=lambda: found.append(start(leased=True)))
    thread.start()
    geo.ask("Which river?")
    engine_of(first).shutdown(30.0)
    thread.join()
    assert [m.text for m in found[0]["geo"].messages] == ["Which river?", "The Seine."]
    assert [run.state for run in found[0]["geo"].runs] == ["completed"]


def test_a_journal_that_is_switched_on_again_is_merged(start: Start, path: Path) -> None:
    """Sessions that another engine wrote to the journal in the meantime are restored."""
    registry = SessionRegistry()
    notebook = Notebook(engine_of(registry), str(path))
    notebook.restore(no_page)
    registry.create("geo")
    registry.save()
    notebook.set_journal(on=False)

    beside = start(leased=True)
    beside.create("beside", provider=ScriptedProvider("The Seine.")).ask("Which river?")
    engine_of(beside).shutdown(30.0)
    notebook.set_journal(on=True)
    wait_for(lambda: "beside" in registry, "the journal", 60)
    assert [message.text for message in registry["beside"].messages] == ["Which river?", "The Seine."]
    assert "geo" in registry
    engine_of(registry).shutdown()


def test_sessions_that_another_engine_runs_are_left_alone(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine without the lease restores no live session, and all of them once it gets the lease."""
    monkeypatch.setattr(notebook_identity, "CLAIM_S", 0.0)
    first = start(leased=True)
    first.create("geo")
    first.save()
    second = start(leased=True)
    assert list(second) == []
    engine_of(first).shutdown(30.0)
    wait_for(lambda: "geo" in second, "the journal", 60)


KILLED = """
import json, sys, threading
from nbchat.core import commands as c
from nbchat.core.errors import CommandError
from nbchat.core.kernel_commands import CreateSession
from nbchat.engine import base
from nbchat.engine.carry_out import execute_once
from nbchat.engine.engine import Engine
from nbchat.jupyter.notebook import Notebook
from nbchat.providers.scripted import HANG, ScriptedProvider

def no_page():
    raise CommandError("there is no page.")

base.ACKNOWLEDGE_S = 60.0
engine = Engine(leased=True)
Notebook(engine, sys.argv[1]).restore(no_page)
engine.loop.call(execute_once, engine, CreateSession(id="c-1", session_id="s-1"))
engine.loop.call(engine.session, "s-1").provider = ScriptedProvider("Half an", HANG)
outcome = engine.loop.call(execute_once, engine, c.Send(id="c-2", session_id="s-1", text="one"))
while engine.loop.call(engine.session, "s-1").state.runs[0].characters == 0:
    pass
stored = threading.Event()
engine.loop.call(engine.when_stored, stored.set)
stored.wait()
print(json.dumps(outcome.run_id), flush=True)
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, the lease of a killed process expires")
def test_after_a_kill_the_next_engine_recovers_at_once_and_repeats_nothing(start: Start, path: Path) -> None:
    """The run is `interrupted` once with its text, without waiting for the lease; no prompt is repeated."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert process.stdout is not None
    run_id = json.loads(process.stdout.readline())
    process.send_signal(signal.SIGKILL)  # not awaited: it may still be a zombie

    registry = start(leased=True)
    engine = engine_of(registry)
    session = registry["s-1"]
    assert [(run.id, run.state, run.text) for run in session.runs] == [(run_id, "interrupted", "Half an")]

    live(session).provider = ScriptedProvider("asked again")
    again = c.Send(id="c-2", session_id="s-1", text="one")
    assert engine.loop.call(execute_once, engine, again).run_id == run_id
    assert len(session.runs) == 1
    process.communicate()

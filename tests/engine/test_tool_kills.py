"""A kernel that is killed at any step of a tool call executes it at most once, ever."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import nbchat
from nbchat.engine.journal_reader import read_back
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from nbchat.stores.sqlite import SqliteStore
from tests.engines import engine_of, live

if TYPE_CHECKING:
    from collections.abc import Iterator

KERNEL = Path(__file__).with_name("acting_kernel.py")


def killed_at(step: str, folder: Path) -> bool:
    """Run a kernel until a step; return whether the step was reached."""
    command = [sys.executable, str(KERNEL), str(folder / "journal.sqlite"), str(folder / "lines.txt"), step]
    return subprocess.run(command, timeout=300, check=False).returncode != 0


def steps(tmp_path: Path) -> Iterator[tuple[str, Path, bool]]:
    """Yield each step at which a kernel was killed, with its files; the last one ended by itself."""
    for step in chain(("before", "after"), map(str, range(200))):
        folder = tmp_path / step
        folder.mkdir()
        killed = killed_at(step, folder)
        yield step, folder, killed
        if not killed:
            return


@pytest.mark.timeout(1800)  # some twenty starts of Python on a busy machine
def test_a_call_is_executed_at_most_once(tmp_path: Path) -> None:
    """After a kill at any step the line is there once at most, and a restored kernel never adds one.

    A call that counts as not run has left no line.
    """
    ends = []
    for step, folder, killed in steps(tmp_path):
        file = folder / "lines.txt"
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        assert before in ("", "line\n"), f"killed at {step}"

        @nbchat.tool(ask=False)
        def append(file: str = str(file)) -> None:
            """Append a line to the same file."""
            with Path(file).open("a", encoding="utf-8") as lines:
                lines.write("line\n")

        registry = SessionRegistry()
        store = SqliteStore(folder / "journal.sqlite", busy_s=10)
        snapshot = read_back(store.read())
        store.close()
        engine = engine_of(registry)
        engine.loop.call(partial(engine.snapshots.restore, snapshot, known={}))
        for session in registry.values():
            assert session.tools == ()
            session.tools = [append]
            session.approve = lambda _call: True
            for run in session.runs:
                assert run.is_over
                states = [call.state for call in run.calls]
                assert set(states) <= {"not_run", "unknown", "ran"}, f"killed at {step}"
                assert not before or "not_run" not in states, f"killed at {step}"
                ends.append((run.state, *states))
            # The next question executes nothing of the restored answer.
            live(session).provider = ScriptedProvider("Hello.")
            session.ask("And now?", timeout=60)
        registry.shutdown()
        after = file.read_text(encoding="utf-8") if file.exists() else ""
        assert after == before, f"killed at {step}"
        if not killed:
            assert before == "line\n"
    assert ("interrupted", "unknown") in ends
    assert ("completed", "ran") in ends

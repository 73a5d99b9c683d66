"""The start of a runner that is slow, hangs or fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nbchat.core.errors import CommandError
from nbchat.engine.engine import Engine
from nbchat.handles.registry import SessionRegistry
from nbchat.runner import spawn
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.places import Place
from nbchat.runner.spawn import LocalRunner
from tests.runner.linked import Linked
from tests.runner.notebooks import LinkedNotebook, said

HANG = "import time; time.sleep(3600)"


class Starts:
    """Starts other programs instead of runners, and counts them."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.processes: list[subprocess.Popen[bytes]] = []

    def __call__(self, _place: Place) -> subprocess.Popen[bytes]:
        """Start the program."""
        process = subprocess.Popen([sys.executable, "-c", self.code])
        self.processes.append(process)
        return process


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a path that is short enough for a socket."""
    with TemporaryDirectory(prefix="nb-") as short:
        yield Path(short)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Starts]]:
    """Return a function that replaces runners by a program; it ends with the test."""
    made: list[Starts] = []

    def replace(code: str) -> Starts:
        made.append(Starts(code))
        monkeypatch.setattr(spawn, "_start", made[-1])
        return made[-1]

    yield replace
    for one in made:
        for process in one.processes:
            process.kill()
            process.wait()


def test_a_runner_that_ends_at_once_is_not_awaited(folder: Path, starts: Callable[[str], Starts]) -> None:
    """The error of a runner that fails names its status and its log, and the next attempt starts another."""
    failing = starts("raise SystemExit(3)")
    place = Place(str(folder / "chat.ipynb"), folder)
    for number in (1, 2):
        with pytest.raises(CommandError, match="with status 3") as error:
            LocalRunner(place).connect()
        assert str(place.log) in str(error.value)
        assert len(failing.processes) == number


def test_a_runner_that_is_never_ready_is_ended(
    folder: Path, starts: Callable[[str], Starts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the longest wait the process is killed, so that it does not serve a later kernel."""
    hanging = starts(HANG)
    monkeypatch.setattr(spawn, "START_S", 0.5)
    with pytest.raises(CommandError, match="no runner was ready"):
        LocalRunner(Place(str(folder / "chat.ipynb"), folder)).connect()
    assert [process.returncode is not None for process in hanging.processes] == [True]


def test_a_slow_start_is_shown_and_the_link_follows(
    folder: Path, starts: Callable[[str], Starts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a runner starts, the user is shown the reason once; the text is removed when it is ready."""
    slow = starts(HANG)
    monkeypatch.setattr(spawn, "SLOW_S", 0.0)
    place = Place(str(folder / "chat.ipynb"), folder)
    shown: list[str] = []
    runners: list[Linked] = []

    def explain() -> Callable[[], None]:
        shown.append("shown")
        runners.append(Linked(folder))  # ready only now
        return lambda: shown.append("removed")

    place.explain_wait = explain
    engine = Engine()
    backend = LinkBackend(LocalRunner(place), engine)
    try:
        assert shown == ["shown", "removed"]
        assert len(slow.processes) == 1
        answer = SessionRegistry(backend=backend).create("a", model="nbchat-echo").ask("b")
        assert answer.text == "b"
    finally:
        backend.leave(restart=True)
        engine.shutdown()
        for runner in runners:
            runner.__exit__(None, None, None)


def test_an_interrupted_wait_continues_with_the_same_process(
    folder: Path, starts: Callable[[str], Starts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the wait is interrupted and the cell is run again, no second runner is started."""
    slow = starts(HANG)
    monkeypatch.setattr(spawn, "SLOW_S", 0.0)
    place = Place(str(folder / "chat.ipynb"), folder)

    def interrupt() -> Callable[[], None]:
        raise KeyboardInterrupt

    place.explain_wait = interrupt
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            LocalRunner(place).connect()
    assert len(slow.processes) == 1
    slow.processes[0].kill()
    slow.processes[0].wait()
    with pytest.raises(KeyboardInterrupt):
        LocalRunner(place).connect()
    assert len(slow.processes) == 2


FAILS = """
import sys
python, sys.executable = sys.executable, {program!r}
import nbchat
session = nbchat.session("geo", model="nbchat-echo")
sys.executable = python
print(session.ask("one").text, type(nbchat.registry._backend).__name__)
nbchat.registry.save()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the program that replaces Python is a shell script")
def test_without_a_runner_the_kernel_answers_for_its_lifetime(tmp_path: Path) -> None:
    """If no runner can be started, a warning names the reason, and the kernel generates and keeps answers."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 3\n", "utf-8")
    program.chmod(0o700)
    with LinkedNotebook(tmp_path) as notebook:
        kernel = notebook.kernel()
        cell = kernel.run(FAILS.format(program=str(program)), 120)
        assert cell.error is None, cell.traceback
        assert cell.stdout == "one LocalBackend\n"
        assert "answers end with this kernel" in cell.stderr
        assert "with status 3" in cell.stderr
        kernel.restart()
        again = "import nbchat; print([m.text for m in nbchat.session('geo').messages])"
        assert said(kernel, again) == "['one', 'one']"  # in a runner, which has the journal now
        notebook.pid()


SLOW = """
import nbchat.runner.spawn
nbchat.runner.spawn.SLOW_S = 0.0
import nbchat
print(type(nbchat.registry.create()._backend).__name__)
"""


def test_a_cell_that_waits_for_a_runner_shows_it(tmp_path: Path) -> None:
    """The text is an output of the cell that waits, and empty afterwards."""
    with LinkedNotebook(tmp_path) as notebook:
        cell = notebook.kernel().run(SLOW, 120)
        assert (cell.error, cell.stdout) == (None, "LinkBackend\n"), cell.traceback
        assert (cell.displays, cell.updates) == ([{"text/plain": ""}], 1)
        notebook.pid()

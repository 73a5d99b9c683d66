"""Tracebacks of errors and interrupts below a cell, in a real kernel."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tools.jupyter_home import environment


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel with nbchat, a session, and a provider that never ends its answers."""
    folder = tmp_path_factory.mktemp("kernel")
    env = environment(folder, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Kernel(folder, env) as made:
        ready = made.run(
            "import nbchat\n"
            "from nbchat.providers.scripted import HANG, ScriptedProvider\n"
            "geo = nbchat.session('geo', model='no-such-model')\n"
            "hanging = nbchat.session('hanging', provider=ScriptedProvider('so far', HANG))\n"
            "def helper(session):\n"
            "    return session.ask('Which rivers?')\n"
        )
        assert ready.error is None, ready.traceback
        yield made


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (
            "x = 1\ngeo.ask('Which rivers?')",
            ["Cell, line 2", "----> 2 geo.ask('Which rivers?')", "ModelNotFound: 127.0.0.1"],
        ),
        (
            "helper(geo)",
            [
                "Cell, line 1",
                "----> 1 helper(geo)",
                "Cell, line 6, in helper",
                "----> 6 return session.ask('Which rivers?')",
                "ModelNotFound: 127.0.0.1",
            ],
        ),
        (
            "geo.send('')",
            ["Cell, line 1", "----> 1 geo.send('')", "ValueError: the prompt is empty"],
        ),
        (
            "hanging.ask('Which?', timeout=0.01)",
            ["Cell, line 1", "----> 1 hanging.ask('Which?', timeout=0.01)", "TimeoutError: no whole answer"],
        ),
        (
            "geo.modle = 'x'",
            ["Cell, line 1", "----> 1 geo.modle = 'x'", "AttributeError: a Session has no attribute 'modle'"],
        ),
        (
            "nbchat.map(['a'], temprature=1)",
            ["Cell, line 1", "----> 1 nbchat.map(['a'], temprature=1)", "TypeError: map() has no argument"],
        ),
    ],
)
def test_an_error_shows_the_user_s_lines_and_the_message(kernel: Kernel, code: str, lines: list[str]) -> None:
    """The user's lines that led to the error and its message are shown, and no frame of nbchat."""
    shown = kernel.run(code).traceback
    found = [line for line in shown.splitlines() if line and not line.startswith("-----------")]
    assert [line[: len(start)] for line, start in zip(found, lines, strict=True)] == lines


def test_the_whole_traceback_stays_available(kernel: Kernel) -> None:
    """The exception keeps its traceback, including the frames of nbchat."""
    kernel.run("geo.ask('Which rivers?')")
    whole = kernel.run("import sys, traceback; traceback.print_exception(sys.last_value)").stderr
    assert "/nbchat/handles/session.py" in whole
    assert "ModelNotFound" in whole


@pytest.mark.parametrize("blocks", ["hanging.ask('Which?')", "list(hanging.send('Which?'))"])
def test_an_interrupt_shows_the_user_s_line(kernel: Kernel, blocks: str) -> None:
    """An interrupted wait shows the line that waited, and nothing of nbchat."""
    cell = kernel.start(
        f"import threading\nheard = hanging.on('delta', lambda _: print('live', flush=True))\n{blocks}\n"
    )
    kernel.follow(cell, lambda c: "live" in c.stdout)
    kernel.interrupt()
    kernel.follow(cell, lambda c: c.over)
    kernel.run("heard(); hanging.stop_all()")
    found = [line for line in cell.traceback.splitlines() if line and not line.startswith("-----------")]
    assert found == ["Cell, line 3", f"----> 3 {blocks}", "KeyboardInterrupt"]

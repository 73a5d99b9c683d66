"""The API gives the same results from a cell, a script, an event loop, a thread and nbclient."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.kernels import Kernel
from tools.jupyter_home import environment

ROOT = Path(__file__).parents[2]

GET = "import json\nfrom tests.api.thirty_calls import thirty_calls\n"
IN_A_LOOP = """
import asyncio
async def main():
    return thirty_calls()
seen = asyncio.run(main())
"""
IN_A_THREAD = """
import threading
given = []
thread = threading.Thread(target=lambda: given.append(thirty_calls()))
thread.start()
thread.join()
seen = given[0]
"""
PRINT = "\nprint('SEEN', json.dumps(seen))\n"


def _read(output: str) -> dict[str, Any]:
    line = next(line for line in output.splitlines() if line.startswith("SEEN "))
    seen: dict[str, Any] = json.loads(line.removeprefix("SEEN "))
    return seen


def _env(folder: Path) -> dict[str, str]:
    return environment(folder, os.environ) | {"NBCHAT_DEMO_PACE": "0", "PYTHONPATH": str(ROOT)}


def _script(code: str) -> Callable[[Path], dict[str, Any]]:
    def run(folder: Path) -> dict[str, Any]:
        command = [sys.executable, "-W", "error", "-c", code + PRINT]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, env=_env(folder), timeout=100
        )
        assert done.returncode == 0, done.stderr
        return _read(done.stdout)

    return run


def _cell(folder: Path) -> dict[str, Any]:
    with Kernel(folder, _env(folder)) as kernel:
        cell = kernel.run(GET + "seen = thirty_calls()" + PRINT)
        assert cell.error is None, cell.traceback
        return _read(cell.stdout)


def _nbclient(folder: Path) -> dict[str, Any]:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(GET + "seen = thirty_calls()" + PRINT)]
    )
    client = NotebookClient(
        notebook, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=_env(folder))
    (cell,) = notebook.cells
    return _read("".join(output.get("text", "") for output in cell.outputs))


PLACES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "cell": _cell,
    "script": _script(GET + "seen = thirty_calls()"),
    "asyncio.run": _script(GET + IN_A_LOOP),
    "thread": _script(GET + IN_A_THREAD),
    "nbclient": _nbclient,
}

EXPECTED: dict[str, Any] = {
    "session": ["echo", None, "Answer briefly.", {"temperature": 0}],
    "the same session": True,
    "status before": ["idle", None, [], []],
    "wait": True,
    "state": ["completed", True, "completed", True],
    "text": ["One **two** three."] * 3,
    "iterate": ["One **two** three.", "Iterate."],
    "finish": ["stop", None, True],
    "messages": [
        ["user", "One **two** three."],
        ["assistant", "One **two** three."],
        ["user", "Iterate."],
        ["assistant", "Iterate."],
    ],
    "ask": "Ask.",
    "one-off": ["Once.", 1],
    "await": "Await.",
    "async for": "Async for.",
    "get_completion": "For u1.",
    "threads are apart": ["For u1.", "For u1."],
    "streaming": [True, True],
    "timeout": "TimeoutError",
    "busy": "RunInProgress",
    "queued": ["queued", True],
    "pause": ["paused", "paused"],
    "resume": True,
    "stopped": ["stopped", "stopped", True],
    "stop again": [False, False],
    "interrupted": ["interrupted", "part", "StreamBroken"],
    "its error is raised": ["StreamBroken", "StreamBroken"],
    "failed": ["failed", "ModelNotFound", ""],
    "wrong arguments": ["ValueError", "TypeError", "TypeError", "UnknownSession", "TypeError"],
    "fork": ["renamed", True, ["user", "assistant"]],
    "callback": ["end completed"],
    "deleted": [False, "SessionGone"],
    "no deadlock": "WouldDeadlock",
}


@pytest.mark.parametrize("place", PLACES)
def test_thirty_calls_give_the_same_everywhere(place: str, tmp_path: Path) -> None:
    """The same thirty calls have the same results, states and errors wherever they are made."""
    assert len(EXPECTED) >= 30
    assert PLACES[place](tmp_path) == EXPECTED


LEFT_OPEN = """
import nbchat
from tests.engines import engine_of
chat = nbchat.ChatTabs()
geo = chat.session("geo", model="nbchat-long")
nbchat.registry.on("end", print)
run = geo.send("Go on.")
next(iter(run))
"""


@pytest.mark.parametrize(
    "end", ["", "del chat, geo, run", "raise SystemExit", "engine_of(nbchat.registry).shutdown()"]
)
def test_a_script_ends_without_a_word(tmp_path: Path, end: str) -> None:
    """K24: whatever streams or is shown when the interpreter ends, no traceback follows."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LEFT_OPEN + end],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=_env(tmp_path),
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")

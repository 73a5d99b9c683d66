"""Approved code in a real kernel: it runs as a cell does, between cells or in a cell that waits."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tools.jupyter_home import environment

SETUP = """
import json, nbchat, threading, time
from nbchat.providers.base import ToolCallDelta
from nbchat.providers.scripted import ScriptedProvider

def script(request):
    last = request.messages[-1]
    results = [part for part in last.parts if part.type == "tool_result"]
    if results:
        return [results[-1].text]
    return [ToolCallDelta(0, "c", "python", json.dumps({"code": last.text}))]

def until(condition):
    while not condition():
        time.sleep(0.01)

session = nbchat.session("code", provider=ScriptedProvider(script), tools=[nbchat.tools.python])
session.approve = lambda call: True
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel with a session whose model runs the question as code."""
    folder = tmp_path_factory.mktemp("kernel")
    env = environment(folder, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Kernel(folder, env) as made:
        ready = made.run(SETUP)
        assert ready.error is None, ready.traceback
        yield made


def test_a_waiting_cell_runs_the_code(kernel: Kernel) -> None:
    """`ask` in a cell runs approved code itself, so that it does not deadlock."""
    cell = kernel.run("print(session.ask('x = 40 + 2\\nprint(1)\\nx').text)")
    assert cell.stdout == "1\n42\n\n[bound: x]\n"
    assert kernel.run("print(x)").stdout == "42\n"
    awaited = kernel.run("print((await session.send('x + 1')).text)")
    assert (awaited.stdout, awaited.displays) == ("43\n", [])


def test_code_runs_between_cells(kernel: Kernel) -> None:
    """In an idle kernel approved code runs by itself; none of its output appears in a cell."""
    assert kernel.run("run = session.send('print(1); y = 7')").stdout == ""
    done = kernel.run("print(run.wait(60).text, y)")
    assert done.stdout == "1\n\n[bound: y] 7\n"


def test_code_does_not_interrupt_a_running_cell(kernel: Kernel) -> None:
    """While a cell runs, the code waits; its run is `acting`."""
    cell = kernel.run(
        "run = session.send('z = 5')\n"
        "until(lambda: run.state == 'acting' or run.is_over)\n"
        "print(run.state, 'z' in globals())"
    )
    assert cell.stdout == "acting False\n"
    assert kernel.run("run.wait(60); print(run.state, z)").stdout == "completed 5\n"


def test_an_error_is_the_result(kernel: Kernel) -> None:
    """An error in the code is its result, and aborts no cell of the user."""
    cell = kernel.run("print(session.ask('1/0').text)")
    assert "ZeroDivisionError: division by zero" in cell.stdout
    assert cell.error is None
    assert "SyntaxError" in kernel.run("print(session.ask('1 +').text)").stdout


def test_pictures_are_part_of_the_result(kernel: Kernel) -> None:
    """A displayed picture is a picture of the result, and not shown in the cell."""
    cell = kernel.run(
        "code = '''from IPython.display import Image, display\n"
        "import base64\n"
        'display(Image(base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk'
        "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==\")))'''\n"
        "run = session.send(code).wait(60)\n"
        "print([url[:22] for url in run.calls[0].result.images])"
    )
    assert cell.stdout == "['data:image/png;base64,']\n", cell.traceback
    assert cell.displays == []


def test_stopped_code_never_starts(kernel: Kernel) -> None:
    """Code that waits for a running cell is not run after its run was stopped."""
    cell = kernel.run(
        "run = session.send('never = 1')\n"
        "until(lambda: run.state == 'acting' or run.is_over)\n"
        "run.stop(); until(lambda: run.is_over); print(run.state)"
    )
    assert cell.stdout == "stopped\n"
    # A request that is sent now is executed after that of the code.
    after = kernel.run("run = session.send('later = 1')")
    assert after.error is None
    assert kernel.run("run.wait(60); print('never' in globals(), later)").stdout == "False 1\n"


def test_stop_interrupts_running_code(kernel: Kernel) -> None:
    """Stop ends code that is running; the cells after it run undisturbed."""
    cell = kernel.run(
        "flag = threading.Event()\n"
        "run = session.send('flag.set()\\nwhile True: time.sleep(0.01)')\n"
        "threading.Thread(target=lambda: (flag.wait(60), run.stop())).start()"
    )
    assert cell.error is None
    after = kernel.run("run.wait(60); print(run.state)")
    assert (after.stdout, after.error) == ("stopped\n", None)


def test_look_reads_the_variables_of_the_notebook(kernel: Kernel) -> None:
    """`look` lists and describes the user's variables, without those of IPython."""
    cell = kernel.run("value = [1, 2, 3]\nprint(nbchat.tools.look('value'))\nprint(nbchat.tools.look())")
    assert "list, 3 items" in cell.stdout
    assert "value: list" in cell.stdout
    assert "In:" not in cell.stdout

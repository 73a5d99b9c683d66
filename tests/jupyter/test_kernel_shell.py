"""Approved code in a real kernel: it runs as a cell does, between cells or in a cell that waits."""

import os
import queue
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbchat.engine.main_thread import Job
from nbchat.jupyter.kernel_shell import NOT_ACCEPTED, KernelShell
from tests.kernels import Kernel
from tests.waiting import wait_for
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

def answered(title):
    made = nbchat.session(title, provider=ScriptedProvider(script), tools=[nbchat.tools.python])
    made.approve = lambda call: True
    return made

session, inner = answered("code"), answered("inner")
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


def run_between_cells(kernel: Kernel, code: str) -> None:
    """Run approved code between cells, of which none waits in nbchat; its run is `run`."""
    sent = kernel.run(f"run = session.send({code!r})")
    assert sent.error is None, sent.traceback
    wait_for(lambda: kernel.value("run.is_over") == "True", "the end of the run")


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


def test_figures_of_the_cell_are_not_of_the_code(kernel: Kernel) -> None:
    """A figure that the waiting cell has open is drawn in that cell, and the code's figures in its result."""
    kernel.run("import matplotlib.pyplot as plt", 180.0)  # it may list the fonts first
    cell = kernel.run(
        "mine = plt.figure()\n"
        "plt.plot([1, 2])\n"
        "runs = [session.send(code).wait(60) for code in\n"
        "    ('1 + 1', 'import matplotlib.pyplot as plt; plt.plot([3, 4]); None')]\n"
        "print([len(run.calls[0].result.images) for run in runs])\n"
        "print(plt.gcf() is mine, plt.get_fignums())"
    )
    assert cell.stdout == "[0, 1]\nTrue [1]\n", cell.traceback
    assert [sorted(display) for display in cell.displays] == [["image/png", "text/plain"]]
    assert kernel.value("plt.get_fignums()") == "[]"


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


def test_stop_interrupts_code_that_an_awaiting_cell_runs(kernel: Kernel) -> None:
    """Stop ends code that runs in a cell that awaits the answer, and the cell continues."""
    cell = kernel.run(
        "flag = threading.Event()\n"
        "run = session.send('flag.set()\\nwhile True: pass')\n"
        "threading.Thread(target=lambda: (flag.wait(60), run.stop())).start()\n"
        "await run\n"
        "print(run.state)"
    )
    assert (cell.stdout, cell.error) == ("stopped\n", None), cell.traceback
    assert kernel.value("1 + 1") == "2"


def test_stop_interrupts_code_that_a_task_runs_between_cells(kernel: Kernel) -> None:
    """Stop ends code that runs in a task between cells, where the kernel ignores interrupts."""
    kernel.run(
        "import asyncio\n"
        "async def end_state():\n"
        "    await run\n"
        "    return run.state\n"
        "flag = threading.Event()\n"
        "run = session.send('flag.set()\\nwhile True: pass')\n"
        "task = asyncio.create_task(end_state())\n"
        "threading.Thread(target=lambda: (flag.wait(60), run.stop())).start()"
    )
    assert kernel.run("print(await task)").stdout == "stopped\n"


@pytest.mark.parametrize(
    "wait",
    [
        "await run",
        "async def end():\n    await run\ntask = asyncio.create_task(end())\nawait asyncio.Event().wait()",
    ],
    ids=["cell", "task"],
)
def test_an_interrupt_of_code_ends_the_awaiting_cell(kernel: Kernel, tmp_path: Path, wait: str) -> None:
    """An interrupt ends the code and the cell that awaits the answer or a task; the kernel continues."""
    started = tmp_path / "started"
    code = f"open({str(started)!r}, 'w').close()\nwhile True: pass"
    cell = kernel.start(f"import asyncio\nrun = session.send({code!r})\n{wait}\nprint('not reached')")
    wait_for(started.exists, "the code runs")
    kernel.interrupt()
    kernel.follow(cell, lambda cell: cell.over)
    assert (cell.stdout, cell.error) == ("", "CancelledError"), cell.traceback
    after = kernel.run("run.wait(60)\nprint(run.calls[0].result.text.split()[0], run.state)")
    assert after.stdout == "KeyboardInterrupt completed\n", after.traceback


def test_a_request_that_cannot_be_sent_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernel cannot be reached, the call ends with a reason instead of waiting for ever."""

    def missing() -> str:
        raise RuntimeError("no connection file")

    monkeypatch.setattr("ipykernel.connect.get_connection_file", missing)
    reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
    job = Job(lambda: False, lambda: None, reasons.put)
    shell = KernelShell(SimpleNamespace(ask_exit=lambda: None, kernel=object()))
    assert shell.request(job)
    assert reasons.get(timeout=60) == NOT_ACCEPTED


def test_look_reads_the_variables_of_the_notebook(kernel: Kernel) -> None:
    """`look` lists and describes the user's variables, without those of IPython."""
    cell = kernel.run("value = [1, 2, 3]\nprint(nbchat.tools.look('value'))\nprint(nbchat.tools.look())")
    assert "list, 3 items" in cell.stdout
    assert "value: list" in cell.stdout
    assert "In:" not in cell.stdout


@pytest.mark.parametrize(
    "code",
    [
        "exit()",
        "exit",
        "quit()",
        "import sys; sys.exit(3)",
        "raise SystemExit",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise MemoryError",
        "def deeper(): deeper()\ndeeper()",
        "await exit()",
    ],
)
def test_code_cannot_end_the_kernel(kernel: Kernel, code: str) -> None:
    """Code that exits is an error result, between cells and in a cell that waits, and the cell continues."""
    waiting = kernel.run(f"run = session.send({code!r}).wait(60)\nprint(run.calls[0].result.is_error)")
    assert (waiting.stdout, waiting.error) == ("True\n", None), waiting.traceback
    run_between_cells(kernel, code)
    assert kernel.value("run.calls[0].result.is_error") == "True"


def test_a_tool_cannot_end_the_kernel(kernel: Kernel) -> None:
    """A tool that calls `exit()`, which ends the kernel in a cell, is an error result."""
    cell = kernel.run(
        "def leave():\n    exit()\n"
        "other = nbchat.session('leave', provider=ScriptedProvider(lambda request: ['over']\n"
        "    if request.messages[-1].role == 'assistant' else [ToolCallDelta(0, 'c', 'leave', '{}')]))\n"
        "for where in (None, 'main'):\n"
        "    other.tools = [nbchat.tool(leave, ask=False, thread=where)]\n"
        "    print(other.send('go').wait(60).calls[0].result.is_error)"
    )
    assert cell.stdout == "True\nTrue\n", cell.traceback
    assert kernel.run("print('alive')").stdout == "alive\n"


def test_code_that_asks_for_code_leaves_the_shell_as_it_was(kernel: Kernel) -> None:
    """Approved code can ask a session whose model runs code. Errors and outputs of cells appear as before."""
    hook = kernel.value("get_ipython().showtraceback")
    cell = kernel.run(
        "print(session.ask('print(1); print(inner.ask(\"print(2); 1/0\").text); 3').text)\n"
        "print(session.ask('inner.ask(\"1/0\")\\nundefined').text)"
    )
    assert cell.stdout.startswith("1\n2\n"), cell.traceback
    assert "ZeroDivisionError" in cell.stdout
    assert "\n3\n" in cell.stdout
    assert "NameError: name 'undefined' is not defined" in cell.stdout
    assert kernel.value("get_ipython().showtraceback") == hook
    failed = kernel.run("print(4)\n1/0")
    assert (failed.stdout, failed.error) == ("4\n", "ZeroDivisionError")
    assert kernel.run("5").result == {"text/plain": "5"}


def test_code_can_await(kernel: Kernel) -> None:
    """`await` works at the top level of code, between cells, in `ask` and in a cell that awaits."""
    code = "import asyncio\nawait asyncio.sleep(0)\nprint(await asyncio.gather(asyncio.sleep(0, 7)))\n8"
    expected = "[7]\n8\n"
    assert kernel.run(f"print(session.ask({code!r}).text)").stdout.startswith(expected)
    awaited = kernel.run(f"print((await session.send({code!r})).text)")
    assert awaited.stdout.startswith(expected)
    run_between_cells(kernel, code)
    assert kernel.run("print(run.text)").stdout.startswith(expected)
    # The loop of the kernel and its tasks are as they were.
    loops = kernel.run("import asyncio\nprint(await asyncio.sleep(0, 9), asyncio.current_task() is not None)")
    assert loops.stdout == "9 True\n"


def test_code_that_awaits_is_interrupted(kernel: Kernel) -> None:
    """Stop ends code that waits in `await`."""
    kernel.run(
        "flag = threading.Event()\n"
        "run = session.send('import asyncio; flag.set()\\nawait asyncio.sleep(600)')\n"
        "threading.Thread(target=lambda: (flag.wait(60), run.stop())).start()"
    )
    after = kernel.run("run.wait(60); print(run.state)")
    assert (after.stdout, after.error) == ("stopped\n", None)


@pytest.mark.parametrize(
    "code",
    [
        "input('Name? ')",
        "import getpass; getpass.getpass()",
        "import sys; sys.stdin.readline()",
        "get_ipython().kernel.raw_input()",
    ],
)
def test_code_gets_no_input(kernel: Kernel, code: str) -> None:
    """Code that asks the user for input gets an error at once, although the cell around it allows input."""
    cell = kernel.run(f"run = session.send({code!r}).wait(60)\nprint(run.text)")
    assert "input" in cell.stdout
    assert "Error" in cell.stdout
    run_between_cells(kernel, code)
    assert "Error" in kernel.run("print(run.text)").stdout
    assert kernel.value("input.__name__, get_ipython().kernel._allow_stdin") == "('raw_input', True)"


def test_an_error_has_the_frames_of_the_user(kernel: Kernel) -> None:
    """The result of an error has its type, its message and the user's frames, and no frame of a library."""
    kernel.run("import json\ndef parse(text):\n    return json.loads(text)")
    cell = kernel.run('print(session.ask(\'print("before")\\nparse("{")\').text)')
    assert cell.stdout.startswith("before\n\njson.decoder.JSONDecodeError: Expecting property name")
    assert "in parse, line 3: return json.loads(text)" in cell.stdout
    assert "decoder.py" not in cell.stdout
    assert "raw_decode" not in cell.stdout


def test_the_error_of_code_that_prints_much_is_kept(kernel: Kernel) -> None:
    """What does not fit is left out of the printed text, and not of the error after it."""
    cell = kernel.run(
        "run = session.send('for i in range(100_000): print(i)\\n1/0').wait(60)\n"
        "text = run.calls[0].result.text\n"
        "print(len(text) <= 20_000, text[:4].split(), 'more characters are omitted' in text)\n"
        "print('ZeroDivisionError: division by zero' in text[-300:])"
    )
    assert cell.stdout == "True ['0', '1'] True\nTrue\n", cell.traceback

"""Tools with a runner and kernels in their own processes, which are killed at every step of a call."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import Kernel
from tests.runner.notebooks import LinkedNotebook, said
from tests.waiting import wait_for

SETUP = """
import os, signal, nbchat
from pathlib import Path
from nbchat.runner import tool_objects

step, victim, file = {step!r}, {victim!r}, Path({file!r})

def at(place):
    if place == step:
        pid = os.getpid() if victim == "kernel" else session._backend._link.greeting.pid
        os.kill(pid, signal.SIGKILL)

def stepped(function, before, after=""):
    def called(*args):
        at(before)
        value = function(*args)
        at(after)
        return value
    return called

def stepped_coroutine(function, before, after=""):
    async def called(*args, **kwargs):
        at(before)
        value = await function(*args, **kwargs)
        at(after)
        return value
    return called

objects = tool_objects.ToolObjects
objects.check_call = stepped_coroutine(objects.check_call, "checked")
objects.run_call = stepped_coroutine(objects.run_call, "requested", "returned")
tool_objects._may_begin = stepped(tool_objects._may_begin, "not permitted", "permitted")

@nbchat.tool
def append() -> str:
    at("before")
    with file.open("a") as lines:
        lines.write("line\\n")
    at("after")
    return "appended"

def approve(event):
    nbchat.registry.save()
    at("asking")
    session.run.approve()
    at("approved")

session = nbchat.registry.create({step!r}, provider="demo", model="nbchat-tools", tools=[append])
off = session.on("approval_needed", approve)
run = session.send("call append {{}}")
"""

SHOW = """
import json, nbchat
run = session.runs[0].wait(60)
print(json.dumps([str(run.state), *[call.state for call in run.calls]]))
"""

AGAIN = """
@nbchat.tool(ask=False)
def append() -> str:
    with open({file!r}, "a") as lines:
        lines.write("line\\n")
    return "appended"

print(session.tools)
session.tools = [append]
session.approve = lambda call: True
print(session.send("Hello.").wait(60).state)
"""


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[LinkedNotebook]:
    """Return a notebook with a runner."""
    with LinkedNotebook(tmp_path) as made:
        yield made


def lines_in(file: Path) -> int:
    """Return the number of lines of a file."""
    return len(file.read_text("utf-8").splitlines()) if file.exists() else 0


NOT_RUN, UNKNOWN = ["completed", "not_run"], ["interrupted", "unknown"]
KERNEL_STEPS: dict[str, tuple[list[list[str]], set[int]]] = {
    "checked": ([NOT_RUN], {0}),
    "asking": ([NOT_RUN], {0}),
    # The rest happens at the same time.
    "approved": ([NOT_RUN, UNKNOWN, ["completed", "ran"]], {0, 1}),
    "requested": ([NOT_RUN], {0}),
    "not permitted": ([NOT_RUN], {0}),
    "permitted": ([UNKNOWN], {0}),
    "before": ([UNKNOWN], {0}),
    "after": ([UNKNOWN], {1}),
    "returned": ([UNKNOWN], {1}),
}
"""For each step at which the kernel is killed, the ends that its run may have, and the number of lines."""


@pytest.mark.timeout(1200)  # some twenty starts of a kernel on a busy machine
def test_a_killed_kernel_executes_a_call_at_most_once(notebook: LinkedNotebook, tmp_path: Path) -> None:
    """After SIGKILL of the kernel at any step there is one line at most, and the next kernel adds none.

    A call that counts as not run has left no line, and one that counts as run has left one.
    """
    kernel = notebook.kernel()
    for step, (ends, lines) in KERNEL_STEPS.items():
        file = tmp_path / f"{step}.txt"
        kernel.start(SETUP.format(step=step, victim="kernel", file=str(file)))
        wait_for(lambda: not kernel._manager.is_alive(), f"the kernel dies at {step!r}", 120)
        kernel.restart()
        attach = f"import nbchat; session = nbchat.session({step!r})"
        end = json.loads(said(kernel, attach + SHOW))
        assert end in ends, step
        written = lines_in(file)
        assert written in lines, step
        assert written == (1 if "ran" in end else 0 if "not_run" in end else written), step
        assert said(kernel, AGAIN.format(file=str(file))) == "()\ncompleted", step
        assert lines_in(file) == written, step


RUNNER_STEPS: dict[str, tuple[list[list[str]], set[int]]] = {
    "asking": ([["interrupted", "not_run"]], {0}),
    "requested": ([UNKNOWN], {0}),
    "permitted": ([UNKNOWN], {0, 1}),
    "after": ([UNKNOWN], {1}),
}
"""For each step at which the runner is killed, the ends that its run may have, and the number of lines."""


@pytest.mark.timeout(600)  # some starts of runners on a busy machine
def test_a_killed_runner_executes_a_call_at_most_once(notebook: LinkedNotebook, tmp_path: Path) -> None:
    """After SIGKILL of the runner at any step there is one line at most; the next runner has the tools."""
    kernel = notebook.kernel()
    for step, (ends, lines) in RUNNER_STEPS.items():
        file = tmp_path / f"{step}.txt"
        said(kernel, SETUP.format(step=step, victim="runner", file=str(file)))
        assert json.loads(said(kernel, SHOW)) in ends, step
        notebook.pid()
        written = lines_in(file)
        assert written in lines, step
        # The next question executes nothing of the old call, and new calls are executed in the same kernel.
        again = "step = None; print(session.send('Hello.').wait(60).state)"
        assert said(kernel, again) == "completed", step
        assert lines_in(file) == written, step
        said(kernel, "answer = session.ask('call append {}', timeout=60)")
        assert lines_in(file) == written + 1, step


TOOLS = """
import threading, nbchat

@nbchat.tool(ask=False)
def rate(currency: str) -> float:
    return {"USD": 1.08}[currency]

@nbchat.tool(thread="main")
def where() -> bool:
    return threading.current_thread() is threading.main_thread()

tools = [rate, where, nbchat.tools.python]
session = nbchat.session("geo", provider="demo", model="nbchat-tools", tools=tools)
"""


def call(name: str, **arguments: Any) -> str:
    """Return a prompt after which the demo model calls a tool, as Python code."""
    return repr(f"call {name} {json.dumps(arguments)}")


def states(kernel: Kernel) -> str:
    """Return the states of the last run and of its calls."""
    return said(kernel, "run = session.run; print(run.state, *[call.state for call in run.calls])")


def test_kernels_execute_tools_for_a_runner(notebook: LinkedNotebook, tmp_path: Path) -> None:
    """Calls run in the kernel with the tools, also on its main thread; another kernel can decide."""
    kernel, other = notebook.kernel(), notebook.kernel()
    said(kernel, TOOLS)
    assert "rate: 1.08" in said(kernel, f"print(session.ask({call('rate', currency='USD')}).text)")

    # A waiting cell runs code for the main thread, and a policy approves it.
    said(kernel, "session.approve = lambda call: call.name != 'where'")
    said(kernel, f"session.ask({call('python', code='x = 6 * 7')})")
    assert said(kernel, "print(x)") == "42"
    assert "policy of the user refused" in said(kernel, f"print(session.ask({call('where')}).text)")

    # An idle kernel runs it too, after the other kernel has approved it.
    file = tmp_path / "written.txt"
    code = f"from pathlib import Path; _ = Path({str(file)!r}).write_text(str(x))"
    said(kernel, "session.approve = None; session.on('approval_needed', lambda event: None)")
    said(other, "import nbchat; session = nbchat.session('geo')")
    said(kernel, f"run = session.send({call('python', code=code)})")
    wait_for(lambda: states(other) == "awaiting_approval asking", "the call asks", 60)
    said(other, "session.run.approve()")
    assert said(other, "print(session.run.wait(60).state, session.tools)") == "completed ()"
    assert file.read_text("utf-8") == "42"
    said(kernel, f"run = session.send({call('where')})")
    wait_for(lambda: states(other) == "awaiting_approval asking", "the call asks", 60)
    said(other, "session.run.refuse('not now')")
    assert "not now" in said(other, "print(session.run.wait(60).text)")


@pytest.mark.timeout(300)
def test_a_stop_elsewhere_interrupts_code_in_the_kernel(notebook: LinkedNotebook, tmp_path: Path) -> None:
    """Stop in one kernel interrupts code that the model runs in another one, which then is free again."""
    kernel, other = notebook.kernel(), notebook.kernel()
    said(kernel, TOOLS)
    said(other, "import nbchat; session = nbchat.session('geo')")
    started = tmp_path / "started.txt"
    code = (
        f"import time\nfrom pathlib import Path\n_ = Path({str(started)!r}).write_text('')\n"
        "while True:\n    time.sleep(0.01)"
    )
    said(kernel, f"session.approve = lambda call: True; run = session.send({call('python', code=code)})")
    wait_for(started.exists, "the code runs", 60)
    assert said(other, "session.stop(); print(session.run.wait(60).state)") == "stopped"
    assert said(kernel, "print(run.wait(60).state, *[c.state for c in run.calls])") == "stopped unknown"

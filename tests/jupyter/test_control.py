"""Messages of pages on a real kernel's control channel."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from nbchat.jupyter.control import REQUEST
from tests.kernels import Kernel
from tools.jupyter_home import environment

BEGIN = """
import contextlib, json, sys
import nbchat
from nbchat.jupyter.process import current
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from tests.engines import engine_of
current().host.hub()
run = nbchat.session(provider=ScriptedProvider("so ", PAUSE, "far")).send("?")
fired = []
for event in ("pre_execute", "post_execute"):
    get_ipython().events.register(event, lambda: fired.append(1))
print(json.dumps({"epoch": engine_of(nbchat.registry).epoch, "session_id": run.session_id, "run_id": run.id}))
"""
STOPPED = """
before, text = len(fired), []
class Stream:  # it has no flush()
    write = text.append
with contextlib.redirect_stdout(Stream()):
    sys.stderr.write("begun")
    print(run.wait(60).state)
print(len(fired) - before, text)
"""
"""A cell that ends when the run is stopped."""


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    """Return a kernel as Jupyter starts it."""
    env = environment(tmp_path, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Kernel(tmp_path, env) as made:
        yield made


def stop(names: Mapping[str, str]) -> dict[str, Any]:
    """Return a page's Stop message."""
    command = {"type": "stop", "id": "c", "session_id": names["session_id"], "run_id": names["run_id"]}
    return {"message": {"type": "run_command", "page": "p", "epoch": names["epoch"], "command": command}}


def test_a_message_takes_effect_while_a_cell_runs_and_leaves_no_trace_in_it(kernel: Kernel) -> None:
    """Stop takes effect while a cell runs, without a flush, an IPython event or any published message."""
    names = json.loads(kernel.run(BEGIN).stdout)
    cell = kernel.start(STOPPED)
    kernel.follow(cell, lambda one: one.stderr)
    request = kernel.post(REQUEST, stop(names))
    kernel.follow(cell, lambda one: one.over)
    assert (cell.error, cell.stderr) == (None, "begun"), cell.traceback
    assert cell.stdout == "0 ['stopped', '\\n']\n"
    assert [one["msg_type"] for one in kernel.others if one["parent_header"].get("msg_id") == request] == []


def test_other_requests_and_forged_messages_are_left_to_the_kernel(kernel: Kernel) -> None:
    """The channel serves the kernel's own requests as before; an unsigned message is rejected."""
    names = json.loads(kernel.run(BEGIN).stdout)
    # Another hub, as after `Widget.close_all()`, listens in place of the first one.
    kernel.run("current().host.hub().close(); current().host.hub()")
    kernel.post(REQUEST, stop(names), key=b"another key")
    kernel.post(REQUEST, {"no": "message"})
    reply = kernel.ask("kernel_info_request")
    assert (reply["msg_type"], reply["content"]["status"]) == ("kernel_info_reply", "ok")
    assert kernel.value("str(run.state)") == repr("streaming")
    kernel.post(REQUEST, stop(names))
    assert kernel.value("str(run.wait(60).state)") == repr("stopped")

"""Start, continuation and end of runners in their own processes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbchat.cli import main
from tests.kernels import Kernel
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.notebooks import ROOT, LinkedNotebook, said
from tests.waiting import wait_for
from tools.jupyter_home import environment

ASK = """
import nbchat
session = nbchat.session("geo", model="count")
run = session.send("one")
for _ in run:
    if "one-150 " in run.text:
        break
"""

CANARY = "sk-canary-5f2d9a771c"


@pytest.fixture
def notebook(tmp_path: Path, server: CountingServer) -> Iterator[LinkedNotebook]:
    """Return a notebook whose answers come from that server through a runner."""
    with LinkedNotebook(tmp_path, OPENAI_BASE_URL=server.base_url, OPENAI_API_KEY=CANARY) as made:
        yield made


def runs(notebook: LinkedNotebook) -> list[str]:
    """Return the states of all runs, as another kernel reads them."""
    code = "import json, nbchat\nprint(json.dumps([r.state for s in nbchat.sessions() for r in s.runs]))"
    found: list[str] = json.loads(said(notebook.kernel(), code))
    return found


def test_without_the_setting_nothing_of_a_runner_is_imported(tmp_path: Path) -> None:
    """A kernel that has answered a question and shown a view has imported nothing of `nbchat.runner`."""
    env = environment(tmp_path, os.environ) | {
        "PYTHONPATH": str(ROOT),
        "JPY_SESSION_NAME": str(tmp_path / "a.ipynb"),
    }
    with Kernel(tmp_path, env) as kernel:
        code = (
            "import nbchat, sys\nchat = nbchat.ChatTabs()\nnbchat.session('a', model='nbchat-echo').ask('b')"
        )
        said(kernel, code)
        shown = "print([m for m in sys.modules if 'nbchat.runner' in m or m == 'nbchat.jupyter.linked'])"
        assert said(kernel, shown) == "[]"
    assert not list(tmp_path.rglob("*.sock"))


def test_a_shut_down_kernel_ends_its_runs_and_its_runner(notebook: LinkedNotebook) -> None:
    """After an orderly shutdown the run is `interrupted`, as there is no reader, and the runner ends."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    pid = notebook.pid()
    kernel._manager.shutdown_kernel()
    wait_for(lambda: not notebook.place.address.exists(), "the runner left its address")
    assert runs(notebook) == ["interrupted"]
    assert notebook.pid() != pid


def test_an_orderly_restart_lets_runs_continue(notebook: LinkedNotebook, server: CountingServer) -> None:
    """After an orderly restart of the kernel, its answers continue in the same runner process."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    pid = notebook.pid()
    kernel._manager.restart_kernel(now=False)
    kernel._client.wait_for_ready(timeout=60)
    assert notebook.pid() == pid
    server.go()
    code = "import nbchat\nprint(nbchat.session('geo').runs[0].wait(60).text, end='!')"
    assert said(kernel, code) == f"{answer_to('one')}!"


def test_runs_of_a_vanished_kernel_end_after_the_limit(notebook: LinkedNotebook) -> None:
    """If no kernel returns within `orphan_s`, the run is `interrupted` as `orphaned`, with its text."""
    kernel = notebook.kernel()
    said(kernel, ASK + "nbchat.registry.limits.orphan_s = 1.0")
    kernel._manager.shutdown_kernel(now=True)
    with notebook.link() as link:
        wait_for(lambda: link.call("stats", 10)["live"] == 0, "the run was ended")
    code = (
        "import nbchat\nrun = nbchat.sessions()[0].runs[0]\nprint(run.state, run.error.code, run.text != '')"
    )
    assert said(notebook.kernel(), code) == "interrupted orphaned True"


def test_an_idle_runner_ends(notebook: LinkedNotebook, server: CountingServer) -> None:
    """Without a kernel and without a live run, a runner ends after `runner_idle_s`."""
    kernel = notebook.kernel()
    server.go()
    said(kernel, ASK + "run.wait(60)\nnbchat.registry.limits.runner_idle_s = 1.0")
    assert notebook.place.address.exists()
    kernel._manager.shutdown_kernel(now=True)
    wait_for(lambda: not notebook.place.address.exists(), "the runner ended")


def test_sigterm_lets_answers_finish(notebook: LinkedNotebook, server: CountingServer) -> None:
    """After SIGTERM a runner finishes and saves its answer, which the next runner has."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    os.kill(notebook.pid(), signal.SIGTERM)
    wait_for(lambda: not notebook.place.address.exists(), "the runner accepts no new kernels")
    server.go()
    assert said(kernel, "print(run.wait(60).text, run.state, sep='!')") == f"{answer_to('one')}!completed"
    assert said(kernel, "print(session.ask('two').text)") == answer_to("two").strip()


def test_a_key_is_nowhere_but_in_memory(notebook: LinkedNotebook) -> None:
    """While a run uses a key, it is in no file, and not in the runner's environment or arguments."""
    kernel = notebook.kernel()
    said(kernel, ASK)
    pid = notebook.pid()
    for path in notebook.folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path
    if sys.platform == "linux":
        processes = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
        for process in processes:
            for name in ("environ", "cmdline"):
                assert CANARY.encode() not in Path(f"/proc/{process}/{name}").read_bytes()


def test_the_command_line_reports_that_jupyter_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without Jupyter, `nbchat runner` fails with one line that names the remedy."""
    monkeypatch.delenv("NBCHAT_RUNNER_DIR", raising=False)
    monkeypatch.setitem(sys.modules, "jupyter_core.paths", None)
    assert main(["runner", "list"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        "nbchat: runners need Jupyter, which is not installed in this environment. "
        "Use the environment of the notebook's kernel.\n"
    )


def test_the_command_line_lists_and_stops_runners(notebook: LinkedNotebook, server: CountingServer) -> None:
    """`nbchat runner` lists and stops runners, and shows their environment, without keys."""
    assert notebook.nbchat("runner", "list") == "no runner\n"
    kernel = notebook.kernel()
    server.go()
    said(kernel, ASK)
    listed = notebook.nbchat("runner", "list")
    assert str(notebook.path) in listed
    assert str(notebook.pid()) in listed
    shown = notebook.nbchat("runner", "doctor")
    assert str(notebook.place.folder) in shown
    assert "OPENAI_API_KEY" in shown.partition("not passed to a runner:")[2]
    assert CANARY not in shown
    assert notebook.nbchat("runner", "stop", "other.ipynb") == "no such runner\n"
    assert f"{notebook.path} ends" in notebook.nbchat("runner", "stop", str(notebook.path))
    wait_for(lambda: not notebook.place.address.exists(), "the runner ended")


def test_a_script_has_no_runner(tmp_path: Path) -> None:
    """Outside a notebook the setting has no effect: a script is never restarted."""
    env = environment(tmp_path, os.environ) | {"PYTHONPATH": str(ROOT), "NBCHAT_RUNNER": "local"}
    code = (
        "import nbchat, sys; print(nbchat.session('a', model='nbchat-echo').ask('b').text); "
        "print('nbchat.runner' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "b\nFalse\n"


def test_the_runner_is_chosen_before_the_first_session(notebook: LinkedNotebook) -> None:
    """`nbchat.config(runner="local")` starts one in the first cell; later it raises and changes nothing."""
    env = {name: value for name, value in notebook.env.items() if name != "NBCHAT_RUNNER"}
    choose = "import nbchat\nnbchat.config(runner='local')\nprint(type(nbchat.registry._backend).__name__)"
    with Kernel(notebook.folder, env) as kernel:
        assert said(kernel, choose) == "LinkBackend"
        notebook.pid()
    with Kernel(notebook.folder, env) as kernel:
        said(kernel, "import nbchat\nnbchat.session('geo')")
        assert kernel.run(choose).error == "CommandError"
        shown = "print(type(nbchat.registry._backend).__name__, nbchat.config()['runner'])"
        assert said(kernel, shown) == "LocalBackend None"

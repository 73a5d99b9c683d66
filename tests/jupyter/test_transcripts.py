"""Transcripts in the outputs of a real kernel that has no page."""

import os
from pathlib import Path

from tests.kernels import Kernel
from tools.jupyter_home import environment

SHOW = """
import nbchat
from nbchat.providers.scripted import PAUSE, ScriptedProvider
provider = ScriptedProvider("so ", PAUSE, "far")
run = nbchat.session("geo", provider=provider).send("?")
provider.wait_paused()
nbchat.ChatTabs()
"""
CAPTURE = """%%capture captured
provider.go()
print(run.wait(60).text)
"""


def test_an_update_is_not_captured_by_a_running_cell(tmp_path: Path) -> None:
    """An update of a transcript above is not captured by a cell that captures its output."""
    # The server that started the tests may have named a notebook, whose outputs a page would update.
    names = environment(tmp_path, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    names.pop("JPY_SESSION_NAME", None)
    with Kernel(tmp_path, names) as kernel:
        shown, cell = kernel.run(SHOW), kernel.run(CAPTURE)
        assert (shown.error, cell.error) == (None, None), shown.traceback + cell.traceback
        assert kernel.value("captured.stdout, len(captured.outputs)") == repr(("so far\n", 0))
        assert [one["text/plain"] for one in cell.elsewhere] == ["geo\n\nYou: ?\n\nAssistant: so far"]


LINE = """
import nbchat
from nbchat.providers.scripted import PAUSE, ScriptedProvider
provider = ScriptedProvider("so <b>", PAUSE, "far</b>")
run = nbchat.session("geo", provider=provider).send("?")
provider.wait_paused()
run
"""


def test_a_live_run_is_a_line_that_becomes_its_answer(tmp_path: Path) -> None:
    """A live run as a cell's result is one line that is updated; at its end it becomes the inert answer."""
    names = environment(tmp_path, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    names.pop("JPY_SESSION_NAME", None)
    with Kernel(tmp_path, names) as kernel:
        shown = kernel.run(LINE)
        assert (shown.error, shown.result) == (None, None), shown.traceback
        assert shown.displays[0]["text/plain"].startswith("streaming: 6 characters, ")
        assert set(shown.displays[0]) == {"text/html", "text/plain"}
        assert kernel.value("_ is run") == "True"
        busy = kernel.start("import threading; held = threading.Event(); held.wait(30)")
        kernel.follow(busy, lambda cell: cell.elsewhere)
        assert busy.elsewhere[0]["text/plain"].startswith("streaming: 6 characters, ")
        kernel.interrupt()
        kernel.follow(busy, lambda cell: cell.over)
        ended = kernel.run("provider.go(); run.wait(60); None")
        kernel.follow(ended, lambda cell: any("far" in one["text/plain"] for one in cell.elsewhere))
        assert ended.elsewhere[-1]["text/plain"] == "so <b>far</b>\n\ncompleted"
        assert "<p>so &lt;b&gt;far&lt;/b&gt;</p>" in ended.elsewhere[-1]["text/html"]
        again = kernel.run("run")
        assert again.result == ended.elsewhere[-1]


def test_a_captured_run_is_captured_once(tmp_path: Path) -> None:
    """In a cell that captures its output, a live run is one captured output that is not updated."""
    names = environment(tmp_path, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    names.pop("JPY_SESSION_NAME", None)
    with Kernel(tmp_path, names) as kernel:
        shown = kernel.run("%%capture captured\n" + LINE.lstrip())
        assert shown.error is None, shown.traceback
        kernel.run("provider.go(); run.wait(60); None")
        assert kernel.value("len(captured.outputs)") == "1"

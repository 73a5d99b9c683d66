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


def test_an_update_does_not_go_into_what_a_cell_captures(tmp_path: Path) -> None:
    """A cell that captures its output captures its own; the transcript above is brought up to date."""
    # The server that started the tests may have named a notebook, whose outputs a page would update.
    names = environment(tmp_path, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    names.pop("JPY_SESSION_NAME", None)
    with Kernel(tmp_path, names) as kernel:
        shown, cell = kernel.run(SHOW), kernel.run(CAPTURE)
        assert (shown.error, cell.error) == (None, None), shown.traceback + cell.traceback
        assert kernel.value("captured.stdout, len(captured.outputs)") == repr(("so far\n", 0))
        assert [one["text/plain"] for one in cell.elsewhere] == ["geo\n\nYou: ?\n\nAssistant: so far"]

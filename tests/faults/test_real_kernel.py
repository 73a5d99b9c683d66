"""K24 in a real kernel: names that a user deletes are gone, and live runs continue."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tools.jupyter_home import environment

BEGIN = """
import builtins
import nbchat
from nbchat.providers.scripted import PAUSE, ScriptedProvider
provider = builtins.provider = ScriptedProvider("so ", PAUSE, "far")
chat = nbchat.ChatTabs()
session = nbchat.session("geo", provider=provider)
run = session.send("?")
provider.wait_paused()
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel started as Jupyter starts it."""
    folder = tmp_path_factory.mktemp("kernel")
    env = environment(folder, os.environ) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with Kernel(folder, env) as made:
        yield made


@pytest.mark.parametrize("away", ["%reset -f", "%reset -f in out", "del chat, session, run, provider"])
def test_throwing_every_name_away_ends_nothing(kernel: Kernel, away: str) -> None:
    """K24, K11: after `%reset -f` or `del chat` the answer continues, and a new `import nbchat` finds it."""
    for code in (BEGIN, away, "import gc; gc.collect();"):
        cell = kernel.run(code)
        assert (cell.error, cell.stderr) == (None, ""), cell.traceback
    found = kernel.run(
        "import builtins, nbchat\n"
        "session = nbchat.registry['geo']\n"
        "print(session.status, sum(s.title == 'geo' for s in nbchat.registry.values()))\n"
        "builtins.provider.go()\n"
        "print(session.runs[-1].wait(30).text)\n"
        "nbchat.ChatTabs()\n"
        "session.delete()"
    )
    assert (found.error, found.stderr) == (None, ""), found.traceback
    assert found.stdout == "streaming 1\nso far\n"

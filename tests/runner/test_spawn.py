"""The wait for a runner that starts."""

import logging
from pathlib import Path

import pytest

from nbchat.core.errors import CommandError
from nbchat.runner import spawn
from nbchat.runner.places import Place


class Ended:
    """A process that ended before it was ready."""

    returncode = 3

    def poll(self) -> int:
        """Return its status."""
        return self.returncode


def test_a_slow_start_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While a cell waits for a runner, one message names the reason; if it fails, an error is raised."""
    monkeypatch.setattr(spawn, "SLOW_S", 0.0)
    monkeypatch.setattr(spawn, "_start", lambda _place: Ended())
    with caplog.at_level(logging.WARNING, "nbchat"), pytest.raises(CommandError, match="with status 3"):
        spawn.connected(Place(str(tmp_path / "a.ipynb"), tmp_path))
    assert [record.message for record in caplog.records] == [
        "the runner of this notebook is starting; it is awaited for 40 s"
    ]

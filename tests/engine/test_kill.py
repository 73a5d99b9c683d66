"""A kernel killed while it streams loses at most a second of text, and leaves an intact store."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nbchat.engine.journal_reader import read_back
from nbchat.stores.sqlite import SqliteStore

LOST_S = 1.0
"""Maximum seconds of text that a kill may lose."""


def killed_after(store: Path, delay_s: float) -> tuple[list[dict[str, Any]], float]:
    """Run a streaming kernel, kill it, and return the events that it printed and the time of the kill."""
    command = [sys.executable, str(Path(__file__).with_name("streaming_kernel.py")), str(store)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(delay_s)  # a random moment of the stream
    process.kill()
    at = time.time()
    rest = process.stdout.read()
    process.wait()
    process.stdout.close()
    lines = [first, *rest.splitlines(keepends=True)]
    return [json.loads(line) for line in lines if line.endswith("\n")], at


@pytest.mark.timeout(1800)  # a hundred starts of Python on a busy machine
def test_sixty_kills(tmp_path: Path, soak: bool) -> None:
    """After a kill the store is intact and has every question and all but the last second of each answer."""
    dice = random.Random(3)
    for number in range(100 if soak else 6):
        path = tmp_path / f"n-{number}.sqlite"
        for round_ in range(10):
            # Most are killed early; the first of each file runs long enough to have text to lose.
            said, at = killed_after(path, dice.uniform(0.0, 0.4) if round_ else 2.0)
            assert said[0]["news"] == "restored"
            assert said[0]["damage"] == []
            assert set(said[0]["states"]) <= {"interrupted"}

            store = SqliteStore(path, busy_s=10)
            assert store.damage == ()
            snapshot = read_back(store.read())
            store.close()
            assert snapshot.notes == ()
            sessions = {saved.state.id: saved.state for saved in snapshot.sessions}
            for news in said[1:]:
                state = sessions[news["session"]]
                if news["news"] == "asked":
                    prompts = [run.prompt for run in state.runs if run.prompt is not None]
                    assert news["text"] in [m.text for m in (*state.messages.values(), *prompts)]
                elif news["at"] < at - LOST_S:
                    assert len(state.path[-1].text) >= news["length"]
            for state in sessions.values():
                words = state.path[-1].text.split() if len(state.path) == 2 else []
                assert words == [f"w{i}" for i in range(len(words))]

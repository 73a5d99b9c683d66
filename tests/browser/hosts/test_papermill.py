"""A notebook that a real papermill executes, from an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nbformat

from tests.browser.lab import write_notebook
from tests.jupyter.test_executed import CELLS, UNFINISHED
from tools.hosts import python_of
from tools.jupyter_home import environment


def test_papermill_writes_whole_conversations(tmp_path: Path) -> None:
    """Each view has a transcript of all messages beside it, in which unfinished answers are marked."""
    write_notebook(tmp_path / "in.ipynb", [*CELLS, *(code.replace("'geo'", "'cut'") for code in UNFINISHED)])
    env = environment(tmp_path, os.environ) | {"HOME": str(tmp_path), "NBCHAT_DEMO_PACE": "0"}
    command = [python_of("papermill"), "-m", "papermill", "in.ipynb", "out.ipynb", "--no-progress-bar"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=env, check=False, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells[:2]:
        assert (
            cell.outputs[0]
            .data["text/plain"]
            .startswith("geo\n\nYou: Seine\n\nAssistant: Seine\n\nYou: Rhône\n\nAssistant: Rhône")
        )
        assert (
            '<strong>Assistant</strong></p>\n<div dir="auto">\n<p>Rhône' in cell.outputs[0].data["text/html"]
        )
    unfinished = notebook.cells[3].outputs[0].data["text/plain"]
    assert unfinished.split("\n\n")[-5:] == [
        "You: Rivers?",
        "Assistant: so far",
        "(This answer was still being generated.)",
        "You: Lakes?",
        "(This question had not been sent yet.)",
    ]

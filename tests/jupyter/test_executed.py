"""A notebook executed by a program without a page: nbclient, papermill and `nbconvert --execute`."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.kernels import Kernel
from tools.jupyter_home import environment

CELLS = (
    "import nbchat; chat = nbchat.ChatTabs(); geo = chat.session('geo', model='nbchat-echo'); chat",
    "geo.ask('Seine'); geo",
    "geo.ask('Rhône').text",
)


def test_the_executed_notebook_contains_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each view has a transcript beside it, which also has the answer of the last cell."""
    for name, value in (environment(tmp_path, os.environ) | {"NBCHAT_DEMO_PACE": "0"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in CELLS])
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=here).execute()

    nbformat.validate(notebook)
    for cell in notebook.cells[:2]:
        transcript, view = cell.outputs
        assert transcript.data["text/plain"] == "geo\n\n" + "\n\n".join(
            f"{who}: {word}" for word in ("Seine", "Rhône") for who in ("You", "Assistant")
        )
        assert transcript.data["text/html"].startswith('<a href="#nbchat-transcript"></a><h1>')
        assert '<strong>Assistant</strong></p>\n<div dir="auto">\n<p>Rhône' in transcript.data["text/html"]
        assert "application/vnd.jupyter.widget-view+json" in view.data
    assert "object at" not in notebook.cells[1].outputs[1].data["text/plain"]


def test_a_kernel_without_a_path_has_a_journal(tmp_path: Path) -> None:
    """If the server names only a folder, as nbclassic does, messages are kept across a restart."""
    env = environment(tmp_path, os.environ) | {"NBCHAT_DEMO_PACE": "0", "JPY_SESSION_NAME": str(tmp_path)}
    with Kernel(tmp_path, env) as kernel:
        kernel.value("import nbchat; nbchat.session('geo', model='nbchat-echo').ask('Seine').text")
        assert kernel.value("nbchat.registry.save()") == "True"
        kernel.restart()
        assert kernel.value("import nbchat; [m.text for m in nbchat.session('geo').messages]") == (
            "['Seine', 'Seine']"
        )
    with Kernel(tmp_path, env) as another:
        assert another.value("import nbchat; len(nbchat.session('geo').messages)") == "0"
    assert not list(tmp_path.glob("*.ipynb"))


UNFINISHED = (
    """import nbchat
from nbchat.providers.scripted import HANG, ScriptedProvider
geo = nbchat.session('geo', provider=ScriptedProvider('so far', HANG))
nbchat.ChatTabs()""",
    "first = geo.send('Rivers?')\nnext(iter(first))\nsecond = geo.send('Lakes?')",
)


def test_a_truncated_answer_is_marked_in_the_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unfinished answers and unsent questions are in the notebook, and marked."""
    for name, value in environment(tmp_path, os.environ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in UNFINISHED])
    here = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources=here).execute()

    transcript = notebook.cells[0].outputs[0].data
    assert transcript["text/plain"].split("\n\n")[1:] == [
        "You: Rivers?",
        "Assistant: so far",
        "(This answer was still being generated.)",
        "You: Lakes?",
        "(This question had not been sent yet.)",
    ]
    assert "<em>This answer was still being generated.</em>" in transcript["text/html"]

"""`%chat` and `%%chat` in a real kernel, with the embedded server."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import Kernel
from tools.jupyter_home import environment


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Return a kernel with the extension loaded; its server answers at full speed."""
    folder = tmp_path_factory.mktemp("kernel")
    env = environment(folder, os.environ) | {
        "NBCHAT_DEMO_PACE": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "SOME_API_KEY": "the-value-of-a-key-in-the-environment",
    }
    with Kernel(folder, env) as made:
        loaded = made.run("%load_ext nbchat\nimport nbchat")
        assert loaded.error is None, loaded.traceback
        yield made


def test_a_cell_is_the_message(kernel: Kernel) -> None:
    """`%%chat` streams the answer into the cell's output and binds it to a variable."""
    cell = kernel.run("%%chat -s echo -m nbchat-echo -o reply\nHello **there**.")
    assert cell.error is None, cell.traceback
    assert [dict(display) for display in cell.displays] == [
        {"text/html": "<p>Hello <strong>there</strong>.</p>\n", "text/plain": "Hello **there**."}
    ]
    assert cell.updates >= 1
    assert cell.stdout == cell.stderr == ""
    assert kernel.value("(reply.role, reply.text, reply is not None)") == (
        "('assistant', 'Hello **there**.', True)"
    )
    assert kernel.value("[m.role for m in nbchat.session('echo').messages]") == "['user', 'assistant']"


def test_variables_stand_in_the_message(kernel: Kernel) -> None:
    """`{name}` inserts that variable; other braces are sent unchanged, and so are all with `--raw`."""
    kernel.run("river, n = 'Seine', 3.14159")
    cell = kernel.run('%%chat -s echo\n{river} {n:.2f} {{river}} {nothing} {"a": 1} \\frac{n}{n}')
    assert cell.displays[0]["text/plain"] == 'Seine 3.14 {river} {nothing} {"a": 1} \\frac{n}{n}'
    kernel.run("table = {'a': {'b c': [1, 22]}, '0': 'zero'}")
    cell = kernel.run("%%chat -s echo\n{table['a']['b c'][-1]} {table[a][b c][0]} {table['0']} {river!r:>8}")
    assert cell.displays[0]["text/plain"] == "22 1 zero  'Seine'"
    cell = kernel.run("%%chat -s echo --raw\n{river}")
    assert cell.displays[0]["text/plain"] == "{river}"


def test_without_waiting_the_cell_is_over_at_once(kernel: Kernel) -> None:
    """`--no-wait` returns the run, which continues in the background."""
    cell = kernel.run("%%chat -s background -m nbchat-slow -o run --no-wait\nTake your time.")
    assert cell.error is None, cell.traceback
    assert "text/html" in cell.displays[0]  # the line of the live run, which is updated
    assert kernel.value("type(run).__name__, run.session_id == nbchat.session('background').id") == (
        "('Run', True)"
    )
    stopped = kernel.run("%chat stop background")
    assert stopped.stdout == "1 run stopped\n" or kernel.value("run.wait(10).is_over") == "True"


def test_interrupting_the_cell_stops_its_run_and_no_other(kernel: Kernel) -> None:
    """An interrupted `%%chat` returns with its text kept; a run in the background continues."""
    kernel.run(
        "from nbchat.providers.scripted import HANG, ScriptedProvider\n"
        "ours = nbchat.session('ours', provider=ScriptedProvider('so far', HANG))\n"
        "other = nbchat.session('other', provider=ScriptedProvider('x', HANG)).send('Go on.')"
    )
    cell = kernel.start("%%chat -s ours -o kept\nTell me more.")
    kernel.follow(cell, lambda c: c.updates and "so far" in c.displays[0]["text/plain"])
    kernel.interrupt()
    kernel.follow(cell, lambda c: c.over)
    assert cell.error == "KeyboardInterrupt"
    assert cell.displays[0]["text/plain"] == "so far\n\nstopped"
    assert cell.displays[0]["text/html"] == "<p>so far</p>\n<p><em>stopped</em></p>"
    assert kernel.value("kept.text, ours.status, other.is_over") == "('so far', 'stopped', False)"
    kernel.run("other.stop()")


def test_notices_and_sources_are_shown_below_an_answer(kernel: Kernel) -> None:
    """`%%chat` lists the sources at the end, and an answer without text shows its notice."""
    kernel.run(
        "from nbchat.providers.base import Notice, SourceDelta\n"
        "from nbchat.providers.scripted import ScriptedProvider\n"
        "source = SourceDelta(nbchat.Source(title='A source', url='https://example.org/'))\n"
        "nbchat.session('cited', provider=ScriptedProvider('text', source))\n"
        "nbchat.session('bare', provider=ScriptedProvider(Notice('It is empty.', shown=True)))"
    )
    cited = kernel.run("%%chat -s cited\nTell me.")
    assert "<p>text</p>" in cited.displays[0]["text/html"]
    assert "A source" in cited.displays[0]["text/html"]
    bare = kernel.run("%%chat -s bare\nTell me.")
    assert bare.displays[0]["text/plain"] == "It is empty."


def test_a_failed_run_raises_its_error_in_the_cell(kernel: Kernel) -> None:
    """The cell fails with the error of the run, and the session keeps the question."""
    cell = kernel.run("%%chat -s wrong -m no-such-model\nHello?")
    assert cell.error == "ModelNotFound"
    assert kernel.value("nbchat.session('wrong').status") == "'failed'"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("%%chat\n   ", "the cell is empty"),
        ("%%chat --bogus\nHello", "unrecognized arguments: --bogus"),
        ("%%chat -o 1x\nHello", "-o takes the name of a variable"),
        ("%%chat -o class\nHello", "-o takes the name of a variable"),
        ("%chat frobnicate", "no command 'frobnicate'"),
        ("%chat stop nobody", "there is no session 'nobody'"),
        ("%chat stop 'no", "No closing quotation"),
    ],
)
def test_a_wrong_line_names_the_mistake(kernel: Kernel, code: str, says: str) -> None:
    """A mistake gives a one-line message that names the correct form, and sends nothing."""
    before = kernel.value("len(nbchat.registry)")
    cell = kernel.run(code)
    assert says in cell.stderr + cell.traceback
    assert kernel.value("len(nbchat.registry)") == before


def test_the_line_looks_after_the_chats(kernel: Kernel) -> None:
    """`%chat` lists sessions and models, sets the default model, and shows where a setting comes from."""
    kernel.run("%%chat -s listed -m nbchat-echo\nHi")
    listing = kernel.value("%chat")
    assert "session" in listing.splitlines()[0]
    assert any(line.startswith("listed") and "completed" in line for line in listing.splitlines())
    assert "nbchat-tour" in kernel.value("%chat models")
    assert kernel.value("%chat model nbchat-echo") == "'nbchat-echo'"
    assert "set in this kernel" in kernel.value("%chat config")
    assert kernel.value("%chat model nbchat-think -s listed") == "'nbchat-think'"
    assert kernel.run("%chat save").stdout in ("saved\n", "not saved: this kernel has no journal\n")
    assert "%%chat [-s SESSION]" in kernel.run("%chat help").stdout


def test_fix_sends_the_last_error_without_secrets(kernel: Kernel) -> None:
    """`%chat fix` shows the text that it sends: cell and error, without library frames or secrets."""
    kernel.run(
        "def deep(n):\n"
        "    if n: return deep(n - 1)\n"
        "    raise ValueError('key sk-proj-abcdefghijklmnopqrstuvwxyz '"
        " + __import__('os').environ['SOME_API_KEY'])\n"
        "deep(50)"
    )
    shown = kernel.run("%chat fix --dry-run")
    assert shown.stdout.startswith("What would be sent to demo")
    assert "def deep(n):" in shown.stdout
    assert "In[" in shown.stdout
    assert "… 43 more …" in shown.stdout
    assert "ValueError: key [redacted] [redacted]" in shown.stdout
    assert "abcdefghijklmnop" not in shown.stdout
    assert "the-value-of-a-key" not in shown.stdout
    assert "interactiveshell.py" not in shown.stdout
    assert shown.displays == []

    sent = kernel.run('%chat fix -s echo -m nbchat-echo -o answer "Why?"')
    assert sent.error is None, sent.traceback
    assert sent.stdout.startswith("What is sent to demo, nbchat-echo:\n\nWhy?\n")
    assert "def deep(n):" in sent.displays[0]["text/plain"]
    assert kernel.value("answer.text.startswith('Why?')") == "True"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("%chat st", {"stop"}),
        ("%chat ", {"fix", "models", "show", "stop"}),
        ("%chat stop comp", {"completed-by-tab"}),
        ("%%chat --", {"--session", "--model", "--no-wait", "--raw"}),
        ("%%chat -s comp", {"completed-by-tab"}),
        ("%%chat -m nbchat-e", {"nbchat-echo"}),
    ],
)
def test_the_tab_key_completes(kernel: Kernel, line: str, expected: set[str]) -> None:
    """Commands, options, sessions and models are completed in their places."""
    kernel.run("_ = nbchat.session('completed-by-tab'), get_ipython().run_line_magic('chat', 'models')")
    assert expected <= set(kernel.complete(line))


TERMINAL = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "nbchat")
shell.run_cell("%%chat -m nbchat-echo -o reply\\nHello, **terminal**.")
shell.run_cell("print(reply.role)")
"""


def test_a_terminal_gets_the_text(tmp_path: Path) -> None:
    """Without a notebook, the answer is printed as it arrives."""
    env = environment(tmp_path, os.environ) | {"NBCHAT_DEMO_PACE": "0", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
        env=env,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Hello, **terminal**.\nassistant\n"

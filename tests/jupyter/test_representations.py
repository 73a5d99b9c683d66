"""Messages, runs and results as results of cells."""

import os
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

import nbchat
from nbchat.core.text_table import Table
from nbchat.engine.config import Configuration
from nbchat.jupyter.representations import of_message, of_result, of_run, of_table, of_text, register
from nbchat.providers.base import ImageDelta, Notice, SourceDelta
from nbchat.providers.scripted import HANG, ScriptedProvider
from tests.hostile import HOSTILE, Elements
from tests.kernels import Kernel
from tools.jupyter_home import environment


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_inert_in_every_value(text: str) -> None:
    """Answers, errors, models and endings are sanitized; their plain text has no terminal commands."""
    message = nbchat.Message(
        id="m",
        role="assistant",
        parts=(nbchat.TextPart(text=text),),
        sources=(nbchat.Source(title=text, url=text), nbchat.Source(title="x", url="javascript:alert(1)")),
    )
    error = nbchat.RequestRejected(text)
    for bundle in (
        of_message(message),
        of_text("", text),
        of_result(nbchat.Result(index=0, prompt=text, text=text)),
        of_result(nbchat.Result(index=0, prompt=text, error=error)),
        of_table(Table(("model", text), [(text, text)])),
    ):
        assert set(bundle) == {"text/html", "text/plain"}
        assert Elements(bundle["text/html"]).dangers == []
        assert "\x1b" not in bundle["text/plain"]


def test_notices_and_sources_are_shown_below_an_answer() -> None:
    """Results of cells name images and omitted items, and list the sources."""
    parts = [ImageDelta("data:image/gif;base64,R0lGODlhAQABAAAAACw="), "text"]
    source = nbchat.Source(title="A source", url="https://example.org/")
    notice = Notice("1 item of type x is not shown.", shown=True)
    provider = ScriptedProvider(*parts, SourceDelta(source), notice)
    run = nbchat.session("beside", provider=provider).send("one").wait(30)
    for bundle in (of_message(run.message), of_run(run)):
        for piece in ("Image: ", "1 item of type x is not shown.", "A source"):
            assert piece in bundle["text/html"]
        assert "1 item of type x is not shown." in bundle["text/plain"]


def test_a_run_shows_its_text_and_how_it_ended() -> None:
    """State and error follow the text; a live run is shown as continuing."""
    run = nbchat.session("shown", provider=ScriptedProvider("**text**")).send("one").wait(30)
    assert of_run(run) == {
        "text/html": "<p><strong>text</strong></p>\n<p><em>completed</em></p>",
        "text/plain": "**text**\n\ncompleted",
    }
    refusing = ScriptedProvider(nbchat.RequestRejected("no <b>."))
    failed = nbchat.session("bad", provider=refusing).send("x").wait(30)
    assert "<em>failed: no &lt;b&gt;." in of_run(failed)["text/html"]
    live = nbchat.session("live", provider=ScriptedProvider("a", HANG)).send("x")
    next(iter(live))
    assert "streaming, when this was shown; it continues in the background" in of_run(live)["text/plain"]
    live.stop()


TEXT = "<img src=x onerror=alert(1)> **a** costs $5 to $10"
CELLS = (
    "nbchat.ask(text, model='nbchat-echo')",
    "nbchat.session('r', model='nbchat-echo').send(text).wait()",
    "nbchat.map([text], model='nbchat-echo', progress=False)[0]",
)


def test_a_cell_gets_html_that_is_sanitized(tmp_path: Path) -> None:
    """In a kernel, answers, runs, results and the configuration are HTML and plain text, never Markdown."""
    env = environment(tmp_path, os.environ) | {
        "NBCHAT_DEMO_PACE": "0",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with Kernel(tmp_path, env) as kernel:
        assert kernel.run(f"import nbchat; text = {TEXT!r}").error is None
        for code in CELLS:
            cell = kernel.run(code)
            assert cell.result is not None, cell.traceback
            assert set(cell.result) == {"text/html", "text/plain"}
            assert cell.result["text/html"].startswith(
                "<p>&lt;img src=x onerror=alert(1)&gt; <strong>a</strong> costs <span>$</span>5"
            )
            assert cell.result["text/plain"].startswith(TEXT)
        cell = kernel.run("nbchat.config(model='<b>')")
        assert cell.result is not None, cell.traceback
        assert "<td>&lt;b&gt;</td>" in cell.result["text/html"]
        assert set(cell.result) == {"text/html", "text/plain"}


def test_a_terminal_shows_the_text() -> None:
    """IPython without a notebook prints an answer as its text, and a list of answers as short lines."""
    shell = InteractiveShell.instance()
    try:
        register(lambda _run: False)
        message = nbchat.Message(id="m", role="assistant", parts=(nbchat.TextPart(text="a *b*"),))
        data, _ = shell.display_formatter.format(message)
        assert data["text/plain"] == "a *b*"
        data, _ = shell.display_formatter.format([message])
        assert data["text/plain"] == "[<Message m assistant: 'a *b*'>]"
        assert isinstance(nbchat.config(), Configuration)
    finally:
        InteractiveShell.clear_instance()

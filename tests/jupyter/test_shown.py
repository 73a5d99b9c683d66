"""Displays of a batch and a comparison in a notebook and in a terminal."""

import io
import sys
from typing import Any

import ipywidgets
import pytest

import nbchat
from nbchat.batch.compare import Comparison
from nbchat.jupyter import comparison as shown
from nbchat.providers.scripted import PAUSE, ScriptedProvider
from tests.engines import drain_callbacks, engine_of
from tests.hostile import Elements


def test_a_comparison_shows_its_sessions_and_a_table_that_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison has a live view of each session; its table is updated as they end, and not afterwards."""
    tables: list[ipywidgets.HTML] = []

    html = ipywidgets.HTML

    def made(*arguments: Any) -> ipywidgets.HTML:
        tables.append(html(*arguments))
        return tables[-1]

    monkeypatch.setattr(shown.ipywidgets, "HTML", made)
    provider = ScriptedProvider("<b>bold</b>", PAUSE)
    both = nbchat.compare(
        "Which?", models=[{"model": model, "provider": provider} for model in ("a", "<img src=x>")]
    )
    provider.wait_paused(2)
    listening = len(engine_of(nbchat.registry).callbacks._callbacks)
    bundle = both._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "<th>model</th><th>state</th>" in bundle["text/html"].replace("\n", "")
    (table,) = tables
    assert table.value.count("<td>streaming</td>") == 2
    assert "<img" not in table.value
    assert Elements(bundle["text/html"]).dangers == []

    provider.go()
    both.wait(30)
    drain_callbacks(nbchat.registry)
    assert table.value.count("<td>completed</td>") == 2
    assert len(engine_of(nbchat.registry).callbacks._callbacks) == listening
    for session in both:
        session.delete()


def test_a_run_that_ends_while_the_table_is_written_is_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comparison follows its runs until a table was written after the last of them had ended."""
    first, second = (ScriptedProvider("bold", PAUSE) for _ in range(2))
    both = nbchat.compare(
        "Which?",
        models=[{"model": name, "provider": each} for name, each in (("a", first), ("b", second))],
    )
    for provider in (first, second):
        provider.wait_paused(1)
    table = ipywidgets.HTML()
    shown._follow(both, table)
    written = shown._html

    def late(comparison: Comparison) -> str:
        text = written(comparison)
        second.go()
        comparison.runs[1].wait(30)
        return text

    monkeypatch.setattr(shown, "_html", late)
    first.go()
    both.wait(30)
    drain_callbacks(nbchat.registry)
    assert table.value.count("<td>completed</td>") == 2
    for session in both:
        session.delete()


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Return true."""
        return True


@pytest.mark.parametrize(("stream", "expected"), [(Terminal(), "3 of 3"), (io.StringIO(), "")])
def test_a_batch_shows_a_line_where_people_look(
    stream: io.StringIO, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets one line, updated in place; a file gets nothing."""
    monkeypatch.setattr(sys, "stderr", stream)
    nbchat.map(["a", "b", "c"], provider=ScriptedProvider("x"))
    said = stream.getvalue()
    assert (expected in said) if expected else (said == "")
    assert said.count("\n") == (1 if expected else 0)


def test_progress_reads_well() -> None:
    """Counts, failures, rate and remaining time are on one line."""
    now = nbchat.BatchProgress(
        total=1500, done=600, failed=2, restored=100, elapsed_s=50.0, usage=nbchat.Usage()
    )
    assert str(now) == "600 of 1,500, 2 failed, 10.0/s, 1:30 left"
    fresh = nbchat.BatchProgress(total=5, done=0, failed=0, restored=0, elapsed_s=0.0, usage=nbchat.Usage())
    assert str(fresh) == "0 of 5, 0.0/s"

"""`nbchat.compare`: one prompt for several models, in separate sessions."""

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

import nbchat
from nbchat.core.messages import Usage
from nbchat.providers.base import UsageDelta
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider


@pytest.fixture(autouse=True)
def _no_sessions_left() -> Iterator[None]:
    """Delete all sessions of the process's registry."""
    yield
    for session in list(nbchat.registry.values()):
        session.delete()


def test_all_models_are_asked_the_same_at_the_same_time() -> None:
    """Each model has its own session, gets the same request, and all stream at the same time."""
    first = ScriptedProvider("fast", UsageDelta(Usage(input_tokens=3, output_tokens=8)))
    second = ScriptedProvider("slow", PAUSE, " but thorough")
    both = nbchat.compare(
        "Which?",
        models=[{"model": "a", "provider": first}, {"model": "b", "provider": second}],
        instructions="Answer briefly.",
        params={"temperature": 0},
    )
    second.wait_paused()
    both.runs[0].wait(30)
    assert [run.text for run in both.runs] == ["fast", "slow"]
    assert [str(run.state) for run in both.runs] == ["completed", "streaming"]
    second.go()
    assert both.wait(30) is both
    assert both["b"].messages[-1].text == "slow but thorough"
    assert both["b"] is both[1] is list(both)[1] is nbchat.registry[both[1].id]
    assert [session.title for session in both] == ["a: Which?", "b: Which?"]

    for run, model in zip(both.runs, "ab", strict=True):
        assert run.request is not None
        assert (run.request.model, run.request.instructions) == (model, "Answer briefly.")
        assert dict(run.request.params) == {"temperature": 0}
        assert [message.text for message in run.request.messages] == ["Which?"]


def test_the_table_has_the_figures() -> None:
    """The table has a row of figures for each model, and the code of an error."""
    answering = ScriptedProvider("fast", UsageDelta(Usage(input_tokens=3, output_tokens=8)))
    failing = ScriptedProvider(nbchat.RequestRejected("not that."))
    both = nbchat.compare(
        "Which?", models=[{"model": "a", "provider": answering}, {"model": "b", "provider": failing}]
    ).wait(30)
    table = both.table()
    one, two = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert (one["model"], one["state"], one["tokens"], one["characters"]) == ("a", "completed", 8, 4)
    assert 0 <= one["first token (s)"] <= one["duration (s)"]
    assert one["tokens/s"] > 0
    assert (two["state"], two["first token (s)"], two["characters"]) == ("failed: request_rejected", None, 0)
    assert repr(both).splitlines()[0].split() == [
        "model",
        "state",
        "first",
        "token",
        "(s)",
        "duration",
        "(s)",
        "tokens/s",
        "tokens",
        "characters",
    ]
    frame = both.to_frame("pandas")
    assert list(frame["model"]) == ["a", "b"]
    assert list(frame["state"]) == ["completed", "failed"]


def test_a_comparison_can_be_continued() -> None:
    """`send` asks all sessions of a comparison, and `stop` ends its live runs."""
    provider = ScriptedProvider(lambda request: [request.messages[-1].text.upper()])
    both = nbchat.compare("one", models=[{"model": m, "provider": provider} for m in "ab"]).wait(30)
    more = both.send("two").wait(30)
    assert [run.text for run in more.runs] == ["TWO", "TWO"]
    assert [len(session.messages) for session in more] == [4, 4]

    hanging = nbchat.compare("go", models=[{"model": "c", "provider": ScriptedProvider("so far", HANG)}])
    with pytest.raises(TimeoutError):
        hanging.wait(0.01)
    hanging.stop()
    assert str(hanging.wait(30).runs[0].state) == "stopped"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("", ["a"]), ValueError, "prompt is empty"),
        ((1, ["a"]), TypeError, "must be a string"),
        (("x", "a"), TypeError, "a list of models"),
        (("x", None), TypeError, "a list of models"),
        (("x", []), ValueError, "from 1 to 20 models"),
        (("x", [1]), TypeError, "a name or a mapping"),
        (("x", [{"modell": "a"}]), TypeError, "no setting 'modell'"),
        (("x", ["a", {"model": "b", "params": {"stream": 1}}]), ValueError, "nbchat sets it"),
    ],
)
def test_a_wrong_argument_leaves_nothing_behind(
    arguments: tuple[Any, Any], error: type[Exception], says: str
) -> None:
    """A wrong argument raises with the allowed values, and no session is created."""
    with pytest.raises(error, match=says):
        nbchat.compare(*arguments)
    assert len(nbchat.registry) == 0


def test_runs_are_rows_of_a_frame() -> None:
    """`to_frame` has a row for each run, with its times by state, and missing values as null."""
    usage = UsageDelta(Usage(input_tokens=3, output_tokens=8))
    session = nbchat.session("rows", provider=ScriptedProvider("text", usage), model="m")
    session.ask("one")
    session.ask("two")
    nbchat.session("other", provider=ScriptedProvider(nbchat.RequestRejected("no."))).send("x").wait(30)

    frame = session.to_frame("pandas")
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["run_id"]) == [run.id for run in session.runs]
    assert list(frame["output_tokens"]) == [8, 8]
    assert (frame["duration_s"] >= frame["time_to_first_token_s"]).all()
    assert (frame["waiting_s"] + frame["streaming_s"] - frame["duration_s"]).abs().max() < 1e-6
    whole = nbchat.registry.to_frame("polars")
    assert whole["session"].to_list() == ["rows", "rows", "other"]
    assert whole["error"].to_list() == [None, None, "request_rejected"]
    assert whole["time_to_first_token_s"][2] is None
    assert nbchat.session("empty").to_frame("polars").shape == (0, len(whole.columns))

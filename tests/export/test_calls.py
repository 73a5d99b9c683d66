"""Tool calls in exports and transcripts: their states in words, and code that was run as code cells."""

import json
from typing import Any

import nbformat
import pytest
from msgspec.structs import replace

from nbchat.core.messages import Message, Part, TextPart, ToolCallPart, ToolResultPart
from nbchat.core.run import RunRecord, RunState
from nbchat.core.transcript import ROOT, SessionState
from nbchat.export import render
from nbchat.export.turns import Rendered, transcript
from tests.hostile import HOSTILE, Elements

PNG = "data:image/png;base64,iVBORw0KGgo="
RAN = ToolResultPart(call_id="c", text="1.08")


def answered(*parts: Part, run: RunState | None = None, asking: tuple[str, ...] = ()) -> SessionState:
    """Return a session with a question and an answer of these parts, whose run is in this state."""
    answer = Message(id="a", role="assistant", parent_id="q", parts=parts)
    question = Message(id="q", role="user", parts=(TextPart(text="Rates?"),))
    record = (
        RunRecord(id="r", kind="send", state=run, message_id="a", queued_at=0, asking=asking) if run else None
    )
    return SessionState(
        id="s",
        messages={"q": question, "a": answer},
        selected={ROOT: "q", "q": "a"},
        runs=(record,) if record else (),
    )


def rate(*, started: bool) -> ToolCallPart:
    """Return a call of `rate`."""
    return ToolCallPart(
        call_id="c", name="rate", text='{"currency": "USD"}', started_at=1e9 if started else None
    )


def python(code: str, call_id: str = "c", *, started: bool = True) -> ToolCallPart:
    """Return a call of `python`."""
    return ToolCallPart(
        call_id=call_id,
        name="python",
        text=json.dumps({"code": code}),
        started_at=1e9 if started else None,
    )


def cells(state: SessionState) -> list[Any]:
    """Return the cells of the exported notebook, which is valid."""
    notebook = nbformat.reads(render([state], "ipynb"), as_version=4)
    nbformat.validate(notebook)
    return list(notebook.cells)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (answered(rate(started=True), RAN), "ran"),
        (answered(rate(started=True), run=RunState.ACTING), "was running"),
        (
            answered(rate(started=False), run=RunState.AWAITING_APPROVAL, asking=("c",)),
            "was waiting for approval",
        ),
        (answered(rate(started=False), run=RunState.STREAMING), "was not complete"),
        (answered(rate(started=False)), "was not run"),
        (answered(rate(started=False), run=RunState.STOPPED, asking=("c",)), "was not run"),
        (answered(rate(started=False), replace(RAN, is_error=True)), "was not run"),
        (answered(rate(started=True), replace(RAN, is_error=True, not_run=True)), "was not run"),
        (answered(rate(started=True)), "has an unknown outcome"),
        (answered(rate(started=True), run=RunState.STOPPING), "has an unknown outcome"),
    ],
)
def test_the_state_of_a_call_is_exported_in_words(state: SessionState, words: str) -> None:
    """Each export and the transcript have the state of a call in words, above its arguments."""
    for html in (render([state], "html"), transcript([state]).html):
        title, _, below = html.partition(f"Tool call: <bdi>rate</bdi> {words}</p>")
        assert "currency" not in title
        assert "currency" in below
    assert f"*Tool call:* `rate` {words}\n\n```json\n" in render([state], "md")
    (shown,) = [cell for cell in cells(state) if "currency" in cell.source]
    assert f"<bdi>rate</bdi> {words}" in shown.source


def test_a_result_is_below_its_call() -> None:
    """Results of calls that were run side by side are each below their own call, with its pictures."""
    first, second = rate(started=True), replace(rate(started=True), call_id="d", name="draw")
    state = answered(
        TextPart(text="<think>hm</think>Let me look."),
        first,
        second,
        ToolResultPart(call_id="d", text="drawn", images=(PNG,)),
        RAN,
        ToolResultPart(call_id="lost", text="without a call"),
        run=RunState.COMPLETED,
    )
    for text in (render([state], "html"), render([state], "md"), transcript([state]).html):
        places = [
            text.index(one) for one in ("rate", "1.08", "draw<" if "<bdi>" in text else "`draw`", "drawn")
        ]
        assert places == sorted(places)
        assert text.count("1.08") == text.count("without a call") == 1
        assert "Picture 1 of draw" in text
    assert f'<img alt="Picture 1 of draw" src="{PNG}">' in render([state], "html")


def test_code_that_was_run_is_a_cell_with_its_outputs() -> None:
    """Code that was run is a cell with its text, its pictures or its error, between the text around it."""
    failed = "Traceback\nNameError: name 'y' is not defined\n\n[bound: x]"
    state = answered(
        TextPart(text="Let me calculate."),
        python("x = 1\nprint(x)", "c1"),
        python("x = y", "c2"),
        ToolResultPart(call_id="c1", text="1", images=(PNG, "data:image/svg+xml;base64,PHN2Zz4=")),
        ToolResultPart(call_id="c2", text=failed, is_error=True),
        TextPart(text="That was it."),
    )
    _, _, before, one, between, two, after = cells(state)

    assert [cell.cell_type for cell in (before, one, between, two, after)] == [
        "markdown",
        "code",
        "markdown",
        "code",
        "markdown",
    ]
    assert "Assistant" in before.source
    assert "Let me calculate" in before.source
    assert "<bdi>python</bdi> ran" in before.source
    assert (one.source, two.source) == ("x = 1\nprint(x)", "x = y")
    assert one.outputs == [
        {"output_type": "stream", "name": "stdout", "text": "1"},
        {
            "output_type": "display_data",
            "data": {"image/png": "iVBORw0KGgo=", "text/plain": "[Picture 1 of python]"},
            "metadata": {},
        },
    ]
    assert two.outputs == [
        {
            "output_type": "error",
            "ename": "NameError",
            "evalue": "name 'y' is not defined",
            "traceback": failed.split("\n"),
        }
    ]
    assert "That was it" in after.source
    assert "Assistant" not in between.source + after.source


@pytest.mark.parametrize(
    "parts",
    [
        (python("print(1)"),),
        (python("print(1)", started=False), RAN),
        (python("print(1)"), replace(RAN, not_run=True)),
        (python("print(1)", started=False),),
        (python("print('\u202e')"), RAN),
        (python("print('\x1b[8m')"), RAN),
        (python("print('\ud800')"), RAN),
        (replace(python(""), text='{"code": "safe()", "code": "print(1)"}'), RAN),
        (replace(python(""), text='[["code", "print(1)"]]'), RAN),
        (replace(python(""), text='{"code": "print(1)'), RAN),
        (replace(python("print(1)"), name="py"), RAN),
    ],
)
def test_other_calls_are_no_cells_of_code(parts: tuple[Part, ...]) -> None:
    """Code that was not run, whose outcome is unknown, or that a reader cannot check is shown as text."""
    shown = cells(answered(*parts))
    assert {cell.cell_type for cell in shown} == {"markdown"}
    assert any("Tool call" in cell.source for cell in shown)


def test_hidden_characters_of_code_are_marked() -> None:
    """Hidden characters of code are marked in HTML and in the cell that shows it."""
    state = answered(python("x = '\u202e'"), RAN)
    for text in (render([state], "html"), transcript([state]).html):
        assert "⟦U+202E⟧" in text
    assert any("U&#43;202E" in cell.source for cell in cells(state))


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_calls_are_inert(payload: str) -> None:
    """Hostile names, arguments, code, results and pictures run and load nothing in an export."""
    result = ToolResultPart(call_id="c", text=payload, images=(payload, PNG))
    for call in (replace(rate(started=True), name=payload, text=payload), python(payload)):
        for is_error in (False, True):
            state = answered(call, replace(result, is_error=is_error))
            assert Elements(render([state], "html").partition("</head>")[2]).dangers == []
            assert Elements(transcript([state]).html).dangers == []
            for cell in cells(state):
                if cell.cell_type == "markdown":
                    assert Elements(cell.source).dangers == []
                else:
                    assert cell.source == payload
                    assert [output.output_type for output in cell.outputs][1:] == ["display_data"]
                    assert set(cell.outputs[-1].data) == {"image/png", "text/plain"}


def test_a_transcript_follows_a_call_whose_message_is_unchanged() -> None:
    """A call that waited when its run was stopped is shown as not run, although its message is the same."""
    rendered: Rendered = {}
    asks = answered(rate(started=False), run=RunState.AWAITING_APPROVAL, asking=("c",))
    shown = transcript([asks], rendered=rendered)
    assert "was waiting for approval</p>" in shown.html
    assert "(A tool call of this answer was waiting for approval.)" in shown.text
    stopped = answered(rate(started=False), run=RunState.STOPPED)
    assert "<bdi>rate</bdi> was not run" in transcript([stopped], rendered=rendered).html


def test_a_truncated_transcript_keeps_the_states_of_calls() -> None:
    """A call whose long result or arguments are truncated is still shown as run."""
    for call, result in (
        (rate(started=True), replace(RAN, text="y" * 9000)),
        (replace(rate(started=True), text="y" * 9000), RAN),
    ):
        html = transcript([answered(call, result)], limit=4000).html
        assert "<bdi>rate</bdi> ran" in html
        assert 1000 < html.count("y") <= 2001

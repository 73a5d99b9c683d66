"""Refused questions follow from the log alone, by the same rule in Python and in the page."""

import json

from nbchat.core.refusals import refused_questions
from nbchat.core.transcript import SessionState
from nbchat.core.values import decode
from tests.logs import record


def test_the_recorded_log_has_these_refused_questions() -> None:
    """Python finds the refused questions that `js/tests/state/refusals.test.ts` finds in the same file."""
    log = json.loads((record.FOLDER / "refused.json").read_text("utf-8"))
    state: SessionState = decode(SessionState, log["state"])
    assert refused_questions(state, state.path) == {"q_1", "q_4", "q_5", "q_6"}


def test_another_version_of_the_answer_decides_otherwise() -> None:
    """A question is not refused if the selected version of its answer has text."""
    log = json.loads((record.FOLDER / "refused.json").read_text("utf-8"))
    state: SessionState = decode(SessionState, log["state"])
    assert "q_6" not in refused_questions(state, state.context("a_6"))

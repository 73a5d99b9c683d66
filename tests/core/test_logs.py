import json
from pathlib import Path
from typing import Any

import pytest

from nbchat.core.codec import decode, encode
from nbchat.core.events import Event
from nbchat.core.transcript import SessionState, apply_event
from tools import record_logs

Log = dict[str, Any]
LOGS = sorted(record_logs.FOLDER.glob("*.json"))


@pytest.fixture(params=LOGS, ids=lambda path: path.stem)
def log(request: pytest.FixtureRequest) -> Log:
    """Return one recorded log."""
    path: Path = request.param
    loaded: Log = json.loads(path.read_text("utf-8"))
    return loaded


def test_the_fold_of_a_recorded_log_is_its_state(log: Log) -> None:
    """Events read from a file fold to the state beside them, which the page has to reach as well."""
    state = SessionState(id=log["session_id"])
    for event in log["events"]:
        state = apply_event(state, decode(Event, event))

    assert encode(state) == log["state"]
    assert list(encode(state)["messages"]) == list(log["state"]["messages"])


def test_a_state_is_read_on_from_wherever_it_was_taken(log: Log) -> None:
    """A state that went over the wire goes on exactly as the one that stayed, at every place of a log."""
    state = SessionState(id=log["session_id"])
    for event in log["events"]:
        travelled = decode(SessionState, json.loads(json.dumps(encode(state))))
        assert travelled == state
        state = apply_event(travelled, decode(Event, event))

    assert encode(state) == log["state"]


def test_every_kind_of_event_is_recorded() -> None:
    """No event is left for the page to fold in its own way."""
    recorded = {event["type"] for path in LOGS for event in json.loads(path.read_text("utf-8"))["events"]}

    assert recorded == {kind.__dataclass_fields__["type"].default for kind in Event.__args__}


def test_the_recorded_logs_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    """The files are what `python -m tools.record_logs` writes today."""
    assert record_logs.main(["--check"]) == 0, capsys.readouterr().err

import json
from pathlib import Path
from typing import Any

import pytest

from nbchat.core.events import Event
from nbchat.core.transcript import SessionState, apply_event
from nbchat.core.values import decode, encode_json
from tests.logs import record

Log = dict[str, Any]


def as_json(value: object) -> Any:
    """Return a value as it is after encoding and decoding."""
    return json.loads(encode_json(value))


LOGS = sorted(record.FOLDER.glob("*.json"))


@pytest.fixture(params=LOGS, ids=lambda path: path.stem)
def log(request: pytest.FixtureRequest) -> Log:
    """Return one recorded log."""
    path: Path = request.param
    loaded: Log = json.loads(path.read_text("utf-8"))
    return loaded


def test_the_fold_of_a_recorded_log_is_its_state(log: Log) -> None:
    """The events of a file fold to the state in that file, which the page's tests use too."""
    state = SessionState(id=log["session_id"])
    for event in log["events"]:
        state = apply_event(state, decode(Event, event))

    assert as_json(state) == log["state"]
    assert list(as_json(state)["messages"]) == list(log["state"]["messages"])


def test_a_state_is_read_on_from_wherever_it_was_taken(log: Log) -> None:
    """A state that was encoded and decoded at any event of a log continues like the original."""
    state = SessionState(id=log["session_id"])
    for event in log["events"]:
        travelled = decode(SessionState, as_json(state))
        assert travelled == state
        state = apply_event(travelled, decode(Event, event))

    assert as_json(state) == log["state"]


def test_every_kind_of_event_is_recorded() -> None:
    """The recorded logs contain every kind of event, so the page's tests cover all of them."""
    recorded = {event["type"] for path in LOGS for event in json.loads(path.read_text("utf-8"))["events"]}

    assert recorded == {kind.__struct_config__.tag for kind in Event.__args__}


def test_the_recorded_logs_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    """The files equal the output of `python -m tests.logs.record`."""
    assert record.main(["--check"]) == 0, capsys.readouterr().err

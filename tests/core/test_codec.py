"""Values go to JSON and back; what does not fit is refused with the place where it does not."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.codec import DecodeError, decode, encode
from nbchat.core.commands import Command, Send, Stop
from nbchat.core.events import Event, PartDelta, RunQueued, RunStarted, Settings, SettingsChanged
from nbchat.core.messages import FilePart, ImagePart, Message, ReasoningPart, TextPart, ToolCallPart
from nbchat.core.run import RunState
from nbchat.core.transcript import SessionState

TEXT = st.text(max_size=20)
PARTS = st.one_of(
    st.builds(TextPart, text=TEXT),
    st.builds(ReasoningPart, text=TEXT, seconds=st.none() | st.floats(0, 1e6)),
    st.builds(ToolCallPart, call_id=TEXT, name=TEXT, text=TEXT),
    st.builds(ImagePart, text=TEXT, name=TEXT),
    st.builds(FilePart, text=TEXT, name=TEXT),
)
MESSAGES = st.builds(
    Message,
    id=TEXT,
    role=st.sampled_from(["user", "assistant", "system", "tool"]),
    parts=st.lists(PARTS, max_size=3).map(tuple),
    created_at=st.floats(0, 1e10),
    parent_id=st.none() | TEXT,
)
EVENTS = st.one_of(
    st.builds(
        PartDelta,
        run_id=TEXT,
        at=st.floats(0, 1e10),
        part_index=st.integers(0, 9),
        offset=st.integers(0, 99),
        text=TEXT,
    ),
    st.builds(
        RunQueued,
        run_id=TEXT,
        at=st.floats(0, 1e10),
        kind=st.just("send"),
        message_id=TEXT,
        prompt=st.none() | MESSAGES,
    ),
    st.builds(RunStarted, run_id=TEXT, at=st.floats(0, 1e10), prompt=MESSAGES, answer=MESSAGES),
    st.builds(
        SettingsChanged, settings=st.builds(Settings, title=TEXT, params=st.just({"temperature": 0.5}))
    ),
)


@given(EVENTS)
def test_events_come_back_equal(event: Any) -> None:
    """Encoding to JSON and decoding gives an equal event."""
    assert decode(Event, json.loads(json.dumps(encode(event)))) == event


def test_a_state_comes_back_equal() -> None:
    """So does a whole session, its enums, maps and tuples included."""
    state = SessionState(id="s", messages={"m": Message(id="m", role="user")}, selected={"": "m"})
    assert decode(SessionState, json.loads(json.dumps(encode(state)))) == state


def test_a_newer_versions_fields_are_passed_over() -> None:
    """An unknown field is not an error."""
    stop = decode(Command, {"type": "stop", "id": "1", "session_id": "s", "run_id": "r", "new": 1})
    assert stop == Stop(id="1", session_id="s", run_id="r")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "send", "id": 1, "session_id": "s", "text": ""}, "id: expected a string, got 1"),
        ({"type": "send", "id": "1", "session_id": "s"}, "text: expected a value"),
        ({"type": "format_disk"}, "type: expected a known type, got 'format_disk'"),
        ({"type": ["send"]}, "type: expected a known type"),
        ([], "expected an object"),
        ("send", "expected an object"),
        (None, "expected an object"),
        (
            {
                "type": "send",
                "id": "1",
                "session_id": "s",
                "text": "",
                "attachments": [{"type": "image", "text": 3}],
            },
            r"attachments\[0\].text: expected a string, got 3",
        ),
        (
            {"type": "configure", "id": "1", "session_id": "s", "params": {"a": float("nan")}},
            "params.a: expected a finite number",
        ),
        ({"type": "pin", "id": "1", "session_id": "s", "pinned": 1}, "pinned: expected true or false, got 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(data: object, message: str) -> None:
    """The error names the field, what was expected and what was there."""
    with pytest.raises(DecodeError, match=message):
        decode(Command, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(
    JSON
    | st.fixed_dictionaries(
        {"type": st.sampled_from(["send", "stop", "edit"])},
        optional={"id": JSON, "session_id": JSON, "text": JSON},
    )
)
def test_hostile_values_give_one_error(data: object) -> None:
    """Whatever a page sends, it is a command or a DecodeError, nothing else."""
    try:
        command = decode(Command, data)
    except DecodeError:
        return
    assert hasattr(command, "id")


def test_depth_is_bounded() -> None:
    """Free-form values nest so far and no further."""
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(DecodeError, match="at most 32 levels"):
        decode(Mapping[str, Any], {"a": deep})


def test_an_enum_is_its_word() -> None:
    """A state crosses as its plain word and comes back as the member."""
    assert encode(RunState.PAUSED) == "paused"
    assert decode(RunState, "paused") is RunState.PAUSED
    with pytest.raises(DecodeError, match="expected 'queued' or"):
        decode(RunState, "asleep")
    assert decode(Command, encode(Send(id="1", session_id="s", text="x"))) == Send(
        id="1", session_id="s", text="x"
    )

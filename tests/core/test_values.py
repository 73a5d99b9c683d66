"""Values survive a round trip through JSON, and invalid ones are refused with the position."""

import copy
import json
import pickle
import re
import weakref
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.commands import Command, Send, Stop
from nbchat.core.events import Event, PartDelta, RunQueued, RunStarted, Settings, SettingsChanged
from nbchat.core.messages import FilePart, ImagePart, Message, ReasoningPart, TextPart, ToolCallPart
from nbchat.core.run import RunState
from nbchat.core.transcript import SessionState
from nbchat.core.values import MAX_VALUES, DecodeError, count_values, decode, decode_json, encode_json

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
    assert decode(Event, json.loads(encode_json(event))) == event


def test_a_state_comes_back_equal() -> None:
    """Encoding and decoding a session state, with enums, maps and tuples, gives an equal state."""
    state = SessionState(id="s", messages={"m": Message(id="m", role="user")}, selected={"": "m"})
    assert decode(SessionState, json.loads(encode_json(state))) == state


def test_a_newer_versions_fields_are_passed_over() -> None:
    """Unknown fields are ignored."""
    stop = decode(Command, {"type": "stop", "id": "1", "session_id": "s", "run_id": "r", "new": 1})
    assert stop == Stop(id="1", session_id="s", run_id="r")


JSON = st.recursive(
    st.none() | st.text('a"\\\\[{:é', max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('"\\\\[{:', max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def values_in(data: object) -> int:
    """Return the number of arrays, objects and members."""
    if isinstance(data, list):
        return 1 + sum(map(values_in, data))
    if isinstance(data, dict):
        return 1 + len(data) + sum(map(values_in, data.values()))
    return 0


@given(JSON)
def test_values_are_counted_without_their_strings(data: object) -> None:
    """Above the limit the count is exact, so that a long text with brackets is not refused."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("nbchat.core.values.MAX_VALUES", 0)
        assert count_values(json.dumps(data, ensure_ascii=False).encode()) == values_in(data)


def test_a_string_without_an_end_is_counted() -> None:
    """A text that is no JSON is counted in one pass."""
    assert count_values(b'"' + b'\\"[' * (MAX_VALUES + 1)) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"type": "send", "id": 1, "session_id": "s", "text": ""}, "Expected `str`, got `int` - at `$.id`"),
        ({"type": "send", "id": "1", "session_id": "s"}, "missing required field `text`"),
        ({"type": "format_disk"}, "Invalid value 'format_disk' - at `$.type`"),
        ({"type": "\ud800"}, "surrogates not allowed"),
        ({"type": ["send"]}, "Expected `str`"),
        ([], "Expected `object`, got `array`"),
        ("send", "Expected `object`, got `str`"),
        (None, "Expected `object`, got `null`"),
        (
            {
                "type": "send",
                "id": "1",
                "session_id": "s",
                "text": "",
                "attachments": [{"type": "image", "text": 3}],
            },
            "Expected `str`, got `int` - at `$.attachments[0].text`",
        ),
        (
            {"type": "configure", "id": "1", "session_id": "s", "params": {"a": float("nan")}},
            "Expected a finite number - at `$.params.a`",
        ),
        (
            {"type": "configure", "id": "1", "session_id": "s", "params": {"a": [0, -(2**53)]}},
            "Expected an integer below 2**53 - at `$.params.a[1]`",
        ),
        (
            {"type": "configure", "id": "1", "session_id": "s", "params": {"a": b"x"}},
            "Expected a JSON value, got `bytes` - at `$.params.a`",
        ),
        ({"type": "pin", "id": "1", "session_id": "s", "pinned": 1}, "Expected `bool`, got `int`"),
    ],
)
def test_a_wrong_type_is_refused_with_its_position(data: object, message: str) -> None:
    """The error names the field, the expected type and the actual one."""
    with pytest.raises(DecodeError, match=re.escape(message)):
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
    """Any value from a page decodes to a command or raises `DecodeError`."""
    try:
        command = decode(Command, data)
    except DecodeError:
        return
    assert hasattr(command, "id")


def test_depth_is_bounded() -> None:
    """Free-form values that are nested too deep raise `DecodeError`."""
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(DecodeError, match="fewer levels"):
        decode(Mapping[str, Any], {"a": deep})


def test_an_enum_is_its_word() -> None:
    """An enum is encoded as its value and decoded as its member."""
    assert encode_json(RunState.PAUSED) == b'"paused"'
    assert decode(RunState, "paused") is RunState.PAUSED
    with pytest.raises(DecodeError, match="Invalid enum value 'asleep'"):
        decode(RunState, "asleep")
    assert decode_json(Command, encode_json(Send(id="1", session_id="s", text="x"))) == Send(
        id="1", session_id="s", text="x"
    )


class Word(str):
    """A subclass of `str`, as in other libraries."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (MappingProxyType({"a": (1, 2.5)}), b'{"a":[1,2.5]}'),
        ({"a": Word("b")}, b'{"a":"b"}'),
        (["\ud83d\ude00", "\ud83d", 1], '["😀","\ufffd",1]'.encode()),
        ({"n": 2**60, "o": "\udc00", 3: None}, b'{"n":"1152921504606846976","o":"\xef\xbf\xbd","3":null}'),
        ([float("nan"), float("inf")], b"[null,null]"),
    ],
)
def test_everything_can_be_written(value: object, text: bytes) -> None:
    """Mappings, subclasses of `str`, surrogates and large numbers are encoded as JSON."""
    assert encode_json(value) == text


@pytest.mark.parametrize("text", [b'{"type":', b"\xff", b'"\\ud800"', b"[" * 100_000, b"1e999", b"NaN"])
def test_text_that_is_not_json_gives_one_error(text: bytes) -> None:
    """Broken text, unlimited nesting and numbers out of range raise `DecodeError`."""
    with pytest.raises(DecodeError):
        decode_json(Any, text)


@given(EVENTS)
def test_events_are_values(event: Any) -> None:
    """Events are immutable, have a type, and can be pickled, copied and referenced weakly."""
    assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == copy.copy(event) == event
    assert weakref.ref(event)() is event
    assert json.loads(encode_json(event))["type"] == event.type
    with pytest.raises(AttributeError):
        event.run_id = "other"

"""The state table covers every event, and leads to exactly one end."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.errors import ErrorInfo
from nbchat.core.events import (
    Event,
    PartDelta,
    PartStarted,
    RunCompleted,
    RunFailed,
    RunInterrupted,
    RunPaused,
    RunStarted,
    RunStopped,
    StopRequested,
)
from nbchat.core.messages import TextPart
from nbchat.core.run import (
    LIVE_STATES,
    OVER_STATES,
    TRANSITIONS,
    Illegal,
    Moved,
    RunState,
    Stale,
    transition,
)

INFO = ErrorInfo(code="stream_broken", message="broke")
KINDS: list[type] = [kind for kind in get_args(Event) if "run_id" in kind.__struct_fields__]


def an_event(kind: type) -> Event:
    """Return an event of this kind with suitable values in its fields."""
    values = {
        "run_id": "r",
        "at": 0.0,
        "part_index": 0,
        "part": TextPart(),
        "offset": 0,
        "text": "x",
        "finish_reason": "stop",
        "error": INFO,
        "prompt": None,
        "answer": None,
        "attempt": 1,
        "of": 2,
        "retry_at": 0.0,
        "length": 1,
        "crc32": 0,
        "seconds": 0.0,
        "kind": "send",
        "message_id": "m",
        "saved": True,
        "call_ids": ("c",),
        "by": "user",
    }
    made: Event = kind(**{name: values[name] for name in kind.__struct_fields__ if name in values})
    return made


def test_states_are_plain_words() -> None:
    """A state compares, prints and formats as its name."""
    assert RunState.STREAMING == "streaming"
    assert f"{RunState.STREAMING}" == str(RunState.STREAMING) == "streaming"


def test_states_are_those_of_the_contract() -> None:
    """Seven states are live and five are over."""
    assert [str(state) for state in LIVE_STATES] == [
        "queued",
        "connecting",
        "streaming",
        "paused",
        "retrying",
        "awaiting_approval",
        "acting",
        "stopping",
    ]
    assert [str(state) for state in OVER_STATES] == [
        "completed",
        "incomplete",
        "stopped",
        "failed",
        "interrupted",
    ]


@pytest.mark.parametrize("state", RunState)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_table_answers_every_event(state: RunState, kind: type) -> None:
    """In every state each event is a move, illegal or stale; exactly the ended states make it stale."""
    outcome = transition(state, an_event(kind))

    assert isinstance(outcome, Moved | Illegal | Stale)
    assert isinstance(outcome, Stale) == state.is_over


@pytest.mark.parametrize("state", LIVE_STATES)
def test_every_live_state_can_be_stopped_and_ended(state: RunState) -> None:
    """From each live state a run can be stopped and interrupted."""
    assert StopRequested in TRANSITIONS[state]
    stopping = TRANSITIONS[state][StopRequested]
    assert TRANSITIONS[stopping][RunStopped] is RunState.STOPPED
    assert TRANSITIONS[state][RunInterrupted] is RunState.INTERRUPTED


def test_only_a_finish_reason_completes() -> None:
    """Only `RunCompleted` leads to `completed`, and never before the request."""
    for state, table in TRANSITIONS.items():
        for kind, following in table.items():
            if following is RunState.COMPLETED:
                assert kind is RunCompleted
                assert state not in (RunState.QUEUED, RunState.RETRYING)


@given(st.lists(st.sampled_from(KINDS), max_size=40))
def test_any_sequence_ends_at_most_once(kinds: list[type]) -> None:
    """In any sequence of events a run ends at most once and stays ended."""
    state, ends = RunState.QUEUED, 0
    for kind in kinds:
        outcome = transition(state, an_event(kind))
        if isinstance(outcome, Moved):
            assert state.is_live
            state = outcome.state
            ends += state.is_over
    assert ends <= 1


def test_a_delta_on_its_way_when_the_user_stops_is_kept() -> None:
    """STOPPING accepts deltas that were already read."""
    state = RunState.QUEUED
    for kind in (RunStarted, PartStarted, StopRequested, PartDelta):
        outcome = transition(state, an_event(kind))
        assert isinstance(outcome, Moved)
        state = outcome.state
    assert state is RunState.STOPPING


def test_an_illegal_event_names_the_state() -> None:
    """A pause after a failure is stale, and a delta before the start is illegal with its state."""
    assert isinstance(transition(RunState.FAILED, an_event(RunPaused)), Stale)
    illegal = transition(RunState.QUEUED, an_event(PartDelta))
    assert illegal == Illegal(RunState.QUEUED, an_event(PartDelta))
    assert isinstance(transition(RunState.QUEUED, an_event(RunFailed)), Moved)

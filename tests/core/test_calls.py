"""`calls_of` derives the state of each tool call from the answer and its run."""

from msgspec.structs import replace

from nbchat.core.calls import calls_of
from nbchat.core.events import Event, RunActing, RunAwaitingApproval, RunInterrupted, RunStopped
from nbchat.core.messages import Message, TextPart, ToolCallPart, ToolResultPart
from nbchat.core.recovery import recovered
from nbchat.core.run import RunRecord, RunState
from nbchat.core.transcript import SessionState, apply_event
from tests.logs.record import STORIES, Story


def states_at(name: str, kind: type[Event]) -> list[tuple[str, list[str]]]:
    """Return the state of the run and of its calls after each event of a kind in a story."""
    story = Story()
    STORIES[name][1](story)
    state, found = SessionState(id="ses_1"), []
    for event in story.events:
        state = apply_event(state, event)
        if isinstance(event, kind):
            run = state.runs[0]
            found.append((str(run.state), [c.state for c in calls_of(state.messages["a_1"], run)]))
    return found


def test_the_states_of_calls_follow_the_decisions() -> None:
    """A call asks, runs and has run; a refused one was not run."""
    assert states_at("tools_approved", RunAwaitingApproval) == [
        ("awaiting_approval", ["asking", "asking", "asking"]),
        ("awaiting_approval", ["ran", "asking", "not_run"]),
    ]
    assert states_at("tools_approved", RunActing) == [
        ("acting", ["running", "asking", "not_run"]),
        ("acting", ["ran", "running", "not_run"]),
    ]


def test_a_started_call_without_a_result_has_an_unknown_outcome() -> None:
    """After the end of its run, a call that was started is unknown, and one that asked was not run."""
    assert states_at("tools_stopped", RunStopped) == [("stopped", ["unknown", "not_run"])]


def test_a_killed_kernel_leaves_no_call_that_asks() -> None:
    """Restored calls are history: none of them asks or runs."""
    story = Story()
    STORIES["tools_stopped"][1](story)
    state = SessionState(id="ses_1")
    for event in story.events:
        if isinstance(event, RunStopped | RunInterrupted):
            break
        state = apply_event(state, event)
        after = recovered(state, 2.0)
        if "a_1" in after.messages:
            states = {call.state for call in calls_of(after.messages["a_1"], after.runs[0])}
            assert states <= {"not_run", "unknown"}
            assert all(not run.asking for run in after.runs)


def test_a_result_belongs_to_the_nearest_call_with_its_id() -> None:
    """Servers reuse ids: a result belongs to the last call before it that has the id."""
    call = ToolCallPart(call_id="c", name="f", text='{"a": 1}', started_at=1.0)
    parts = (call, ToolResultPart(call_id="c", text="x"), TextPart(text="?"), replace(call, text="[1]"))
    first, second = calls_of(Message(id="m", role="assistant", parts=parts), None)
    assert (first.state, first.arguments, first.result) == ("ran", {"a": 1}, parts[1])
    assert (second.state, second.arguments, second.result) == ("unknown", {}, None)


def test_a_run_that_continues_an_answer_does_not_run_earlier_calls() -> None:
    """A call that an interrupted run had started stays unknown while another run continues the answer."""
    call = ToolCallPart(call_id="c", name="f", text="{}", started_at=1.0)
    message = Message(id="m", role="assistant", parts=(call,))
    run = RunRecord(id="r", kind="continue", state=RunState.STREAMING, message_id="m", queued_at=1.0)
    assert [one.state for one in calls_of(message, run)] == ["running"]
    assert [one.state for one in calls_of(message, replace(run, first_part=1))] == ["unknown"]

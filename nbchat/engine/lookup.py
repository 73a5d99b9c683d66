"""Finds the message or run that a command names, or raises, and the parts of an answer that are of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from nbchat.core.errors import NothingToDo, RunNotLive, RunOver, StaleCommand
from nbchat.core.messages import Message

if TYPE_CHECKING:
    from nbchat.core.run import RunRecord
    from nbchat.core.transcript import SessionState


def message(state: SessionState, message_id: str) -> Message:
    """Return the message with this id.

    Raises
    ------
    NothingToDo
        If there is no such message.
    """
    found = state.messages.get(message_id)
    if found is None:
        raise NothingToDo(
            f"session {state.id!r} has no message {message_id!r}.",
            hint="session.messages lists the messages and their ids.",
        )
    return found


def answer(state: SessionState, message_id: str | None = None) -> Message:
    """Return the answer with this id, or the last one of the transcript.

    Raises
    ------
    NothingToDo
        If there is no such answer.
    """
    if message_id is not None:
        found = message(state, message_id)
        if found.role != "assistant":
            raise NothingToDo(f"message {message_id!r} is the {found.role}'s, not an answer.")
        return found
    for found in reversed(state.path):
        if found.role == "assistant":
            return found
    raise NothingToDo(f"session {state.id!r} has no answer yet.", hint="Ask something with send().")


def run(state: SessionState, run_id: str) -> RunRecord:
    """Return the run with this id.

    Raises
    ------
    StaleCommand
        If there is no such run.
    """
    found = state.run(run_id)
    if found is None:
        raise StaleCommand(f"session {state.id!r} has no run {run_id!r}.")
    return found


def last_run(state: SessionState) -> RunRecord:
    """Return the newest run.

    Raises
    ------
    NothingToDo
        If there has been no run.
    """
    if not state.runs:
        raise NothingToDo(f"session {state.id!r} has had no run yet.", hint="Ask something with send().")
    return state.runs[-1]


def run_of(state: SessionState, message_id: str) -> RunRecord:
    """Return the newest run of this question or answer.

    Raises
    ------
    NothingToDo
        If there is no such run.
    """
    for found in reversed(state.runs):
        if message_id in (found.message_id, found.prompt_id or found.parent_id):
            return found
    raise NothingToDo(f"session {state.id!r} has no run for message {message_id!r}.")


def live_run(state: SessionState, run_id: str | None, what: str) -> RunRecord:
    """Return the run with this id, or the oldest live one; `what` is the action, for error messages.

    Raises
    ------
    StaleCommand, RunNotLive, RunOver
        If there is no such run, no run is live, or the run is over.
    """
    found = state.live if run_id is None else run(state, run_id)
    if found is None:
        raise RunNotLive(f"session {state.id!r} has no live run to {what}.")
    if found.state.is_over:
        raise RunOver(f"run {found.id!r} is {found.state}; there is nothing to {what}.")
    return found


def own_part_of_answer(state: SessionState, record: RunRecord) -> Message:
    """Return the answer of a run with the parts that this run generated."""
    answer = state.messages.get(record.message_id)
    if answer is None or record.started_at is None:
        return Message(id=record.message_id, role="assistant")
    # A later `continue_` appends to the same message; those parts are not of this run.
    # The order of the log decides what is later, since the clock may have been set back.
    place = next(at for at, run in enumerate(state.runs) if run.id == record.id)
    later = [
        run.first_part
        for run in state.runs[place + 1 :]
        if run.message_id == record.message_id
        and run.started_at is not None
        and run.first_part >= record.first_part
    ]
    return replace(answer, parts=answer.parts[record.first_part : min(later, default=None)])

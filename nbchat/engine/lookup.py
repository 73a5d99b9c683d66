"""Look-up of the message or run of a command, with an error if there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbchat.core.errors import NothingToDo, RunNotLive, RunOver, StaleCommand

if TYPE_CHECKING:
    from nbchat.core.messages import Message
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

"""Recovers sessions of a kernel that died, and distrusts settings that came from a file.

The functions are pure: they return events and values, which the caller applies.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from nbchat.core.errors import ErrorInfo, KernelGone
from nbchat.core.events import Event, RunInterrupted, RunRequeued, RunStarted, Settings
from nbchat.core.messages import Message
from nbchat.core.run import RunState
from nbchat.core.transcript import SessionState, apply_event


def gone(*, sent: bool = True) -> ErrorInfo:
    """Return the error of a run that was live when its kernel died."""
    if sent:
        return KernelGone("the kernel ended while this was being answered.").info
    return KernelGone(
        "the kernel ended before this was sent.", hint="Nothing was asked of the model. Retry to send it."
    ).info


def recover(state: SessionState, at: float) -> Iterator[Event]:
    """Yield the events that end the runs of a kernel that has died. They start no runs.

    A run in progress is interrupted and keeps its text. A queued prompt is added to the transcript, where it
    can be sent again.

    Parameters
    ----------
    at
        Current time, in seconds since 1970-01-01 UTC.
    """
    for run in state.runs:
        if run.state.is_over:
            continue
        events: list[Event] = []
        waited = run.started_at is None
        if waited and run.prompt is not None and run.state in (RunState.QUEUED, RunState.PAUSED):
            if run.state is RunState.PAUSED:
                events.append(RunRequeued(run_id=run.id))
            prompt = run.prompt if run.rooted else replace(run.prompt, parent_id=state.leaf)
            answer = Message(
                id=run.message_id, role="assistant", created_at=at, parent_id=prompt.id, run_id=run.id
            )
            events.append(RunStarted(run_id=run.id, at=at, prompt=prompt, answer=answer))
        events.append(RunInterrupted(run_id=run.id, at=at, error=gone(sent=not waited)))
        for event in events:
            state = apply_event(state, event)
            yield event


def recovered(state: SessionState, at: float) -> SessionState:
    """Return `state` after `recover`."""
    for event in recover(state, at):
        state = apply_event(state, event)
    return state


def in_force(settings: Settings) -> Settings:
    """Return the settings that runs use: without those that came from a file and were not adopted."""
    if not settings.from_file:
        return settings
    return replace(settings, model=None, instructions=None, params={}, provider=None)


def distrusted(settings: Settings, known: Settings | None) -> Settings:
    """Return settings from a file, marked as such unless this user's journal has the same ones.

    Parameters
    ----------
    known
        Settings of the session in this user's journal, if any.
    """
    own = known is not None and not known.from_file and _chosen(known) == _chosen(settings)
    nothing = _chosen(settings) == _chosen(Settings())
    return replace(settings, from_file=not (own or nothing))


def _chosen(settings: Settings) -> tuple[object, ...]:
    return settings.model, settings.instructions, dict(settings.params), settings.provider

"""What becomes of a session whose kernel died, and of settings that came with a file.

Pure: the events and values are made here, and applied by whoever restores.
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
    """Return why a run that was alive when its kernel died is over."""
    if sent:
        return KernelGone("the kernel ended while this was being answered.").info
    return KernelGone(
        "the kernel ended before this was sent.", hint="Nothing was asked of the model. Retry to send it."
    ).info


def recover(state: SessionState, at: float) -> Iterator[Event]:
    """Yield the events that end the runs of a kernel that is gone. None of them starts anything.

    A run that was being answered is interrupted, with the text that had arrived. A prompt that waited
    for its turn enters the transcript, where it can be sent again.

    Parameters
    ----------
    at
        When this is found, in seconds since 1970-01-01 UTC.
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
    """Return the settings that runs use: what came with a file and was not adopted is not in force."""
    if not settings.from_file:
        return settings
    return replace(settings, model=None, instructions=None, params={}, provider=None)


def distrusted(settings: Settings, known: Settings | None) -> Settings:
    """Return settings from a file, marked as such unless this user's own records have the same.

    Parameters
    ----------
    known
        What this user's journal holds for the session, if anything.
    """
    own = known is not None and not known.from_file and _chosen(known) == _chosen(settings)
    nothing = _chosen(settings) == _chosen(Settings())
    return replace(settings, from_file=not (own or nothing))


def _chosen(settings: Settings) -> tuple[object, ...]:
    return settings.model, settings.instructions, dict(settings.params), settings.provider

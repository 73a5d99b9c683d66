"""The life of a run, as a table.

1. `TRANSITIONS` is the truth: no other line assigns a state.
2. A run has exactly one end, and it is the last event that moves it.
3. An event for another run, or for one that is over, is `Stale`; one that the state does not take is
   `Illegal`. Both change nothing, and say so.
4. `completed` needs a finish reason from the model. A clean end of bytes is not one.

The diagram in `docs/states.md` is drawn from the table by `tools/draw_states.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct, field

from nbchat.core.errors import ErrorInfo
from nbchat.core.events import (
    Event,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAnswering,
    RunCompleted,
    RunConnecting,
    RunFailed,
    RunIncomplete,
    RunInterrupted,
    RunKind,
    RunPaused,
    RunRequeued,
    RunResumed,
    RunRetrying,
    RunStarted,
    RunStopped,
    StopRequested,
)
from nbchat.core.messages import Message, Usage
from nbchat.core.values import FiniteFloat, SafeInt, Value


class RunState(StrEnum):
    """One plain word, the same in Python, on the wire and in the page.

    Examples
    --------
    >>> run = geo.send("Seine").wait(30)
    >>> run.state == "completed", f"{run.state}", run.state is nbchat.RunState.COMPLETED
    (True, 'completed', True)
    >>> run.state.is_over
    True
    """

    QUEUED = "queued"
    """Waits for the run before it, or for one of the kernel's slots."""
    CONNECTING = "connecting"
    """Asked the provider; nothing has come yet."""
    STREAMING = "streaming"
    """The answer is arriving."""
    PAUSED = "paused"
    """The user holds it: nothing is read, the connection stays."""
    RETRYING = "retrying"
    """An attempt failed before the first token; waits for the next."""
    AWAITING_APPROVAL = "awaiting_approval"
    """Reserved: tools are shown in this release, not run."""
    STOPPING = "stopping"
    """The user stopped it; the connection is being closed."""
    COMPLETED = "completed"
    """The model finished."""
    INCOMPLETE = "incomplete"
    """The model stopped early."""
    STOPPED = "stopped"
    """The user ended it."""
    FAILED = "failed"
    """It ended before anything arrived."""
    INTERRUPTED = "interrupted"
    """It ended in the middle."""

    @property
    def is_over(self) -> bool:
        """Nothing can happen to the run any more."""
        return not TRANSITIONS[self]

    @property
    def is_live(self) -> bool:
        """The run is not over."""
        return bool(TRANSITIONS[self])


_S = RunState

_ENDS: Final[dict[type[Event], RunState]] = {
    RunCompleted: _S.COMPLETED,
    RunIncomplete: _S.INCOMPLETE,
    RunInterrupted: _S.INTERRUPTED,
    RunFailed: _S.FAILED,
}

TRANSITIONS: Final[Mapping[RunState, Mapping[type[Event], RunState]]] = {
    _S.QUEUED: {
        RunStarted: _S.CONNECTING,
        RunPaused: _S.PAUSED,
        StopRequested: _S.STOPPING,
        RunFailed: _S.FAILED,
        RunInterrupted: _S.INTERRUPTED,  # the kernel died before its turn came
    },
    _S.CONNECTING: {
        RunAnswering: _S.CONNECTING,
        RunRetrying: _S.RETRYING,
        PartStarted: _S.STREAMING,
        RunPaused: _S.PAUSED,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    _S.RETRYING: {
        RunConnecting: _S.CONNECTING,
        RunPaused: _S.PAUSED,
        StopRequested: _S.STOPPING,
        RunFailed: _S.FAILED,
        RunInterrupted: _S.INTERRUPTED,
    },
    _S.STREAMING: {
        RunAnswering: _S.STREAMING,
        PartStarted: _S.STREAMING,
        PartDelta: _S.STREAMING,
        PartEnded: _S.STREAMING,
        RunPaused: _S.PAUSED,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    # Three ways back: into the middle of the text, to a connection that had said nothing yet, and
    # to the queue. What was read before the pause may still be written down.
    _S.PAUSED: {
        PartDelta: _S.PAUSED,
        PartEnded: _S.PAUSED,
        RunResumed: _S.STREAMING,
        RunConnecting: _S.CONNECTING,
        RunRequeued: _S.QUEUED,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    _S.AWAITING_APPROVAL: {StopRequested: _S.STOPPING, **_ENDS},
    # A delta may be on its way when the user stops: keep it. The answer may even end by itself
    # before the stream is closed: then it did complete.
    _S.STOPPING: {
        RunAnswering: _S.STOPPING,
        PartStarted: _S.STOPPING,
        PartDelta: _S.STOPPING,
        PartEnded: _S.STOPPING,
        StopRequested: _S.STOPPING,
        RunStopped: _S.STOPPED,
        **_ENDS,
    },
    _S.COMPLETED: {},
    _S.INCOMPLETE: {},
    _S.STOPPED: {},
    _S.FAILED: {},
    _S.INTERRUPTED: {},
}

LIVE_STATES: Final = tuple(state for state in RunState if state.is_live)
OVER_STATES: Final = tuple(state for state in RunState if state.is_over)


class Moved(Struct, frozen=True):
    """The event was taken."""

    state: RunState


class Illegal(Struct, frozen=True):
    """The state does not take this event: a defect of the sender. Nothing changed."""

    state: RunState
    event: Event


class Stale(Struct, frozen=True):
    """The run is over, or was never here: the event came late. Nothing changed."""

    event: Event


def transition(state: RunState, event: Event) -> Moved | Illegal | Stale:
    """Return where `event` leads from `state`; total over every state and event."""
    table = TRANSITIONS[state]
    if not table:
        return Stale(event)
    following = table.get(type(event))
    return Illegal(state, event) if following is None else Moved(following)


class RunRecord(Value, frozen=True, kw_only=True):
    """What is known of a run: an immutable value in the session's state, folded from its events."""

    id: str
    kind: RunKind
    state: RunState
    message_id: str
    """The answer."""
    queued_at: FiniteFloat
    prompt: Message | None = None
    """The user's message, as long as it waits outside of the transcript."""
    prompt_id: str | None = None
    rooted: bool = False
    parent_id: str | None = None
    replaces: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the request for this run alone; they win over those of the session."""
    first_part: SafeInt = 0
    """Index of the first part of the answer that is this run's."""
    started_at: FiniteFloat | None = None
    first_delta_at: FiniteFloat | None = None
    last_delta_at: FiniteFloat | None = None
    ended_at: FiniteFloat | None = None
    characters: SafeInt = 0
    """Accepted so far, text and reasoning."""
    attempt: SafeInt = 0
    """Retries so far."""
    attempts: SafeInt = 0
    """Retries that are allowed."""
    retry_at: FiniteFloat | None = None
    model: str | None = None
    """The model that answers; until that is known, the one asked for."""
    response_id: str | None = None
    response_sequence: SafeInt = 0
    finish_reason: str | None = None
    usage: Usage | None = None
    error: ErrorInfo | None = None
    """Of a failed or interrupted run, the cause; of a retrying one, why."""
    acknowledged: bool = False
    saved: bool = True

    @property
    def about(self) -> tuple[str, ...]:
        """Ids of the answer, and of the question where it is known."""
        question = self.prompt_id or self.parent_id
        return (self.message_id,) if question is None else (self.message_id, question)

"""State machine of a run: `RunState` and its `TRANSITIONS`.

1. States are assigned only through `TRANSITIONS`.
2. A run ends exactly once, with the last event that changes its state.
3. An event of an unknown run, or of one that has ended, is `Stale`. An event that the current state does not
   accept is `Illegal`. Neither changes the state.
4. `completed` requires a finish reason from the model. A clean end of the stream is not sufficient.

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
    RunActing,
    RunAnswering,
    RunAwaitingApproval,
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
    """The state of a run: one word, the same in Python, on the wire and in the page.

    Examples
    --------
    >>> run = geo.send("Seine").wait(30)
    >>> run.state == "completed", f"{run.state}", run.state is nbchat.RunState.COMPLETED
    (True, 'completed', True)
    >>> run.state.is_over
    True
    """

    QUEUED = "queued"
    """The run waits for the previous run, or for one of the kernel's slots."""
    CONNECTING = "connecting"
    """The request was sent; nothing has arrived yet."""
    STREAMING = "streaming"
    """The answer is arriving."""
    PAUSED = "paused"
    """The user paused the run: nothing is read, and the connection stays open."""
    RETRYING = "retrying"
    """An attempt failed before the first token, or its answer does not match the schema. Another follows."""
    AWAITING_APPROVAL = "awaiting_approval"
    """Tool calls wait for the user's approval. No connection is open."""
    ACTING = "acting"
    """Approved tool calls are being executed. No connection is open."""
    STOPPING = "stopping"
    """The user stopped the run, and the connection is being closed."""
    COMPLETED = "completed"
    """The model finished its answer."""
    INCOMPLETE = "incomplete"
    """The model stopped early."""
    STOPPED = "stopped"
    """The user stopped the run."""
    FAILED = "failed"
    """The run ended before any text arrived."""
    INTERRUPTED = "interrupted"
    """The run ended in the middle of the answer."""

    @property
    def is_over(self) -> bool:
        """The run has ended; no event changes its state."""
        return not TRANSITIONS[self]

    @property
    def is_live(self) -> bool:
        """The run has not ended."""
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
        RunInterrupted: _S.INTERRUPTED,  # the kernel died before the run started
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
        RunRetrying: _S.RETRYING,  # the answer does not match its schema
        PartStarted: _S.STREAMING,
        PartDelta: _S.STREAMING,
        PartEnded: _S.STREAMING,
        RunAwaitingApproval: _S.AWAITING_APPROVAL,
        RunActing: _S.ACTING,
        RunConnecting: _S.CONNECTING,  # the next round, after calls of which none was run
        RunPaused: _S.PAUSED,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    # A paused run resumes in the middle of the text, on a connection without text so far, or in the queue.
    # Text that was read before the pause may still be appended.
    _S.PAUSED: {
        PartDelta: _S.PAUSED,
        PartEnded: _S.PAUSED,
        RunResumed: _S.STREAMING,
        RunConnecting: _S.CONNECTING,
        RunRequeued: _S.QUEUED,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    # Results are parts. A refused call has one too, so the last decision may be followed by the next round.
    _S.AWAITING_APPROVAL: {
        PartStarted: _S.AWAITING_APPROVAL,
        PartEnded: _S.AWAITING_APPROVAL,
        RunActing: _S.ACTING,
        RunConnecting: _S.CONNECTING,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    _S.ACTING: {
        PartStarted: _S.ACTING,
        PartEnded: _S.ACTING,
        RunActing: _S.ACTING,
        RunAwaitingApproval: _S.AWAITING_APPROVAL,  # of the round's calls, only those that ask are left
        RunConnecting: _S.CONNECTING,
        StopRequested: _S.STOPPING,
        **_ENDS,
    },
    # A delta that arrives after the user stopped the run is kept. If the answer ends by itself before the
    # stream is closed, the run is completed.
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
    """The event was accepted."""

    state: RunState


class Illegal(Struct, frozen=True):
    """The state does not accept this event, which is a bug of the sender. Nothing changed."""

    state: RunState
    event: Event


class Stale(Struct, frozen=True):
    """The run has ended or is unknown: the event arrived late. Nothing changed."""

    event: Event


def transition(state: RunState, event: Event) -> Moved | Illegal | Stale:
    """Return the outcome of `event` in `state`; defined for every state and event."""
    table = TRANSITIONS[state]
    if not table:
        return Stale(event)
    following = table.get(type(event))
    return Illegal(state, event) if following is None else Moved(following)


class RunRecord(Value, frozen=True, kw_only=True):
    """Record of a run: an immutable value in the session's state, folded from its events."""

    id: str
    kind: RunKind
    state: RunState
    message_id: str
    """Id of the answer."""
    queued_at: FiniteFloat
    prompt: Message | None = None
    """The user's message, until it is added to the transcript."""
    prompt_id: str | None = None
    rooted: bool = False
    parent_id: str | None = None
    replaces: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Request fields of this run, which override those of the session."""
    first_part: SafeInt = 0
    """Index of the first part of the answer that this run generated."""
    round_part: SafeInt = 0
    """Index of the first part after the results of the last tools; another attempt replaces from here."""
    asking: tuple[str, ...] = ()
    """Ids of the tool calls that wait for approval, in the order of the answer."""
    started_at: FiniteFloat | None = None
    first_delta_at: FiniteFloat | None = None
    last_delta_at: FiniteFloat | None = None
    ended_at: FiniteFloat | None = None
    characters: SafeInt = 0
    """Characters accepted so far, of text and reasoning."""
    attempt: SafeInt = 0
    """Number of retries so far."""
    attempts: SafeInt = 0
    """Maximum number of retries."""
    retry_at: FiniteFloat | None = None
    model: str | None = None
    """The model that answers; until it is known, the requested one."""
    server: str | None = None
    """Host of the server that answers. `None` if it is unknown, on this machine, or in a private network."""
    from_cache: bool = False
    """The answer was taken from the cache of answers; nothing was sent."""
    response_id: str | None = None
    response_sequence: SafeInt = 0
    finish_reason: str | None = None
    usage: Usage | None = None
    error: ErrorInfo | None = None
    """The cause of a failed or interrupted run, or of the retry of a retrying one."""
    acknowledged: bool = False
    saved: bool = True

    @property
    def about(self) -> tuple[str, ...]:
        """Ids of the answer and, if it is known, of the question."""
        question = self.prompt_id or self.parent_id
        return (self.message_id,) if question is None else (self.message_id, question)

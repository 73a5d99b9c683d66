"""Events of a session: immutable values, folded into its state by `transcript.apply_event`.

An event contains every id and time, so that folding needs neither a clock nor random numbers: Python, the
page, the journal and a snapshot derive the same state from the same events. Times (`at`) are seconds since
1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import UNSET, field

from nbchat.core.errors import ErrorInfo
from nbchat.core.messages import Author, Message, Part, Source, Usage
from nbchat.core.values import FiniteFloat, SafeInt, Tagged, Value

RunKind = Literal["send", "retry", "regenerate", "continue", "resume"]
"""Command that started a run."""

Approver = Literal["user", "policy", "author"]
"""Source of the approval of a tool call."""


class Settings(Value, frozen=True, kw_only=True):
    """The user's settings of a session. Every field may change at any time."""

    title: str = ""
    """Empty: the page shows the first words of the first question."""
    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    provider: str | None = None
    """Name of an `nbchat.providers` entry point; `None`: the configured one."""
    pinned: bool = False
    rank: FiniteFloat | None = None
    """Position among the tabs, lowest first; `None`: the session's creation time, in seconds since 1970."""
    closed: bool = False
    """The tab is hidden; runs continue."""
    archived: bool = False
    from_file: bool = False
    """Model, instructions and parameters came from a file and are not used until the user adopts them."""
    changed_by: Author = UNSET
    """Name of the person who last changed the title, the model, the instructions or the parameters."""


class SessionCreated(Tagged, frozen=True, kw_only=True, tag="session_created"):
    """The session was created, or restored from a snapshot of another lineage."""

    at: FiniteFloat
    settings: Settings
    temporary: bool = False
    thread_id: str | None = None


class SettingsChanged(Tagged, frozen=True, kw_only=True, tag="settings_changed"):
    """The settings changed. The event has all of them, so that applying it twice changes nothing."""

    settings: Settings


class UnreadChanged(Tagged, frozen=True, kw_only=True, tag="unread_changed"):
    """An answer arrived that no page showed, or an unread answer was shown."""

    unread: bool


class SessionDeleted(Tagged, frozen=True, kw_only=True, tag="session_deleted"):
    """The session was deleted or, with `deleted=False`, restored."""

    at: FiniteFloat
    deleted: bool = True


class MessageAdded(Tagged, frozen=True, kw_only=True, tag="message_added"):
    """A message that no run generated was added to the tree: imported, forked, restored."""

    message: Message


class MessageRemoved(Tagged, frozen=True, kw_only=True, tag="message_removed"):
    """A message and its descendants were discarded."""

    message_id: str


class MessageSelected(Tagged, frozen=True, kw_only=True, tag="message_selected"):
    """A version of a turn was selected: it is shown and used as context."""

    message_id: str


class OfRun(Tagged, frozen=True, kw_only=True):
    """An event of a run."""

    run_id: str


class OfRunAt(OfRun, frozen=True, kw_only=True):
    """An event of a run, with its time."""

    at: FiniteFloat


class EndedByModel(OfRunAt, frozen=True, kw_only=True):
    """The end of a run for which the model gave a reason."""

    finish_reason: str
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunQueued(OfRunAt, frozen=True, kw_only=True, tag="run_queued"):
    """A run was queued. Its user message is added to the transcript when the run starts.

    For a run that is still queued, the event replaces the message.
    """

    kind: RunKind
    message_id: str
    """Id of the answer: a new message, or with `continue` and `resume` the one to append to."""
    prompt: Message | None = None
    """The user's message. Its `parent_id` is used only if `rooted`."""
    rooted: bool = False
    """The position of the prompt (or the answer) in the tree is fixed: an edit, a new version."""
    parent_id: str | None = None
    """With `rooted` and no prompt: id of the user message that the answer follows."""
    replaces: str | None = None
    """Id of the answer to remove: when this run starts if it is empty, else with this run's first part."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Request fields of this run, which override those of the session."""


class RunStarted(OfRunAt, frozen=True, kw_only=True, tag="run_started"):
    """The run started: the user message and an empty answer are in the transcript."""

    prompt: Message | None
    answer: Message | None
    """The new, empty answer; `None` if the run appends to an existing one."""
    model: str | None = None
    """The requested model."""


class RunRetrying(OfRun, frozen=True, kw_only=True, tag="run_retrying"):
    """An attempt failed before the first token, or its answer does not match the schema. Another follows."""

    attempt: SafeInt
    """Number of the next retry, from 1."""
    of: SafeInt
    retry_at: FiniteFloat
    error: ErrorInfo


class RunConnecting(OfRun, frozen=True, kw_only=True, tag="run_connecting"):
    """The run sends its request to the provider (again), after a delay or with the results of tools."""


class RunAnswering(OfRun, frozen=True, kw_only=True, tag="run_answering"):
    """The provider reported the model that answers, and the response's id."""

    model: str | None = None
    response_id: str | None = None
    sequence: SafeInt = 0
    server: str | None = None
    """As in `RunRecord`."""
    from_cache: bool = False
    """As in `RunRecord`."""


class PartStarted(OfRunAt, frozen=True, kw_only=True, tag="part_started"):
    """A new, empty part of the answer was added. Parts are numbered from 0 in their message.

    If it is the first part of another attempt, the parts of the attempt before are removed.
    """

    part_index: SafeInt
    part: Part


class PartDelta(OfRunAt, frozen=True, kw_only=True, tag="part_delta"):
    """Text was appended to a part of the answer."""

    part_index: SafeInt
    offset: SafeInt
    """Length of the part before this text, in UTF-16 code units."""
    text: str


class PartEnded(OfRun, frozen=True, kw_only=True, tag="part_ended"):
    """A part of the answer is complete. Views can verify their text against length and checksum."""

    part_index: SafeInt
    length: SafeInt
    """Length in UTF-16 code units."""
    crc32: SafeInt
    """Checksum of the UTF-8."""
    seconds: FiniteFloat
    """Duration of the part."""
    call_id: str | None = None
    name: str | None = None
    """Id and name of a tool call, which may be complete only at its end."""


class RunAwaitingApproval(OfRunAt, frozen=True, kw_only=True, tag="run_awaiting_approval"):
    """Calls of the answer wait for the user's approval. No connection is open, and no time limit applies."""

    call_ids: tuple[str, ...]
    """All calls that wait now, in the order of the answer."""


class RunActing(OfRunAt, frozen=True, kw_only=True, tag="run_acting"):
    """Calls of the answer were approved. The event is stored before the first of them starts."""

    call_ids: tuple[str, ...]
    by: Approver
    """`user`: a click or `run.approve()`; `policy`: `session.approve`; `author`: `tool(ask=False)`."""


class RunPaused(OfRunAt, frozen=True, kw_only=True, tag="run_paused"):
    """The run was paused. Nothing is read, and the connection stays open."""


class RunResumed(OfRun, frozen=True, kw_only=True, tag="run_resumed"):
    """The run was resumed. Reading continues in the middle of the text."""


class RunRequeued(OfRun, frozen=True, kw_only=True, tag="run_requeued"):
    """A run that was paused in the queue was queued again."""


class StopRequested(OfRunAt, frozen=True, kw_only=True, tag="stop_requested"):
    """The user stopped the run. A delta may still arrive."""


class RunCompleted(EndedByModel, frozen=True, kw_only=True, tag="run_completed"):
    """The run ended with a complete answer."""


class RunIncomplete(EndedByModel, frozen=True, kw_only=True, tag="run_incomplete"):
    """The run ended because the model stopped early: `length`, `content_filter`."""


class RunStopped(OfRunAt, frozen=True, kw_only=True, tag="run_stopped"):
    """The run ended because the user stopped it. Its text is kept."""

    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunFailed(OfRunAt, frozen=True, kw_only=True, tag="run_failed"):
    """The run ended with an error before any text had arrived."""

    error: ErrorInfo
    usage: Usage | None = None


class RunInterrupted(OfRunAt, frozen=True, kw_only=True, tag="run_interrupted"):
    """The run ended in the middle of the answer, without a finish reason. Its text is kept."""

    error: ErrorInfo
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunAcknowledged(OfRun, frozen=True, kw_only=True, tag="run_acknowledged"):
    """The user kept an interrupted answer as it is."""


class RunSaved(OfRun, frozen=True, kw_only=True, tag="run_saved"):
    """The end of a run could not be saved in the journal, or was saved later after a failure."""

    saved: bool


RunEvent = (
    RunStarted
    | RunRetrying
    | RunConnecting
    | RunAnswering
    | PartStarted
    | PartDelta
    | PartEnded
    | RunAwaitingApproval
    | RunActing
    | RunPaused
    | RunResumed
    | RunRequeued
    | StopRequested
    | RunCompleted
    | RunIncomplete
    | RunStopped
    | RunFailed
    | RunInterrupted
)
"""Events that change a run's state or its answer."""

EndEvent = RunCompleted | RunIncomplete | RunStopped | RunFailed | RunInterrupted

Event = (
    SessionCreated
    | SettingsChanged
    | UnreadChanged
    | SessionDeleted
    | MessageAdded
    | MessageRemoved
    | MessageSelected
    | RunQueued
    | RunEvent
    | RunAcknowledged
    | RunSaved
)

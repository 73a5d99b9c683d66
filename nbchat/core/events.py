"""What can have happened in a session: immutable facts, folded by `transcript.apply_event`.

An event says what was decided, with every id and time in it, so that folding needs no clock and no
chance: Python, the page, the journal and a snapshot come to the same state from the same events.
Times (`at`) are seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nbchat.core.errors import ErrorInfo
from nbchat.core.messages import Message, Part, Source, Usage

RunKind = Literal["send", "retry", "regenerate", "continue", "resume"]
"""Why a run was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the user chose for a session; every field may change at any time."""

    title: str = ""
    """Empty: the page shows the first words of the first question."""
    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    provider: str | None = None
    """Name of an `nbchat.providers` entry point; None for the configured one."""
    pinned: bool = False
    rank: float | None = None
    """Place among the tabs, lowest first; None: by when the session was made, in seconds since 1970."""
    closed: bool = False
    """The tab is hidden; runs go on."""
    archived: bool = False
    from_file: bool = False
    """Model, instructions and parameters came with a file and wait for the user's word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCreated:
    """The session began, or was taken over from a snapshot of another lineage."""

    at: float
    settings: Settings
    temporary: bool = False
    thread_id: str | None = None
    type: Literal["session_created"] = "session_created"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsChanged:
    """The user chose other settings; the whole of them, so that applying twice changes nothing."""

    settings: Settings
    type: Literal["settings_changed"] = "settings_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadChanged:
    """An answer arrived that nobody was looking at, or somebody looked."""

    unread: bool
    type: Literal["unread_changed"] = "unread_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDeleted:
    """The session was removed; an undo takes it back."""

    at: float
    deleted: bool = True
    type: Literal["session_deleted"] = "session_deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAdded:
    """A message that no run generated entered the tree: imported, forked, restored."""

    message: Message
    type: Literal["message_added"] = "message_added"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRemoved:
    """A message and all that follows it were discarded."""

    message_id: str
    type: Literal["message_removed"] = "message_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSelected:
    """Of several versions of a turn, this one is shown and is the context."""

    message_id: str
    type: Literal["message_selected"] = "message_selected"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQueued:
    """A run was asked for. Its user message enters the transcript when it starts.

    Said again of a run that still waits, it changes the message.
    """

    run_id: str
    at: float
    kind: RunKind
    message_id: str
    """The answer: a new message, or with `continue` and `resume` the one to append to."""
    prompt: Message | None = None
    """The user's message; its `parent_id` counts only if `rooted`."""
    rooted: bool = False
    """The prompt (or the answer) has its place in the tree already: an edit, a new version."""
    parent_id: str | None = None
    """With `rooted` and no prompt: the user message that the answer follows."""
    replaces: str | None = None
    """The answer that goes away: at this run's start where it is empty, else with this run's first part."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the request for this run alone; they win over those of the session."""
    type: Literal["run_queued"] = "run_queued"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """The run got its turn: the user message and an empty answer are in the transcript."""

    run_id: str
    at: float
    prompt: Message | None
    answer: Message | None
    """The new, empty answer; None where the run appends to an existing one."""
    model: str | None = None
    """The model asked for."""
    type: Literal["run_started"] = "run_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetrying:
    """An attempt failed before the first token; the next one comes after a wait."""

    run_id: str
    attempt: int
    """The number of the retry that will follow, from 1."""
    of: int
    retry_at: float
    error: ErrorInfo
    type: Literal["run_retrying"] = "run_retrying"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConnecting:
    """A wait is over and the run asks the provider (again)."""

    run_id: str
    type: Literal["run_connecting"] = "run_connecting"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAnswering:
    """The provider said which model answers, and under which id."""

    run_id: str
    model: str | None = None
    response_id: str | None = None
    sequence: int = 0
    type: Literal["run_answering"] = "run_answering"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStarted:
    """A new, empty part of the answer; parts are numbered from 0 in their message."""

    run_id: str
    at: float
    part_index: int
    part: Part
    type: Literal["part_started"] = "part_started"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDelta:
    """Text to append to one part of the answer."""

    run_id: str
    at: float
    part_index: int
    offset: int
    """Length of the part before, in UTF-16 code units."""
    text: str
    type: Literal["part_delta"] = "part_delta"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnded:
    """No more text for this part; what a view shows can be verified."""

    run_id: str
    part_index: int
    length: int
    """UTF-16 code units."""
    crc32: int
    """Of the UTF-8."""
    seconds: float
    """From the part's start to its end."""
    call_id: str | None = None
    name: str | None = None
    """A tool call's id and name, which may be complete only now."""
    type: Literal["part_ended"] = "part_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPaused:
    """Reading has stopped; the connection is held."""

    run_id: str
    at: float
    type: Literal["run_paused"] = "run_paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """Reading goes on, in the middle of the text."""

    run_id: str
    type: Literal["run_resumed"] = "run_resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequeued:
    """A run that was paused before its turn waits for it again."""

    run_id: str
    type: Literal["run_requeued"] = "run_requeued"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
    """The user wants the run to end; a delta may still be on its way."""

    run_id: str
    at: float
    type: Literal["stop_requested"] = "stop_requested"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCompleted:
    """The model finished its answer."""

    run_id: str
    at: float
    finish_reason: str
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()
    type: Literal["run_completed"] = "run_completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIncomplete:
    """The model stopped early: `length`, `content_filter`."""

    run_id: str
    at: float
    finish_reason: str
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()
    type: Literal["run_incomplete"] = "run_incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped:
    """The user ended it; what had arrived is kept."""

    run_id: str
    at: float
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()
    type: Literal["run_stopped"] = "run_stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """It ended before anything had arrived."""

    run_id: str
    at: float
    error: ErrorInfo
    usage: Usage | None = None
    type: Literal["run_failed"] = "run_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInterrupted:
    """It ended in the middle, without a finish reason; what had arrived is kept."""

    run_id: str
    at: float
    error: ErrorInfo
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()
    type: Literal["run_interrupted"] = "run_interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAcknowledged:
    """The user decided to keep an interrupted answer as it is."""

    run_id: str
    type: Literal["run_acknowledged"] = "run_acknowledged"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSaved:
    """Whether the journal holds the run's end; said only when it does not, or does after all."""

    run_id: str
    saved: bool
    type: Literal["run_saved"] = "run_saved"


RunEvent = (
    RunStarted
    | RunRetrying
    | RunConnecting
    | RunAnswering
    | PartStarted
    | PartDelta
    | PartEnded
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
"""What moves a run, or happens inside one."""

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

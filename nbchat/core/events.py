"""What can have happened in a session: immutable facts, folded by `transcript.apply_event`.

An event says what was decided, with every id and time in it, so that folding needs no clock and no
chance: Python, the page, the journal and a snapshot come to the same state from the same events.
Times (`at`) are seconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import field

from nbchat.core.errors import ErrorInfo
from nbchat.core.messages import Message, Part, Source, Usage
from nbchat.core.values import FiniteFloat, SafeInt, Tagged, Value

RunKind = Literal["send", "retry", "regenerate", "continue", "resume"]
"""Why a run was started."""


class Settings(Value, frozen=True, kw_only=True):
    """What the user chose for a session; every field may change at any time."""

    title: str = ""
    """Empty: the page shows the first words of the first question."""
    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    provider: str | None = None
    """Name of an `nbchat.providers` entry point; None for the configured one."""
    pinned: bool = False
    rank: FiniteFloat | None = None
    """Place among the tabs, lowest first; None: by when the session was made, in seconds since 1970."""
    closed: bool = False
    """The tab is hidden; runs go on."""
    archived: bool = False
    from_file: bool = False
    """Model, instructions and parameters came with a file and wait for the user's word."""


class SessionCreated(Tagged, frozen=True, kw_only=True, tag="session_created"):
    """The session began, or was taken over from a snapshot of another lineage."""

    at: FiniteFloat
    settings: Settings
    temporary: bool = False
    thread_id: str | None = None


class SettingsChanged(Tagged, frozen=True, kw_only=True, tag="settings_changed"):
    """The user chose other settings; the whole of them, so that applying twice changes nothing."""

    settings: Settings


class UnreadChanged(Tagged, frozen=True, kw_only=True, tag="unread_changed"):
    """An answer arrived that nobody was looking at, or somebody looked."""

    unread: bool


class SessionDeleted(Tagged, frozen=True, kw_only=True, tag="session_deleted"):
    """The session was removed; an undo takes it back."""

    at: FiniteFloat
    deleted: bool = True


class MessageAdded(Tagged, frozen=True, kw_only=True, tag="message_added"):
    """A message that no run generated entered the tree: imported, forked, restored."""

    message: Message


class MessageRemoved(Tagged, frozen=True, kw_only=True, tag="message_removed"):
    """A message and all that follows it were discarded."""

    message_id: str


class MessageSelected(Tagged, frozen=True, kw_only=True, tag="message_selected"):
    """Of several versions of a turn, this one is shown and is the context."""

    message_id: str


class RunQueued(Tagged, frozen=True, kw_only=True, tag="run_queued"):
    """A run was asked for. Its user message enters the transcript when it starts.

    Said again of a run that still waits, it changes the message.
    """

    run_id: str
    at: FiniteFloat
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


class RunStarted(Tagged, frozen=True, kw_only=True, tag="run_started"):
    """The run got its turn: the user message and an empty answer are in the transcript."""

    run_id: str
    at: FiniteFloat
    prompt: Message | None
    answer: Message | None
    """The new, empty answer; None where the run appends to an existing one."""
    model: str | None = None
    """The model asked for."""


class RunRetrying(Tagged, frozen=True, kw_only=True, tag="run_retrying"):
    """An attempt failed before the first token; the next one comes after a wait."""

    run_id: str
    attempt: SafeInt
    """The number of the retry that will follow, from 1."""
    of: SafeInt
    retry_at: FiniteFloat
    error: ErrorInfo


class RunConnecting(Tagged, frozen=True, kw_only=True, tag="run_connecting"):
    """A wait is over and the run asks the provider (again)."""

    run_id: str


class RunAnswering(Tagged, frozen=True, kw_only=True, tag="run_answering"):
    """The provider said which model answers, and under which id."""

    run_id: str
    model: str | None = None
    response_id: str | None = None
    sequence: SafeInt = 0


class PartStarted(Tagged, frozen=True, kw_only=True, tag="part_started"):
    """A new, empty part of the answer; parts are numbered from 0 in their message."""

    run_id: str
    at: FiniteFloat
    part_index: SafeInt
    part: Part


class PartDelta(Tagged, frozen=True, kw_only=True, tag="part_delta"):
    """Text to append to one part of the answer."""

    run_id: str
    at: FiniteFloat
    part_index: SafeInt
    offset: SafeInt
    """Length of the part before, in UTF-16 code units."""
    text: str


class PartEnded(Tagged, frozen=True, kw_only=True, tag="part_ended"):
    """No more text for this part; what a view shows can be verified."""

    run_id: str
    part_index: SafeInt
    length: SafeInt
    """UTF-16 code units."""
    crc32: SafeInt
    """Of the UTF-8."""
    seconds: FiniteFloat
    """From the part's start to its end."""
    call_id: str | None = None
    name: str | None = None
    """A tool call's id and name, which may be complete only now."""


class RunPaused(Tagged, frozen=True, kw_only=True, tag="run_paused"):
    """Reading has stopped; the connection is held."""

    run_id: str
    at: FiniteFloat


class RunResumed(Tagged, frozen=True, kw_only=True, tag="run_resumed"):
    """Reading goes on, in the middle of the text."""

    run_id: str


class RunRequeued(Tagged, frozen=True, kw_only=True, tag="run_requeued"):
    """A run that was paused before its turn waits for it again."""

    run_id: str


class StopRequested(Tagged, frozen=True, kw_only=True, tag="stop_requested"):
    """The user wants the run to end; a delta may still be on its way."""

    run_id: str
    at: FiniteFloat


class RunCompleted(Tagged, frozen=True, kw_only=True, tag="run_completed"):
    """The model finished its answer."""

    run_id: str
    at: FiniteFloat
    finish_reason: str
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunIncomplete(Tagged, frozen=True, kw_only=True, tag="run_incomplete"):
    """The model stopped early: `length`, `content_filter`."""

    run_id: str
    at: FiniteFloat
    finish_reason: str
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunStopped(Tagged, frozen=True, kw_only=True, tag="run_stopped"):
    """The user ended it; what had arrived is kept."""

    run_id: str
    at: FiniteFloat
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunFailed(Tagged, frozen=True, kw_only=True, tag="run_failed"):
    """It ended before anything had arrived."""

    run_id: str
    at: FiniteFloat
    error: ErrorInfo
    usage: Usage | None = None


class RunInterrupted(Tagged, frozen=True, kw_only=True, tag="run_interrupted"):
    """It ended in the middle, without a finish reason; what had arrived is kept."""

    run_id: str
    at: FiniteFloat
    error: ErrorInfo
    usage: Usage | None = None
    sources: tuple[Source, ...] = ()
    notices: tuple[str, ...] = ()


class RunAcknowledged(Tagged, frozen=True, kw_only=True, tag="run_acknowledged"):
    """The user decided to keep an interrupted answer as it is."""

    run_id: str


class RunSaved(Tagged, frozen=True, kw_only=True, tag="run_saved"):
    """Whether the journal holds the run's end; said only when it does not, or does after all."""

    run_id: str
    saved: bool


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

"""Commands that cells and other kernels send, but pages cannot, and the outcome of any command.

Every command carries an `id` made by its sender. Commands are idempotent: a repeated id is executed once and
acknowledged again. Ids of new sessions, runs and messages are made by the sender too, so that it has them
even if the acknowledgement is lost. A command that is refused changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from nbchat.core.commands import Command as PageCommand
from nbchat.core.messages import Message
from nbchat.core.saved import Snapshot
from nbchat.core.settings import NO_CHANGE, SettingsPatch
from nbchat.core.values import Tagged, Value


class CreateSession(Tagged, frozen=True, kw_only=True, tag="create_session"):
    """Create a session."""

    id: str
    session_id: str
    settings: SettingsPatch = NO_CHANGE
    provider_id: str | None = None
    """A provider object that the sender has offered, by the id that it got for it."""
    temporary: bool = False
    """Not saved, and without a tab."""
    messages: tuple[Message, ...] = ()
    """Its first messages, for a conversation that another program wrote."""


class GetOrCreateSession(Tagged, frozen=True, kw_only=True, tag="get_or_create_session"):
    """Change the settings of the session with this id or title; create it if there is none."""

    id: str
    session_id: str
    """Of the session to create."""
    key: str
    """An id or a title."""
    settings: SettingsPatch = NO_CHANGE
    provider_id: str | None = None
    temporary: bool = False


class GetOrCreateThread(Tagged, frozen=True, kw_only=True, tag="get_or_create_thread"):
    """Change the settings of the session of a caller's thread; create it, without a tab, if there is none."""

    id: str
    session_id: str
    """Of the session to create."""
    thread_id: str
    settings: SettingsPatch = NO_CHANGE


class ChangeSettings(Tagged, frozen=True, kw_only=True, tag="change_settings"):
    """Change settings of a session; live runs keep those they started with."""

    id: str
    session_id: str
    settings: SettingsPatch


class DiscardTemporary(Tagged, frozen=True, kw_only=True, tag="discard_temporary"):
    """Forget a temporary session and stop its run. Does nothing to any other session."""

    id: str
    session_id: str


class Restore(Tagged, frozen=True, kw_only=True, tag="restore"):
    """Merge a snapshot: the newest version of each session wins. Starts nothing."""

    id: str
    snapshot: Snapshot
    adopt: bool = False
    """Use its models, instructions and parameters at once."""


class PauseAll(Tagged, frozen=True, kw_only=True, tag="pause_all"):
    """Pause every live run that can be paused."""

    id: str


class ResumeAll(Tagged, frozen=True, kw_only=True, tag="resume_all"):
    """Resume every paused run."""

    id: str


class CleanUpStale(Tagged, frozen=True, kw_only=True, tag="clean_up_stale"):
    """End runs that received no content for a time, as `interrupted`."""

    id: str
    max_idle_s: float | None = None
    """`None`: `limits.stale_s`."""


class SetLimits(Tagged, frozen=True, kw_only=True, tag="set_limits"):
    """Set limits, all or none."""

    id: str
    values: Mapping[str, float | None] = field(default_factory=dict)


KernelCommand = (
    CreateSession
    | GetOrCreateSession
    | GetOrCreateThread
    | ChangeSettings
    | DiscardTemporary
    | Restore
    | PauseAll
    | ResumeAll
    | CleanUpStale
    | SetLimits
)

Command = PageCommand | KernelCommand
"""Everything that changes something."""


class RunKey(Value, frozen=True, kw_only=True):
    """A run of a session."""

    session_id: str
    run_id: str


class Outcome(Value, frozen=True, kw_only=True):
    """The result of a command, for its acknowledgement."""

    session_id: str | None = None
    """The session that was created, found or changed."""
    run_id: str | None = None
    """The run that was started, resumed or changed."""
    runs: tuple[RunKey, ...] = ()
    """Runs that were stopped, paused, resumed or ended."""
    session_ids: tuple[str, ...] = ()
    """Sessions that were restored."""

"""Commands that cells and other kernels send, but pages cannot, and the outcome of any command.

Every command carries an `id` created by its sender. Commands are idempotent: a repeated id is executed once
and acknowledged again. The sender also creates the ids of new sessions, runs and messages, so that it has
them even if the acknowledgement is lost. A command that is rejected changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import field

from nbchat.core.commands import Command as PageCommand
from nbchat.core.commands import Identified, OfSession
from nbchat.core.messages import Message
from nbchat.core.saved import Snapshot
from nbchat.core.settings import NO_CHANGE, SettingsPatch
from nbchat.core.values import Value


class CreateSession(OfSession, frozen=True, kw_only=True, tag="create_session"):
    """Create a session."""

    settings: SettingsPatch = NO_CHANGE
    provider_id: str | None = None
    """Id of a provider object that the sender has registered."""
    temporary: bool = False
    """The session is not saved and has no tab."""
    messages: tuple[Message, ...] = ()
    """Initial messages, for a conversation from another program."""


class GetOrCreateSession(Identified, frozen=True, kw_only=True, tag="get_or_create_session"):
    """Change the settings of the session with this id or title, and create it if it does not exist."""

    session_id: str
    """Id of the session to create."""
    key: str
    """An id or a title."""
    settings: SettingsPatch = NO_CHANGE
    provider_id: str | None = None
    temporary: bool = False


class GetOrCreateThread(Identified, frozen=True, kw_only=True, tag="get_or_create_thread"):
    """Change the settings of the session of a thread id. If it does not exist, create it without a tab."""

    session_id: str
    """Id of the session to create."""
    thread_id: str
    settings: SettingsPatch = NO_CHANGE


class ChangeSettings(OfSession, frozen=True, kw_only=True, tag="change_settings"):
    """Change settings of a session. Live runs keep the settings they started with."""

    settings: SettingsPatch


class DiscardTemporary(OfSession, frozen=True, kw_only=True, tag="discard_temporary"):
    """Stop the run of a temporary session and remove the session. No effect on other sessions."""


class Restore(Identified, frozen=True, kw_only=True, tag="restore"):
    """Merge a snapshot. The newest version of each session wins; no run is started."""

    snapshot: Snapshot
    adopt: bool = False
    """Use the snapshot's models, instructions and parameters at once."""


class PauseAll(Identified, frozen=True, kw_only=True, tag="pause_all"):
    """Pause every live run that can be paused."""


class ResumeAll(Identified, frozen=True, kw_only=True, tag="resume_all"):
    """Resume every paused run."""


class CleanUpStale(Identified, frozen=True, kw_only=True, tag="clean_up_stale"):
    """End runs without new content for some time, as `interrupted`."""

    max_idle_s: float | None = None
    """`None`: `limits.stale_s`."""


class SetLimits(Identified, frozen=True, kw_only=True, tag="set_limits"):
    """Set limits atomically."""

    values: Mapping[str, int | float | None] = field(default_factory=dict)


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
"""All commands."""


class RunKey(Value, frozen=True, kw_only=True):
    """Identifies a run of a session."""

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

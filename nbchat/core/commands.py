"""Commands that a page can send. A command that is rejected changes nothing.

Every command carries an `id` created by the page. Commands are idempotent: a repeated id, from any page, is
executed once and acknowledged again. A command about a run carries the run's id, so that a late Stop cannot
affect the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import field

from nbchat.core.messages import Attachment
from nbchat.core.values import SafeInt, Tagged

Decision = Literal["run", "run_all", "refuse"]
"""The user's decision on a tool call."""


class Identified(Tagged, frozen=True, kw_only=True):
    """A command."""

    id: str


class OfSession(Identified, frozen=True, kw_only=True):
    """A command about a session."""

    session_id: str


class OfRun(OfSession, frozen=True, kw_only=True):
    """A command about a run."""

    run_id: str


class OfMessage(OfSession, frozen=True, kw_only=True):
    """A command about a message."""

    message_id: str


class Send(OfSession, frozen=True, kw_only=True, tag="send"):
    """Send a message to a session. It is queued if the session is busy."""

    text: str
    attachments: tuple[Attachment, ...] = ()
    run_id: str | None = None
    """Id of the new run; `None`: the kernel creates one."""
    message_id: str | None = None
    """Id of the question; `None`: the kernel creates one."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Request fields of this run, which override those of the session."""


class Stop(OfRun, frozen=True, kw_only=True, tag="stop"):
    """Stop a live or queued run, and keep its text."""


class StopAll(Identified, frozen=True, kw_only=True, tag="stop_all"):
    """Stop all runs of a session or of the kernel, including queued ones."""

    session_id: str | None = None


class Pause(OfRun, frozen=True, kw_only=True, tag="pause"):
    """Stop reading the answer until `resume`."""


class Resume(OfRun, frozen=True, kw_only=True, tag="resume"):
    """Resume a paused run, or an interrupted one if the provider supports it."""


class RetryNow(OfRun, frozen=True, kw_only=True, tag="retry_now"):
    """End the delay before the next attempt of a run. Without such a delay it does nothing."""


class Decide(OfRun, frozen=True, kw_only=True, tag="decide"):
    """Decide on a tool call that waits for approval. Each call is decided once."""

    call_id: str
    decision: Decision
    """`run`, `run_all` (also all later calls of this run) or `refuse`."""
    shown: SafeInt
    """CRC-32 of the arguments that were displayed, in UTF-8. Other arguments are not approved."""
    reason: str = ""
    """With `refuse`: text for the model, such as "use the test table"."""


class SwitchTool(OfSession, frozen=True, kw_only=True, tag="switch_tool"):
    """Switch one of a session's tools off or on again, for questions that start later. It is not saved."""

    name: str
    on: bool


class Retry(OfMessage, frozen=True, kw_only=True, tag="retry"):
    """Generate a failed, interrupted or stopped answer again, and replace it."""


class Regenerate(OfMessage, frozen=True, kw_only=True, tag="regenerate"):
    """Generate another version of an answer."""


class Continue(OfMessage, frozen=True, kw_only=True, tag="continue"):
    """Continue an incomplete answer at its end."""


class Edit(OfMessage, frozen=True, kw_only=True, tag="edit"):
    """Send an edited question and keep the earlier one as a version. A queued question changes in place."""

    text: str


class Keep(OfRun, frozen=True, kw_only=True, tag="keep"):
    """Keep an interrupted answer as it is."""


class Discard(OfMessage, frozen=True, kw_only=True, tag="discard"):
    """Remove an answer whose run has ended, and keep the question."""


class SelectVersion(OfMessage, frozen=True, kw_only=True, tag="select_version"):
    """Select the version of a turn that is shown and used as context."""


class Fork(OfSession, frozen=True, kw_only=True, tag="fork"):
    """Create a session with the conversation up to a message."""

    message_id: str | None = None
    """`None`: the whole conversation."""
    title: str | None = None
    """`None`: the same title, with a word that marks it as a fork."""
    word: str = "fork"
    """That word, in the language of the sender."""


class NewSession(Identified, frozen=True, kw_only=True, tag="new_session"):
    """Create a session. The acknowledgement contains its id."""

    title: str = ""


class Rename(OfSession, frozen=True, kw_only=True, tag="rename"):
    """Set a session's title. An empty title selects the first words of the first question."""

    title: str


class Configure(OfSession, frozen=True, kw_only=True, tag="configure"):
    """Set model, instructions and parameters. This also adopts settings that came from a file."""

    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


class Pin(OfSession, frozen=True, kw_only=True, tag="pin"):
    """Protect a session from eviction, and place its tab first."""

    pinned: bool = True


class Move(OfSession, frozen=True, kw_only=True, tag="move"):
    """Move a session's tab before another one. `before=None` moves it to the end."""

    before: str | None = None


class Close(OfSession, frozen=True, kw_only=True, tag="close"):
    """Hide a session's tab; its runs continue. With `closed=False`, show it again."""

    closed: bool = True


class Archive(OfSession, frozen=True, kw_only=True, tag="archive"):
    """Archive a session: remove it from the tabs and from the first page of the list."""

    archived: bool = True


class Delete(OfSession, frozen=True, kw_only=True, tag="delete"):
    """Stop a session's runs and remove it. With `deleted=False`, restore it."""

    deleted: bool = True


class Viewing(Identified, frozen=True, kw_only=True, tag="viewing"):
    """Set the sessions that the page shows now. Their answers are not marked as unread."""

    session_ids: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    """Sessions for which the page holds unsent text or files."""


class SetView(Identified, frozen=True, kw_only=True, tag="set_view"):
    """Change a view's active tab or its list of sessions, or show it in a panel."""

    view_id: str
    active: str | None = None
    """Id of the session whose tab is active; `None`: unchanged."""
    session_ids: tuple[str, ...] | None = None
    """Sessions that the view shows; `None`: unchanged."""
    panel: bool = False
    """`True`: show the view in a panel beside the notebook, as `ChatTabs.panel` does; else no change."""


class ListModels(Identified, frozen=True, kw_only=True, tag="list_models"):
    """List the models of a session's server. The response is a `models` message."""

    session_id: str | None = None
    """`None`: the server of new sessions."""


Command = (
    Send
    | Stop
    | StopAll
    | Pause
    | Resume
    | RetryNow
    | Decide
    | SwitchTool
    | Retry
    | Regenerate
    | Continue
    | Edit
    | Keep
    | Discard
    | SelectVersion
    | Fork
    | NewSession
    | Rename
    | Configure
    | Pin
    | Move
    | Close
    | Archive
    | Delete
    | Viewing
    | SetView
    | ListModels
)

"""Commands that a page can send. A command that is rejected changes nothing.

Every command carries an `id` created by the page. Commands are idempotent: a repeated id, from any page, is
executed once and acknowledged again. A command about a run carries the run's id, so that a late Stop cannot
affect the next run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import field

from nbchat.core.messages import Attachment
from nbchat.core.values import Tagged


class Send(Tagged, frozen=True, kw_only=True, tag="send"):
    """Send a message to a session. It is queued if the session is busy."""

    id: str
    session_id: str
    text: str
    attachments: tuple[Attachment, ...] = ()
    run_id: str | None = None
    """Id of the new run; `None`: the kernel creates one."""
    message_id: str | None = None
    """Id of the question; `None`: the kernel creates one."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Request fields of this run, which override those of the session."""


class Stop(Tagged, frozen=True, kw_only=True, tag="stop"):
    """Stop a live or queued run, and keep its text."""

    id: str
    session_id: str
    run_id: str


class StopAll(Tagged, frozen=True, kw_only=True, tag="stop_all"):
    """Stop all runs of a session or of the kernel, including queued ones."""

    id: str
    session_id: str | None = None


class Pause(Tagged, frozen=True, kw_only=True, tag="pause"):
    """Stop reading the answer until `resume`."""

    id: str
    session_id: str
    run_id: str


class Resume(Tagged, frozen=True, kw_only=True, tag="resume"):
    """Resume a paused run, or an interrupted one if the provider supports it."""

    id: str
    session_id: str
    run_id: str


class RetryNow(Tagged, frozen=True, kw_only=True, tag="retry_now"):
    """End the delay before the next attempt of a run. Without such a delay it does nothing."""

    id: str
    session_id: str
    run_id: str


class Retry(Tagged, frozen=True, kw_only=True, tag="retry"):
    """Generate a failed, interrupted or stopped answer again, and replace it."""

    id: str
    session_id: str
    message_id: str


class Regenerate(Tagged, frozen=True, kw_only=True, tag="regenerate"):
    """Generate another version of an answer."""

    id: str
    session_id: str
    message_id: str


class Continue(Tagged, frozen=True, kw_only=True, tag="continue"):
    """Continue an incomplete answer at its end."""

    id: str
    session_id: str
    message_id: str


class Edit(Tagged, frozen=True, kw_only=True, tag="edit"):
    """Send an edited question and keep the earlier one as a version. A queued question changes in place."""

    id: str
    session_id: str
    message_id: str
    text: str


class Keep(Tagged, frozen=True, kw_only=True, tag="keep"):
    """Keep an interrupted answer as it is."""

    id: str
    session_id: str
    run_id: str


class Discard(Tagged, frozen=True, kw_only=True, tag="discard"):
    """Remove an answer whose run has ended, and keep the question."""

    id: str
    session_id: str
    message_id: str


class SelectVersion(Tagged, frozen=True, kw_only=True, tag="select_version"):
    """Select the version of a turn that is shown and used as context."""

    id: str
    session_id: str
    message_id: str


class Fork(Tagged, frozen=True, kw_only=True, tag="fork"):
    """Create a session with the conversation up to a message."""

    id: str
    session_id: str
    message_id: str | None = None
    """`None`: the whole conversation."""
    title: str | None = None
    """`None`: the same title, with a word that marks it as a fork."""
    word: str = "fork"
    """That word, in the language of the sender."""


class NewSession(Tagged, frozen=True, kw_only=True, tag="new_session"):
    """Create a session. The acknowledgement contains its id."""

    id: str
    title: str = ""


class Rename(Tagged, frozen=True, kw_only=True, tag="rename"):
    """Set a session's title. An empty title selects the first words of the first question."""

    id: str
    session_id: str
    title: str


class Configure(Tagged, frozen=True, kw_only=True, tag="configure"):
    """Set model, instructions and parameters. This also adopts settings that came from a file."""

    id: str
    session_id: str
    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


class Pin(Tagged, frozen=True, kw_only=True, tag="pin"):
    """Protect a session from eviction, and place its tab first."""

    id: str
    session_id: str
    pinned: bool = True


class Move(Tagged, frozen=True, kw_only=True, tag="move"):
    """Move a session's tab before another one. `before=None` moves it to the end."""

    id: str
    session_id: str
    before: str | None = None


class Close(Tagged, frozen=True, kw_only=True, tag="close"):
    """Hide a session's tab; its runs continue. With `closed=False`, show it again."""

    id: str
    session_id: str
    closed: bool = True


class Archive(Tagged, frozen=True, kw_only=True, tag="archive"):
    """Archive a session: remove it from the tabs and from the first page of the list."""

    id: str
    session_id: str
    archived: bool = True


class Delete(Tagged, frozen=True, kw_only=True, tag="delete"):
    """Stop a session's runs and remove it. With `deleted=False`, restore it."""

    id: str
    session_id: str
    deleted: bool = True


class Viewing(Tagged, frozen=True, kw_only=True, tag="viewing"):
    """Set the sessions that the page shows now. Their answers are not marked as unread."""

    id: str
    session_ids: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    """Sessions for which the page holds unsent text or files."""


class SetView(Tagged, frozen=True, kw_only=True, tag="set_view"):
    """Change a view's active tab or its list of sessions, or show it in a panel."""

    id: str
    view_id: str
    active: str | None = None
    """Id of the session whose tab is active; `None`: unchanged."""
    session_ids: tuple[str, ...] | None = None
    """Sessions that the view shows; `None`: unchanged."""
    panel: bool = False
    """`True`: show the view in a panel beside the notebook, as `ChatTabs.panel` does; else no change."""


class ListModels(Tagged, frozen=True, kw_only=True, tag="list_models"):
    """List the models of a session's server. The response is a `models` message."""

    id: str
    session_id: str | None = None
    """`None`: the server of new sessions."""


Command = (
    Send
    | Stop
    | StopAll
    | Pause
    | Resume
    | RetryNow
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

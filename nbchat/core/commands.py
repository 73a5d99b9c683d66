"""What a page may ask for. A command may be rejected; then nothing has changed.

Every command carries an `id` made by the page. The same id again, from whichever page, is the same
wish: it is done once and answered again. A command about a run names the run, so that a late Stop
cannot hit the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import field

from nbchat.core.messages import Attachment
from nbchat.core.values import Tagged


class Send(Tagged, frozen=True, kw_only=True, tag="send"):
    """Ask in a session; waits its turn when the session is busy."""

    id: str
    session_id: str
    text: str
    attachments: tuple[Attachment, ...] = ()
    run_id: str | None = None
    """Id for the new run; `None`: the kernel makes one."""
    message_id: str | None = None
    """Id for the question; `None`: the kernel makes one."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Fields of this request alone; they win over those of the session."""


class Stop(Tagged, frozen=True, kw_only=True, tag="stop"):
    """End this run, live or queued, and keep its text."""

    id: str
    session_id: str
    run_id: str


class StopAll(Tagged, frozen=True, kw_only=True, tag="stop_all"):
    """End every run of a session, or of the kernel, queued ones too."""

    id: str
    session_id: str | None = None


class Pause(Tagged, frozen=True, kw_only=True, tag="pause"):
    """Stop reading."""

    id: str
    session_id: str
    run_id: str


class Resume(Tagged, frozen=True, kw_only=True, tag="resume"):
    """Read on in a paused run; where the run was interrupted and the provider can, go on with it."""

    id: str
    session_id: str
    run_id: str


class Retry(Tagged, frozen=True, kw_only=True, tag="retry"):
    """Ask again for a failed, interrupted or stopped answer, which is replaced."""

    id: str
    session_id: str
    message_id: str


class Regenerate(Tagged, frozen=True, kw_only=True, tag="regenerate"):
    """Ask for another version of an answer."""

    id: str
    session_id: str
    message_id: str


class Continue(Tagged, frozen=True, kw_only=True, tag="continue"):
    """Go on at the end of an answer that is not complete."""

    id: str
    session_id: str
    message_id: str


class Edit(Tagged, frozen=True, kw_only=True, tag="edit"):
    """Ask a changed question; the earlier one stays as a version. In the queue, change what waits."""

    id: str
    session_id: str
    message_id: str
    text: str


class Keep(Tagged, frozen=True, kw_only=True, tag="keep"):
    """Take an interrupted answer as it is."""

    id: str
    session_id: str
    run_id: str


class Discard(Tagged, frozen=True, kw_only=True, tag="discard"):
    """Remove an answer that is over; the question stays."""

    id: str
    session_id: str
    message_id: str


class SelectVersion(Tagged, frozen=True, kw_only=True, tag="select_version"):
    """Show this version of a turn, and take it as the context."""

    id: str
    session_id: str
    message_id: str


class Fork(Tagged, frozen=True, kw_only=True, tag="fork"):
    """Start a new session with the conversation up to a message."""

    id: str
    session_id: str
    message_id: str | None = None
    """`None`: all of it."""
    title: str | None = None
    """`None`: the same title."""


class NewSession(Tagged, frozen=True, kw_only=True, tag="new_session"):
    """Make a session; the answer says its id."""

    id: str
    title: str = ""


class Rename(Tagged, frozen=True, kw_only=True, tag="rename"):
    """Give a session a title; an empty one goes back to the first words of the first question."""

    id: str
    session_id: str
    title: str


class Configure(Tagged, frozen=True, kw_only=True, tag="configure"):
    """Choose model, instructions and parameters; also how what came from a file is adopted."""

    id: str
    session_id: str
    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


class Pin(Tagged, frozen=True, kw_only=True, tag="pin"):
    """Keep a session from being evicted, and its tab in front."""

    id: str
    session_id: str
    pinned: bool = True


class Move(Tagged, frozen=True, kw_only=True, tag="move"):
    """Put a session's tab in front of another's; None: behind all others."""

    id: str
    session_id: str
    before: str | None = None


class Close(Tagged, frozen=True, kw_only=True, tag="close"):
    """Hide the tab; runs go on. With `closed=False`, show it again."""

    id: str
    session_id: str
    closed: bool = True


class Archive(Tagged, frozen=True, kw_only=True, tag="archive"):
    """Put a session away: out of the tabs and of the list's first page."""

    id: str
    session_id: str
    archived: bool = True


class Delete(Tagged, frozen=True, kw_only=True, tag="delete"):
    """Stop what runs and remove the session. With `deleted=False`, undo that."""

    id: str
    session_id: str
    deleted: bool = True


class Viewing(Tagged, frozen=True, kw_only=True, tag="viewing"):
    """Which sessions this page shows at the moment; their answers are read, not unread."""

    id: str
    session_ids: tuple[str, ...] = ()


class SetView(Tagged, frozen=True, kw_only=True, tag="set_view"):
    """Change what one view shows: its chosen tab, its list of sessions, or both."""

    id: str
    view_id: str
    active: str | None = None
    """Id of the session whose tab was chosen; None: unchanged."""
    session_ids: tuple[str, ...] | None = None
    """The sessions that the view shows; None: unchanged."""


class ListModels(Tagged, frozen=True, kw_only=True, tag="list_models"):
    """Ask a session's server which models there are; the answer is a `models` message."""

    id: str
    session_id: str | None = None
    """None: the server that new sessions ask."""


Command = (
    Send
    | Stop
    | StopAll
    | Pause
    | Resume
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

"""What a page may ask for. A command may be rejected; then nothing has changed.

Every command carries an `id` made by the page. The same id again, from whichever page, is the same
wish: it is done once and answered again. A command about a run names the run, so that a late Stop
cannot hit the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nbchat.core.messages import Attachment


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Ask in a session; waits its turn when the session is busy."""

    id: str
    session_id: str
    text: str
    attachments: tuple[Attachment, ...] = ()
    type: Literal["send"] = "send"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End this run, live or queued, and keep its text."""

    id: str
    session_id: str
    run_id: str
    type: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopAll:
    """End every run of a session, or of the kernel, queued ones too."""

    id: str
    session_id: str | None = None
    type: Literal["stop_all"] = "stop_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Stop reading."""

    id: str
    session_id: str
    run_id: str
    type: Literal["pause"] = "pause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Read on in a paused run; where the run was interrupted and the provider can, go on with it."""

    id: str
    session_id: str
    run_id: str
    type: Literal["resume"] = "resume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Ask again for a failed, interrupted or stopped answer, which is replaced."""

    id: str
    session_id: str
    message_id: str
    type: Literal["retry"] = "retry"


@dataclass(frozen=True, slots=True, kw_only=True)
class Regenerate:
    """Ask for another version of an answer."""

    id: str
    session_id: str
    message_id: str
    type: Literal["regenerate"] = "regenerate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """Go on at the end of an answer that is not complete."""

    id: str
    session_id: str
    message_id: str
    type: Literal["continue"] = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Ask a changed question; the earlier one stays as a version. In the queue, change what waits."""

    id: str
    session_id: str
    message_id: str
    text: str
    type: Literal["edit"] = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Take an interrupted answer as it is."""

    id: str
    session_id: str
    run_id: str
    type: Literal["keep"] = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discard:
    """Remove an answer that is over; the question stays."""

    id: str
    session_id: str
    message_id: str
    type: Literal["discard"] = "discard"


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectVersion:
    """Show this version of a turn, and take it as the context."""

    id: str
    session_id: str
    message_id: str
    type: Literal["select_version"] = "select_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Start a new session with the conversation up to a message."""

    id: str
    session_id: str
    message_id: str
    type: Literal["fork"] = "fork"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSession:
    """Make a session; the answer says its id."""

    id: str
    title: str = ""
    type: Literal["new_session"] = "new_session"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """Give a session a title; an empty one goes back to the first words of the first question."""

    id: str
    session_id: str
    title: str
    type: Literal["rename"] = "rename"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """Choose model, instructions and parameters; also how what came from a file is adopted."""

    id: str
    session_id: str
    model: str | None = None
    instructions: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    type: Literal["configure"] = "configure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Keep a session from being evicted, and its tab in front."""

    id: str
    session_id: str
    pinned: bool = True
    type: Literal["pin"] = "pin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Put a session's tab in front of another's; None: behind all others."""

    id: str
    session_id: str
    before: str | None = None
    type: Literal["move"] = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Hide the tab; runs go on. With `closed=False`, show it again."""

    id: str
    session_id: str
    closed: bool = True
    type: Literal["close"] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """Put a session away: out of the tabs and of the list's first page."""

    id: str
    session_id: str
    archived: bool = True
    type: Literal["archive"] = "archive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Stop what runs and remove the session. With `deleted=False`, undo that."""

    id: str
    session_id: str
    deleted: bool = True
    type: Literal["delete"] = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewing:
    """Which sessions this page shows at the moment; their answers are read, not unread."""

    id: str
    session_ids: tuple[str, ...] = ()
    type: Literal["viewing"] = "viewing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetView:
    """Change what one view shows: its chosen tab, its list of sessions, or both."""

    id: str
    view_id: str
    active: str | None = None
    """Id of the session whose tab was chosen; None: unchanged."""
    session_ids: tuple[str, ...] | None = None
    """The sessions that the view shows; None: unchanged."""
    type: Literal["set_view"] = "set_view"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListModels:
    """Ask a session's server which models there are; the answer is a `models` message."""

    id: str
    session_id: str | None = None
    """None: the server that new sessions ask."""
    type: Literal["list_models"] = "list_models"


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

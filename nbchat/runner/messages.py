"""Messages of the link between a kernel and its runner, in both directions.

Both sides can call the other: a `Call` is answered by one `Reply` with the same id. Everything that the
kernel lacks of a session it follows is sent before the reply to its call, so a caller reads its own writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Self

from msgspec import field, to_builtins
from msgspec.structs import asdict

from nbchat.core import commands as c
from nbchat.core.alert import Alert
from nbchat.core.errors import ErrorInfo, from_info
from nbchat.core.events import Event
from nbchat.core.messages import Message, Usage
from nbchat.core.run import RunState
from nbchat.core.transcript import SessionState
from nbchat.core.values import SafeInt, Tagged, Value
from nbchat.engine.callbacks import Notification
from nbchat.engine.one_shot import Answer
from nbchat.providers.base import ToolSpec

LINK_VERSION: Final = 3
"""Version of these messages. A runner with another one finishes its answers and is replaced."""


STARTS_RUN: Final = (c.Send, c.Retry, c.Regenerate, c.Continue, c.Edit, c.Resume)
"""Commands after which a run may need the kernel's keys."""


class Server(Value, frozen=True, kw_only=True):
    """A named provider of the kernel."""

    base_url: str
    key_env: str | None = None
    api: str = "auto"
    headers: Mapping[str, str] = field(default_factory=dict)


class Profile(Value, frozen=True, kw_only=True):
    """The configuration of a kernel, with which its runs are generated. It is kept in memory only."""

    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Values set in the kernel and in its configuration files."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the kernel that nbchat reads. Before a run needs them, keys are replaced by `HIDDEN`."""
    servers: Mapping[str, Server] = field(default_factory=dict)
    """Named providers."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Keys that the user typed into a page, by the base URL that each is for."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Credentials of headers and queries, by the references that stand for them."""
    whole: bool = False
    """The keys are in it."""


HIDDEN: Final = "…"
"""Stands for a key in a profile that is sent before a run needs it."""


class Hello(Tagged, frozen=True, kw_only=True, tag="hello"):
    """The first message of a kernel or of the command line."""

    link: SafeInt
    version: str
    """Version of nbchat."""
    token: str = ""
    """The token of the runner's token file; used without Unix sockets."""
    is_kernel: bool = True
    """The command line's links do not keep a runner alive."""


class Greeting(Tagged, frozen=True, kw_only=True, tag="greeting"):
    """The runner's answer to `Hello`."""

    link: SafeInt
    version: str
    pid: SafeInt
    epoch: str
    """The engine's epoch."""
    notebook: str
    """Path of the notebook for which the runner was started."""
    notebook_id: str = ""
    """Id of the notebook whose journal the runner has opened; empty before it restored the sessions."""
    path: str = ""
    """Path of the notebook, as the runner knows it."""


class Call(Tagged, frozen=True, kw_only=True, tag="call"):
    """Call a function of the other side."""

    id: SafeInt
    """Number of the call; 0 if no reply is expected."""
    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


class Reply(Tagged, frozen=True, kw_only=True, tag="reply"):
    """The result of a call."""

    id: SafeInt
    value: Any = None
    error: ErrorInfo | None = None


class FollowedState(Tagged, frozen=True, kw_only=True, tag="followed_state"):
    """The complete state of a session that the kernel follows."""

    state: SessionState


class FollowedEvents(Tagged, frozen=True, kw_only=True, tag="followed_events"):
    """Consecutive events of a session that the kernel follows."""

    session_id: str
    first_seq: SafeInt
    events: tuple[Event, ...]


class Forget(Tagged, frozen=True, kw_only=True, tag="forget"):
    """The kernel no longer follows a session: it was removed, or evicted from the runner's memory."""

    session_id: str


class Notified(Tagged, frozen=True, kw_only=True, tag="notified"):
    """A notification for the callbacks of the kernel."""

    event: str
    session_id: str | None = None
    run_id: str | None = None
    state: str | None = None
    text: str = ""
    at: float = 0.0
    data: Any = None
    kind: str = ""
    """Type of `data`: `message`, `error`, `alert`, `calls`, or empty for a JSON value."""

    @classmethod
    def of(cls, notification: Notification) -> Self:
        """Return a notification as JSON values."""
        data, kind = notification.data, ""
        if isinstance(data, Message | ErrorInfo):
            kind = "message" if isinstance(data, Message) else "error"
        elif isinstance(data, Alert):
            kind = "alert"
        elif notification.event == "approval_needed":
            kind = "calls"
        return cls(
            event=notification.event,
            session_id=notification.session_id,
            run_id=notification.run_id,
            state=notification.state,
            text=notification.text,
            at=notification.at,
            data=to_builtins(data, enc_hook=repr),
            kind=kind,
        )


class ToPages(Tagged, frozen=True, kw_only=True, tag="to_pages"):
    """A message for the kernel's pages; the frame's bytes are its buffer."""

    content: Mapping[str, Any]


class FromPage(Tagged, frozen=True, kw_only=True, tag="from_page"):
    """A message of one of the kernel's pages."""

    message: Any


class Piece(Tagged, frozen=True, kw_only=True, tag="piece"):
    """A delta of a provider object that streams in the kernel."""

    stream: SafeInt
    kind: str
    delta: Any


class More(Tagged, frozen=True, kw_only=True, tag="more"):
    """The runner has read a delta, and the kernel may send another one."""

    stream: SafeInt


class OfferedTool(Value, frozen=True, kw_only=True):
    """A tool of the kernel, as the runner's engine uses it."""

    spec: ToolSpec
    asks: bool
    timeout_s: float | None = None
    on_main_thread: bool = False


class BatchAnswer(Value, frozen=True, kw_only=True):
    """The outcome of a prompt of a batch: `Answer` as JSON."""

    index: SafeInt
    text: str = ""
    state: RunState | None = None
    error: ErrorInfo | None = None
    model: str | None = None
    server: str | None = None
    from_cache: bool = False
    finish_reason: str | None = None
    usage: Usage | None = None
    time_to_first_token_s: float | None = None
    started_at: float | None = None
    duration_s: float | None = None
    attempts: SafeInt = 0
    response_id: str | None = None

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Return an answer as JSON."""
        return cls(**{**asdict(answer), "error": None if answer.error is None else answer.error.info})

    def answer(self) -> Answer:
        """Return the answer."""
        return Answer(**{**asdict(self), "error": None if self.error is None else from_info(self.error)})


class BatchNews(Tagged, frozen=True, kw_only=True, tag="batch_news"):
    """Answers of a batch that the kernel reads, or its end."""

    view: SafeInt
    """The number that the kernel gave when it started the batch or attached to it."""
    answers: tuple[BatchAnswer, ...] = ()
    end: str = ""
    """An `End` of `nbchat/batch_engine/batch.py`."""
    error: ErrorInfo | None = None


ToRunner = Hello | Call | Reply | FromPage | Piece
ToKernel = (
    Greeting | Call | Reply | FollowedState | FollowedEvents | Forget | Notified | ToPages | More | BatchNews
)

"""Everything that can go wrong, in one tree.

::

    NbchatError
    ├── CommandError      what was asked cannot be done now; nothing has changed
    │   ├── UnknownSession, AmbiguousCommand, RunInProgress, RunNotLive, RunOver
    │   ├── NothingToDo, SessionFull, QueueFull, TooManySessions, SessionGone
    │   └── WouldDeadlock, StaleCommand, PicklingRefused
    ├── ProviderError     the answer could not be had, or not the whole of it
    │   ├── before the answer   ConfigError, AuthenticationFailed, ModelNotFound, RequestRejected,
    │   │                       ContextTooLong, RateLimited, ProviderUnavailable, ConnectFailed,
    │   │                       FirstTokenTimeout, EmptyResponse
    │   └── during the answer   IdleTimeout, TotalTimeout, StreamBroken, ProtocolError,
    │                           ProviderErrorEvent, StreamTruncated, LimitExceeded, PauseExpired,
    │                           KernelGone, RunCrashed
    ├── WireError         a page said something that is not in the protocol
    │   └── ViewOutOfSync
    ├── CallbackError     a user's callback raised; runs are not affected
    ├── SnapshotError     a saved state could not be read
    │   └── SnapshotCorrupt, SnapshotTooNew, SnapshotTooLarge
    └── StoreError        the state could not be written down
        └── StoreFull, StoreReadOnly, StoreBusy

The branches tell whose turn it is: the caller's (`CommandError`), the server's or the network's
(`ProviderError`), the page's (`WireError`), the file's (`SnapshotError`, `StoreError`).

Messages say which thing, what state it is in, and what to do next. They never hold a key: text that
comes from outside goes through `redact` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

Stage = Literal["command", "connect", "first_byte", "stream", "tool", "persist", "restore", "view"]
"""Where on a run's way an error happened."""

Retryable = bool | float
"""`False`: trying again cannot help. `True`: it may. A number: it may, after that many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInfo:
    """What is kept of an error in the log, on the wire and in a snapshot: no traceback, no secret."""

    code: str
    """The class's name in `snake_case`, as `rate_limited`."""
    message: str
    stage: Stage = "stream"
    retryable: Retryable = False
    hint: str = ""
    """One sentence that says what to do next."""
    http_status: int | None = None
    request_id: str | None = None
    partial_chars: int = 0
    """Characters of the answer that had arrived."""


class NbchatError(Exception):
    """The root: `except nbchat.NbchatError` catches whatever nbchat raises on its own."""

    stage: Stage = "command"
    retryable: Retryable = False
    hint: str = ""
    http_status: int | None = None
    request_id: str | None = None
    partial_chars: int = 0
    code: ClassVar[str] = "nbchat_error"

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Name the error's code after its class."""
        super().__init_subclass__(**kwargs)
        cls.code = "".join(f"_{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip("_")
        CLASSES[cls.code] = cls

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        stage: Stage | None = None,
        retryable: Retryable | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        partial_chars: int = 0,
    ) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint
        if stage is not None:
            self.stage = stage
        if retryable is not None:
            self.retryable = retryable
        self.http_status = http_status
        self.request_id = request_id
        self.partial_chars = partial_chars

    def __str__(self) -> str:
        """Return the message, followed by what to do next."""
        message = str(self.args[0]) if self.args else self.code
        return f"{message} {self.hint}" if self.hint else message

    @property
    def info(self) -> ErrorInfo:
        """The error as a value that can be stored and sent."""
        return ErrorInfo(
            code=self.code,
            message=str(self.args[0]) if self.args else self.code,
            stage=self.stage,
            retryable=self.retryable,
            hint=self.hint,
            http_status=self.http_status,
            request_id=self.request_id,
            partial_chars=self.partial_chars,
        )


CLASSES: Final[dict[str, type[NbchatError]]] = {}
"""Every error class by its code; how a stored `ErrorInfo` becomes an exception again."""


def from_info(info: ErrorInfo) -> NbchatError:
    """Return the exception that `info` was taken from; of the root class where the code is unknown."""
    cls = CLASSES.get(info.code, ProviderError)
    error = cls.__new__(cls)
    NbchatError.__init__(
        error,
        info.message,
        hint=info.hint,
        stage=info.stage,
        retryable=info.retryable,
        http_status=info.http_status,
        request_id=info.request_id,
        partial_chars=info.partial_chars,
    )
    return error


class CommandError(NbchatError):
    """What was asked for cannot be done now, and nothing has changed."""


class UnknownSession(CommandError, KeyError):
    """No open session has this id or title."""

    def __init__(self, key: object) -> None:
        super().__init__(
            f"no session has the id or title {key!r}.",
            hint="Use nbchat.session(...) to create one, or list(nbchat.registry) to see the ids there are.",
        )
        self.key = key


class SessionGone(CommandError):
    """The session was deleted while something held on to it."""

    def __init__(self, session_id: str) -> None:
        super().__init__(
            f"session {session_id!r} was deleted.",
            hint="Undo the deletion in the page, or create a new session with nbchat.session(...).",
        )
        self.session_id = session_id


class RunInProgress(CommandError):
    """A session generates one answer at a time, and one is not over."""

    def __init__(self, session_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"session {session_id!r} is busy: run {run_id!r} is {state}.",
            hint="Stop it with session.stop(), or wait with run.wait().",
        )
        self.session_id: str = session_id
        self.run_id: str = run_id
        self.state: str = state


class RunNotLive(CommandError):
    """The command needs a live run, and the session has none in the right state."""


class RunOver(CommandError):
    """The run has ended, and ended runs do not change."""


class NothingToDo(CommandError):
    """There is no message that the command could apply to."""


class SessionFull(CommandError):
    """The session holds as much text as its limit allows."""

    def __init__(self, session_id: str, chars: int, limit: int) -> None:
        super().__init__(
            f"session {session_id!r} would hold {chars:,} characters, and its limit is {limit:,}.",
            hint="Start a new session, fork from an earlier message, or raise registry.limits.session_chars.",
        )
        self.session_id = session_id


class QueueFull(CommandError):
    """Too many prompts wait in one session."""


class TooManySessions(CommandError):
    """The registry is full and nothing may be evicted."""


class WouldDeadlock(CommandError):
    """A blocking call on nbchat's own thread would wait for itself."""


class StaleCommand(CommandError):
    """The command speaks of a run or a kernel that is over; it was dropped."""


class PicklingRefused(CommandError, TypeError):
    """Live objects are not pickled: a pickle would lose the run and could carry secrets."""


class ProviderError(NbchatError):
    """The answer could not be had, or not the whole of it."""

    stage: Stage = "stream"


class ConfigError(ProviderError):
    """The settings cannot work: wrong base URL, wrong value, a redirect to another host."""

    stage: Stage = "connect"


class AuthenticationFailed(ProviderError):
    """The server refused the key (401) or what the key may do (403)."""

    stage: Stage = "first_byte"
    hint = "Check OPENAI_API_KEY for this server; it is read again at every run."


class ModelNotFound(ProviderError):
    """The server does not know the model, or the path (404)."""

    stage: Stage = "first_byte"
    hint = "Check the model's name and OPENAI_BASE_URL (it usually ends in /v1)."


class RequestRejected(ProviderError):
    """The server understood the request and refused it (400, 422)."""

    stage: Stage = "first_byte"
    hint = "Check the session's model and params."


class ContextTooLong(ProviderError):
    """The conversation is longer than the model can read."""

    stage: Stage = "first_byte"
    hint = "Fork from an earlier message, shorten the prompt, or choose a model with a longer context."


class RateLimited(ProviderError):
    """The server asks to wait (429)."""

    stage: Stage = "first_byte"
    retryable: Retryable = True
    hint = "Wait and retry."
    retry_after_s: float | None = None
    """Seconds that the server asked for, where it said."""


class ProviderUnavailable(ProviderError):
    """The server is there and cannot answer now (408, 409, 5xx)."""

    stage: Stage = "first_byte"
    retryable: Retryable = True
    hint = "The server has a problem; retry later."


class ConnectFailed(ProviderError):
    """No connection: refused, unknown host, TLS, proxy."""

    stage: Stage = "connect"
    retryable: Retryable = True
    hint = "Check the network and OPENAI_BASE_URL, then retry."


class FirstTokenTimeout(ProviderError):
    """Connected, and nothing came within the limit."""

    stage: Stage = "first_byte"
    hint = "Retry, or raise registry.limits.first_token_s; a model that is being loaded can take minutes."


class EmptyResponse(ProviderError):
    """The server answered without an answer."""

    stage: Stage = "first_byte"
    hint = "Retry; if it stays empty, look at the server's own log."


class IdleTimeout(ProviderError):
    """The answer had begun and no content came for the idle limit; pings do not count."""

    hint = "What has arrived is kept. Continue, regenerate, or raise registry.limits.idle_s."


class TotalTimeout(ProviderError):
    """The answer took longer than the total limit that was set."""

    hint = "What has arrived is kept. Continue, or raise registry.limits.total_s."


class StreamBroken(ProviderError):
    """The connection broke while the answer was arriving."""

    hint = "What has arrived is kept. Continue or regenerate."


class ProtocolError(ProviderError):
    """The server sent something that is not a stream of chat completion chunks."""

    hint = "Check that OPENAI_BASE_URL names an OpenAI-compatible server. What has arrived is kept."


class ProviderErrorEvent(ProviderError):
    """The server reported an error inside the stream."""

    hint = "What has arrived is kept. Retry or regenerate."


class StreamTruncated(ProviderError):
    """The stream ended cleanly but never said that the answer is complete."""

    hint = "What has arrived is kept. Continue or regenerate."


class LimitExceeded(ProviderError):
    """The answer is longer than the limit for one answer or one session."""

    hint = "What has arrived is kept. Raise registry.limits.answer_chars to allow more."


class PauseExpired(ProviderError):
    """The run was paused for longer than the pause limit, so its connection was closed."""

    hint = "What has arrived is kept. Continue or regenerate."


class KernelGone(ProviderError):
    """The kernel that generated the answer died or was restarted."""

    hint = "What has arrived is kept. Continue, regenerate, or keep it as it is."


class RunCrashed(ProviderError):
    """An unexpected exception in a provider or in nbchat ended the run."""

    hint = "The kernel's log has the traceback."


class WireError(NbchatError):
    """A page sent something that is not in the protocol; it was ignored and counted."""

    stage: Stage = "view"


class ViewOutOfSync(WireError):
    """A view missed messages and has to ask for the state again."""


class CallbackError(NbchatError):
    """A callback given to `on` raised; the run goes on."""


class SnapshotError(NbchatError):
    """A saved state could not be read."""

    stage: Stage = "restore"


class SnapshotCorrupt(SnapshotError):
    """The saved state is damaged or is not one of nbchat's."""


class SnapshotTooNew(SnapshotError):
    """The saved state was written by a newer nbchat; it is shown and never overwritten."""

    hint = "Update nbchat: pip install -U jupyter-nbchat"


class SnapshotTooLarge(SnapshotError):
    """The saved state is larger than nbchat is willing to read."""


class StoreError(NbchatError):
    """The state could not be written down; everything goes on in memory."""

    stage: Stage = "persist"


class StoreFull(StoreError):
    """No space is left on the disk."""


class StoreReadOnly(StoreError):
    """The folder or the file cannot be written."""


class StoreBusy(StoreError):
    """Another kernel holds the store of this notebook."""

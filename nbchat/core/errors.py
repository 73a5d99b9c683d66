"""`NbchatError` and its subclasses: the errors that nbchat defines.

::

    NbchatError
    ├── CommandError      the command cannot be carried out now; nothing has changed
    │   ├── UnknownSession, RunInProgress, RunNotLive, RunOver
    │   ├── NothingToDo, SessionFull, QueueFull, TooManySessions, SessionGone
    │   └── WouldDeadlock, StaleCommand, PicklingRefused
    ├── ProviderError     the provider gave no answer, or only a part of it
    │   ├── before the answer   ConfigError, AuthenticationFailed, ModelNotFound, RequestRejected,
    │   │                       ContextTooLong, RateLimited, ProviderUnavailable, ConnectFailed,
    │   │                       FirstTokenTimeout, EmptyResponse
    │   ├── during the answer   IdleTimeout, TotalTimeout, StreamBroken, ProtocolError,
    │   │                       ProviderErrorEvent, StreamTruncated, LimitExceeded, PauseExpired,
    │   │                       KernelGone, Orphaned, RunCrashed
    │   └── after the answer    AnswerInvalid
    ├── WireError         a page sent a message that violates the protocol
    ├── CallbackError     a user's callback raised; runs are not affected
    ├── SnapshotError     a saved state could not be read
    │   └── SnapshotCorrupt, SnapshotTooNew, SnapshotTooLarge
    └── StoreError        the state could not be saved
        └── StoreFull, StoreReadOnly, StoreBusy, LeaseLost, StoreConflict (StoreRolledBack)

Each branch has one cause: the caller (`CommandError`), the server or the network (`ProviderError`), the page
(`WireError`), a file (`SnapshotError`, `StoreError`).

A message names the object, its state and the next step. Messages never contain a key: text from outside is
passed through `redact` first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal

from nbchat.core.tracebacks import render
from nbchat.core.values import FiniteFloat, SafeInt, Value

Stage = Literal["command", "connect", "first_byte", "stream", "tool", "persist", "restore", "view"]
"""Stage of a run at which an error occurred."""

Retryable = bool | FiniteFloat
"""`False`: a retry cannot succeed. `True`: it may. A number: it may, after that many seconds."""


class ErrorInfo(Value, frozen=True, kw_only=True):
    """An error as recorded in the log, on the wire and in a snapshot, without traceback and secrets."""

    code: str
    """The class's name in `snake_case`, such as `rate_limited`."""
    message: str
    stage: Stage = "stream"
    retryable: Retryable = False
    hint: str = ""
    """The next step for the user, in one sentence."""
    http_status: SafeInt | None = None
    request_id: str | None = None
    partial_chars: SafeInt = 0
    """Number of characters of the answer that had arrived."""


class NbchatError(Exception):
    """The base class: `except nbchat.NbchatError` catches all errors that nbchat defines.

    Examples
    --------
    >>> try:
    ...     geo.regenerate()
    ... except nbchat.NbchatError as error:
    ...     caught = error
    >>> caught.code, caught.stage, caught.retryable, caught.hint
    ('nothing_to_do', 'command', False, 'Ask something with send().')
    """

    stage: Stage = "command"
    """The step in which the error occurred."""
    retryable: Retryable = False
    """True if a retry can succeed; a number is the time to wait before it, in seconds."""
    hint: str = ""
    """The next step for the user, in one sentence."""
    http_status: int | None = None
    """Status of the server's response, if there was one."""
    request_id: str | None = None
    """Id of the request, as reported by the server."""
    partial_chars: int = 0
    """Number of characters of the answer that had arrived."""
    code: ClassVar[str] = "nbchat_error"
    """The class's name in `snake_case`, such as `rate_limited`."""

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Derive the error's code from the class name."""
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Support `pickle` and `copy`. An error is rebuilt without its `__init__`, whose arguments differ."""
        return _rebuild, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """Return the message, followed by the hint."""
        message = str(self.args[0]) if self.args else self.code
        if not self.hint:
            return message
        # Messages from servers often end without a full stop.
        stop = "" if message.endswith((".", "!", "?", "…")) else "."
        return f"{message}{stop} {self.hint}"

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows for the error: only the user's frames, and the message."""
        return render(self)

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


def _rebuild(cls: type[NbchatError], args: tuple[Any, ...], attributes: Mapping[str, Any]) -> NbchatError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(attributes)
    return error


CLASSES: Final[dict[str, type[NbchatError]]] = {}
"""Every error class by its code, to convert a stored `ErrorInfo` back into an exception."""


def from_info(info: ErrorInfo) -> NbchatError:
    """Return the exception that `info` describes; a `ProviderError` if the code is unknown."""
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
    """The command cannot be carried out now, and nothing has changed."""


class UnknownSession(CommandError, KeyError):
    """No open session has this id or title.

    Examples
    --------
    >>> try:
    ...     nbchat.registry["nobody"]
    ... except nbchat.UnknownSession as error:
    ...     caught = error
    >>> caught.key
    'nobody'
    """

    def __init__(self, key: object) -> None:
        super().__init__(
            f"no session has the id or title {key!r}.",
            hint="Use nbchat.session(...) to create one, or list(nbchat.registry) to see the ids there are.",
        )
        self.key = key


class SessionGone(CommandError):
    """The session was deleted while a reference to it was still in use, or ended with its runner.

    Examples
    --------
    >>> geo.delete()
    >>> try:
    ...     geo.send("Hello?")
    ... except nbchat.SessionGone as error:
    ...     caught = error
    >>> caught.session_id == geo.id
    True
    """

    def __init__(self, session_id: str, message: str = "", hint: str = "") -> None:
        super().__init__(
            message or f"session {session_id!r} was deleted.",
            hint=hint or "Undo the deletion in the page, or create a new session with nbchat.session(...).",
        )
        self.session_id = session_id


class RunInProgress(CommandError):
    """The session is generating an answer. It generates one at a time.

    Examples
    --------
    >>> from nbchat.providers.scripted import HANG, ScriptedProvider
    >>> busy = nbchat.session("busy", provider=ScriptedProvider("so far", HANG))
    >>> run = busy.send("Take your time.")
    >>> try:
    ...     busy.regenerate()
    ... except nbchat.RunInProgress as error:
    ...     caught = error
    >>> caught.run_id == run.id
    True
    """

    def __init__(self, session_id: str, run_id: str, state: str) -> None:
        super().__init__(
            f"session {session_id!r} is busy: run {run_id!r} is {state}.",
            hint="Stop it with session.stop(), or wait with run.wait().",
        )
        self.session_id: str = session_id
        self.run_id: str = run_id
        self.state: str = state


class RunNotLive(CommandError):
    """The command needs a live run in a suitable state, and the session does not have one."""


class RunOver(CommandError):
    """The run has ended and can no longer change."""


class NothingToDo(CommandError):
    """The session has no message to which the command applies."""


class SessionFull(CommandError):
    """The session would exceed its text limit."""

    def __init__(self, session_id: str, chars: int, limit: int) -> None:
        super().__init__(
            f"session {session_id!r} would hold {chars:,} characters, and its limit is {limit:,}.",
            hint="Start a new session, fork from an earlier message, or raise registry.limits.session_chars.",
        )
        self.session_id = session_id


class QueueFull(CommandError):
    """The queue of a session is full."""


class TooManySessions(CommandError):
    """The registry is full and no session can be evicted."""


class WouldDeadlock(CommandError):
    """A blocking call on nbchat's own thread would deadlock.

    Examples
    --------
    >>> class Asks:  # a provider runs on nbchat's own thread
    ...     name = "asks"
    ...     async def stream(self, request):
    ...         yield geo.ask("Seine")
    >>> run = nbchat.session("inner", provider=Asks(), model="any").send("Go.").wait(30)
    >>> "WouldDeadlock" in str(run.error)
    True
    """


class StaleCommand(CommandError):
    """The command refers to a run or a kernel that has ended. It was dropped."""


class PicklingRefused(CommandError, TypeError):
    """Live objects cannot be pickled: a pickle would lose the run and could contain secrets."""


class ProviderError(NbchatError):
    """The provider gave no answer, or only a part of it.

    Examples
    --------
    >>> run = nbchat.session("other", model="no-such-model").send("Hello?").wait(30)
    >>> run.state, type(run.error).__name__
    (<RunState.FAILED: 'failed'>, 'ModelNotFound')
    """

    stage: Stage = "stream"


class ConfigError(ProviderError):
    """The settings are invalid: a wrong base URL, a wrong value, a redirect to another host."""

    stage: Stage = "connect"


class AuthenticationFailed(ProviderError):
    """The server rejected the key (401) or the key lacks a permission (403)."""

    stage: Stage = "first_byte"
    hint = "Check OPENAI_API_KEY for this server; it is read again at every run."


class ModelNotFound(ProviderError):
    """The server does not have the model, or the path (404).

    Examples
    --------
    >>> run = nbchat.session("other", model="no-such-model").send("Hello?").wait(30)
    >>> run.error.code, run.error.stage, run.error.http_status
    ('model_not_found', 'first_byte', 404)
    """

    stage: Stage = "first_byte"
    hint = "Check the model's name and OPENAI_BASE_URL (it usually ends in /v1)."


class RequestRejected(ProviderError):
    """The server rejected the request as invalid (400, 422)."""

    stage: Stage = "first_byte"
    hint = (
        "Edit the question or send it without its files, or choose another model. "
        "If the server names a parameter, change it in the session's settings."
    )


class ContextTooLong(ProviderError):
    """The conversation exceeds the model's context length."""

    stage: Stage = "first_byte"
    hint = (
        "Shorten the question or send it without its files, fork from an earlier message, "
        "or choose a model with a longer context."
    )


class RateLimited(ProviderError):
    """The server's rate limit was exceeded (429)."""

    stage: Stage = "first_byte"
    retryable: Retryable = True
    hint = "Wait and retry."
    retry_after_s: float | None = None
    """Delay in seconds that the server requested, if any."""


class ProviderUnavailable(ProviderError):
    """The server is reachable but cannot answer now (408, 409, 5xx)."""

    stage: Stage = "first_byte"
    retryable: Retryable = True
    hint = "The server has a problem; retry later."


class ConnectFailed(ProviderError):
    """The connection could not be established: refused, unknown host, TLS, proxy."""

    stage: Stage = "connect"
    retryable: Retryable = True
    hint = "Check the network and OPENAI_BASE_URL, then retry."


class FirstTokenTimeout(ProviderError):
    """The server accepted the connection but sent no content within the limit."""

    stage: Stage = "first_byte"
    hint = "Retry, or raise registry.limits.first_token_s; a model that is being loaded can take minutes."


class EmptyResponse(ProviderError):
    """The server's response contains no answer."""

    stage: Stage = "first_byte"
    hint = "Retry; if it stays empty, look at the server's own log."


class AnswerInvalid(ProviderError):
    """The answer does not match the schema that was asked for."""

    hint = "The text is kept. Ask again, choose a model that supports schemas, or simplify the schema."


class IdleTimeout(ProviderError):
    """No content arrived within the idle limit after the answer had begun. Pings do not count."""

    hint = "What has arrived is kept. Continue, regenerate, or raise registry.limits.idle_s."


class TotalTimeout(ProviderError):
    """The answer exceeded the total time limit."""

    hint = "What has arrived is kept. Continue, or raise registry.limits.total_s."


class StreamBroken(ProviderError):
    """The connection broke while the answer was arriving."""

    hint = "What has arrived is kept. Continue or regenerate."


class ProtocolError(ProviderError):
    """The response is not a stream of chat completion chunks."""

    hint = "Check that OPENAI_BASE_URL names an OpenAI-compatible server. What has arrived is kept."


class ProviderErrorEvent(ProviderError):
    """The server reported an error inside the stream."""

    hint = "What has arrived is kept. Retry or regenerate."


class StreamTruncated(ProviderError):
    """The stream ended cleanly but without a finish reason."""

    hint = "What has arrived is kept. Continue or regenerate."


class LimitExceeded(ProviderError):
    """The answer exceeds the length limit of an answer or a session."""

    hint = "What has arrived is kept. Raise registry.limits.answer_chars to allow more."


class PauseExpired(ProviderError):
    """The run was paused for longer than the pause limit, so its connection was closed."""

    hint = "What has arrived is kept. Continue or regenerate."


class KernelGone(ProviderError):
    """The kernel that generated the answer died or was restarted."""

    hint = "What has arrived is kept. Continue, regenerate, or keep it as it is."


class Orphaned(KernelGone):
    """The run was generated by a runner, and no kernel came back within `limits.orphan_s`."""


class RunCrashed(ProviderError):
    """An unexpected exception in a provider or in nbchat ended the run."""

    hint = "The kernel's log has the traceback."


class WireError(NbchatError):
    """A page sent a message that violates the protocol. It was ignored and counted."""

    stage: Stage = "view"


class CallbackError(NbchatError):
    """A callback passed to `on` raised an exception. The run continues."""


class SnapshotError(NbchatError):
    """A saved state could not be read."""

    stage: Stage = "restore"


class SnapshotCorrupt(SnapshotError):
    """The saved state is damaged or was not written by nbchat."""


class SnapshotTooNew(SnapshotError):
    """The saved state was written by a newer nbchat. It is shown and never overwritten."""

    hint = "Update nbchat: pip install -U jupyter-nbchat"


class SnapshotTooLarge(SnapshotError):
    """The saved state exceeds the size or depth that nbchat reads."""


class StoreError(NbchatError):
    """The state could not be saved. It is kept in memory, and runs continue."""

    stage: Stage = "persist"


class StoreFull(StoreError):
    """No space is left on the disk."""


class StoreReadOnly(StoreError):
    """The folder or the file is not writable."""


class StoreBusy(StoreError):
    """Another kernel has the store of this notebook open."""


class LeaseLost(StoreError):
    """Another engine has taken over the store. This one can write no more."""


class StoreConflict(StoreError):
    """Entries do not continue what is stored, so the store refused them."""


class StoreRolledBack(StoreConflict):
    """The store has gone back to an older state, and sessions must be written again."""

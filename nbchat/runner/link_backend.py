"""`LinkBackend`: the backend whose engine runs in a runner. It folds the events that the runner sends."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal

from msgspec.structs import replace

from nbchat.core.commands import Send
from nbchat.core.errors import (
    CommandError,
    NbchatError,
    RequestRejected,
    SessionGone,
    UnknownSession,
    WouldDeadlock,
)
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import Command, DiscardTemporary, GetOrCreateSession, Outcome
from nbchat.core.settings import request_params
from nbchat.core.transcript import SessionState
from nbchat.core.values import convert
from nbchat.engine.callbacks import Callback
from nbchat.engine.limits import Limits
from nbchat.providers.base import Provider, Request
from nbchat.runner.folded_sessions import FoldedSessions
from nbchat.runner.link import Link, LinkLost
from nbchat.runner.linked_batches import LinkedBatches
from nbchat.runner.linked_callbacks import LinkedCallbacks
from nbchat.runner.linked_tools import LinkedTools
from nbchat.runner.messages import (
    STARTS_RUN,
    BatchNews,
    Call,
    FollowedEvents,
    FollowedState,
    Forget,
    FromPage,
    More,
    Notified,
    Profile,
    Reply,
    ToKernel,
    ToPages,
)
from nbchat.runner.objects import ProviderObjects
from nbchat.runner.profile import profile_of
from nbchat.runner.remote_errors import info_of
from nbchat.runner.transports import RunnerAddress

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine

logger = logging.getLogger("nbchat")

LEAVE_S: Final = 3.0
"""Longest wait for the runner when the kernel ends."""

RETRIES: Final = 3
"""Links on which a call is repeated when one is lost before the answer."""


class Local:
    """Services of this kernel that the runner may request: its variables, views and servers."""

    def __init__(self) -> None:
        self.functions: dict[str, Callable[..., Any]] = {}
        """Functions by name; each runs on a thread of its own."""
        self.to_pages: Callable[[Mapping[str, Any], list[bytes]], None] | None = None
        self.reopened: Callable[[], None] = lambda: None
        """Called after a runner was replaced, when it serves the pages again."""


class LinkBackend(LinkedTools):
    """Sends commands to a runner. Implements `Backend`.

    Parameters
    ----------
    address
        The runner.
    engine
        The engine of this process. It runs no session: it has the configuration, and its loop runs the
        provider objects of this kernel.
    """

    def __init__(self, address: RunnerAddress, engine: Engine) -> None:
        super().__init__(engine.limits)
        self._address = address
        self.local = Local()
        self._engine = engine
        self._objects = ProviderObjects(engine.providers.provider, self._send)
        self._offered: dict[str, dict[str, Any]] = {}
        self._owned: dict[str, dict[str, Any]] = {}
        """The provider objects of this kernel's sessions, for a runner that replaces a killed one."""
        self._callbacks = LinkedCallbacks(self._call, self._post)
        self._sessions = FoldedSessions()
        self.batches = LinkedBatches(engine, self._call, self._post)
        self._link: Link | None = None
        self._linking = threading.Lock()
        self._sent: tuple[Profile, Link] | None = None
        """The profile that the runner has, and the link on which it was sent."""
        self._restored = False
        self._has_pages = False
        self._left = False
        self._pid = os.getpid()
        self.epoch: str = ""
        self._connect()
        engine.providers.defaults.watch(self._reconfigure)

    def __repr__(self) -> str:
        """Return the link."""
        return f"<LinkBackend of {self._link!r}>"

    # The link

    def _connect(self) -> Link:
        """Return the link; a lost one is replaced, and the runner started if there is none.

        Raises
        ------
        CommandError
            If no runner can be started, or this kernel has ended its link.
        """
        if self._pid != os.getpid():
            raise CommandError(
                "this process was forked from the one that owns the chats.",
                hint="Use nbchat in the parent, or start the child with the 'spawn' method.",
            )
        link = self._link
        if link is not None and not link.is_over:
            return link
        with self._linking:
            link = self._link
            if link is not None and not link.is_over:
                return link
            if self._left:
                raise CommandError("nbchat is shut down: the process is ending.")
            link = Link(*self._address.connect(), self._received, self._lost)
            is_new = link.greeting.epoch != self.epoch
            self.epoch = link.greeting.epoch
            before = self._sessions.clear()
            link.start()
            self._configure(link, whole=False)
            self._callbacks.subscribe_again(link)
            if self._has_pages:
                link.call("open_pages")
            if self._restored:
                link.call("restore")
            if is_new:
                self._offer_again(link)
            self._use_tools_again(link)
            self._link = link
            self._follow_again(link, before if is_new else {}, {*before, *self._sessions.watched()})
            self.local.reopened()
            logger.info("linked to runner %d%s", link.greeting.pid, ", a new one" if is_new else "")
            return link

    def _follow_again(self, link: Link, before: Mapping[str, SessionState], session_ids: set[str]) -> None:
        """Follow sessions over a new link. Those that a killed runner had not saved are kept as they were."""
        for session_id in session_ids:
            try:
                link.call("state", session_id=session_id)
            except SessionGone:
                if session_id in before:
                    self._sessions.end(before[session_id])
            except (NbchatError, LinkLost):
                pass
        self._sessions.wake(*session_ids)

    def _offer_again(self, link: Link) -> None:
        """Give restored sessions the provider objects that they had."""
        for session_id, offered in list(self._owned.items()):
            (provider_id,) = offered
            again = GetOrCreateSession(
                id=new_id("c-"), session_id=new_id("s-"), key=session_id, provider_id=provider_id
            )
            with suppress(NbchatError, LinkLost):
                if link.call("find", key=session_id) == session_id:
                    link.call("execute", command=again, offered=offered)

    def _lost(self, link: Link) -> None:
        """Replace a lost link at once if anything depends on it. On the reading thread of the link."""
        self._engine.loop.post(self._objects.end)
        self._engine.loop.post(self._tools.end, link)
        self.batches.lost()
        if self._left or self._link is not link:
            return
        threading.Thread(target=self._reconnect, name="nbchat-link-again", daemon=True).start()

    def _reconnect(self) -> None:
        try:
            self._connect()
        except (NbchatError, OSError) as error:
            logger.warning("the runner could not be reached: %s", error)

    def _call(self, name: str, timeout_s: float | None = None, /, **args: Any) -> Any:  # noqa: ANN401 - its value
        """Call the runner, and repeat the call if the link is lost before the answer."""
        for _ in range(RETRIES):
            try:
                link = self._connect()
                if name == "start_batch" or (name == "execute" and isinstance(args["command"], STARTS_RUN)):
                    self._configure(link, whole=True)
                return link.call(name, timeout_s, **args)
            except LinkLost:
                continue
        raise CommandError("the link to the runner ended several times.", hint=self._address.hint)

    def _post(self, name: str, /, **args: Any) -> bool:  # noqa: ANN401 - JSON values
        """Call the runner without waiting; return False if there is no link."""
        link = self._link
        if link is not None and not link.is_over:
            link.send(Call(id=0, name=name, args=args))
        return link is not None and not link.is_over

    def _send(self, message: Any) -> None:  # noqa: ANN401 - one of ToRunner
        link = self._link
        if link is not None:
            link.send(message)

    # Messages of the runner, on the reading thread

    def _received(self, link: Link, message: ToKernel, body: bytes) -> None:
        if isinstance(message, FollowedEvents):
            self._sessions.fold(message)
        elif isinstance(message, FollowedState):
            self._sessions.replace(message.state)
        elif isinstance(message, Forget):
            self._sessions.forget(message.session_id)
        elif isinstance(message, ToPages):
            if self.local.to_pages is not None:
                self.local.to_pages(message.content, [body])
        elif isinstance(message, More):
            self._engine.loop.post(self._objects.more, message.stream)
        elif isinstance(message, Notified):
            self._callbacks.notify(message)
        elif isinstance(message, BatchNews):
            self.batches.received(message)
        elif isinstance(message, Call):
            self._called(link, message)

    def _called(self, link: Link, call: Call) -> None:
        """Carry out what the runner asks of this kernel, off the reading thread."""
        if self._took_notification(call):
            return
        function = self._tool_function(link, call.name)
        if call.name in _OBJECT_CALLS:
            function = getattr(self._objects, call.name)
        if function is not None:

            async def work() -> None:
                try:
                    value, error = await function(**call.args), None
                except BaseException as failed:  # noqa: BLE001 - it is raised in the runner
                    value, error = None, failed
                self._answer(link, call, value, error)

            self._engine.loop.post(lambda: self._engine.loop.spawn(work(), name=f"nbchat-{call.name}"))
            return
        threading.Thread(
            target=self._serve, args=(link, call), name=f"nbchat-{call.name}", daemon=True
        ).start()

    def _serve(self, link: Link, call: Call) -> None:
        function = self.local.functions.get(call.name)
        try:
            value, error = None if function is None else function(**call.args), None
        except BaseException as failed:  # noqa: BLE001 - it is raised in the runner
            value, error = None, failed
        self._answer(link, call, value, error)

    def _answer(self, link: Link, call: Call, value: object, error: BaseException | None) -> None:
        if error is None:
            try:
                link.send(Reply(id=call.id, value=value))
            except NbchatError as failed:
                error = failed
            else:
                return
        link.send(Reply(id=call.id, error=info_of(error)))

    # Configuration

    def configure(self, *, whole: bool) -> None:
        """Send the kernel's configuration if it has changed; with `whole`, with keys."""
        self._configure(self._connect(), whole=whole)

    def _configure(self, link: Link, *, whole: bool) -> None:
        sent = self._sent if self._sent is not None and self._sent[1] is link else None
        whole = whole or (sent is not None and sent[0].whole)
        profile = profile_of(self._engine.providers, whole=whole)
        if sent is not None and sent[0] == profile:
            return
        link.send(Call(id=0, name="profile", args={"profile": profile}))
        self._sent = (profile, link)

    def _reconfigure(self) -> None:
        """Send a changed configuration, for display; a lost link gets it when it is replaced."""
        link = self._link
        if link is not None and not link.is_over:
            self._configure(link, whole=False)

    # Backend

    def state(self, session_id: str) -> SessionState:
        """Return a session's state; the first call asks the runner for it."""
        for _ in range(RETRIES):
            state = self._sessions.get(session_id)
            if state is not None:
                return state
            self._refuse_on_reader()
            try:
                self._call("state", session_id=session_id)
            except SessionGone:
                if self._sessions.get(session_id) is None:  # else a killed runner was replaced
                    raise
        raise SessionGone(session_id)

    def execute(self, command: Command, timeout_s: float | None = None) -> Outcome:
        """Send a command to the runner and wait for it."""
        self._refuse_on_reader()
        provider_id = getattr(command, "provider_id", None)
        offered = {provider_id: self._offered.pop(provider_id)} if provider_id in self._offered else {}
        if isinstance(command, Send):
            command = replace(command, params=_params(command))
        try:
            outcome: Outcome = convert(
                Outcome, self._call("execute", timeout_s, command=command, offered=offered)
            )
        except UnknownSession:
            self._sessions.refuse_ended(getattr(command, "session_id", None))
            raise
        if offered and outcome.session_id is not None:
            self._owned[outcome.session_id] = offered
        if isinstance(command, DiscardTemporary):
            self._sessions.discard(command.session_id)
        return outcome

    @contextmanager
    def watch(self, session_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` on the link's thread after every change of a session."""
        self.state(session_id)
        with self._sessions.watch(session_id, wake):
            yield

    def find(self, key: str) -> str | None:
        """Return the id of the session with this id or title."""
        if not isinstance(key, str):
            raise TypeError(f"session key must be a string (id or title), not {type(key).__name__}.")
        return self._call("find", key=key)  # type: ignore[no-any-return]

    def sessions(self) -> Sequence[str]:
        """Return the ids of all sessions that are not temporary, oldest first."""
        return list(self._call("sessions"))

    def streaming(self) -> Sequence[SessionState]:
        """Return the sessions with a run that is not over."""
        found = []
        for session_id in self._call("streaming"):
            with suppress(SessionGone):
                state = self.state(session_id)
                if state.live is not None:
                    found.append(state)
        return found

    def position(self, session_id: str) -> int | None:
        """Return the position of a session's prompt in the queue, from 1."""
        return self._call("position", session_id=session_id)  # type: ignore[no-any-return]

    def last_asked(self) -> Mapping[str, float]:
        """Return when each session's newest run was queued."""
        return dict(self._call("last_asked"))

    def snapshot(self, session_ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Return all sessions that are saved, or some, as JSON values."""
        return dict(self._call("snapshot", session_ids=session_ids))

    def save(self, timeout_s: float) -> bool:
        """Save everything; return False if there is no journal."""
        return bool(self._call("save", timeout_s=timeout_s))

    def clear_cache(self) -> int:
        """Remove all answers from the cache of the runner, and return their number."""
        return int(self._call("clear_cache"))

    def stats(self) -> dict[str, Any]:
        """Return the values of `registry.stats()`."""
        return dict(self._call("stats"))

    @property
    def share(self) -> Literal["schema", "summary", "rows"]:
        """Level of detail at which a variable is sent with `context=`."""
        return self._engine.providers.defaults.share

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return Limits(**self._call("limits"))

    def on(self, event: str, callback: Callback, session_id: str | None = None) -> Callable[[], None]:
        """Subscribe a callback; return the function that unsubscribes."""
        return self._callbacks.on(event, callback, session_id)

    def offer(self, provider: Provider) -> str:
        """Keep a provider object for the next command that names the returned id."""
        provider_id = new_id("o-")
        self._offered[provider_id] = self._objects.keep(provider_id, provider)
        return provider_id

    def request_of(self, session_id: str, run_id: str) -> Request | None:
        """Return the request of a run, if it is known."""
        found = self._call("request_of", session_id=session_id, run_id=run_id)
        return None if found is None else convert(Request, found)

    def cause_of(self, session_id: str, run_id: str) -> BaseException | None:  # noqa: ARG002 - as `Backend`
        """Return the exception behind a run's error, if a provider object of this kernel raised it."""
        return self._objects.causes.get(run_id)

    def shutdown(self, timeout_s: float) -> None:
        """Leave the runner; the runs of this kernel continue there."""
        self.leave(restart=True, timeout_s=timeout_s)

    def leave(self, *, restart: bool, timeout_s: float = LEAVE_S) -> None:
        """End the link. Unless it is a restart, the runner ends the runs that no other kernel shows."""
        link, was_left = self._link, self._left
        self._left = True
        if link is None or was_left or link.is_over:
            return
        with suppress(NbchatError, OSError, TimeoutError):
            link.call("leave", timeout_s, restart=restart)
        link.close()

    def refuse_to_block(self, what: str) -> None:
        """Raise `WouldDeadlock` on a thread that would wait for itself."""
        self._engine.loop.refuse_to_block(what)
        self._refuse_on_reader(what)

    def _refuse_on_reader(self, what: str = "this call") -> None:
        if threading.current_thread().name == "nbchat-link-read":
            raise WouldDeadlock(f"{what} would block the thread that reads the link to the runner.")

    # The notebook and its pages

    def restore(self) -> None:
        """Let the runner restore the notebook's sessions, once, and wait for it."""
        self._restored = True
        self._call("restore")

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook."""
        self._call("set_journal", on=on)

    def open_pages(self) -> str:
        """Let the runner serve this kernel's pages; return their epoch."""
        epoch = str(self._call("open_pages"))
        self._has_pages = True
        return epoch

    def from_page(self, message: object) -> None:
        """Pass on a message of a page. From any thread; the runner answers to the pages."""
        link = self._link
        if link is None or link.is_over:
            return  # the page repeats it
        if isinstance(message, dict) and _needs_keys(message):
            self._configure(link, whole=True)
        link.send(FromPage(message=message))


def _params(command: Send) -> Mapping[str, Any]:
    """Return a command's request fields, with references in place of credentials."""
    try:
        return request_params(command.params)
    except (TypeError, ValueError) as error:
        raise RequestRejected(str(error), stage="command", hint="") from error


def _needs_keys(message: Mapping[str, Any]) -> bool:
    command = message.get("command")
    kind = command.get("type") if isinstance(command, dict) else message.get("type")
    return kind in _STARTS_RUN or kind in ("list_models", "command_chunk")


_STARTS_RUN: Final = frozenset(kind.__struct_config__.tag for kind in STARTS_RUN)
_OBJECT_CALLS: Final = frozenset({"stream", "end_stream", "provider_models", "cancel_response"})

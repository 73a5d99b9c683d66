"""`KernelLink`: the runner's end of the link to one kernel."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from nbchat.batch_engine.request import BatchRequest
from nbchat.core.commands import Send, SetView
from nbchat.core.errors import CommandError, KernelGone, SessionGone, WireError
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import Command, Outcome
from nbchat.core.messages import Author
from nbchat.core.secret import referenced
from nbchat.core.values import convert
from nbchat.engine.carry_out import acknowledge
from nbchat.protocol import (
    Connect,
    Connected,
    Described,
    KernelMessage,
    Variables,
    WantDescribed,
    WantVariables,
)
from nbchat.runner.engine import Origin
from nbchat.runner.followed_sessions import FULL, FollowedSessions
from nbchat.runner.frames import encode_frame
from nbchat.runner.messages import (
    Call,
    FromPage,
    Hello,
    Notified,
    Piece,
    Profile,
    Reply,
    ToKernel,
    ToPages,
    ToRunner,
)
from nbchat.runner.objects import WINDOW, KernelProvider
from nbchat.runner.outgoing_calls import OutgoingCalls
from nbchat.runner.permissions import FULL_ACCESS, Permissions
from nbchat.runner.remote_errors import info_of
from nbchat.runner.served_batches import BatchViews, open_error
from nbchat.runner.served_tools import ServedTools
from nbchat.runner.tool_objects import KernelCalls
from nbchat.runner.transports import AsyncTransport
from nbchat.runner.wires import PagesOfLink
from nbchat.wire.served_kernel import ServedKernel
from nbchat.wire.server import WireServer

if TYPE_CHECKING:
    from nbchat.batch_engine.batch import Batch
    from nbchat.engine.callbacks import Notification
    from nbchat.engine.local_backend import LocalBackend
    from nbchat.runner.engine import RunnerEngine
    from nbchat.runner.served_batches import ServedBatches
    from nbchat.runner.wires import Wires

logger = logging.getLogger("nbchat")

LOST: Final = 32 * 1024 * 1024
"""Bytes that wait for a kernel, above which packets of its pages are dropped; the pages ask again."""

ASK_S: Final = 10.0
"""Longest wait for a kernel's answer about its variables and views."""

MAX_CALLS: Final = 256
"""Calls of one kernel that are in progress."""

_READS: Final = frozenset({"find", "sessions", "position", "last_asked", "stats", "request_of"})
"""Functions of the runner's backend that a kernel calls."""

_TOOLS: Final = frozenset({"use_tools", "use_policy", "begin_call"})
"""Functions about the kernel's tools."""

_BLOCKING: Final = frozenset({"snapshot", "save", "clear_cache"})
"""Functions of the backend that run on a thread."""


class Runner(Protocol):
    """The process that a kernel is linked to."""

    engine: RunnerEngine
    backend: LocalBackend
    wires: Wires
    batches: ServedBatches
    over: threading.Event
    """Set when the process is to end."""

    @property
    def is_draining(self) -> bool:
        """True if the process ends as soon as what is in progress has ended."""
        ...

    def refuses(self, command: Command) -> bool:
        """Return whether a command would start a run while the runner ends."""
        ...

    def typed(self, link: KernelLink, session_id: str) -> None:
        """Note the session in which a kernel's user is typing; an empty id: in none."""
        ...

    def kernel_shut_down(self, link: KernelLink) -> None:
        """End the runs of a kernel that is shut down, if no other kernel shows them."""
        ...

    def drain(self) -> None:
        """Finish the live runs, and end."""
        ...

    def restore(self) -> None:
        """Restore the notebook's sessions, once. On a thread."""
        ...

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook. On a thread."""
        ...


class KernelLink:
    """Follows sessions for a kernel, calls the engine, and serves the kernel's pages.

    Exists from the first message of the link to its end. Only for the engine's loop.
    """

    def __init__(
        self,
        server: Runner,
        transport: AsyncTransport,
        hello: Hello,
        permissions: Permissions = FULL_ACCESS,
        author: Author = UNSET,
    ) -> None:
        self.is_kernel: bool = hello.is_kernel
        self.wire: WireServer | None = None
        self.origin: Origin | None = None
        self._kernel: ServedKernel | None = None
        self._server = server
        self._engine = server.engine
        self._transport = transport
        self.permissions = permissions
        self.author = author
        self._followed = FollowedSessions(self._engine, transport, self.send, self._reply)
        self._batches = BatchViews(self._engine, transport, self.send)
        self._calls = OutgoingCalls(server.engine.loop, self.send)
        self.ask = self._calls.ask
        self.notify = self._calls.notify
        self._working = 0
        """Calls of the kernel whose work is in progress."""
        self._streams: dict[int, asyncio.Queue[Piece | None]] = {}
        self._subscribed: dict[tuple[str, str | None], Callable[[], None]] = {}
        self._tools = ServedTools(self._engine, KernelCalls(self.ask, self.notify, self._engine.loop.post))
        self._ended = False

    def __repr__(self) -> str:
        """Return the number of sessions that are followed."""
        return f"<KernelLink, {self._followed!r}>"

    # Life

    async def run(self) -> None:
        """Handle the kernel's messages until the link ends."""
        try:
            while True:
                message, _ = await self._transport.read()
                self._handle(message)
                if self._transport.waiting > FULL:
                    await self._transport.drain()
        except (EOFError, ConnectionError):
            pass
        except (WireError, CommandError) as error:
            logger.warning("%s", error)

    def close(self) -> None:
        """End the link: forget the kernel, and end what runs in it."""
        if self._ended:
            return
        self._ended = True
        if self.origin is not None:
            self._engine.retire(self.origin)
        self._followed.close()
        self._batches.close()
        for off in self._subscribed.values():
            off()
        if self.wire is not None:
            self._server.wires.remove(self.wire)
            self.wire.close()
        self._calls.close()
        self._tools.close(is_ending=self._server.over.is_set())
        self._transport.close()

    def send(self, message: ToKernel, body: bytes = b"") -> None:
        """Send a message; it is dropped if the link has ended."""
        if not self._ended:
            self._transport.write(encode_frame(message, body))

    # Incoming messages

    def _handle(self, message: ToRunner) -> None:
        if isinstance(message, Call):
            self._called(message)
        elif isinstance(message, Reply):
            self._calls.receive(message)
        elif isinstance(message, FromPage):
            if self.wire is not None:
                self.wire.receive(message.message)
        elif isinstance(message, Piece) and (queue := self._streams.get(message.stream)) is not None:
            if queue.qsize() > WINDOW:
                raise WireError("the kernel sent more deltas of a provider object than were requested.")
            queue.put_nowait(message)

    def _called(self, call: Call) -> None:
        try:
            self.permissions.check_call(call.name)
            if call.name in _READS:
                self._reply(call.id, getattr(self._server.backend, call.name)(**call.args))
            elif call.name in _BLOCKING:
                function = getattr(self._server.backend, call.name)
                self._in_thread(call.id, lambda: function(**call.args))
            elif call.name in _TOOLS:
                self._reply(call.id, getattr(self._tools, call.name)(**call.args))
            elif (handler := getattr(self, f"_call_{call.name}", None)) is not None:
                handler(call.id, **call.args)
            else:
                raise WireError(f"the runner has no function {call.name!r}.")  # noqa: TRY301 - replied below
        except Exception as error:  # noqa: BLE001 - it is raised in the kernel
            self._reply(call.id, error=error)

    def _reply(self, number: int, value: object = None, error: BaseException | None = None) -> None:
        if number:  # else no reply is expected
            self.send(Reply(id=number, value=value, error=None if error is None else info_of(error)))

    def _in_thread(self, number: int, work: Callable[[], object]) -> None:
        """Answer a call with the result of a function that blocks."""
        self._when_done(number, self._engine.in_thread(work))

    def _when_done(self, number: int, work: Coroutine[Any, Any, object]) -> None:
        """Answer a call with the result of a coroutine."""
        if self._working >= MAX_CALLS:
            work.close()
            raise CommandError(
                f"{MAX_CALLS:,} calls of this kernel are in progress, and more are not accepted."
            )
        self._working += 1

        async def do() -> None:
            try:
                self._reply(number, await work)
            except Exception as error:  # noqa: BLE001 - it is raised in the kernel
                self._reply(number, error=error)
            finally:
                self._working -= 1

        self._engine.loop.spawn(do(), name="nbchat-link-call")

    # Functions that the kernel calls: see `LinkBackend`

    def _call_execute(self, number: int, command: object, offered: Mapping[str, Any]) -> None:
        parsed: Command = convert(Command, command)
        if self._refuses(parsed):
            return  # the kernel repeats it in the next runner, when this one has ended its link
        provider_id: str = getattr(parsed, "provider_id", None) or ""
        if provider_id in offered:
            self._engine.offered[provider_id] = self._provider(provider_id, offered[provider_id])
        try:
            outcome = self.execute(parsed)
        finally:
            self._engine.offered.pop(provider_id, None)
        # Acknowledged when it is stored, so that no acknowledged command is lost with the runner.
        changed = _changed(parsed, outcome)
        seen = self._followed.when_seen
        acknowledge(self._engine, parsed, lambda: seen(changed, lambda: self._reply(number, outcome)))

    def _refuses(self, command: Command) -> bool:
        """Return whether the runner is ending and has not executed this command before."""
        return self._engine.outcomes.get(command.id) is None and self._server.refuses(command)

    def execute(self, command: Command) -> Outcome:
        """Execute a command of this kernel, or of one of its pages.

        Raises
        ------
        CommandError
            If the kernel may not execute it, or it would start a run while the runner ends.
        """
        self.permissions.check_command(command)
        if self._refuses(command):
            raise CommandError("the runner of this notebook is ending.", hint="Ask again in a moment.")
        if isinstance(command, Send):
            self._server.typed(self, "")
        return self._engine.execute(command, self.current(), self.author)

    def current(self) -> Origin:
        """Return the kernel's configuration."""
        if self.origin is None:
            self._call_profile(0, profile=msgspec.to_builtins(Profile()))
        assert self.origin is not None  # noqa: S101 - set by the line above
        return self.origin

    def _call_profile(self, number: int, profile: object) -> None:
        before, self.origin = (
            self.origin,
            Origin(
                convert(Profile, profile),
                self._engine.demo_url,
                lambda name: self._provider(name, {"name": name}),
                self._engine.secrets_of_kernel(),
                self.author or "",
            ),
        )
        self._engine.use(self.origin, before)
        if self._kernel is not None:
            self._kernel.providers = self.origin
        self._reply(number)

    def _provider(self, provider_id: str, traits: Mapping[str, Any]) -> KernelProvider:
        return KernelProvider(
            provider_id, traits, self.ask, self._streams, self.send, person=self.author or ""
        )

    def _call_ping(self, number: int) -> None:
        self._reply(number)

    def _call_state(self, number: int, session_id: str) -> None:
        session = self._engine.sessions.get(session_id)
        if session is not None:
            session = self._engine.ensure_loaded(session)
        else:
            session = self._engine.sessions.get_including_deleted(session_id)
        if session is None:
            raise SessionGone(session_id)
        self._followed.follow(session, number)

    def _call_streaming(self, number: int) -> None:
        self._reply(number, [state.id for state in self._server.backend.streaming()])

    def _call_limits(self, number: int) -> None:
        self._reply(number, asdict(self._engine.limits))

    def _call_subscribe(self, number: int, event: str, session_id: str | None) -> None:
        def forward(notification: Notification) -> None:
            if session_id is None or (event, None) not in self._subscribed:  # else it is sent already
                self._notified(notification)

        if (event, session_id) not in self._subscribed:
            self._subscribed[event, session_id] = self._engine.callbacks.on(event, forward, session_id)
        self._reply(number)

    def _call_unsubscribe(self, number: int, event: str, session_id: str | None) -> None:
        off = self._subscribed.pop((event, session_id), None)
        if off is not None:
            off()
        self._reply(number)

    def _call_restore(self, number: int) -> None:
        self._in_thread(number, self._server.restore)

    def _call_set_journal(self, number: int, on: bool) -> None:
        self._in_thread(number, lambda: self._server.set_journal(on=on))

    def _call_open_pages(self, number: int) -> None:
        """Serve the pages of the kernel from now on."""
        if self.wire is not None:
            self._server.wires.remove(self.wire)
            self.wire.close()
        epoch = new_id("k-")  # pages treat each kernel as a new one
        self._kernel = ServedKernel(
            epoch,
            self.current(),
            self.execute,
            self._choose_server,
            has_runner=True,
            person=self.author or "",
            can_change=lambda: self.permissions.can_change,
            typed=partial(self._server.typed, self),
        )
        self.wire = WireServer(
            self._engine,
            self._to_pages,
            PagesOfLink(self._server.wires, epoch, self._engine.epoch),
            set_view=self._set_view,
            variables=self._ask_variables,
            kernel=self._kernel,
        )
        self._server.wires.add(self.wire)
        self._reply(number, epoch)

    def _call_leave(self, number: int, restart: bool) -> None:
        """Let the kernel end. Unless it is restarted, its runs end too."""
        self._reply(number)
        if not restart:
            self._server.kernel_shut_down(self)

    def _call_drain(self, number: int) -> None:
        self._reply(number)
        self._server.drain()

    # Batches: see `LinkedBatches`

    def _call_attach_batch(self, number: int, batch: str, view: int) -> None:
        found = self._server.batches.find(batch)
        self._reply(number, None if found is None else self._follow_batch(found, view))

    def _call_start_batch(self, number: int, request: object, view: int) -> None:
        if self._server.is_draining:
            return  # the kernel repeats it in the next runner, when this one has ended its link
        parsed: BatchRequest = convert(BatchRequest, request)

        async def start() -> dict[str, Any]:
            if self._ended:
                raise KernelGone("the kernel that started the batch is gone.")
            batch = await self._server.batches.start(parsed, self.current(), self.permissions.check_batch)
            await batch.is_ready.wait()
            value_error, error = open_error(batch)
            if error is not None:
                raise error
            return self._follow_batch(batch, view) | {"value_error": value_error}

        self._when_done(number, start())

    def _follow_batch(self, batch: Batch, view: int) -> dict[str, Any]:
        return {"known": self._batches.follow(batch, view), "is_kept": batch.journal is not None}

    def _call_pause_batch(self, number: int, batch: str) -> None:
        found = self._server.batches.find(batch)
        if found is not None:
            self._batches.pause(found)
        self._reply(number)

    def _call_stop_batch(self, number: int, batch: str) -> None:
        self._when_done(number, self._server.batches.stop(batch))

    def _call_forget_batch(self, number: int, batch: str, keep_journal: bool) -> None:
        self._when_done(number, self._server.batches.forget(batch, keep_journal=keep_journal))

    def _call_batches(self, number: int) -> None:
        self._reply(number, self._server.batches.counts())

    # Callbacks

    def _notified(self, notification: Notification) -> None:
        """Pass on a notification. On the thread of callbacks; events come first."""
        message = Notified.of(notification)
        session_ids = () if notification.session_id is None else (notification.session_id,)
        self._engine.loop.post(self._followed.when_seen, session_ids, lambda: self.send(message))

    # Pages

    def _to_pages(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        if self._transport.waiting > LOST:
            raise WireError("the kernel does not read its link.")
        self.send(ToPages(content=content), buffers[0])

    async def _set_view(self, command: SetView) -> None:
        with suppress(KernelGone, TimeoutError):
            async with asyncio.timeout(ASK_S):
                await self.ask("set_view", command=command)

    async def _ask_variables(self, message: WantVariables | WantDescribed) -> KernelMessage | None:
        try:
            async with asyncio.timeout(ASK_S):
                found = await self.ask("variables", message=message)
        except (KernelGone, TimeoutError):
            return None  # the page repeats its request
        kind = Variables if isinstance(message, WantVariables) else Described
        return None if found is None else convert(kind, found)

    async def _choose_server(self, message: Connect) -> Connected:
        """Let the kernel try or choose a server: it keeps the keys."""
        key = referenced(message.api_key)  # itself a reference, which the kernel made
        message = replace(message, api_key="" if key is None else key.reveal())
        return convert(Connected, await self.ask("connect", message=message))  # type: ignore[no-any-return]


def _changed(command: Command, outcome: Outcome) -> set[str]:
    """Return the ids of the sessions that a command has changed."""
    found = {*outcome.session_ids, *(run.session_id for run in outcome.runs)}
    return found | {one for one in (getattr(command, "session_id", None), outcome.session_id) if one}

"""`WireServer`: sends sessions to all pages, and receives their commands and requests.

`nbchat/protocol.py` defines the messages. This package does not depend on Jupyter: a function sends the
outgoing messages and `receive` takes incoming ones, so tests can put a lossy channel between it and a page.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from nbchat.core.commands import SetView
from nbchat.core.errors import WireError
from nbchat.core.redact import redact
from nbchat.core.secret import reference_to
from nbchat.core.version import VERSION
from nbchat.engine.callbacks import Notification
from nbchat.protocol import (
    PROTOCOL_VERSION,
    Ack,
    CommandChunk,
    Config,
    Hello,
    KernelMessage,
    PageMessage,
    People,
    RunCommand,
    Runner,
    Saving,
    Stored,
    Sync,
    Typing,
    WantCheckpoint,
    WantDescribed,
    WantVariables,
    Welcome,
    parse_page_message,
)
from nbchat.wire.commands import PageCommands
from nbchat.wire.costs import RunCosts
from nbchat.wire.late import LatePages
from nbchat.wire.pacing import TICK_S, PacketPacer, Send
from nbchat.wire.requests import PageRequests, Variables
from nbchat.wire.served_kernel import ServedKernel
from nbchat.wire.subscriptions import Subscriptions

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession

logger = logging.getLogger("nbchat")

SEEN_S: Final = 5.0
"""Seconds within which a page that shows a session reports that it saw an answer's end; else it is gone."""


class PageClient(Protocol):
    """Receives the messages of pages about the state stored in the notebook's metadata."""

    def connected(self, wire: WireServer) -> None:
        """Use this wire from now on, in place of an earlier one."""
        ...

    def on_hello(self, page: str) -> None:
        """React to a page that connects."""
        ...

    def on_stored(self, message: Stored) -> None:
        """Receive a part of the stored state of a page."""
        ...

    def on_want_checkpoint(self, message: WantCheckpoint) -> None:
        """React to a page that has written a checkpoint, or requests one."""
        ...


async def _no_view(_command: SetView) -> None:
    """Change nothing: there are no views."""


async def _no_variables(_message: WantVariables | WantDescribed) -> KernelMessage | None:
    """Return no answer: there are no variables."""
    return None


class WireServer:
    """Serves the pages of one kernel. All methods but `receive` are for the engine's thread.

    Parameters
    ----------
    engine
        The engine whose sessions are served.
    send
        Sends one comm message, `(content, buffers)`; called on the engine's loop. If it raises, the pages
        detect a gap and request a resync.
    client
        Receives the messages that are not about sessions.
    set_view
        Changes the content of a view.
    variables
        Answers requests about the notebook's variables.
    kernel
        The kernel whose pages are served; `None`: the one in this process.
    """

    def __init__(
        self,
        engine: Engine,
        send: Send,
        client: PageClient | None = None,
        set_view: Callable[[SetView], Awaitable[None]] = _no_view,
        variables: Variables = _no_variables,
        *,
        kernel: ServedKernel | None = None,
    ) -> None:
        engine.loop.check()
        self.kernel: ServedKernel = kernel or ServedKernel.of_engine(engine)
        self._engine = engine
        self._client = client
        self._messages: list[KernelMessage] = []
        self._config: Config | None = None
        self._late = LatePages()
        self._costs = RunCosts(engine, self.news)
        self._subscriptions = Subscriptions(engine, self._on_end, self._costs.last)
        self._commands = PageCommands(engine, self.kernel, self.say, set_view)
        self._requests = PageRequests(engine, self.kernel, self.say, variables)
        self._pacer = PacketPacer(engine, send, self)
        self.saving: Saving = Saving(state="off")
        """Sent to every page that connects."""
        self._people: People | None = None
        engine.readers.add(self.news)
        self._pages: set[str] = set()
        for session in engine.sessions:
            self.news(session)
        if client is not None:
            client.connected(self)

    def close(self) -> None:
        """Stop reading; nothing more is sent to pages."""
        self._engine.readers.discard(self.news)
        self._engine.presence.remove(self._pages)
        self._costs.close()
        self._pacer.close()

    def news(self, session: LiveSession) -> None:
        """Send a session's new events with the next packet."""
        self._engine.loop.check()
        if not session.state.temporary:
            self._subscriptions.add(session)
            self._pacer.wake()

    def say(self, message: KernelMessage) -> None:
        """Send a message with the next packet."""
        self._engine.loop.check()
        self._messages.append(message)
        self._pacer.wake()

    def show_people(self, people: People) -> None:
        """Send the people of the namespace with the next packet, and to pages that connect later."""
        self._people = people
        self._messages = [message for message in self._messages if not isinstance(message, People)]
        self.say(people)

    # The source of packets

    @property
    def epoch(self) -> str:
        """The epoch of the pages."""
        return self.kernel.epoch

    @property
    def rev(self) -> int:
        """Revision of the directory."""
        return self._subscriptions.rev

    @property
    def is_pending(self) -> bool:
        """True if there is something to send."""
        return bool(self._messages or self._subscriptions.is_pending)

    def collect(self) -> tuple[KernelMessage, ...]:
        """Return the contents of the next packet."""
        self.before_beacon()
        messages, self._messages = self._messages, []
        changes = self._subscriptions.changes()
        # Last, so that a sync response is never older than the events in the same packet.
        return (*changes, *messages, *self._subscriptions.sync_responses())

    def before_beacon(self) -> None:
        """Send the configuration of the provider if it has changed, and counts that are due."""
        if self._subscriptions.add_counts():
            self._pacer.wake()
        providers = self.kernel.providers
        config = Config(demo=providers.is_demo, provider=providers.name, model=providers.model)
        if config != self._config:
            self._config = config
            self._messages.insert(0, config)
            self._pacer.wake()

    def on_sent(self) -> None:
        """Accept further requests of pages whose sync response has been sent."""
        self._subscriptions.on_sent()

    # Incoming messages

    def receive(self, data: object, *, late: bool = False) -> None:
        """Receive a page's message. From any thread: the message is posted to the engine's loop.

        Parameters
        ----------
        data
            The message.
        late
            It came on a channel that waits for the running cell; see `refresh`.
        """
        self._engine.loop.post(self._received, without_key(data), late)

    @property
    def has_late_pages(self) -> bool:
        """True if the messages of a page wait for the running cell. From any thread."""
        return bool(self._late)

    async def refresh(self) -> None:
        """Answer the last messages of late pages again, and return when everything has been sent.

        All open sessions are sent to these pages, because a request for them would wait for the cell in
        which this is called.
        """
        sessions = [one for one in self._engine.sessions if not (one.evicted or one.state.temporary)]
        for message in self._late.take({one.id: 0 for one in sessions if not one.state.settings.closed}):
            self._handle(message)
        while self._messages or self._subscriptions.is_urgent or not self._pacer.is_idle:  # noqa: ASYNC110 - ticks have no waiters
            await asyncio.sleep(TICK_S)

    def _received(self, data: object, late: bool = False) -> None:
        try:
            message = parse_page_message(data)
        except WireError as error:
            self._refuse(data, error)
            return
        self._late.note(message, late=late)
        try:
            self._handle(message)
        except Exception:
            logger.exception("a page's %s could not be handled", message.type)

    def _refuse(self, data: object, error: WireError) -> None:
        self._engine.count("wire_errors")
        logger.warning("%s", redact(str(error))[:300])
        command = data.get("command") if isinstance(data, dict) else None
        command_id = command.get("id") if isinstance(command, dict) else None
        if isinstance(command_id, str) and len(command_id) <= 64:  # noqa: PLR2004 - nbchat ids have 26
            self.say(Ack(id=command_id, error=error.info))

    def _handle(self, message: PageMessage) -> None:
        match message:
            case RunCommand():
                self._commands.receive(message)
            case CommandChunk():
                self._receive_chunk(message)
            case Hello():
                self._hello(message)
            case Sync():
                self._engine.count("resyncs")
                self._engine.callbacks.notify(Notification(event="resync", data={"page": message.page}))
                fresh = message.epoch == self.epoch
                self._sync(message, message.rev if fresh else 0, message.sessions if fresh else {})
            case Typing():
                self.kernel.typed(message.session_id)
            case Stored():
                if self._client is not None:
                    self._client.on_stored(message)
            case WantCheckpoint():
                if self._client is not None:
                    self._client.on_want_checkpoint(message)
            case _:
                self._requests.receive(message)

    def _receive_chunk(self, message: CommandChunk) -> None:
        try:
            whole = self._commands.receive_chunk(message)
        except WireError as error:
            self._refuse({"command": {"id": message.id}}, error)
            return
        if whole is not None:
            self._received(whole, message.page in self._late)

    def _hello(self, message: Hello) -> None:
        self._engine.presence.connected(message.page)
        self._pages.add(message.page)
        if self._client is not None:
            self._client.on_hello(message.page)
        providers = self.kernel.providers
        self.say(self.saving)
        self.say(
            Welcome(
                to=message.page,
                version=VERSION,
                demo=providers.is_demo,
                provider=providers.name,
                model=providers.model,
            )
        )
        if self.kernel.has_runner:
            self.say(Runner(to=message.page, person=self.kernel.person))
        if self._people is not None:
            self.say(self._people)
        if message.protocol != PROTOCOL_VERSION:
            return  # the page reports this, from the packet's `protocol`
        fresh = message.epoch == self.epoch
        sessions = message.sessions if fresh else dict.fromkeys(message.sessions, 0)
        self._sync(message, message.rev if fresh else 0, sessions)

    def _sync(self, message: Hello | Sync, rev: int, sessions: Mapping[str, int]) -> None:
        if self._subscriptions.request_sync(message, rev, sessions):
            self._pacer.wake()

    # Presence

    def has_page(self, page: str) -> bool:
        """Return whether the page has connected here."""
        return page in self._pages

    def _on_end(self, session_id: str, ended_at: float) -> None:
        if self._engine.is_viewed(session_id):
            self._engine.loop.aio.call_later(SEEN_S, self._check_seen, session_id, ended_at)

    def _check_seen(self, session_id: str, ended_at: float) -> None:
        """Mark an answer unread if every page that should have shown its end is gone."""
        vanished = self._engine.presence.drop_silent(session_id, ended_at)
        session = self._engine.sessions.get(session_id)
        if vanished and session is not None and not self._engine.is_viewed(session_id):
            session.set_unread(unread=True)


def without_key(data: object) -> object:
    """Return a page's message with a reference in place of a typed key, so that no log shows the key."""
    if not isinstance(data, dict) or data.get("type") != "connect":
        return data
    key = data.get("api_key")
    text = key.strip() if isinstance(key, str) else ""
    return {**data, "api_key": reference_to(text) if text else ""}

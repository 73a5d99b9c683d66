"""`WireServer`: sends sessions to all pages, at most one packet per tick, and receives their commands.

`nbchat/protocol.py` defines the messages; this module decides when they are sent. It does not depend on
Jupyter: `send` is called with outgoing messages and `receive` takes incoming ones, so tests can put a lossy
channel between it and a page.
"""

from __future__ import annotations

import asyncio
import logging
import pathlib
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from nbchat.core.commands import ListModels, SetView, Viewing
from nbchat.core.errors import ErrorInfo, NbchatError, StaleCommand, WireError
from nbchat.core.log import LogCompacted
from nbchat.core.recovery import in_force
from nbchat.core.redact import redact
from nbchat.core.run import RunState
from nbchat.core.secret import reference_to, referenced
from nbchat.core.transcript import ROOT, SessionState
from nbchat.core.version import VERSION
from nbchat.engine.callbacks import Notification
from nbchat.engine.carry_out import carry_out
from nbchat.engine.server_choice import ServerChoice
from nbchat.protocol import (
    PROTOCOL_VERSION,
    WINDOW,
    Ack,
    Asset,
    CommandChunk,
    Config,
    Connect,
    Connected,
    Counts,
    Delta,
    EarlierMessages,
    Events,
    Exported,
    GetAsset,
    Head,
    Heads,
    Hello,
    KernelMessage,
    Models,
    Packet,
    PageMessage,
    RunCommand,
    Saving,
    Search,
    SearchResults,
    SessionStateMessage,
    Stored,
    Sync,
    Synced,
    WantCheckpoint,
    WantDescribed,
    WantEarlier,
    WantExport,
    WantVariables,
    Welcome,
    encode_packet,
    parse_page_message,
    pieces,
)
from nbchat.wire.command_chunks import CommandChunks
from nbchat.wire.deltas import counts_of, messages_of, text_of
from nbchat.wire.search import search

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession

logger = logging.getLogger("nbchat")

STATIC: Final = pathlib.Path(__file__).parent.parent / "static"
"""Directory of the page's bundles."""

TICK_S: Final = 0.04
"""Minimum seconds between two packets."""

RATE: Final = 25.0
BURST: Final = 40.0
"""Rate limit of comm messages: `RATE` per second plus a burst of `BURST`, at most 290 in any ten seconds."""

BUDGET: Final = 160 * 1024
"""Bytes of events per packet; the rest is sent with the next tick."""

BEACONS: Final = (0.2, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds between the empty packets that follow the last change."""

REMEMBERED: Final = 2000
"""Commands whose acknowledgement is kept, in case they are repeated."""

KEPT_ANSWERS: Final = 16
"""Answers to `connect` that are kept, for when their requests are repeated."""

SEEN_S: Final = 5.0
"""Seconds within which a page that shows a session reports that it saw an answer's end; else it is gone."""

PROGRESS_S: Final = 1.0
"""Seconds before a head that differs only in its counts is sent again."""


class _Reader(Struct):
    """Progress of the pages in one session."""

    seq: int = 0
    head: Head | None = None
    number: int = 0
    """Identifies the session on the wire."""
    rev: int = 0
    """Revision of the directory when `head` was sent."""
    head_at: float = 0.0
    wanted_by: set[str] = field(default_factory=set)
    """Pages that receive the state as soon as all of it is visible to readers."""


Send = Callable[[Mapping[str, Any], list[bytes]], None]


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
    views
        Changes the content of a view; called on a separate thread.
    variables
        Answers requests about the notebook's variables; called on a separate thread.
    """

    def __init__(
        self,
        engine: Engine,
        send: Send,
        client: PageClient | None = None,
        views: Callable[[SetView], None] = lambda _command: None,
        variables: Callable[[WantVariables | WantDescribed], KernelMessage | None] = lambda _message: None,
    ) -> None:
        engine.loop.check()
        self._views = views
        self._variables = variables
        self._setting_views = asyncio.Lock()
        self._engine = engine
        self._client = client
        self._send = send
        self._loop = engine.loop.aio
        self._readers: dict[str, _Reader] = {}
        self._dirty: dict[str, LiveSession] = {}
        self._messages: list[KernelMessage] = []
        self._asks: dict[str, tuple[str, int, Mapping[str, int]]] = {}
        """Pages with a pending sync: id of the last request, revision, sessions."""
        self._answering: set[str] = set()
        """Pages whose sync response is in the outbox."""
        self._outbox: deque[tuple[Mapping[str, Any], list[bytes]]] = deque()
        self._n = 0
        self._rev = 0
        self._numbers = 0
        """Session numbers assigned so far."""
        self._removed_rev = 0
        """Revision at which a session last left the directory."""
        self._tick: Any = None
        self._beacon: Any = None
        self._beacons_left: deque[float] = deque()
        self._last_packet = 0.0
        self._tokens = BURST
        self._tokens_at = self._loop.time()
        self._acks: OrderedDict[str, Ack] = OrderedDict()
        self._parts = CommandChunks()
        self._searches: dict[str, str] = {}
        """Id of each page's newest search that is not answered yet."""
        self._describing: set[tuple[str, str]] = set()
        """Page and id of each pending request about variables."""
        self._working: set[str] = set()
        """Ids of requests that are being worked on: a page repeats a request until it is answered."""
        self._connected: OrderedDict[str, Connected] = OrderedDict()
        """Answers that are kept, for a request whose answer was lost: a test is not made twice."""
        self._config: Config | None = None
        self.last_actor: str | None = None
        """The page where the user last acted."""
        self.saving: Saving = Saving(state="off")
        """Sent to every page that connects."""
        engine.readers.add(self.news)
        engine.presence.clear()
        for session in engine.sessions:
            self.news(session)
        if client is not None:
            client.connected(self)

    def close(self) -> None:
        """Stop reading; nothing more is sent to pages."""
        self._engine.readers.discard(self.news)
        for timer in (self._tick, self._beacon):
            if timer is not None:
                timer.cancel()

    # Changes and the schedule of packets

    def news(self, session: LiveSession) -> None:
        """Send a session's new events with the next packet."""
        self._engine.loop.check()
        if not session.state.temporary:
            self._dirty[session.id] = session
            self._wake()

    def say(self, message: KernelMessage) -> None:
        """Send a message with the next packet."""
        self._engine.loop.check()
        self._messages.append(message)
        self._wake()

    def _wake(self) -> None:
        if self._tick is None:
            at = max(self._last_packet + TICK_S, self._loop.time())
            self._tick = self._loop.call_at(at, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        self._last_packet = self._loop.time()
        if not self._outbox:
            messages = self._collect()
            if messages:
                self._n += 1
                self._pack(messages)
        self._drain()
        if self._outbox or self._dirty or self._messages or self._asks:
            self._wake()

    def _pack(self, messages: tuple[KernelMessage, ...]) -> None:
        payload = encode_packet(Packet(epoch=self._engine.epoch, n=self._n, rev=self._rev, messages=messages))
        parts = pieces(payload)
        self._outbox.extend(
            ({"nbchat": f"{self._n}", "piece": i, "of": len(parts)}, [part]) for i, part in enumerate(parts)
        )
        self._engine.count("packets")
        if messages:
            self._beacons_left = deque(BEACONS)
        self._plan_beacon()

    def _drain(self) -> None:
        now = self._loop.time()
        self._tokens = min(BURST, self._tokens + (now - self._tokens_at) * RATE)
        self._tokens_at = now
        while self._outbox and self._tokens >= 1:
            self._tokens -= 1
            content, buffers = self._outbox.popleft()
            try:
                self._send(content, buffers)
            except Exception:
                self._engine.count("send_errors")
                logger.debug("a packet could not be sent", exc_info=True)
            self._engine.count("frames")
            self._engine.count("frame_bytes", len(buffers[0]))
        if not self._outbox:
            self._answering.clear()

    def _plan_beacon(self) -> None:
        if self._beacon is not None:
            self._beacon.cancel()
            self._beacon = None
        if self._beacons_left:
            self._beacon = self._loop.call_later(self._beacons_left[0], self._on_beacon)

    def _on_beacon(self) -> None:
        self._beacon = None
        self._beacons_left.popleft()
        if not self._outbox:
            self._check_config()
            self._pack(())
            self._drain()

    # Outgoing messages

    def _collect(self) -> tuple[KernelMessage, ...]:
        """Collect changes up to a packet's budget; the other sessions stay dirty."""
        self._check_config()
        messages, self._messages = self._messages, []
        heads: list[Head] = []
        counts: list[Counts] = []
        deltas: list[Delta] = []
        news: list[KernelMessage] = []
        size = 0
        for session_id in list(self._dirty):
            if size > BUDGET:
                break
            session = self._dirty.pop(session_id)
            reader = self._readers.setdefault(session_id, _Reader())
            head = self._new_head(session, reader)
            if isinstance(head, Counts):
                counts.append(head)
            elif head is not None:
                heads.append(head)
                if head.deleted:
                    self._forget_what_is_gone()
            read, size = self._read(session, reader, size, deltas)
            news.extend(read)
        news += messages_of(counts, deltas)
        if heads:
            # Before the events, since a page may request a session as soon as it receives its head.
            news.insert(0, Heads(heads=tuple(heads)))
        # Last, so that a sync response is never older than the events in the same packet.
        asks, self._asks = self._asks, {}
        for page, ask in asks.items():
            messages += self._synced(page, *ask)
        return (*news, *messages)

    def _forget_what_is_gone(self) -> None:
        """Drop the readers of sessions whose deletion can no longer be undone."""
        for session_id in [
            key for key in self._readers if self._engine.sessions.get_including_deleted(key) is None
        ]:
            del self._readers[session_id]
            self._rev += 1
            self._removed_rev = self._rev

    def _read(
        self, session: LiveSession, reader: _Reader, size: int, deltas: list[Delta]
    ) -> tuple[list[KernelMessage], int]:
        record = session.record
        said: list[KernelMessage] = []
        visible = record.visible
        if reader.seq > visible:  # a restored session starts a new count
            reader.seq = 0
        if reader.wanted_by and visible == record.log.head:
            pages, reader.wanted_by = sorted(reader.wanted_by), set()
            said += [self._state_of(record.state, page) for page in pages]
        if reader.seq < visible:
            try:
                events = record.log.read_from(reader.seq)[: visible - reader.seq]
            except LogCompacted:
                # These events are gone; pages that hold the session detect the gap and resync.
                reader.seq = visible
                return said, size
            taken = []
            for event in events:
                taken.append(event)
                size += 200 + 2 * len(getattr(event, "text", ""))
                if size > BUDGET:
                    self._dirty[session.id] = session
                    break
            first = reader.seq + 1
            if text := text_of(reader.number, first, taken, record.state.live):
                deltas += text
            else:
                said.append(Events(session_id=session.id, first_seq=first, events=tuple(taken)))
            reader.seq += len(taken)
        return said, size

    def _new_head(self, session: LiveSession, reader: _Reader) -> Head | Counts | None:
        if reader.number == 0:
            self._numbers += 1
            reader.number = self._numbers
        head, now = replace(self._head(session), number=reader.number), self._loop.time()
        old = reader.head
        counting = (
            old is not None
            and head.run_id is not None
            and replace(head, seq=old.seq, characters=old.characters, active_at=old.active_at) == old
        )
        if head == old or (counting and now - reader.head_at < PROGRESS_S):
            return None
        self._rev += 1
        reader.head, reader.rev, reader.head_at = head, self._rev, now
        ended = head.run_id is None and old is not None and old.active_at != head.active_at
        if ended and self._engine.is_viewed(head.id):
            self._loop.call_later(SEEN_S, self._check_seen, head.id, now)
        return counts_of(head) if counting else head

    @staticmethod
    def _head(session: LiveSession) -> Head:
        state = session.shown
        run = state.live
        last = run or (state.runs[-1] if state.runs else None)
        active = 0.0
        if last is not None:
            active = last.ended_at or last.last_delta_at or last.started_at or last.queued_at
        return Head(
            id=state.id,
            seq=session.record.visible,
            title=state.title,
            state=state.status,
            run_id=run.id if run is not None else None,
            model=(last.model if last is not None else None) or state.settings.model,
            created_at=state.created_at,
            active_at=active or state.created_at,
            started_at=run.started_at if run is not None else None,
            characters=run.characters if run is not None else 0,
            queued=sum(r.state is RunState.QUEUED and r is not run for r in state.runs),
            position=session.position,
            unread=state.unread,
            pinned=state.settings.pinned,
            rank=state.rank,
            closed=state.settings.closed,
            archived=state.settings.archived,
            deleted=state.deleted,
            temporary=state.temporary,
            messages=len(state.path),
            own_provider=session.provider is not None,
        )

    def _state_of(self, state: SessionState, page: str | None) -> SessionStateMessage:
        path = state.path
        omitted = max(len(path) - WINDOW, 0)
        if omitted:
            shown = {message.id for message in path[omitted:]}
            parents = {message.parent_id for message in path[omitted:]}
            messages = {
                key: message
                for key, message in state.messages.items()
                if key in shown or (message.parent_id in parents and message.parent_id is not None)
            }
            selected = {key: value for key, value in state.selected.items() if value in shown}
            selected[ROOT] = path[omitted].id
            runs = tuple(
                run for run in state.runs if run.state.is_live or not messages.keys().isdisjoint(run.about)
            )
            state = replace(state, messages=messages, selected=selected, runs=runs)
        return SessionStateMessage(state=state, omitted=omitted, to=page)

    def _check_config(self) -> None:
        providers = self._engine.providers
        config = Config(demo=providers.is_demo, provider=providers.name, model=providers.model)
        if config != self._config:
            self._config = config
            self._messages.append(config)
            self._wake()

    # Incoming messages

    def receive(self, data: object) -> None:
        """Receive a page's message. From any thread: the message is posted to the engine's loop."""
        self._engine.loop.post(self._received, _sealed(data))

    def _received(self, data: object) -> None:
        try:
            message = parse_page_message(data)
        except WireError as error:
            self._refuse(data, error)
            return
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
        if isinstance(message, Hello):
            self._hello(message)
        elif isinstance(message, RunCommand):
            self._do(message)
        elif isinstance(message, CommandChunk):
            self._do_part(message)
        elif isinstance(message, Sync):
            self._engine.count("resyncs")
            self._engine.callbacks.notify(Notification(event="resync", data={"page": message.page}))
            fresh = message.epoch == self._engine.epoch
            self._sync(message, message.rev if fresh else 0, message.sessions if fresh else {})
        elif isinstance(message, WantEarlier):
            self._earlier(message)
        elif isinstance(message, Stored):
            if self._client is not None:
                self._client.on_stored(message)
        elif isinstance(message, WantCheckpoint):
            if self._client is not None:
                self._client.on_want_checkpoint(message)
        else:
            self._handle_question(message)

    def _handle_question(
        self, message: GetAsset | Search | WantVariables | WantDescribed | WantExport | Connect
    ) -> None:
        """Start to answer a request that has one answer, for the page that sent it."""
        if isinstance(message, GetAsset):
            text = (STATIC / f"{message.name}.js").read_text(encoding="utf-8")
            self.say(Asset(to=message.page, name=message.name, text=text))
        elif isinstance(message, Search):
            self._searches[message.page] = message.id
            self._engine.loop.spawn(self._search(message), name="nbchat-search")
        elif isinstance(message, WantVariables | WantDescribed):
            if message.epoch == self._engine.epoch:
                self._engine.loop.spawn(self._answer_about_variables(message), name="nbchat-variables")
        elif message.id in self._connected:
            self.say(self._connected[message.id])
        elif message.id not in self._working:
            self._working.add(message.id)
            work = self._export(message) if isinstance(message, WantExport) else self._connect(message)
            self._engine.loop.spawn(work, name=f"nbchat-{message.type}")

    def _hello(self, message: Hello) -> None:
        self._engine.presence.connected(message.page)
        if self._client is not None:
            self._client.on_hello(message.page)
        providers = self._engine.providers
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
        if message.protocol != PROTOCOL_VERSION:
            return  # the page reports this, from the packet's `protocol`
        same = message.epoch == self._engine.epoch
        self._sync(
            message,
            message.rev if same else 0,
            message.sessions if same else dict.fromkeys(message.sessions, 0),
        )

    def _sync(self, message: Hello | Sync, rev: int, sessions: Mapping[str, int]) -> None:
        if message.page in self._answering:
            return  # already in the outbox: a large state takes seconds, and pages repeat sooner
        # A page that repeated its request accepts any response as one to the last request.
        self._asks[message.page] = (message.id, rev, sessions)
        self._wake()

    def _synced(self, page: str, ask_id: str, rev: int, sessions: Mapping[str, int]) -> list[KernelMessage]:
        """Return everything that the page lacks, in one step of the loop, so that it is consistent."""
        self._answering.add(page)
        said: list[KernelMessage] = []
        known = {key: self._engine.sessions.get_including_deleted(key) for key in sessions}
        # A page that requests a removed session has missed its removal.
        whole = rev == 0 or rev < self._removed_rev or rev > self._rev or None in known.values()
        heads = [
            reader.head
            for reader in self._readers.values()
            if reader.head is not None and (whole or reader.rev > rev)
        ]
        if whole or heads:
            said.append(Heads(heads=tuple(heads), all=whole))
        for session_id, seq in sessions.items():
            try:
                session = self._engine.session(session_id)
            except NbchatError:
                found = known[session_id]  # deleted; a page may undo that
                if found is None:
                    continue
                session = found
            said += self._catch_up(session, seq, page)
        return [*said, Synced(to=page, id=ask_id)]

    def _catch_up(self, session: LiveSession, seq: int, page: str) -> list[KernelMessage]:
        record = session.record
        if 0 < seq <= record.visible:
            try:
                events = record.log.read_from(seq)[: record.visible - seq]
            except LogCompacted:
                pass
            else:
                if not events:
                    return []
                return [Events(session_id=session.id, first_seq=seq + 1, events=tuple(events))]
        if record.visible == record.log.head:
            return [self._state_of(record.state, page)]
        self._readers.setdefault(session.id, _Reader()).wanted_by.add(page)
        return []

    def _earlier(self, message: WantEarlier) -> None:
        try:
            state = self._engine.session(message.session_id).state
        except NbchatError:
            return
        path = state.path
        at = next((i for i, m in enumerate(path) if m.id == message.before), 0)
        start = max(at - WINDOW, 0)
        chosen = path[start:at]
        parents = {m.parent_id for m in chosen}
        versions = tuple(
            m for m in state.messages.values() if m in chosen or (m.parent_id and m.parent_id in parents)
        )
        ids = {m.id for m in chosen} | {message.before}
        selected = {key: value for key, value in state.selected.items() if value in ids}
        if chosen:
            selected[ROOT] = chosen[0].id
        self.say(
            EarlierMessages(
                to=message.page,
                session_id=message.session_id,
                messages=versions,
                selected=selected,
                omitted=start,
            )
        )

    async def _search(self, message: Search) -> None:
        """Search on a separate thread, while sessions continue."""
        engine = self._engine
        listed = [c for c in engine.sessions if not c.state.temporary]
        # Sessions in memory first; evicted ones are loaded while there is time.
        listed.sort(key=lambda c: (c.evicted, -self._head(c).active_at))

        def is_wanted() -> bool:
            return self._searches.get(message.page) == message.id

        states = [self._reader_of(session) for session in listed]
        result = await asyncio.to_thread(search, message.query, states, is_wanted=is_wanted)
        if is_wanted():
            del self._searches[message.page]
            self.say(SearchResults(to=message.page, id=message.id, hits=result.hits, more=result.more))

    async def _answer_about_variables(self, message: WantVariables | WantDescribed) -> None:
        """Answer a request about variables. A page repeats it until it is answered."""
        key = (message.page, message.id)
        if key in self._describing:
            return
        self._describing.add(key)
        try:
            answer = await asyncio.to_thread(self._variables, message)
        finally:
            self._describing.discard(key)
        if answer is not None:
            self.say(answer)

    def _reader_of(self, conversation: LiveSession) -> Callable[[], SessionState]:
        """Return a function that returns the state, which it may read from the journal on any thread."""
        eviction = self._engine.eviction
        if conversation.evicted:
            outline = eviction.outlined(conversation)
            return lambda: eviction.stored(outline).state
        held = conversation.state
        return lambda: held

    async def _export(self, message: WantExport) -> None:
        """Make an export on a thread, because that can take seconds."""
        try:
            read = self._reader_of(self._engine.session(message.session_id))
            answer = await asyncio.to_thread(_exported, message, read)
        except NbchatError as error:
            answer = Exported(to=message.page, id=message.id, error=error.info)
        except Exception as error:
            logger.exception("a session could not be exported")
            info = ErrorInfo(code="nbchat_error", message=redact(f"{type(error).__name__}: {error}")[:300])
            answer = Exported(to=message.page, id=message.id, error=info)
        finally:
            self._working.discard(message.id)
        self.say(answer)

    async def _connect(self, message: Connect) -> None:
        """Try or choose a server."""
        answer = Connected(to=message.page, id=message.id)
        try:
            answer = await self._connection(message)
        except NbchatError as error:
            answer = replace(answer, error=error.info)
        except Exception as error:
            logger.exception("a page's connect failed")
            info = ErrorInfo(code="nbchat_error", message=redact(f"{type(error).__name__}: {error}")[:300])
            answer = replace(answer, error=info)
        finally:
            self._working.discard(message.id)
        self._connected[message.id] = answer
        while len(self._connected) > KEPT_ANSWERS:
            self._connected.popitem(last=False)
        self.say(answer)

    async def _connection(self, message: Connect) -> Connected:
        if message.epoch != self._engine.epoch:
            raise StaleCommand("the kernel was restarted since this was asked.", hint="Try again.")
        choice = ServerChoice(self._engine.providers)
        answer = Connected(to=message.page, id=message.id)
        key = referenced(message.api_key)
        if message.action == "models":
            return replace(answer, models=await choice.models(message.base_url, key))
        if message.action == "test":
            return replace(answer, text=await choice.test(message.base_url, key, message.model))
        self.last_actor = message.page
        if message.action == "use":
            choice.use(message.base_url, key, message.model)
        else:
            choice.reset()
        self._check_config()
        return answer

    def _do(self, message: RunCommand) -> None:
        command = message.command
        known = self._acks.get(command.id)
        if known is not None:
            self.say(known)  # already executed; only the acknowledgement was lost
            return
        ack = self._carry_out(message)
        self._acks[command.id] = ack
        while len(self._acks) > REMEMBERED:
            self._acks.popitem(last=False)
        self.say(ack)

    def _do_part(self, message: CommandChunk) -> None:
        known = self._acks.get(message.id)
        if known is not None:
            self.say(known)
            return
        try:
            whole = self._parts.take(message)
        except WireError as error:
            self._refuse({"command": {"id": message.id}}, error)
            return
        if whole is not None:
            self._received(whole)

    def _carry_out(self, message: RunCommand) -> Ack:
        command = message.command
        if message.epoch != self._engine.epoch:
            stale = StaleCommand("the kernel was restarted since this was asked.", hint="Ask again.")
            return Ack(id=command.id, error=stale.info)
        if isinstance(command, Viewing):
            self._viewing(message.page, command.session_ids)
            return Ack(id=command.id)
        if isinstance(command, SetView | ListModels):
            task = self._set_view(command) if isinstance(command, SetView) else self._list_models(command)
            self._engine.loop.spawn(task, name=f"nbchat-{command.type}")
            return Ack(id=command.id)
        self.last_actor = message.page
        try:
            outcome = carry_out(self._engine, command)
        except NbchatError as error:
            return Ack(id=command.id, error=error.info)
        except Exception as error:
            logger.exception("a page's %s failed", command.type)
            info = ErrorInfo(code="nbchat_error", message=redact(f"{type(error).__name__}: {error}")[:300])
            return Ack(id=command.id, error=info)
        return Ack(id=command.id, session_id=outcome.session_id, run_id=outcome.run_id)

    async def _set_view(self, command: SetView) -> None:
        async with self._setting_views:  # in the order in which they were sent
            try:
                await asyncio.to_thread(self._views, command)
            except Exception:
                logger.exception("the traits of a view could not be set")

    async def _list_models(self, command: ListModels) -> None:
        session_id = command.session_id
        providers = self._engine.providers
        models: tuple[str, ...] = ()
        failure = None
        try:
            if session_id is None:
                models = await providers.models()
            else:
                session = self._engine.session(session_id)
                named = in_force(session.state.settings).provider
                models = await providers.models(session.provider, named)
        except NbchatError as error:
            failure = error.info
        usual = providers.defaults.model or next(iter(models), None)
        self.say(Models(models=models, session_id=session_id, model=usual, error=failure))

    # Presence

    def _viewing(self, page: str, session_ids: tuple[str, ...]) -> None:
        self._engine.presence.shows(page, session_ids, self._loop.time())
        for session_id in session_ids:
            try:
                self._engine.session(session_id).set_unread(unread=False)
            except NbchatError:
                continue

    def _check_seen(self, session_id: str, ended_at: float) -> None:
        """Mark an answer unread if every page that should have shown its end is gone."""
        vanished = self._engine.presence.drop_silent(session_id, ended_at)
        session = self._engine.sessions.get(session_id)
        if vanished and session is not None and not self._engine.is_viewed(session_id):
            session.set_unread(unread=True)

    @property
    def pages(self) -> list[str]:
        """The connected pages; the one that connected last comes last."""
        return self._engine.presence.pages


def _exported(message: WantExport, read: Callable[[], SessionState]) -> Exported:
    from nbchat.export import render, slug  # noqa: PLC0415 - its parsers are needed for exports only

    state = read()
    name = f"{slug(state.title)}.{message.format}"
    return Exported(to=message.page, id=message.id, name=name, text=render([state], message.format))


def _sealed(data: object) -> object:
    """Return a page's message with a reference in place of a typed key, so that no log shows the key."""
    if not isinstance(data, dict) or data.get("type") != "connect":
        return data
    key = data.get("api_key")
    text = key.strip() if isinstance(key, str) else ""
    return {**data, "api_key": reference_to(text) if text else ""}

"""`Subscriptions`: which events and heads the pages have, and the messages with those that they lack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field
from msgspec.structs import replace

from nbchat.core.errors import NbchatError
from nbchat.core.log import LogCompacted
from nbchat.protocol import Counts, Delta, Events, Head, Heads, Hello, KernelMessage, Sync, Synced
from nbchat.wire.deltas import counts_of, messages_of, text_of
from nbchat.wire.session_messages import head_of, state_message

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession

BUDGET: Final = 160 * 1024
"""Bytes of events per packet; the rest is sent with the next tick."""

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


class Subscriptions:
    """Reads the log of each session once for all pages. All methods are for the engine's loop.

    Parameters
    ----------
    engine
        The engine whose sessions are read.
    on_end
        Called with the id of a session whose live run has ended, and the loop's time.
    cost_of
        Returns the cost of a session's last run, for display.
    """

    def __init__(
        self,
        engine: Engine,
        on_end: Callable[[str, float], None],
        cost_of: Callable[[LiveSession], str],
    ) -> None:
        self._engine = engine
        self._on_end = on_end
        self._cost_of = cost_of
        self._readers: dict[str, _Reader] = {}
        self._dirty: dict[str, LiveSession] = {}
        self._uncounted: dict[str, LiveSession] = {}
        """Sessions whose counts are newer than those of their last head."""
        self._asks: dict[str, tuple[str, int, Mapping[str, int]]] = {}
        """Pages with a pending sync: id of the last request, revision, sessions."""
        self._answering: set[str] = set()
        """Pages whose sync response is in the outbox."""
        self._numbers = 0
        """Session numbers assigned so far."""
        self._removed_rev = 0
        """Revision at which a session last left the directory."""
        self.rev = 0
        """Revision of the directory: changes with every head."""

    @property
    def is_pending(self) -> bool:
        """True if a session has changed, or a page waits for a sync response."""
        return bool(self._dirty or self._asks)

    @property
    def is_urgent(self) -> bool:
        """True if a page waits for a sync response, or the end of a run has not been sent."""
        return bool(self._asks) or any(session.state.live is None for session in self._dirty.values())

    def add(self, session: LiveSession) -> None:
        """Include a session's new events in the next packets."""
        self._dirty[session.id] = session

    def add_counts(self) -> bool:
        """Include counts that are due although nothing else has changed; return whether there are any."""
        now = self._engine.loop.aio.time()
        due = [key for key in self._uncounted if now - self._readers[key].head_at >= PROGRESS_S]
        self._dirty |= {key: self._uncounted.pop(key) for key in due}
        return bool(due)

    def request_sync(self, message: Hello | Sync, rev: int, sessions: Mapping[str, int]) -> bool:
        """Include what a page lacks in the next packet.

        Parameters
        ----------
        rev
            Revision of the directory that the page has; 0 if none.
        sessions
            Sessions that the page holds, with the last `seq` of each.

        Returns
        -------
        `False` if a response is already in the outbox: a large state takes seconds, and pages repeat sooner.
        """
        if message.page in self._answering:
            return False
        # A page that repeated its request accepts any response as one to the last request.
        self._asks[message.page] = (message.id, rev, sessions)
        return True

    def on_sent(self) -> None:
        """Accept further requests of pages whose sync response has been sent."""
        self._answering.clear()

    def changes(self) -> list[KernelMessage]:
        """Return the changes, up to a packet's budget; the other sessions stay dirty."""
        heads: list[Head] = []
        counts: list[Counts] = []
        deltas: list[Delta] = []
        events: list[KernelMessage] = []
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
                    self._drop_removed()
            read, size = self._read(session, reader, size, deltas)
            events.extend(read)
        # Heads come first, since a page may request a session as soon as it receives its head.
        first = [Heads(heads=tuple(heads))] if heads else []
        return [*first, *events, *messages_of(counts, deltas)]

    def sync_responses(self) -> list[KernelMessage]:
        """Return the responses to all pending requests, each consistent because it is made in one step."""
        asks, self._asks = self._asks, {}
        return [message for page, ask in asks.items() for message in self._sync_response(page, *ask)]

    def _drop_removed(self) -> None:
        """Drop the readers of sessions whose deletion can no longer be undone."""
        for session_id in [
            key for key in self._readers if self._engine.sessions.get_including_deleted(key) is None
        ]:
            del self._readers[session_id]
            self._uncounted.pop(session_id, None)
            self.rev += 1
            self._removed_rev = self.rev

    def _read(
        self, session: LiveSession, reader: _Reader, size: int, deltas: list[Delta]
    ) -> tuple[list[KernelMessage], int]:
        record = session.record
        messages: list[KernelMessage] = []
        visible = record.visible
        if reader.seq > visible:  # a restored session starts a new count
            reader.seq = 0
        if reader.wanted_by and visible == record.log.head:
            pages, reader.wanted_by = sorted(reader.wanted_by), set()
            messages += [state_message(record.state, page) for page in pages]
        if reader.seq < visible:
            try:
                events = record.log.read_from(reader.seq)[: visible - reader.seq]
            except LogCompacted:
                # These events are gone; pages that hold the session detect the gap and resync.
                reader.seq = visible
                return messages, size
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
                messages.append(Events(session_id=session.id, first_seq=first, events=tuple(taken)))
            reader.seq += len(taken)
        return messages, size

    def _new_head(self, session: LiveSession, reader: _Reader) -> Head | Counts | None:
        if reader.number == 0:
            self._numbers += 1
            reader.number = self._numbers
        head = head_of(session, reader.number, self._cost_of(session))
        now = self._engine.loop.aio.time()
        old = reader.head
        counting = (
            old is not None
            and head.run_id is not None
            and replace(head, seq=old.seq, characters=old.characters, active_at=old.active_at) == old
        )
        self._uncounted.pop(session.id, None)
        if head == old:
            return None
        if counting and now - reader.head_at < PROGRESS_S:
            self._uncounted[session.id] = session
            return None
        self.rev += 1
        reader.head, reader.rev, reader.head_at = head, self.rev, now
        if head.run_id is None and old is not None and old.active_at != head.active_at:
            self._on_end(head.id, now)
        return counts_of(head) if counting else head

    def _sync_response(
        self, page: str, ask_id: str, rev: int, sessions: Mapping[str, int]
    ) -> list[KernelMessage]:
        self._answering.add(page)
        messages: list[KernelMessage] = []
        held = {key: self._engine.sessions.get_including_deleted(key) for key in sessions}
        # A page that requests a removed session has missed its removal.
        whole = rev == 0 or rev < self._removed_rev or rev > self.rev or None in held.values()
        heads = [
            reader.head
            for reader in self._readers.values()
            if reader.head is not None and (whole or reader.rev > rev)
        ]
        if whole or heads:
            messages.append(Heads(heads=tuple(heads), all=whole))
        for session_id, seq in sessions.items():
            try:
                session = self._engine.session(session_id)
            except NbchatError:
                found = held[session_id]  # deleted; a page may undo that
                if found is None:
                    continue
                session = found
            messages += self._catch_up(session, seq, page)
        return [*messages, Synced(to=page, id=ask_id)]

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
            return [state_message(record.state, page)]
        self._readers.setdefault(session.id, _Reader()).wanted_by.add(page)
        return []

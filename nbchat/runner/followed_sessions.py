"""`FollowedSessions`: sends the events of the sessions that a kernel follows, in order and without gaps."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nbchat.core.log import LogCompacted
from nbchat.core.session import SessionRecord
from nbchat.runner.messages import FollowedEvents, FollowedState, Forget, ToKernel
from nbchat.runner.transports import AsyncTransport

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession

FULL: Final = 4 * 1024 * 1024
"""Bytes that wait for a kernel that does not read, above which its sessions are not read further."""


class _Followed(Struct):
    """Progress of the kernel in one session."""

    seq: int
    record: SessionRecord
    """The record that `seq` counts in; another one is sent as a whole."""


class FollowedSessions:
    """The sessions that one kernel follows. Only for the engine's loop.

    Parameters
    ----------
    engine
        The engine.
    transport
        The link; while it is full, sessions are not read.
    send
        Sends a message.
    reply
        Answers a call, by its number.
    """

    def __init__(
        self,
        engine: Engine,
        transport: AsyncTransport,
        send: Callable[[ToKernel], None],
        reply: Callable[[int], None],
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._send = send
        self._reply = reply
        self._followed: dict[str, _Followed] = {}
        self._dirty: dict[str, LiveSession] = {}
        self._flushing = False
        self._waiting: list[tuple[dict[str, _Followed], Callable[[], None]]] = []
        """Replies that wait until the kernel has what their commands changed."""
        self._wanted: dict[str, list[int]] = {}
        """Calls that wait for a session whose end of a run is being written."""
        self._closed = False
        engine.readers.add(self._news)

    def __repr__(self) -> str:
        """Return the number of sessions."""
        return f"<FollowedSessions, {len(self._followed)}>"

    def close(self) -> None:
        """Follow no session any more."""
        self._closed = True
        self._engine.readers.discard(self._news)

    def follow(self, session: LiveSession, number: int) -> None:
        """Send a session as a whole and its later events, and answer the call."""
        self._wanted.setdefault(session.id, []).append(number)
        self._read(session)

    def _news(self, session: LiveSession) -> None:
        if session.id in self._followed or session.id in self._wanted:
            self._dirty[session.id] = session
        if (self._dirty or self._waiting) and not self._flushing:
            self._flushing = True
            self._engine.loop.aio.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return
        if self._transport.waiting > FULL:
            self._flushing = True
            self._engine.loop.spawn(self._flush_later(), name="nbchat-link-slow")
            return
        dirty, self._dirty = self._dirty, {}
        for session in dirty.values():
            self._read(session)
        waiting, self._waiting = self._waiting, []
        for needed, reply in waiting:
            if all(self._has(session_id, need) for session_id, need in needed.items()):
                reply()
            else:
                self._waiting.append((needed, reply))

    async def _flush_later(self) -> None:
        try:
            await self._transport.drain()
        except ConnectionError:
            return
        self._flush()

    def when_seen(self, session_ids: Collection[str], reply: Callable[[], None]) -> None:
        """Reply when the kernel has all events so far of these sessions, as far as it follows them.

        Other sessions are not waited for: the end of a run there may be held until it is stored.
        """
        needed = {}
        for session_id in session_ids:
            session = self._engine.sessions.get_including_deleted(session_id)
            if session_id in self._followed and session is not None and not session.evicted:
                needed[session_id] = _Followed(session.record.log.head, session.record)
        self._waiting.append((needed, reply))
        self._flush()

    def _has(self, session_id: str, need: _Followed) -> bool:
        has = self._followed.get(session_id)
        return has is None or has.record is not need.record or has.seq >= need.seq

    def _read(self, session: LiveSession) -> None:
        """Send what the kernel lacks of a session."""
        followed, record = self._followed.get(session.id), session.record
        if session.evicted:
            if followed is not None:
                del self._followed[session.id]
                self._send(Forget(session_id=session.id))
            return
        is_same = followed is not None and followed.record is record
        has_rest = followed is not None and is_same and self._send_events(session.id, followed, record)
        if session.id in self._wanted or (followed is not None and not has_rest):
            self._send_state(session, record)

    def _send_events(self, session_id: str, followed: _Followed, record: SessionRecord) -> bool:
        """Send the events that follow; return False if they are no longer in the log."""
        if followed.seq >= record.visible:
            return True
        try:
            events = tuple(record.log.read_from(followed.seq)[: record.visible - followed.seq])
        except LogCompacted:
            return False
        self._send(FollowedEvents(session_id=session_id, first_seq=followed.seq + 1, events=events))
        followed.seq += len(events)
        if record.state.temporary and record.state.deleted:
            del self._followed[session_id]
        return True

    def _send_state(self, session: LiveSession, record: SessionRecord) -> None:
        if record.visible != record.log.head:
            # The state contains an end that readers must not see yet: sent when it is announced.
            self._wanted.setdefault(session.id, [])
            return
        self._send(FollowedState(state=record.state))
        self._followed[session.id] = _Followed(record.state.seq, record)
        for number in self._wanted.pop(session.id, []):
            self._reply(number)

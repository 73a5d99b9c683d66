"""`Eviction`: drops the least recently used session that is idle, saved and unpinned from memory.

An evicted session stays in the registry and keeps its tab; only its messages are dropped. Reading it loads
them from the store again.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import SnapshotError, TooManySessions
from nbchat.core.saved import SavedSession
from nbchat.engine.callbacks import Notification
from nbchat.engine.journal_reader import fold
from nbchat.engine.journal_writer import saved_session

if TYPE_CHECKING:
    from nbchat.engine.base import EngineBase
    from nbchat.engine.live_session import LiveSession

logger = logging.getLogger("nbchat")

WARN_AT: Final = 0.9
"""Fraction of a limit at which the event `limit` is emitted."""


class Eviction:
    """Keeps an engine within `limits.sessions` and `limits.total_chars`."""

    def __init__(self, engine: EngineBase) -> None:
        self._engine = engine
        self._sizes: WeakKeyDictionary[LiveSession, tuple[int, int]] = WeakKeyDictionary()
        self._warned: set[str] = set()
        self._left_out: dict[str, int] = {}

    def make_room(self) -> None:
        """Make room for one more session. Only on the engine's loop.

        Raises
        ------
        TooManySessions
            If the limit is reached and no session may be evicted.
        """
        self._engine.loop.check()
        limit = self._engine.limits.sessions
        if limit is None or len(self._engine.sessions) < limit * WARN_AT - 1:
            return  # far from the limit
        held = self._held()
        self._warn("sessions", len(held) + 1, limit)
        excess = len(held) + 1 - limit
        if excess <= 0:
            return
        leaving = self._candidates()[:excess]
        if len(leaving) < excess:
            raise TooManySessions(
                f"there are {len(held):,} sessions in memory, the limit is {limit:,}, and none of them may "
                "leave: they are busy, pinned, shown or not saved.",
                hint="Stop, unpin or delete some, or raise registry.limits.sessions.",
            )
        for session in leaving:
            self._evict(session)

    def trim(self, but: LiveSession | None = None) -> None:
        """Evict until the characters in memory are within their limit, as far as possible.

        Parameters
        ----------
        but
            A session that is not evicted, since it is about to be read.
        """
        self._engine.loop.check()
        limit = self._engine.limits.total_chars
        if limit is None:
            return
        total = sum(self._characters(session) for session in self._held())
        self._warn("total_chars", total, limit)
        for session in self._candidates() if total > limit else ():
            if session is but:
                continue
            total -= self._characters(session)
            self._evict(session)
            if total <= limit:
                break
        hint = "No more sessions can leave memory. Delete, unpin or stop some, or raise limits.total_chars."
        self._engine.alerts.observe("memory", total, limit, hint)

    def bring_back(self, session: LiveSession) -> None:
        """Load an evicted session from the store.

        Raises
        ------
        StoreError, SnapshotError
            If the store does not return it.
        """
        saved = self.stored(self.outlined(session))
        session.come_back(saved.state)
        self._left_out.pop(session.id, None)

    def outlined(self, session: LiveSession) -> SavedSession:
        """Return an evicted session without its messages, as it is in memory."""
        saved = saved_session(self._engine.epoch, session)
        return replace(saved, omitted=saved.omitted + self._left_out.get(session.id, 1))

    def is_outline(self, saved: SavedSession) -> bool:
        """Return whether this is an evicted session of this engine, without its messages. From any thread."""
        return saved.state.id in self._left_out and saved.omitted > 0 and not saved.state.messages

    def stored(self, outline: SavedSession) -> SavedSession:
        """Return an evicted session as it is in the store. From any thread.

        Raises
        ------
        StoreError, SnapshotError
            If the store does not return all of it.
        """
        session_id = outline.state.id
        journal = self._engine.journal
        store = None if journal is None else journal.store
        if store is None:
            raise SnapshotError(f"session {session_id!r} is in a store that is not open any more.")
        saved = fold(session_id, store.read_session(session_id))
        if saved.state.seq < outline.state.seq:  # it may have been loaded and changed in the meantime
            raise SnapshotError(f"session {session_id!r} could not be read again from {store.where}.")
        return saved

    def _held(self) -> list[LiveSession]:
        return [s for s in self._engine.sessions if not s.evicted and not s.state.temporary]

    def _candidates(self) -> list[LiveSession]:
        journal = self._engine.journal
        if journal is None:
            return []
        free = [
            s
            for s in self._held()
            if s.is_idle
            and not s.state.settings.pinned
            and not s.watchers
            and not self._engine.is_viewed(s.id)
            and journal.is_saved(s.id)
        ]
        return sorted(free, key=lambda s: s.touched)

    def _characters(self, session: LiveSession) -> int:
        state = session.state
        known = self._sizes.get(session)
        if known is None or known[0] != state.seq:
            known = self._sizes[session] = (state.seq, state.characters)
        return known[1]

    def _evict(self, session: LiveSession) -> None:
        state = session.state
        outline = replace(
            state,
            settings=replace(state.settings, title=state.title),
            messages={},
            selected={},
            runs=state.runs[-1:],
        )
        self._left_out[state.id] = len(state.messages)
        session.leave(outline)
        self._engine.count("evicted")
        self._engine.callbacks.notify(Notification(event="evicted", session_id=session.id))

    def _warn(self, name: str, value: int, limit: int) -> None:
        if value < limit * WARN_AT:
            self._warned.discard(name)
        elif name not in self._warned:
            self._warned.add(name)
            data = {"limit": name, "value": value, "max": limit}
            self._engine.callbacks.notify(Notification(event="limit", at=now(), data=data))

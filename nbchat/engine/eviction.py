"""Sessions that leave memory and come back: the longest untouched that is idle, saved and unpinned.

An evicted session stays in the registry and keeps its tab: what is dropped are its messages. Whoever
looks at it brings it back from the store as it was.
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
from nbchat.engine.journal_writer import fold, saved_session

if TYPE_CHECKING:
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.registry import SessionRegistry

logger = logging.getLogger("nbchat")

WARN_AT: Final = 0.9
"""Share of a limit at which the event `limit` says that it is near."""


class Eviction:
    """Keeps a registry within `limits.sessions` and `limits.total_chars`."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self._sizes: WeakKeyDictionary[LiveSession, tuple[int, int]] = WeakKeyDictionary()
        self._warned: set[str] = set()
        self._left_out: dict[str, int] = {}

    def make_room(self) -> None:
        """Make room for one more session. Only on the engine's thread.

        Raises
        ------
        TooManySessions
            The limit is reached, and nothing may be evicted.
        """
        limit = self._registry.limits.sessions
        if limit is None or len(self._registry.conversations()) < limit * WARN_AT - 1:
            return  # far from it, however many of them are in memory
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
        for conversation in leaving:
            self._evict(conversation)

    def trim(self) -> None:
        """Evict until the characters in memory are within their limit, as far as it may be done."""
        limit = self._registry.limits.total_chars
        if limit is None:
            return
        total = sum(self._characters(conversation) for conversation in self._held())
        self._warn("total_chars", total, limit)
        if total <= limit:
            return
        for conversation in self._candidates():
            total -= self._characters(conversation)
            self._evict(conversation)
            if total <= limit:
                return

    def bring_back(self, conversation: LiveSession) -> None:
        """Read an evicted session again.

        Raises
        ------
        StoreError, SnapshotError
            The store does not give it back.
        """
        saved = self.stored(self.outlined(conversation))
        conversation.come_back(saved.state)
        self._left_out.pop(conversation.id, None)

    def outlined(self, conversation: LiveSession) -> SavedSession:
        """Return what is in memory of an evicted session: everything but its messages."""
        saved = saved_session(self._registry, conversation)
        return replace(saved, omitted=saved.omitted + self._left_out.get(conversation.id, 1))

    def is_outline(self, saved: SavedSession) -> bool:
        """Tell whether this is an evicted session of this kernel, without its messages. From any thread."""
        return saved.state.id in self._left_out and saved.omitted > 0 and not saved.state.messages

    def stored(self, outline: SavedSession) -> SavedSession:
        """Return an evicted session as it is in the store. From any thread.

        Raises
        ------
        StoreError, SnapshotError
            The store does not give it back, or not all of it.
        """
        session_id = outline.state.id
        journal = self._registry.journal
        store = None if journal is None else journal.store
        if store is None:
            raise SnapshotError(f"session {session_id!r} is in a store that is not open any more.")
        saved = fold(session_id, store.read_session(session_id))
        if saved.state.seq < outline.state.seq:  # it may have come back and gone on in the meantime
            raise SnapshotError(f"session {session_id!r} could not be read again from {store.where}.")
        return saved

    def _held(self) -> list[LiveSession]:
        return [c for c in self._registry.conversations() if not c.evicted and not c.state.temporary]

    def _candidates(self) -> list[LiveSession]:
        journal = self._registry.journal
        if journal is None:
            return []
        free = [
            c
            for c in self._held()
            if c.is_idle
            and not c.state.settings.pinned
            and not c.watchers
            and not self._registry.is_viewed(c.id)
            and journal.is_saved(c.id)
        ]
        return sorted(free, key=lambda c: c.touched)

    def _characters(self, conversation: LiveSession) -> int:
        state = conversation.state
        known = self._sizes.get(conversation)
        if known is None or known[0] != state.seq:
            known = self._sizes[conversation] = (state.seq, state.characters)
        return known[1]

    def _evict(self, conversation: LiveSession) -> None:
        state = conversation.state
        outline = replace(
            state,
            settings=replace(state.settings, title=state.title),
            messages={},
            selected={},
            runs=state.runs[-1:],
        )
        self._left_out[state.id] = len(state.messages)
        conversation.leave(outline)
        self._registry.count("evicted")
        self._registry.observers.tell(Notification(event="evicted", session_id=conversation.id))

    def _warn(self, name: str, value: int, limit: int) -> None:
        if value < limit * WARN_AT:
            self._warned.discard(name)
        elif name not in self._warned:
            self._warned.add(name)
            data = {"limit": name, "value": value, "max": limit}
            self._registry.observers.tell(Notification(event="limit", at=now(), data=data))

"""`SessionIndex`: the engine's sessions by id, title and thread, and deleted ones that can be restored.

Changed on the engine's loop only; any thread may read it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from nbchat.core.errors import SessionGone
from nbchat.core.settings import clean_title
from nbchat.engine.live_session import LiveSession

UNDO: Final = 50
"""Deleted sessions that can be restored."""


class SessionIndex:
    """The sessions of an engine, oldest first."""

    def __init__(self) -> None:
        self._sessions: dict[str, LiveSession] = {}
        self._threads: dict[str, str] = {}
        self._deleted: OrderedDict[str, LiveSession] = OrderedDict()

    def __repr__(self) -> str:
        """Return the counts."""
        return f"<SessionIndex {len(self._sessions)} sessions, {len(self._deleted)} deleted>"

    def __iter__(self) -> Iterator[LiveSession]:
        """Iterate over a copy of the list of sessions, temporary ones included."""
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        """Return the number of sessions, temporary ones included."""
        return len(self._sessions)

    # Looking up

    def get(self, session_id: str) -> LiveSession | None:
        """Return the session with this id, or `None`."""
        return self._sessions.get(session_id)

    def get_including_deleted(self, session_id: str) -> LiveSession | None:
        """Return the session with this id, including a deleted one that can be restored, or `None`."""
        return self._sessions.get(session_id) or self._deleted.get(session_id)

    def of_thread(self, thread_id: str) -> LiveSession | None:
        """Return the session of a caller's thread, or `None`."""
        return self._sessions.get(self._threads.get(thread_id, ""))

    def find(self, key: str) -> LiveSession | None:
        """Return the session with this id, else the oldest open one with this title, or `None`.

        Sessions that a user created come before those of threads, and open ones before closed ones.
        Temporary sessions are found by their id only.
        """
        if not isinstance(key, str):
            raise TypeError(f"session key must be a string (id or title), not {type(key).__name__}.")
        found = self._sessions.get(key)
        if found is not None:
            return found
        title = clean_title(key)
        titled = [s for s in self if s.state.title == title and not s.state.temporary]
        titled = [s for s in titled if s.state.thread_id is None] or titled
        return next((s for s in titled if not s.state.settings.closed), next(iter(titled), None))

    # Changing

    def add(self, session: LiveSession, thread_id: str | None = None) -> None:
        """Add a session, in place of one with the same id."""
        session.context.loop.check()
        self._sessions[session.id] = session
        self._deleted.pop(session.id, None)
        if thread_id is not None and self.of_thread(thread_id) is None:
            self._threads[thread_id] = session.id

    def remove(self, session: LiveSession) -> None:
        """Remove a session; the last `UNDO` that are not temporary can be restored."""
        session.context.loop.check()
        session_id, thread_id = session.id, session.state.thread_id
        del self._sessions[session_id]
        if thread_id is not None and self._threads.get(thread_id) == session_id:
            del self._threads[thread_id]
        if session.state.temporary:
            return
        self._deleted[session_id] = session
        while len(self._deleted) > UNDO:
            self._deleted.popitem(last=False)

    def restore_deleted(self, session_id: str) -> LiveSession:
        """Return a removed session to the index.

        Raises
        ------
        SessionGone
            If it was removed too long ago or never existed.
        """
        session = self._deleted.get(session_id)
        if session is None:
            raise SessionGone(session_id)
        self.add(session, session.state.thread_id)
        return session

"""Which conversations a kernel has: by id, title and thread, and the deleted ones that can come back.

Changed on the engine's thread only; looked at from any.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from nbchat.core.errors import SessionGone
from nbchat.core.settings import session_settings

if TYPE_CHECKING:
    from nbchat.engine.live_session import LiveSession
    from nbchat.handles.session import Session

UNDO: Final = 50
"""Deleted sessions that are kept for an undo."""


class SessionIndex:
    """The conversations of a registry, oldest first, each with the one handle that callers hold."""

    def __init__(self, make_handle: Callable[[LiveSession], Session]) -> None:
        self._make_handle = make_handle
        self._conversations: dict[str, LiveSession] = {}
        self._threads: dict[str, str] = {}
        self._deleted: OrderedDict[str, LiveSession] = OrderedDict()
        self._handles: dict[str, Session] = {}

    def __repr__(self) -> str:
        """Return how many there are of what."""
        return (
            f"<SessionIndex {len(self._conversations)} conversations, {len(self._deleted)} deleted, "
            f"{len(self._handles)} handles>"
        )

    def __iter__(self) -> Iterator[LiveSession]:
        """Iterate over those there are now, temporary ones too, whatever comes or goes meanwhile."""
        return iter(list(self._conversations.values()))

    # Looking

    def get(self, session_id: str) -> LiveSession | None:
        """Return the conversation with this id, or None."""
        return self._conversations.get(session_id)

    def remembered(self, session_id: str) -> LiveSession | None:
        """Return the conversation with this id, also one whose deletion can still be undone; else None."""
        return self._conversations.get(session_id) or self._deleted.get(session_id)

    def of_thread(self, thread_id: str) -> LiveSession | None:
        """Return the conversation of a caller's thread, or None."""
        return self._conversations.get(self._threads.get(thread_id, ""))

    def find(self, key: str) -> LiveSession | None:
        """Return the conversation with this id, else the oldest open one with this title, or None.

        Sessions that somebody made come before those of threads, and those with a tab before closed ones.
        Temporary ones are found by their id alone.
        """
        if not isinstance(key, str):
            raise TypeError(f"a session is named by its id or title, a string, not {type(key).__name__}.")
        found = self._conversations.get(key)
        if found is not None:
            return found
        title = session_settings({"title": key})["title"]  # as titles are kept
        titled = [c for c in self if c.state.title == title and not c.state.temporary]
        titled = [c for c in titled if c.state.thread_id is None] or titled
        return next((c for c in titled if not c.state.settings.closed), next(iter(titled), None))

    def handle(self, conversation: LiveSession) -> Session:
        """Return the handle of a conversation, always the same one."""
        handle = self._handles.get(conversation.id)
        if handle is None:
            handle = self._handles.setdefault(conversation.id, self._make_handle(conversation))
        return handle

    # Changing

    def put(self, conversation: LiveSession, thread_id: str | None = None) -> None:
        """Add a conversation, or put it in the place of the one with its id."""
        self._conversations[conversation.id] = conversation
        self._deleted.pop(conversation.id, None)
        if thread_id is not None and self.of_thread(thread_id) is None:
            self._threads[thread_id] = conversation.id
        if (handle := self._handles.get(conversation.id)) is not None:
            handle._held = conversation  # noqa: SLF001 - a handle outlives what it was made for

    def take(self, conversation: LiveSession) -> None:
        """Remove a conversation; the last `UNDO` that are not temporary can be put back."""
        session_id, thread_id = conversation.id, conversation.state.thread_id
        del self._conversations[session_id]
        if thread_id is not None and self._threads.get(thread_id) == session_id:
            del self._threads[thread_id]
        if conversation.state.temporary:
            self._handles.pop(session_id, None)
            return
        self._deleted[session_id] = conversation
        while len(self._deleted) > UNDO:
            gone, _ = self._deleted.popitem(last=False)
            self._handles.pop(gone, None)

    def put_back(self, session_id: str) -> LiveSession:
        """Put a conversation back that was taken.

        Raises
        ------
        SessionGone
            It was taken too long ago, or was never there.
        """
        conversation = self._deleted.get(session_id)
        if conversation is None:
            raise SessionGone(session_id)
        self.put(conversation, conversation.state.thread_id)
        return conversation

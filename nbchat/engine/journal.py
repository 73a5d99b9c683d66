"""`Journal`: interface through which sessions record their events."""

from __future__ import annotations

from typing import Protocol

from nbchat.core.errors import NbchatError
from nbchat.core.events import Event
from nbchat.stores.base import Store


class Journal(Protocol):
    """Records events. Called on the engine's loop, which it does not block."""

    @property
    def store(self) -> Store | None:
        """The store; `None` while none is open."""
        ...

    @property
    def waiting(self) -> int:
        """Number of events that are not written yet."""
        ...

    @property
    def lag_s(self) -> float:
        """Age of the oldest unwritten event, in seconds."""
        ...

    @property
    def error(self) -> NbchatError | None:
        """The reason why the store is not open or refuses events."""
        ...

    def record(self, session_id: str, seq: int, event: Event) -> None:
        """Add one event; it is written with the next batch."""
        ...

    def acknowledge(self, command_id: str, body: bytes) -> None:
        """Store the acknowledgement of a command with its events; no effect without a lease."""
        ...

    async def settled(self, session_id: str) -> None:
        """Wait until all recorded events of a session (empty: of all sessions) are stored.

        Raises
        ------
        StoreError
            If it could not be written.
        """
        ...

    def write_whole(self, session_id: str) -> None:
        """Write a session's state instead of its events, since it was restored."""
        ...

    def is_saved(self, session_id: str) -> bool:
        """Return whether everything of a session is written."""
        ...

    def close(self) -> None:
        """Close the store, after the last `settled`."""
        ...

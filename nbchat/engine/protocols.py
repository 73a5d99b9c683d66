"""What a conversation needs of the world around it: where events are written down, and its registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from nbchat.core.events import Event, Settings
from nbchat.core.run import RunRecord
from nbchat.providers.base import Provider, Request

if TYPE_CHECKING:
    from nbchat.engine.callbacks import Callbacks
    from nbchat.engine.limits import Limits
    from nbchat.engine.live_session import LiveSession
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.engine.scheduler import Scheduler
    from nbchat.stores.base import Store


class Journal(Protocol):
    """Where events are written down. Both methods are called on the engine's loop and do not block it."""

    def record(self, session_id: str, seq: int, event: Event) -> None:
        """Take one event; it is written with the next batch."""
        ...

    async def settled(self, session_id: str) -> None:
        """Return when all that was recorded is durable against the death of the process.

        Raises
        ------
        StoreError
            It could not be written down.
        """
        ...

    @property
    def store(self) -> Store | None:
        """Where it is written to; None while there is no such place."""
        ...

    def write_whole(self, session_id: str) -> None:
        """Write a session's state, and not its events: it came from elsewhere."""
        ...

    def is_saved(self, session_id: str) -> bool:
        """Tell whether everything of a session is written."""
        ...

    def close(self) -> None:
        """Let go of the store, after the last `settled`."""
        ...


class Context(Protocol):
    """What a conversation needs of its registry."""

    engine: LoopThread
    limits: Limits
    scheduler: Scheduler
    observers: Callbacks
    journal: Journal | None

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider to ask (the session's `own`, if any), and the request with a model in it."""
        ...

    def changed(self, conversation: LiveSession) -> None:
        """Hear that a session has news for its readers."""
        ...

    def ended(self, conversation: LiveSession, run: RunRecord) -> None:
        """Hear that a run is over, and that its end may be seen."""
        ...

    def is_viewed(self, session_id: str) -> bool:
        """Tell whether some page shows the session now."""
        ...

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of `registry.stats()`."""
        ...

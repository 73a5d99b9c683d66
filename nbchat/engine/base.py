"""`EngineBase`: the state that an engine shares with its services (eviction, snapshots, journal, titles)."""

from __future__ import annotations

from collections.abc import Callable

from nbchat.core.ids import new_id
from nbchat.engine.callbacks import Callbacks
from nbchat.engine.journal import Journal
from nbchat.engine.limits import Limits
from nbchat.engine.live_session import LiveSession
from nbchat.engine.loop_thread import LoopThread
from nbchat.engine.presence import Presence
from nbchat.engine.provider_resolver import ProviderResolver
from nbchat.engine.scheduler import Scheduler
from nbchat.engine.session_index import SessionIndex

Reader = Callable[[LiveSession], None]
"""Called on the engine's loop when a session has new events."""


class EngineBase:
    """The loop, the sessions and the settings of one engine."""

    def __init__(self, limits: Limits | None = None, loop: LoopThread | None = None) -> None:
        self.epoch: str = new_id("k-")
        """Identifies this engine; commands and packets of other engines are rejected."""
        self.loop: LoopThread = loop or LoopThread()
        self.limits: Limits = limits or Limits()
        self.callbacks: Callbacks = Callbacks()
        self.scheduler: Scheduler = Scheduler(self.limits)
        self.providers: ProviderResolver = ProviderResolver()
        self.sessions: SessionIndex = SessionIndex()
        self.presence: Presence = Presence()
        self.journal: Journal | None = None
        self.counters: dict[str, int] = {}
        self.readers: set[Reader] = set()
        """Readers of all sessions, such as the wire and the notebook."""
        self.checkpoints: set[Callable[[], None]] = set()
        """Called on the engine's loop when everything must be saved now."""

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of `registry.stats()`."""
        self.counters[name] = self.counters.get(name, 0) + more

    def is_viewed(self, session_id: str) -> bool:
        """Return whether any page shows the session."""
        return self.presence.is_viewed(session_id)

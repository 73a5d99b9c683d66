"""`EngineBase`: the state that an engine shares with its services (eviction, snapshots, journal, titles)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from nbchat.core.errors import StoreError
from nbchat.core.ids import new_id
from nbchat.core.messages import Author
from nbchat.engine.alerts import Alerts
from nbchat.engine.callbacks import Callbacks
from nbchat.engine.journal import Journal
from nbchat.engine.limits import Limits
from nbchat.engine.live_session import LiveSession
from nbchat.engine.loop_thread import LoopThread
from nbchat.engine.outcomes import Outcomes
from nbchat.engine.presence import Presence
from nbchat.engine.provider_resolver import ProviderResolver
from nbchat.engine.scheduler import Scheduler
from nbchat.engine.session_index import SessionIndex
from nbchat.providers.base import Provider
from nbchat.stores import places
from nbchat.stores.answer_cache import AnswerCache

logger = logging.getLogger("nbchat")

THREAD_JOBS: Final = 4
"""Blocking jobs of one engine on threads at the same time: the engines of a service share the threads."""

ACKNOWLEDGE_S: Final = 1.0
"""Maximum seconds for which a store may delay the acknowledgement of a command."""

P = ParamSpec("P")
T = TypeVar("T")

Reader = Callable[[LiveSession], None]
"""Called on the engine's loop when a session has new events."""


class EngineBase:
    """The loop, the sessions and the settings of one engine.

    Parameters
    ----------
    leased
        The engine shares its store with others, so it writes only while it holds the lease. Its epoch is the
        token of the lease.
    """

    def __init__(
        self, limits: Limits | None = None, loop: LoopThread | None = None, *, leased: bool = False
    ) -> None:
        self.leased: bool = leased
        self.epoch: str = new_id("l-" if leased else "k-")
        """Identifies this engine; commands and packets of other engines are rejected."""
        self.loop: LoopThread = loop or LoopThread()
        self.limits: Limits = limits or Limits()
        self._jobs = asyncio.Semaphore(THREAD_JOBS)
        self.callbacks: Callbacks = Callbacks()
        self.alerts: Alerts = Alerts(self.callbacks)
        self.scheduler: Scheduler = Scheduler(self.limits)
        self.providers: ProviderResolver = ProviderResolver()
        self.sessions: SessionIndex = SessionIndex()
        self.presence: Presence = Presence()
        self.journal: Journal | None = None
        self.is_shared: bool = False
        """The sessions belong to several people: the engine is that of a team, in a service."""
        self.is_private: bool = places.is_disabled()
        """Nothing may be written outside the notebook."""
        self.cache_path: Path | None = None
        """The file of the cache of answers; `None` for that of this user."""
        self.outcomes: Outcomes = Outcomes()
        self.counters: dict[str, int] = {}
        self.readers: set[Reader] = set()
        """Readers of all sessions, such as the wire and the notebook."""
        self.checkpoints: set[Callable[[], None]] = set()
        """Called on the engine's loop when everything must be saved now."""
        self.replaced: set[Callable[[], None]] = set()
        """Called on the engine's loop when another engine has taken over the store."""

    @property
    def cache(self) -> AnswerCache | None:
        """The cache of answers; `None` if nothing may be written outside the notebook."""
        return None if self.is_private else self.saved_answers

    @property
    def saved_answers(self) -> AnswerCache:
        """The cache of answers, also if nothing may be added to it."""
        return AnswerCache(self.cache_path or places.answer_cache())

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of `registry.stats()`."""
        self.counters[name] = self.counters.get(name, 0) + more

    async def in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that blocks on a thread, after those of at most `THREAD_JOBS` earlier calls."""
        async with self._jobs:
            return await asyncio.to_thread(work, *args, **kwargs)

    def may_use(self, provider: Provider | None, author: Author) -> bool:  # noqa: ARG002 - all are of one person
        """Return whether a person may ask with a provider object."""
        return True

    def providers_of(self, session_id: str, run_id: str) -> ProviderResolver:  # noqa: ARG002 - one kernel has all
        """Return the providers of the kernel that a run belongs to."""
        return self.providers

    def when_stored(self, then: Callable[[], None]) -> None:
        """Call `then` when everything recorded so far is stored, or after `ACKNOWLEDGE_S`.

        At once if the engine has no lease, since then nothing survives it that could be repeated.
        """
        journal = self.journal
        if not self.leased or journal is None:
            then()
            return

        async def wait() -> None:
            try:
                async with asyncio.timeout(ACKNOWLEDGE_S):
                    await journal.settled("")
            except (StoreError, TimeoutError) as error:
                logger.debug("a command is acknowledged before it is stored: %s", error)
            then()

        self.loop.spawn(wait(), name="nbchat-acknowledge")

    def is_viewed(self, session_id: str) -> bool:
        """Return whether any page shows the session."""
        return self.presence.is_viewed(session_id)

    def can_ask(self, session_id: str) -> bool:
        """Return whether a tool call of the session can be approved: by a page, or by a callback."""
        return bool(self.presence.pages) or self.callbacks.wants("approval_needed", session_id)

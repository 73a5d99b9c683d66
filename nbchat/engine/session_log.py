"""`SessionLog`: appends a session's events and notifies the journal, callbacks and readers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from nbchat.core.events import PartDelta
from nbchat.core.run import Illegal, Moved, RunRecord, RunState, Stale
from nbchat.core.saved import Clock, SavedSession
from nbchat.core.session import SessionRecord
from nbchat.engine.alerts import Alerts
from nbchat.engine.callbacks import Callbacks, Notification
from nbchat.engine.journal import Journal
from nbchat.engine.limits import Limits
from nbchat.engine.logs import about
from nbchat.engine.loop_thread import LoopThread
from nbchat.engine.scheduler import Scheduler
from nbchat.engine.tools import AnyPolicy, AnyTool
from nbchat.providers.base import Provider, Request

if TYPE_CHECKING:
    from nbchat.core.events import Event, Settings
    from nbchat.core.transcript import SessionState
    from nbchat.engine.provider_resolver import ProviderResolver
    from nbchat.stores.answer_cache import AnswerCache

logger = logging.getLogger("nbchat")

_COUNTED: Final = {"part_delta": "deltas", "run_retrying": "retries", "run_queued": "runs"}
"""Events that `registry.stats()` counts, and the names of their counters."""


class Context(Protocol):
    """Interface of a session to its engine."""

    loop: LoopThread
    limits: Limits
    scheduler: Scheduler
    callbacks: Callbacks
    alerts: Alerts
    journal: Journal | None

    @property
    def cache(self) -> AnswerCache | None:
        """The cache of answers; `None` if nothing may be written outside the notebook."""
        ...

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider (the session's `own`, if any), and the request with a model in it."""
        ...

    def providers_of(self, session_id: str, run_id: str) -> ProviderResolver:
        """Return the providers of the kernel that a run belongs to."""
        ...

    def changed(self, session: SessionLog) -> None:
        """Notify readers that a session has new events."""
        ...

    def ended(self, session: SessionLog, run: RunRecord) -> None:
        """React to the announced end of a run."""
        ...

    def is_viewed(self, session_id: str) -> bool:
        """Return whether any page shows the session."""
        ...

    def can_ask(self, session_id: str) -> bool:
        """Return whether a tool call of the session can be approved: by a page, or by a callback."""
        ...

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of `registry.stats()`."""
        ...


class SessionLog:
    """A session's record and its unsaved state. Only for the engine's loop."""

    def __init__(self, context: Context, state: SessionState, provider: Provider | None = None) -> None:
        self.context: Context = context
        self.record: SessionRecord = SessionRecord(state)
        self.provider = provider
        """The session's own provider object."""
        self.tools: tuple[AnyTool, ...] = ()
        """The tools that the model may call. Never saved."""
        self.offered_tools: tuple[AnyTool, ...] = ()
        """The tools that code has set. A page can switch them off and on; it cannot add any."""
        self.policy: AnyPolicy | None = None
        """Decides on calls before the user is asked. Never saved."""
        self.watchers: set[Callable[[], None]] = set()
        """Called after every visible change; blocking waits use them."""
        self.touched: float = time.monotonic()
        """Time of its last command; the least recently used session is evicted first."""
        self.clock: Clock = {}
        """The epochs whose events are in the state that it was restored from."""
        self.restored_seq: int = 0
        """Number of the last of those events."""
        self.omitted: int = 0
        """Messages that were missing in the file it was restored from."""
        self.evicted: bool = False
        """True if its messages are only in the store; `state` is an outline of it."""
        self.requests: dict[str, Request] = {}
        """The requests of the last runs, by run; enough to repeat them."""
        self.causes: dict[str, BaseException] = {}
        """The exceptions behind the errors of the last runs, by run."""

    def __repr__(self) -> str:
        """Return the id and the status."""
        return f"<{type(self).__name__} {self.id} {self.state.status}>"

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.state.id

    @property
    def state(self) -> SessionState:
        """The fold of the log."""
        return self.record.state

    @property
    def shown(self) -> SessionState:
        """The state that readers get: a run is `stopping` until its end is announced."""
        return self.record.shown

    def announced(self, run_id: str) -> bool:
        """Return whether the run is over and its end has been announced."""
        run = self.shown.run(run_id)
        return run is not None and run.state.is_over

    # Memory and restoring

    def leave(self, outline: SessionState) -> None:
        """Keep only an outline in memory."""
        self.context.loop.check()
        self.record = SessionRecord(outline)
        self.evicted = True

    def come_back(self, state: SessionState) -> None:
        """Replace the outline by the whole state."""
        self.context.loop.check()
        self.record = SessionRecord(state)
        self.evicted = False
        self.touched = time.monotonic()

    def take_over(self, saved: SavedSession) -> None:
        """Continue from a state that was merged from this one and another. No run may be live."""
        self.context.loop.check()
        self.record = SessionRecord(saved.state)
        self.clock, self.omitted = saved.clock, saved.omitted
        self.restored_seq = saved.state.seq
        self.publish()

    # Events

    def append(self, event: Event) -> None:
        """Append an event and notify all readers. An event that does not fit is dropped and logged."""
        self.context.loop.check()
        run = self.state.run(getattr(event, "run_id", ""))
        outcome = self.record.append(event)
        if isinstance(outcome, Illegal):
            self.context.count("dropped")
            logger.error(
                "session %s: a run that is %s cannot take %s",
                self.id,
                outcome.state,
                event.type,
                extra=about(session_id=self.id),
            )
            return
        if isinstance(outcome, Stale):
            self.context.count("dropped")
            logger.debug(
                "session %s: dropped %s, which came too late",
                self.id,
                event.type,
                extra=about(session_id=self.id),
            )
            return
        if event.type in _COUNTED and not (event.type == "run_queued" and run is not None):
            self.context.count(_COUNTED[event.type])
        if self.context.journal is not None and not self.state.temporary:
            try:
                self.context.journal.record(self.id, self.state.seq, event)
            except Exception:
                # A defect of the journal does not harm the run; `settled` reports that it is not saved.
                logger.exception(
                    "session %s: the journal did not take %s",
                    self.id,
                    event.type,
                    extra=about(session_id=self.id),
                )
        if isinstance(outcome, Moved):
            self._notify_run(event, outcome, before=run.state if run is not None else None)
        self.publish()

    def publish(self) -> None:
        """Notify readers and watchers of a change."""
        self.context.loop.check()
        self.context.changed(self)
        for watcher in list(self.watchers):
            watcher()

    def _notify_run(self, event: Event, outcome: Moved, before: RunState | None) -> None:
        notify = self.context.callbacks.notify
        run_id = getattr(event, "run_id", None)
        if isinstance(event, PartDelta):
            notify(Notification(event="delta", session_id=self.id, run_id=run_id, text=event.text))
        elif outcome.state is not before and outcome.state.is_live:
            notify(
                Notification(event="transition", session_id=self.id, run_id=run_id, state=str(outcome.state))
            )

"""`JournalWriter`: writes events to a store in batches, on a dedicated thread.

On the engine's loop it only collects events. A batch that the store refuses is kept and retried later, so a
temporarily full disk causes a warning and no loss. A `LeasedStore` also gets the acknowledgements of
commands, in the same write as their events. When another engine has taken it over, nothing is written.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from nbchat.core.errors import LeaseLost, NbchatError, StoreConflict, StoreError, StoreRolledBack
from nbchat.core.events import Event, RunQueued, RunSaved, SessionDeleted
from nbchat.core.saved import SavedSession, Snapshot, Tombstone
from nbchat.engine.callbacks import Notification
from nbchat.engine.journal_entries import Waiting, entries_of
from nbchat.engine.journal_reader import read_back
from nbchat.engine.leased_store import LEASE_S, LeasedStore
from nbchat.engine.unsaved_time import UnsavedTime
from nbchat.stores.base import Acknowledged, Base, Contents, Entry, Store

if TYPE_CHECKING:
    from nbchat.engine.base import EngineBase
    from nbchat.engine.session_log import SessionLog

logger = logging.getLogger("nbchat")

FLUSH_S: Final = 0.25
"""Maximum seconds before an event is written."""

RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0)
"""Seconds before each retry of a refused batch; the last one is repeated."""

MAX_WAITING: Final = 20_000
"""Events of one session that are queued without a store; beyond it, its whole state is written."""

BASE_BYTES: Final = 64 * 1024
"""A session's events are folded into a new base when they exceed this size and that base's."""


class SaveStatus(Struct, frozen=True, kw_only=True):
    """Status of the journal, for display."""

    state: str
    """`saved`, `saving` or `unsaved`."""
    error: NbchatError | None = None
    """The reason for `unsaved`."""


class _Batch(Struct):
    """A batch for the writing thread; its values are final."""

    upto: int
    waiting: dict[str, Waiting]
    states: dict[str, SavedSession]
    acknowledged: list[Acknowledged]
    epoch: str


class _Size(Struct):
    """Bytes of one session in the store."""

    base: int = 0
    since: int = 0


class JournalWriter:
    """Writes an engine's events to a store. Only for the engine's loop. `Engine.open_journal` makes it.

    Parameters
    ----------
    engine
        The engine whose sessions are written.
    store
        The store; `None` if it cannot be opened yet.
    on_written
        Called after each batch that was written.
    error
        The reason why there is no store.
    reopen
        Tries to open the store; called on the writing thread while there is none.
    on_status
        Called when the status changes.
    on_reopened
        Called with the contents of a store that was opened late.
    """

    def __init__(
        self,
        engine: EngineBase,
        store: Store | None,
        *,
        on_written: Callable[[], None],
        error: NbchatError | None = None,
        reopen: Callable[[], Store] | None = None,
        on_status: Callable[[SaveStatus], None] = lambda _status: None,
        on_reopened: Callable[[Snapshot], None] = lambda _snapshot: None,
    ) -> None:
        self._engine = engine
        self._on_written = on_written
        self.store = store
        self.error = error
        self._reopen = reopen
        self._waiting: dict[str, Waiting] = {}
        self._acknowledged: list[Acknowledged] = []
        self._opening = False
        self._ended = False
        """It is closed, or another engine has taken over."""
        self._writing: _Batch | None = None
        self._number = 0
        self._written = 0
        self._last: dict[str, int] = {}
        """Number of the last event of each session."""
        self._sizes: dict[str, _Size] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._failures = 0
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._published = ""
        self._unsaved = UnsavedTime(engine, lambda: self.error)
        self._on_status = on_status
        self._on_reopened = on_reopened
        if isinstance(store, LeasedStore):
            engine.loop.post(self._hold, store)
        elif engine.leased:
            engine.loop.post(self._plan, FLUSH_S)  # the sessions of the holder are restored with the lease

    def __repr__(self) -> str:
        """Return the store and the number of pending events."""
        where = self.store.where if self.store is not None else "nowhere"
        return f"<JournalWriter to {where}, {sum(len(w.events) for w in self._waiting.values())} events wait>"

    # The journal

    def record(self, session_id: str, seq: int, event: Event) -> None:
        """Add one event; it is written with the next batch."""
        self._engine.loop.check()
        if self._ended:
            return
        self._count(session_id)
        waiting = self._waiting.setdefault(session_id, Waiting())
        if isinstance(event, SessionDeleted):
            waiting.events.clear()
            waiting.whole = not event.deleted
            waiting.gone = (
                Tombstone(id=session_id, clock=_clock_of(self._engine, session_id, seq), at=event.at)
                if event.deleted
                else None
            )
        elif not waiting.whole:
            waiting.events.append((seq, event))
            if len(waiting.events) > MAX_WAITING:
                waiting.events.clear()
                waiting.whole = True
        # A question cannot be recovered otherwise, so it is written at once.
        self._plan(0.0 if isinstance(event, RunQueued) else FLUSH_S)

    def acknowledge(self, command_id: str, body: bytes) -> None:
        """Add the acknowledgement of a command, after its events; no effect for an engine without a lease."""
        if self._engine.leased and not self._ended:
            self._count("")
            self._acknowledged.append(Acknowledged(command_id=command_id, body=body))
            self._plan(FLUSH_S)

    def _count(self, session_id: str) -> None:
        self._unsaved.recorded()
        self._number += 1
        self._last[session_id] = self._number

    async def settled(self, session_id: str) -> None:
        """Wait until all recorded events of a session (empty: of all sessions) are in the store.

        Raises
        ------
        StoreError
            If the store refused them. They are kept and retried later.
        """
        if isinstance(self.error, LeaseLost):
            raise self.error
        upto = self._last.get(session_id, 0) if session_id else self._number
        if upto <= self._written:
            return
        if self.store is None or self._ended:
            raise (
                self.error
                if isinstance(self.error, StoreError)
                else StoreError(str(self.error or "no store"))
            )
        waiter: asyncio.Future[None] = self._engine.loop.aio.create_future()
        self._waiters.append((upto, waiter))
        self._flush()
        await waiter

    def is_saved(self, session_id: str) -> bool:
        """Return whether the store has everything of a session."""
        if self.store is None or isinstance(self.error, LeaseLost):
            return False
        return self._last.get(session_id, 0) <= self._written

    def write_whole(self, session_id: str) -> None:
        """Write a session's state instead of its events, since it was restored."""
        self._engine.loop.check()
        if self._ended:
            return
        self._count(session_id)
        waiting = self._waiting.setdefault(session_id, Waiting())
        waiting.events.clear()
        waiting.whole, waiting.gone = True, None
        self._plan(FLUSH_S)

    # Writing

    def _plan(self, delay_s: float) -> None:
        if self._writing is not None:
            return
        if self._failures:
            delay_s = max(delay_s, RETRY_S[min(self._failures, len(RETRY_S)) - 1])
        loop = self._engine.loop.aio
        at = loop.time() + delay_s
        if self._timer is None or at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(at, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ended or self._writing is not None:
            return
        is_idle = not (self._waiting or self._acknowledged)
        if self.store is None and not (is_idle and not self._engine.leased):
            self._try_to_open()
        if self.store is None or is_idle:
            return
        waiting, self._waiting = self._waiting, {}
        states = {}
        for session_id, one in waiting.items():
            size = self._sizes.setdefault(session_id, _Size())
            if one.gone is None and (one.whole or size.since > max(BASE_BYTES, size.base)):
                session = self._engine.sessions.get(session_id)
                if session is not None and not session.evicted:
                    states[session_id] = saved_session(self._engine.epoch, session)
        acknowledged, self._acknowledged = self._acknowledged, []
        batch = self._writing = _Batch(self._number, waiting, states, acknowledged, self._engine.epoch)
        self._publish_status()
        store = self.store
        self._post(lambda: self._write(store, batch))

    def _write(self, store: Store, batch: _Batch) -> None:
        # On the writing thread.
        error: NbchatError | None = None
        sizes: dict[str, tuple[int, bool]] = {}
        try:
            fenced = isinstance(store, LeasedStore)
            entries: list[Entry] = []
            for session_id, waiting in batch.waiting.items():
                state = batch.states.get(session_id)
                made = entries_of(session_id, waiting, state, batch.epoch, fenced=fenced)
                entries += made
                sizes[session_id] = (sum(len(e.body) for e in made), any(isinstance(e, Base) for e in made))
            if isinstance(store, LeasedStore):
                store.write([*entries, *batch.acknowledged])
            else:
                store.write(entries)
        except NbchatError as refused:
            error = refused
        except Exception as unforeseen:
            logger.exception("the journal could not be written")
            error = StoreError(f"the journal could not be written: {type(unforeseen).__name__}.")
        self._engine.loop.post(self._wrote, batch, error, sizes)

    def _wrote(self, batch: _Batch, error: NbchatError | None, sizes: Mapping[str, tuple[int, bool]]) -> None:
        self._writing = None
        if error is None:
            recovered = self._failures > 0 or self.error is not None
            self._failures, self.error = 0, None
            self._written = batch.upto
            self._unsaved.written(waiting=self.waiting > 0)
            for session_id, (length, is_base) in sizes.items():
                size = self._sizes.setdefault(session_id, _Size())
                size.base, size.since = (length, 0) if is_base else (size.base, size.since + length)
            if recovered:
                _mark_saved(self._engine)
            self._on_written()
        elif isinstance(error, LeaseLost):
            self._replaced(error)
        else:
            if self._failures == 0:
                logger.warning("the journal could not be written: %s", error)
            self._failures += 1
            self.error = error
            self._unsaved.check()
            self._requeue(batch, whole=isinstance(error, StoreConflict))
            if isinstance(error, StoreRolledBack):
                self._write_all()
        self._resolve(batch, error)
        self._publish_status()
        if self._waiters:
            self._flush()
        elif self._waiting or self._acknowledged:
            self._plan(FLUSH_S)

    def _resolve(self, batch: _Batch, error: NbchatError | None) -> None:
        """Resolve the waiters of a batch."""
        due, self._waiters = self._waiters, []
        for upto, waiter in due:
            if waiter.done():
                continue
            if upto <= self._written:
                waiter.set_result(None)
            elif error is not None and upto <= batch.upto:
                waiter.set_exception(error)
            else:
                self._waiters.append((upto, waiter))

    def _requeue(self, batch: _Batch, *, whole: bool) -> None:
        """Write a batch again, or the whole sessions, if its events do not continue what is stored."""
        self._acknowledged = [*batch.acknowledged, *self._acknowledged]
        for session_id, old in batch.waiting.items():
            if whole and old.gone is None:
                old.whole = True
            new = self._waiting.get(session_id)
            if new is None:
                self._waiting[session_id] = old
            elif not new.whole and new.gone is None:
                new.events = [*old.events, *new.events]
                new.whole, new.gone = old.whole, old.gone

    def _try_to_open(self) -> None:
        reopen = self._reopen
        if reopen is None or self._opening:
            return
        self._opening = True
        self._failures += 1

        def work() -> None:
            try:
                store = reopen()
                contents = store.read()
            except NbchatError as error:
                self._engine.loop.post(self._opened, None, None, error)
            else:
                self._engine.loop.post(self._opened, store, contents, None)

        self._post(work)

    def _opened(self, store: Store | None, contents: Contents | None, error: NbchatError | None) -> None:
        self._opening = False
        if store is None or contents is None:
            self.error = error
            self._plan(FLUSH_S)
            return
        self.store = store
        if isinstance(store, LeasedStore):
            self._hold(store)
        self._write_all()
        self._on_reopened(read_back(contents))
        self._flush()

    def _write_all(self) -> None:
        """Write the state of every session, since the store may have an older one."""
        for session in self._engine.sessions:
            if not session.state.temporary:
                self.write_whole(session.id)

    # The lease

    def _hold(self, store: LeasedStore) -> None:
        """Take over what earlier engines have acknowledged, and renew the lease from now on."""
        self.error = None
        self._engine.outcomes.restore(store.acknowledged)
        self._plan_renewal(store)

    def _plan_renewal(self, store: LeasedStore) -> None:
        self._engine.loop.aio.call_later(LEASE_S / 3, self._renew, store)

    def _renew(self, store: LeasedStore) -> None:
        if self._ended:
            return
        self._plan_renewal(store)
        self._post(lambda: self._renewed(store))

    def _renewed(self, store: LeasedStore) -> None:
        # On the writing thread.
        try:
            store.renew()
        except LeaseLost as error:
            self._engine.loop.post(self._replaced, error)
        except StoreRolledBack as error:
            logger.warning("%s", error)
            self._engine.loop.post(self._write_all)
        except NbchatError as error:
            logger.debug("the lease could not be renewed: %s", error)

    def _replaced(self, error: LeaseLost) -> None:
        """Write no more, and end all runs: another engine has taken over the sessions."""
        if self._ended:
            return
        self._ended, self.error = True, error
        self._unsaved.end()
        self._waiting, self._acknowledged = {}, []
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)
        logger.warning("%s", error)
        self._publish_status()
        for replaced in list(self._engine.replaced):
            replaced()
        for session in self._engine.sessions:
            session.runs.interrupt_all(error)

    def _publish_status(self) -> None:
        status = self.status
        published = f"{status.state} {self.error.code if self.error else ''}"
        if published == self._published:
            return
        self._published = published
        self._on_status(status)
        if status.state == "saved":
            self._engine.callbacks.notify(Notification(event="saved"))
        elif self.error is not None:
            self._engine.callbacks.notify(Notification(event="error", data=self.error))

    @property
    def waiting(self) -> int:
        """Events that are not written yet."""
        return self._number - self._written

    @property
    def lag_s(self) -> float:
        """Upper bound of the age of the oldest pending event, in seconds; 0 if there is none."""
        return self._unsaved.seconds

    @property
    def status(self) -> SaveStatus:
        """The current status, for display."""
        if self.error is not None:
            return SaveStatus(state="unsaved", error=self.error)
        is_idle = not (self._writing or self._waiting or self._acknowledged)
        return SaveStatus(state="saved" if is_idle else "saving")

    def _post(self, job: Callable[[], None]) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="nbchat-journal", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def close(self) -> None:
        """End the thread and close the store. From any thread, after the last `settled`."""
        self._ended = True  # before the thread ends: a renewal would start another one
        if self._thread is not None and self._thread is not threading.current_thread():
            self._jobs.put(None)
            self._thread.join(2.0)
        self._unsaved.end()
        if self.store is not None:
            self.store.close()


def _clock_of(engine: EngineBase, session_id: str, seq: int) -> Mapping[str, int]:
    session = engine.sessions.get(session_id)
    clock = dict(session.clock) if session is not None else {}
    return {**clock, engine.epoch: seq}


def _mark_saved(engine: EngineBase) -> None:
    """Mark runs as saved whose end the store had refused."""
    for session in engine.sessions:
        for run in session.state.runs:
            if not run.saved:
                session.append(RunSaved(run_id=run.id, saved=True))


def saved_session(epoch: str, session: SessionLog) -> SavedSession:
    """Return a session's state with its clock: the last event of each epoch in it."""
    state = session.state
    clock = dict(session.clock)
    if state.seq > session.restored_seq or not clock:
        clock[epoch] = state.seq
    return SavedSession(state=state, clock=clock, omitted=session.omitted)

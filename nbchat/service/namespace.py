"""`Namespace`: the engine of one person's or one team's sessions, with its store."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from nbchat.core.errors import NbchatError
from nbchat.core.saved import Snapshot
from nbchat.core.version import VERSION
from nbchat.engine.journal_reader import read_back
from nbchat.engine.leased_store import LeasedStore
from nbchat.engine.limits import Limits
from nbchat.protocol import Saving
from nbchat.runner.engine import RunnerEngine
from nbchat.runner.engine_server import EngineServer
from nbchat.runner.messages import LINK_VERSION, Greeting
from nbchat.service.measured_store import MeasuredStore, StoreMetrics
from nbchat.service.presence import Presence
from nbchat.service.quotas import Quota, Quotas

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import Place
    from nbchat.core.transcript import SessionState
    from nbchat.engine.journal_writer import JournalWriter, SaveStatus
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.runner.kernel_link import KernelLink
    from nbchat.runner.served_batches import Divide
    from nbchat.service.storage import Storage

logger = logging.getLogger("nbchat")

MEASURE_S: Final = 1.0
"""Time after a change of a batch at which the bytes of its answers are read."""

CLAIM_S: Final = 20.0
"""Longest wait for a process that was killed and still holds the lease, or that is ending."""


class Namespace(EngineServer):
    """Serves the kernels of one namespace. Methods are for the loop, unless they name another thread.

    Its runs continue without kernels until they have ended.

    Parameters
    ----------
    name
        Its name in the storage.
    loop
        The loop of all namespaces.
    storage
        Has its store.
    is_personal
        It belongs to one person.
    on_replaced
        Called when another process has taken over the store.
    quotas
        Limits that its operator sets.
    metrics
        Measures the store; `None`: there are no measurements.
    claim_s
        Longest wait for a process that was killed and still holds the lease, or that is ending.
    divide
        Lets other replicas take part in each batch.
    """

    def __init__(
        self,
        name: str,
        loop: LoopThread,
        storage: Storage,
        *,
        is_personal: bool,
        on_replaced: Callable[[Namespace], None],
        quotas: Quotas,
        metrics: StoreMetrics | None = None,
        claim_s: float = CLAIM_S,
        divide: Divide | None = None,
    ) -> None:
        limits = Limits(live_runs=quotas.live_runs, runner_idle_s=quotas.idle_s)
        super().__init__(RunnerEngine(limits, loop, is_personal=is_personal), self._batch_journal, divide)
        self.name = name
        self._storage = storage
        self._on_replaced = on_replaced
        self._metrics = metrics
        self._store: MeasuredStore | None = None
        self.quota: Quota = Quota(
            quotas, self.engine, lambda: self.stored_bytes, lambda: self.batches.concurrency
        )
        self._claim_s = claim_s
        self._batch_bytes = 0
        """Bytes of the answers of batches when they were last read."""
        self._measuring: asyncio.Task[None] | None = None
        self._active_at = loop.aio.time()
        """Time of the last event of a session, and of the end of the last link."""
        self._writer: JournalWriter | None = None
        self._presence = Presence(loop, self.wires.show_people)
        self.batches.refusal = self.quota.refusal
        self.batches.changed = self._batches_changed
        self.engine.replaced.add(self._replaced)
        self.engine.readers.add(lambda _session: self._note_activity())
        self.engine.cache_path = storage.cache(name)

    def __repr__(self) -> str:
        """Return the name and the number of kernels."""
        return f"<Namespace {self.name}, {self.kernels} kernels>"

    def greeting(self) -> Greeting:
        """Return the answer to the hello of a kernel."""
        return Greeting(
            link=LINK_VERSION, version=VERSION, pid=os.getpid(), epoch=self.engine.epoch, notebook=self.name
        )

    # The store

    def open(self) -> None:
        """Open the store and restore the sessions. On a thread; blocks.

        Raises
        ------
        NbchatError
            If the store cannot be opened, or another process uses it.
        """
        store = self._leased(self._claim_s)
        try:
            snapshot = read_back(store.read())
            self._batch_bytes = self._storage.batch_bytes(self.name)
            self.engine.loop.call(self._begin, store, snapshot)
        except BaseException:
            store.close()
            raise

    def _leased(self, timeout_s: float) -> LeasedStore:
        store = MeasuredStore(self._storage.open(self.name), self._metrics)
        leased = LeasedStore(store, self.engine.epoch, timeout_s)
        self._store = store
        return leased

    def _begin(self, store: LeasedStore, snapshot: Snapshot) -> None:
        for note in snapshot.notes:
            logger.warning("the store of %r: %s", self.name, note)
        self._writer = self.engine.open_journal(
            store,
            reopen=lambda: self._leased(0.0),
            on_status=self._on_status,
            on_reopened=self._merge,
        )
        self.engine.snapshots.restore(snapshot, known=_states_in(snapshot))
        self._on_status(self._writer.status)
        self.engine.eviction.trim()

    def _merge(self, snapshot: Snapshot) -> None:
        self.engine.snapshots.restore(snapshot, known=_states_in(snapshot), undelete=False)

    def _on_status(self, status: SaveStatus) -> None:
        error = None if status.error is None else status.error.info
        saving = Saving(state=cast("Any", status.state), error=error)
        if saving.state == "saving" and self.wires.saving.state == "saved":
            return  # avoids flicker while answers stream
        self.wires.saving = saving
        self.wires.say(saving)

    def _replaced(self) -> None:
        logger.warning("another process has taken over %r", self.name)
        self.over.set()
        self.drain()
        self.batches.abandon_all()
        self.close_links()
        self._on_replaced(self)

    def _batch_journal(self, batch_id: str) -> Place | None:
        return self._storage.batch(self.name, batch_id)

    # Its bytes

    @property
    def stored_bytes(self) -> int:
        """Bytes of the sessions and of the answers of batches that are stored."""
        return self._batch_bytes + (0 if self._store is None else self._store.stored_bytes)

    def _batches_changed(self) -> None:
        """Read the bytes of the answers of batches soon, unless that is planned."""
        if self._measuring is None:
            self._measuring = self.engine.loop.spawn(self._measure(), name="nbchat-batch-bytes")

    async def _measure(self) -> None:
        await asyncio.sleep(MEASURE_S)
        self._measuring = None  # what changes from now on is measured again
        try:
            self._batch_bytes = await self.engine.in_thread(self._storage.batch_bytes, self.name)
        except NbchatError as error:
            logger.debug("the bytes of batches of %r could not be read: %s", self.name, error)

    # Life

    def _note_activity(self) -> None:
        self._active_at = self.engine.loop.aio.time()

    def is_idle(self, seconds: float) -> bool:
        """Return whether it can leave memory: it was not used for this time, and everything is stored.

        It stays in memory while its store cannot be reached, from which it could not be opened again.
        """
        return (
            not self._links
            and self.engine.loop.aio.time() - self._active_at >= seconds
            and not self.is_busy
            and self._writer is not None
            and self._writer.status.state == "saved"
            and self._store is not None
            and (self._store.margin_s or 0.0) > 0
        )

    def link_began(self, link: KernelLink) -> None:
        """Show the person to the others."""
        self._presence.joined(link)

    def link_ended(self, link: KernelLink) -> None:
        """Remove the person, unless another link is theirs."""
        self._presence.left(link)
        self._note_activity()

    def typed(self, link: KernelLink, session_id: str) -> None:
        """Show to the others that a person who may ask is typing in a session."""
        shown = link.permissions.can_change and self.engine.sessions.get(session_id) is not None
        self._presence.typed(link, session_id if shown else "")

    def kernel_shut_down(self, link: KernelLink) -> None:
        """Do nothing: answers can be read from another kernel."""

    def restore(self) -> None:
        """Do nothing: a namespace is restored before its first link."""

    def set_journal(self, *, on: bool) -> None:
        """Do nothing: the permissions allow no kernel to call this."""

    def drain(self) -> None:
        """Finish the live runs and accept no new ones."""
        self._draining = True
        self.batches.drain()

    async def finish(self, reason: NbchatError, timeout_s: float) -> None:
        """End what is in progress, and write what is left."""
        self.over.set()
        await self.batches.close()
        await self.engine.finish(reason, timeout_s)

    def close(self) -> None:
        """Release the store and end its threads. On a thread; blocks."""
        if self._writer is not None:
            self._writer.close()
        self.engine.callbacks.close()


def _states_in(snapshot: Snapshot) -> dict[str, SessionState]:
    return {saved.state.id: saved.state for saved in snapshot.sessions}

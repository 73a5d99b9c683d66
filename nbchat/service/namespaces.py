"""`Namespaces`: opens each namespace of a service for its first link, and unloads those that are idle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.errors import KernelGone, NbchatError, StoreBusy
from nbchat.engine.daemon_executor import DaemonExecutor
from nbchat.service.divided_batches import DividedBatches
from nbchat.service.namespace import CLAIM_S, Namespace

if TYPE_CHECKING:
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.service.metrics import Metrics
    from nbchat.service.quotas import Quotas
    from nbchat.service.storage import Storage

logger = logging.getLogger("nbchat")

DRAIN_S: Final = 15.0
"""Longest time that live runs may take to finish after a request to drain; others are interrupted."""

FINISH_S: Final = 5.0
"""Longest time to write what is left when a namespace is released."""

LOOK_S: Final = 0.05
"""Interval at which the end of live runs is checked while the service drains."""

IDLE_LOOK_S: Final = 10.0
"""Longest interval between two checks for idle namespaces."""


class Namespaces:
    """The namespaces that a service serves. Only for the loop.

    Parameters
    ----------
    loop
        The loop of all namespaces.
    storage
        Their stores.
    quotas
        Limits of each namespace.
    has_link
        Returns whether a link to a namespace was accepted and has not ended. It may not be served yet.
    metrics
        Measures their stores; `None`: there are no measurements.
    """

    def __init__(
        self,
        loop: LoopThread,
        storage: Storage,
        quotas: Quotas,
        has_link: Callable[[str], bool],
        metrics: Metrics | None = None,
    ) -> None:
        self._loop = loop
        self._storage = storage
        self._quotas = quotas
        self._has_link = has_link
        self._metrics = metrics
        self._threads = DaemonExecutor()
        self.divided: DividedBatches = DividedBatches(loop, storage)
        self.claim_s: float = CLAIM_S
        """Longest wait for a process that was killed and still holds the lease, or that is ending."""
        self.is_draining: bool = False
        """No namespace is opened, since the service ends."""
        self._opened: dict[str, asyncio.Task[Namespace]] = {}
        """Namespaces that are open or being opened, by name."""
        self._releasing: dict[str, asyncio.Task[Any]] = {}
        """The releases in progress, by name."""

    def __repr__(self) -> str:
        """Return the number of namespaces."""
        return f"<Namespaces, {len(self._opened)} open>"

    def __len__(self) -> int:
        """Return the number of namespaces that are open or being opened."""
        return len(self._opened)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of these namespaces."""
        return iter(list(self._opened))

    def __contains__(self, name: str) -> bool:
        """Return whether a namespace is open or being opened."""
        return name in self._opened

    @property
    def loaded(self) -> Sequence[Namespace]:
        """The namespaces that are open."""
        return [
            task.result()
            for task in self._opened.values()
            if task.done() and not task.cancelled() and task.exception() is None
        ]

    # Opening

    async def get(self, name: str, *, is_personal: bool) -> Namespace:
        """Return a namespace; the first call opens its store.

        Parameters
        ----------
        name
            Its name in the storage.
        is_personal
            It belongs to one person.

        Raises
        ------
        NbchatError
            If its store cannot be opened, another process uses it, or the service ends.
        """
        opening = self._opened.get(name)
        if opening is None and self.is_draining:
            raise StoreBusy("this service ends.")
        if opening is None:
            opening = self._opened[name] = self._loop.aio.create_task(
                self._open(name, is_personal=is_personal)
            )
        try:
            return await asyncio.shield(opening)
        except Exception:
            if self._opened.get(name) is opening:
                del self._opened[name]
            raise

    async def _open(self, name: str, *, is_personal: bool) -> Namespace:
        if (releasing := self._releasing.get(name)) is not None:
            await asyncio.wait([releasing])
        namespace = Namespace(
            name,
            self._loop,
            self._storage,
            is_personal=is_personal,
            on_replaced=self._replaced,
            quotas=self._quotas,
            metrics=self._metrics,
            claim_s=self.claim_s,
            divide=partial(self.divided.divide, name),
        )
        await self._in_thread(namespace.open)
        if self.is_draining:
            namespace.drain()
        return namespace

    async def _in_thread(self, work: Callable[[], None]) -> None:
        """Open or close a store on a thread, of which the work of other namespaces cannot take any."""
        await self._loop.aio.run_in_executor(self._threads, work)

    # Releasing

    def _replaced(self, namespace: Namespace) -> None:
        """Close a namespace that another process has taken over; the next link opens it again."""
        self._end(namespace, self._in_thread(namespace.close))

    def _release(self, namespace: Namespace) -> asyncio.Task[Any]:
        """Remove a namespace, end what is in progress in it, and release its store."""
        return self._end(namespace, self._finish_and_close(namespace))

    def _end(self, namespace: Namespace, closing: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        """Remove a namespace and close it in a task, which the next opening of the namespace waits for."""
        name = namespace.name
        self._opened.pop(name, None)
        task = self._releasing[name] = self._loop.spawn(closing, name="nbchat-namespace-release")

        def released(_task: asyncio.Task[Any]) -> None:
            if self._releasing.get(name) is task:
                del self._releasing[name]

        task.add_done_callback(released)
        return task

    async def _finish_and_close(self, namespace: Namespace) -> None:
        try:
            await namespace.finish(KernelGone("the service was shut down."), FINISH_S)
        except Exception as error:  # noqa: BLE001 - its lease is released even so
            logger.warning("%r could not be saved: %s", namespace.name, error)
        namespace.close_links()
        await self._in_thread(namespace.close)

    async def unload_idle(self) -> None:
        """Unload namespaces that are idle, until this is cancelled. The next link opens them again."""
        while True:
            await asyncio.sleep(min(self._quotas.idle_s, IDLE_LOOK_S))
            if not self.is_draining:
                self._unload_idle()

    def _unload_idle(self) -> None:
        for namespace in self.loaded:
            if namespace.is_idle(self._quotas.idle_s) and not self._has_link(namespace.name):
                logger.info("%r is idle and leaves memory", namespace.name)
                self._release(namespace)

    # The end

    async def drain(self, *, hand_over: bool) -> None:
        """Open no more namespaces, accept no new runs, and let live runs finish.

        Parameters
        ----------
        hand_over
            Release each namespace when its live runs have ended, so that another replica serves it.
        """
        self.is_draining = True
        self.divided.drain()
        for namespace in self.loaded:
            namespace.drain()
        until = self._loop.aio.time() + DRAIN_S
        while True:
            idle = [one for one in self.loaded if not one.is_busy]
            if hand_over:
                await asyncio.gather(*(self._release(one) for one in idle))
            is_busy = self.divided.is_busy or any(one.is_busy for one in self.loaded)
            if not is_busy or self._loop.aio.time() > until:
                return
            await asyncio.sleep(LOOK_S)  # runs and batches end without a common event

    async def finish(self) -> None:
        """End all runs and links, and write what is left."""
        self.is_draining = True
        with suppress(NbchatError, TimeoutError):
            async with asyncio.timeout(FINISH_S):
                await asyncio.gather(*self._opened.values(), return_exceptions=True)
        reason = KernelGone("the service was shut down.")
        namespaces = self.loaded
        ended = [namespace.finish(reason, FINISH_S) for namespace in namespaces]
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                for error in await asyncio.gather(*ended, return_exceptions=True):
                    if isinstance(error, Exception):
                        logger.warning("a namespace could not be saved: %s", error)
        for namespace in namespaces:
            namespace.close_links()
        await self.divided.close()

    async def close(self) -> None:
        """Release all stores."""
        if self._releasing:
            await asyncio.wait(self._releasing.values(), timeout=FINISH_S)
        for namespace in self.loaded:
            await self._in_thread(namespace.close)

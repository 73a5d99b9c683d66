"""`ServedBatches` and `BatchViews`: the batches of a runner, and those that one kernel reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from nbchat.batch_engine.batch import Batch, Journal
from nbchat.batch_engine.places import place_of
from nbchat.core.errors import NbchatError, from_info
from nbchat.runner.messages import BatchAnswer, BatchNews, ToKernel
from nbchat.runner.remote_errors import info_of
from nbchat.runner.transports import AsyncTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbchat.batch_engine.answers import Place
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.engine.one_shot import Answer
    from nbchat.runner.engine import Origin, RunnerEngine

BUSY_S: Final = 20.0
"""Longest wait for another runner that still writes to the journal of a batch."""

MAX_COMPLETE: Final = 8
"""Complete batches with a journal that are kept in memory until a kernel has their answers."""

MAX_ANSWERS: Final = 200
MAX_CHARACTERS: Final = 1_000_000
"""Answers in one message, and characters after which no more are added."""


Divide: TypeAlias = "Callable[[Batch, Origin], Coroutine[Any, Any, None]]"
"""Lets other processes send prompts of a batch, with the providers of its kernel, until it has ended."""


class ServedBatches:
    """The batches of a runner, by id. Only for the engine's loop.

    A batch remains until a kernel has all its answers. One that was stopped is continued from its journal.

    Parameters
    ----------
    engine
        The engine.
    place
        Returns the place of the journal of a batch for which the caller chose none; `None` if nothing may be
        written. Called on a thread.
    divide
        Lets other processes take part in each batch.
    """

    def __init__(
        self, engine: RunnerEngine, place: Callable[[str], Place | None], divide: Divide | None = None
    ) -> None:
        self._engine = engine
        self._place = place
        self._divide = divide
        self._divided: dict[Batch, asyncio.Task[None]] = {}
        """Batches in which other processes take part."""
        self._batches: dict[str, Batch] = {}
        self._is_draining = False
        self.refusal: Callable[[], NbchatError | None] = lambda: None
        """Returns the error with which batches end that are not complete, if no more prompts may be sent."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each change of a batch, and when a record was deleted."""

    def __repr__(self) -> str:
        """Return the number of batches."""
        return f"<ServedBatches, {len(self._batches)}>"

    @property
    def is_busy(self) -> bool:
        """True if a batch is in progress."""
        return any(not batch.end for batch in self._batches.values())

    @property
    def has_unsaved(self) -> bool:
        """True if answers that no kernel has read are in memory only."""
        return any(batch.end and batch.journal is None for batch in self._batches.values())

    def counts(self) -> list[tuple[int, int]]:
        """Return the number of answers and of prompts of each batch."""
        return [(len(batch.answers), len(batch.request.prompts)) for batch in self._batches.values()]

    def find(self, batch_id: str) -> Batch | None:
        """Return a batch that is in progress or complete."""
        batch = self._batches.get(batch_id)
        return None if batch is None or batch.is_stopping else batch

    @property
    def concurrency(self) -> int:
        """Sum of the concurrencies of the batches in progress."""
        return sum(batch.request.concurrency for batch in self._batches.values() if not batch.end)

    async def start(
        self, request: BatchRequest, origin: Origin, check: Callable[[BatchRequest], None]
    ) -> Batch:
        """Start the batch of this request, unless it is in progress or complete, and return it.

        A paused batch that uses the same journal is stopped first: its caller was interrupted.

        Parameters
        ----------
        request
            The batch.
        origin
            The providers of its kernel.
        check
            Raises an error if the batch may not be started; called directly before it is.
        """
        while (batch := self.find(request.id)) is None:
            others = [other for other in self._batches.values() if _is_in_the_way(other, request)]
            if not others:
                check(request)
                return self._start(request, origin)
            for other in others:
                other.stop()
                await other.wait()
        return batch

    def _start(self, request: BatchRequest, origin: Origin) -> Batch:
        def journal() -> Journal | None:
            if request.journal is not None:
                return Journal(place=place_of(request.journal))
            place = self._place(request.id)
            return None if place is None else Journal(place=place, busy_s=BUSY_S, is_temporary=True)

        batch = self._batches[request.id] = Batch(self._engine, request, journal, providers=origin)
        self._engine.hold(request.id, origin)
        batch.readers.add(partial(self._changed, batch))
        refusal = self.refusal()
        if self._is_draining or refusal is not None:
            batch.drain(refusal)
        if self._divide is not None:
            task = self._engine.loop.spawn(self._divide(batch, origin), name="nbchat-batch-divide")
            self._divided[batch] = task
            task.add_done_callback(lambda _task: self._divided.pop(batch, None))
        return batch

    def _changed(self, batch: Batch) -> None:
        self.changed()
        if batch.end:
            self._engine.release(batch.request.id)
            if batch.end != "complete":
                del self._batches[batch.request.id]
            kept = [other for other in self._batches.values() if other.end and other.journal is not None]
            for other in kept[:-MAX_COMPLETE]:  # a kernel that asks for it again reads its journal
                del self._batches[other.request.id]
        elif (refusal := self.refusal()) is not None:
            batch.drain(refusal)

    async def forget(self, batch_id: str, *, keep_journal: bool) -> None:
        """Forget a complete batch, and delete its journal unless the caller chose it or `keep_journal`."""
        batch = self._batches.get(batch_id)
        place: Place | None = None
        if batch is None:  # it was completed in an earlier runner
            place = await self._engine.in_thread(self._place, batch_id)
        elif batch.end == "complete":
            del self._batches[batch_id]
            if batch.journal is not None and batch.journal.is_temporary:
                place = batch.journal.place
        if place is not None and not keep_journal:
            divided = [task for batch, task in self._divided.items() if batch.request.id == batch_id]
            if divided:  # the others still have the journal open
                await asyncio.wait(divided)
            await self._engine.in_thread(place.delete)
            self.changed()

    async def stop(self, batch_id: str) -> None:
        """Stop a batch, and wait until its journal is closed."""
        batch = self._batches.get(batch_id)
        if batch is not None and not batch.end:
            batch.stop()
            await batch.wait()

    def stop_all(self) -> None:
        """Stop all batches; their journals keep the answers so far."""
        for batch in self._batches.values():
            batch.stop()

    def abandon_all(self) -> None:
        """End all batches, which continue in the next runner. Prompts in progress are unknown there."""
        for task in self._divided.values():
            task.cancel()  # the others finish their prompts, and the next runner has the answers
        for batch in self._batches.values():
            batch.abandon()

    def drain(self) -> None:
        """Let the prompts in progress end, and send no more."""
        self._is_draining = True
        for batch in self._batches.values():
            batch.drain()

    async def close(self) -> None:
        """End all batches, and wait until their journals are closed."""
        batches, divided = list(self._batches.values()), list(self._divided.values())
        self.abandon_all()
        for batch in batches:
            await batch.wait()
        if divided:
            await asyncio.wait(divided)


def _is_in_the_way(batch: Batch, request: BatchRequest) -> bool:
    is_same = batch.request.id == request.id
    has_same_journal = request.journal is not None and batch.request.journal == request.journal
    return not batch.end and (is_same or (has_same_journal and (batch.is_paused or batch.is_stopping)))


class BatchViews:
    """The batches that one kernel reads. Only for the engine's loop.

    Parameters
    ----------
    engine
        The engine.
    transport
        The link; while it is full, answers are not read.
    send
        Sends a message.
    """

    def __init__(
        self, engine: RunnerEngine, transport: AsyncTransport, send: Callable[[ToKernel], None]
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._send = send
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._batches: set[Batch] = set()
        self._closed = False

    def __repr__(self) -> str:
        """Return the number of batches."""
        return f"<BatchViews, {len(self._tasks)}>"

    def follow(self, batch: Batch, view: int) -> int:
        """Send all answers of a batch, and its end; return the number of answers so far."""
        if not self._closed:
            batch.resume(self)
            self._batches.add(batch)
            task = self._tasks[view] = self._engine.loop.spawn(self._follow(batch, view), "nbchat-batch-view")
            task.add_done_callback(lambda _task: self._tasks.pop(view, None))
        return len(batch.answers)

    def pause(self, batch: Batch) -> None:
        """Send no more prompts of a batch until the kernel stops it, follows it again, or is gone."""
        batch.pause(self)

    def close(self) -> None:
        """Follow no batch any more. Those that are in progress continue."""
        self._closed = True
        for task in list(self._tasks.values()):
            task.cancel()
        for batch in self._batches:
            batch.resume(self)

    async def _follow(self, batch: Batch, view: int) -> None:
        changed = asyncio.Event()
        batch.readers.add(changed.set)
        sent = 0
        try:
            while True:
                changed.clear()
                end = batch.end  # read before the answers, which are complete then
                answers = _first(batch.answers[sent : sent + MAX_ANSWERS])
                sent += len(answers)
                if sent < len(batch.answers):
                    end = ""
                if answers or end:
                    self._send(self._news(batch, view, answers, end))
                if end:
                    return
                if sent < len(batch.answers):
                    await self._transport.drain()
                else:
                    await changed.wait()
        except ConnectionError:
            pass  # the link has ended
        finally:
            batch.readers.discard(changed.set)

    def _news(self, batch: Batch, view: int, answers: Sequence[Answer], end: str) -> BatchNews:
        return BatchNews(
            view=view,
            answers=tuple(BatchAnswer.of(answer) for answer in answers),
            end=end,
            error=info_of(batch.error) if end and batch.error is not None else None,
        )


def _first(answers: Sequence[Answer]) -> Sequence[Answer]:
    """Return as many of the answers as one message should contain."""
    characters = 0
    for count, answer in enumerate(answers, 1):
        characters += len(answer.text)
        if characters >= MAX_CHARACTERS:
            return answers[:count]
    return answers


def open_error(batch: Batch) -> tuple[str, NbchatError | None]:
    """Return the error that kept a batch from starting: as text if it is a `ValueError`, else as it is."""
    error = batch.error
    if error is None or isinstance(error, NbchatError):
        return "", error
    if isinstance(error, ValueError):
        return str(error), None
    return "", from_info(info_of(error))

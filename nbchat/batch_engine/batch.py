"""`Batch`: one batch on an engine, as a log of answers that any number of readers can follow."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from nbchat.batch_engine.ledger import Ledger
from nbchat.batch_engine.prompt_sender import PromptSender
from nbchat.batch_engine.rate_limiter import RateLimiter
from nbchat.core.errors import StoreBusy, StoreError

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import Answers, Place
    from nbchat.batch_engine.rate_limiter import Limiter
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.core.errors import NbchatError
    from nbchat.engine.base import EngineBase
    from nbchat.engine.one_shot import Answer
    from nbchat.engine.provider_resolver import ProviderResolver
    from nbchat.providers.base import Provider

logger = logging.getLogger("nbchat")

POLL_S: Final = 0.1
"""Interval of the attempts to open a journal that another process is writing to."""

End: TypeAlias = Literal["", "complete", "stopped", "drained", "failed"]
"""The end of a batch; empty while it is in progress. A drained batch has sent no more prompts, and is
continued by another engine."""


class Journal(Struct, frozen=True, kw_only=True):
    """The place of a batch's record."""

    place: Place
    busy_s: float = 0.0
    """Longest wait for another process that is writing to it."""
    is_temporary: bool = False
    """The place was not chosen by the caller, and is deleted when the caller has all answers."""


class Batch:
    """Sends the prompts of one request, and keeps its answers. Methods are for the engine's loop.

    Any thread may read the attributes. `end` must be read before `answers`.

    Parameters
    ----------
    engine
        Sends the prompts.
    request
        The batch.
    journal
        Returns the place of the record; `None`: no record. Called on a worker thread; may block.
    provider, providers
        The provider object of all prompts, or the providers to choose from (`None`: those of the engine).
    is_held
        Keep the journal locked until `release`, although all prompts have ended.
    slots
        Those of another process that has the batch, entered for each prompt while it is in progress. `None`:
        as many as the request allows.
    """

    def __init__(
        self,
        engine: EngineBase,
        request: BatchRequest,
        journal: Callable[[], Journal | None],
        *,
        provider: Provider | None = None,
        providers: ProviderResolver | None = None,
        is_held: bool = False,
        slots: AbstractAsyncContextManager[None] | None = None,
    ) -> None:
        self.request = request
        self._joins = slots is not None
        self.slots: AbstractAsyncContextManager[None] = slots or asyncio.Semaphore(request.concurrency)
        self.answers: list[Answer] = []
        """Outcomes in the order in which they were recorded. It only grows."""
        self.known: int | None = None
        """Number of answers that were in the journal; `None` until it has been read."""
        self.journal: Journal | None = None
        self.end: End = ""
        self.error: BaseException | None = None
        self.readers: set[Callable[[], None]] = set()
        """Called on the engine's loop after every change."""
        self._engine = engine
        self._place = journal
        self._provider = provider
        self._providers = providers
        self._sender: PromptSender | None = None
        self.is_ready = asyncio.Event()
        """Set when the journal has been read, or the batch has ended before."""
        self._pausers: set[object] = set()
        self.is_draining: bool = False
        """No more prompts are sent, and those in progress may end."""
        self._refusal: NbchatError | None = None
        self._is_abandoned = False
        self._released = asyncio.Event()
        if not is_held:
            self._released.set()
        self._task = engine.loop.spawn(self._run(), name="nbchat-map")
        self._task.add_done_callback(self._over)

    def __repr__(self) -> str:
        """Return the number of answers."""
        return f"<Batch {len(self.answers)} of {len(self.request.prompts)} {self.end}>"

    @property
    def is_stopping(self) -> bool:
        """True if the batch was stopped, or has ended without all answers."""
        return self.end not in ("", "complete") or self._task.cancelling() > 0

    @property
    def is_paused(self) -> bool:
        """True if no more prompts are sent for now."""
        return bool(self._pausers)

    def stop(self) -> None:
        """Stop the prompts in progress, which the next call sends again; the journal keeps the answers."""
        self._task.cancel()

    def abandon(self) -> None:
        """End although the caller has not stopped the batch. Prompts in progress may have been answered."""
        self._is_abandoned = self._is_abandoned or not self.is_stopping
        self._task.cancel()

    def pause(self, by: object) -> None:
        """Send no more prompts until `resume` is called by the same; those in progress continue."""
        self._pausers.add(by)
        self._apply_pause()

    def resume(self, by: object) -> None:
        """Send prompts again, unless another one has paused the batch."""
        self._pausers.discard(by)
        self._apply_pause()

    def _apply_pause(self) -> None:
        if self._sender is not None:
            self._sender.pause(on=self.is_paused)
        if not self.end:
            self._notify()

    def drain(self, error: NbchatError | None = None) -> None:
        """Send no more prompts, and end when those in progress have ended.

        Parameters
        ----------
        error
            The batch ends with this error if it is not complete then.
        """
        was_draining, self.is_draining = self.is_draining, True
        self._refusal = error or self._refusal
        if self._sender is not None:
            self._sender.drain()
        if not was_draining and not self.end:
            self._notify()

    def release(self) -> None:
        """Close the journal when all prompts have ended."""
        self._released.set()

    async def wait(self) -> None:
        """Wait for the end; the journal is closed then."""
        await asyncio.wait([self._task])

    def _notify(self) -> None:
        for reader in list(self.readers):
            reader()

    async def _run(self) -> None:
        try:
            await self._answer()
        except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread
            self.error = error

    def _over(self, task: asyncio.Task[None]) -> None:
        if self.error is not None:
            self.end = "failed"
        elif len(self.answers) == len(self.request.prompts):
            self.end = "complete"
        elif task.cancelled():
            self.end = "drained" if self._is_abandoned else "stopped"
        elif self._refusal is not None:
            self.error, self.end = self._refusal, "failed"
        else:
            self.end = "drained"
        self.is_ready.set()
        self._notify()

    async def _answer(self) -> None:
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            answers, found = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opened: Answers | None = (await _finished(opening))[0]
            if opened is not None:
                await _finished(asyncio.to_thread(opened.close))
            raise
        if answers is None:
            await self._send(found, None, RateLimiter(self.request.rpm))
            return
        names = {index: key for (index, _), key in zip(self.request.prompts, self.request.keys, strict=True)}
        ledger = Ledger(answers, names)
        try:
            await self._send(found, ledger, answers.limiter(self._profile(), self.request.rpm))
            await self._released.wait()
        finally:

            def close() -> None:
                ledger.close()
                answers.close(is_abandoned=self._is_abandoned)

            await _finished(asyncio.to_thread(close))

    def _profile(self) -> str:
        """Return the name of the provider, whose requests are limited together."""
        own = None if self._provider is None else self._provider.name
        return own or self.request.settings.provider or "default"

    def _open(self) -> tuple[Answers | None, dict[int, Answer]]:
        """Return the journal, and the outcomes in it. On a thread."""
        self.journal = journal = self._place()
        if journal is None:
            return None, {}
        try:
            answers = _opened(journal)
        except StoreError as error:
            if not journal.is_temporary or isinstance(error, StoreBusy):
                raise
            logger.warning("a batch is not kept: %s", error)
            self.journal = None
            return None, {}
        recorded = answers.find(self.request.keys)
        found = {
            index: replace(recorded[key], index=index)
            for (index, _), key in zip(self.request.prompts, self.request.keys, strict=True)
            if key in recorded
        }
        return answers, found

    async def _send(self, found: dict[int, Answer], ledger: Ledger | None, limiter: Limiter) -> None:
        request = self.request
        kept = {
            index: answer
            for index, answer in found.items()
            if answer.error is not None and (request.retry_interrupted or answer.response_id is not None)
        }
        known = [answer for index, answer in found.items() if index not in kept]
        self.answers.extend(known)
        self.known = len(known)
        self.is_ready.set()
        self._notify()
        sender = self._sender = PromptSender(
            self._engine,
            [prompt for prompt in request.prompts if prompt[0] not in found or prompt[0] in kept],
            attachments=request.attachments,
            settings=request.settings,
            provider=self._provider,
            providers=self._providers,
            concurrency=request.concurrency,
            slots=self.slots,
            limiter=limiter,
            attempts=request.attempts,
            deliver=self._deliver,
            ledger=ledger,
            kept=kept,
            retry_interrupted=request.retry_interrupted,
            give_up=self.drain if self._joins else None,
        )
        self._apply_pause()
        if self.is_draining:
            sender.drain()
        await sender.run()

    def _deliver(self, answer: Answer) -> None:
        self.answers.append(answer)
        self._notify()


def _opened(journal: Journal) -> Answers:
    until = time.monotonic() + journal.busy_s
    while True:
        try:
            return journal.place.open()
        except StoreBusy:
            if time.monotonic() >= until:
                raise
            time.sleep(POLL_S)


async def _finished(work: Coroutine[Any, Any, Any] | asyncio.Future[Any]) -> Any:  # noqa: ANN401 - its value
    """Wait for work that must not be left half done, even if this task is cancelled meanwhile."""
    future = asyncio.ensure_future(work)
    while not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    return future.result()

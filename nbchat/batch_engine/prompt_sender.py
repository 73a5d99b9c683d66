"""`PromptSender`: sends many independent prompts on the engine's loop, several at a time.

Prompts are retried here, where the request rate is controlled. A broken answer is retried too, since its
beginning was not shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from nbchat.core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectFailed,
    EmptyResponse,
    FirstTokenTimeout,
    IdleTimeout,
    ModelNotFound,
    NbchatError,
    ProviderErrorEvent,
    RateLimited,
    StreamBroken,
    StreamTruncated,
)
from nbchat.core.events import Settings
from nbchat.core.messages import Attachment
from nbchat.engine.one_shot import Answer, OneShot

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import News
    from nbchat.batch_engine.ledger import Ledger
    from nbchat.batch_engine.rate_limiter import Limiter
    from nbchat.core.messages import Usage
    from nbchat.engine.base import EngineBase
    from nbchat.engine.provider_resolver import ProviderResolver
    from nbchat.providers.base import Provider

BROKEN: Final = (
    EmptyResponse,
    FirstTokenTimeout,
    IdleTimeout,
    ProviderErrorEvent,
    StreamBroken,
    StreamTruncated,
)
"""Errors of one answer that have no bearing on the next one."""

HOPELESS: Final = (AuthenticationFailed, ConfigError, ModelNotFound)
"""Errors that every prompt would meet: the remaining prompts are not sent."""

FOLLOW_S: Final = 0.25
"""Interval at which outcomes of other processes are read."""

BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
"""Seconds before the second attempt, doubled for each later one up to `MAX_BACKOFF_S`."""

MAX_REFUSALS: Final = 100
"""Number of "too many requests" responses to one prompt after which it fails."""


class PromptSender:
    """Sends prompts on the engine's loop and delivers each answer as it arrives.

    Parameters
    ----------
    engine
        Provides the loop, limits and providers.
    prompts
        Pairs of an index and a text.
    attachments, settings, provider
        Used for all prompts.
    providers
        The providers to choose from, if `provider` is `None`. `None`: those of the engine.
    concurrency
        Requests at the same time.
    slots
        Entered for each prompt while it is in progress, up to `concurrency` times at once.
    limiter
        Permits each request, retries included.
    attempts
        Maximum number of attempts per prompt.
    deliver
        Receives each answer, on the engine's thread, in the order in which they end.
    ledger
        Records each prompt before it is sent, and its outcome before the answer is delivered. `None`
        disables recording.
    kept
        Recorded outcomes, by index, of prompts that were in progress when an earlier batch was killed. Their
        answers are read from the server if it kept them; otherwise the recorded outcome is used.
    retry_interrupted
        Send prompts again whose answers the server did not keep.
    give_up
        Called, in place of recording it, with an error that every prompt would meet in this process, since
        another process may not meet it. It must call `drain`.
    """

    def __init__(
        self,
        engine: EngineBase,
        prompts: Iterable[tuple[int, str]],
        *,
        attachments: tuple[Attachment, ...] = (),
        settings: Settings,
        provider: Provider | None,
        providers: ProviderResolver | None = None,
        concurrency: int,
        slots: AbstractAsyncContextManager[None],
        limiter: Limiter,
        attempts: int,
        deliver: Callable[[Answer], object],
        ledger: Ledger | None = None,
        kept: Mapping[int, Answer] = MappingProxyType({}),
        retry_interrupted: bool = False,
        give_up: Callable[[NbchatError], object] | None = None,
    ) -> None:
        self._prompts = dict(prompts)
        self._waiting = deque(self._prompts)
        self._here: set[int] = set()
        """Prompts that this process handles now."""
        self._elsewhere: set[int] = set()
        """Prompts that other processes have, and whose outcome is not known yet."""
        self._early: dict[int, News] = {}
        """News about prompts that were handled here."""
        self._delivered: set[int] = set()
        self._changed = asyncio.Event()
        self._one_shot = OneShot(engine, settings, provider, concurrency, attachments, providers=providers)
        self._concurrency = concurrency
        self._slots = slots
        self._limiter = limiter
        self._attempts = attempts
        self._deliver = deliver
        self._ledger = ledger
        self._kept = dict(kept)
        self._retry_interrupted = retry_interrupted
        self._give_up = give_up
        self._answered = 0
        self._hopeless: NbchatError | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._is_draining = False
        self._workers: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[None] | None] = set()
        """Those of `_workers` whose prompt was sent and whose outcome is not delivered yet."""

    def pause(self, *, on: bool) -> None:
        """Send no more requests until this is called with `on=False`; those in progress continue."""
        if on:
            self._open.clear()
        else:
            self._open.set()

    def drain(self) -> None:
        """Send no more requests, and end when those in progress have ended. They are not retried."""
        self._is_draining = True
        self._waiting.clear()
        self._elsewhere.clear()
        for worker in self._workers - self._sending:
            worker.cancel()

    async def run(self) -> None:
        """Send all prompts. Cancelling ends those in progress; delivered answers are not affected.

        Raises
        ------
        StoreError
            If the ledger cannot be written; all prompts in progress are ended.
        """
        ledger = self._ledger
        try:
            async with asyncio.TaskGroup() as tasks:
                following = tasks.create_task(self._follow(ledger)) if ledger and ledger.is_shared else None
                async with asyncio.TaskGroup() as workers:
                    for _ in range(min(self._concurrency, len(self._waiting))):
                        self._workers.add(workers.create_task(self._work()))
                if following is not None:
                    following.cancel()
        except ExceptionGroup as errors:  # all tasks ended for one cause
            raise _first(errors) from None

    async def _work(self) -> None:
        while await self._has_next():
            async with self._slots:
                # Chosen with the slot in hand: a prompt chosen earlier may be in another process meanwhile.
                while (index := self._next()) is not None:
                    if not await self._handle(index):
                        return
                    if index not in self._elsewhere:
                        break

    async def _handle(self, index: int) -> bool:
        """Send a prompt, unless another process has it; return False if no more prompts are sent."""
        self._here.add(index)
        answer = await self._outcome(index)
        self._here.discard(index)
        early = self._early.pop(index, None)
        if index in self._elsewhere:
            self._sending.discard(asyncio.current_task())
            if early is not None and not self._is_draining:
                self._take(index, early)
            return not self._is_draining
        if answer is None:
            return False
        if answer.error is None:
            self._answered += 1
        elif self._is_hopeless(answer.error):
            self._hopeless = answer.error
        self._end(answer)
        self._sending.discard(asyncio.current_task())
        return True

    async def _has_next(self) -> bool:
        """Wait for a prompt to handle; False if there are none left, here or in other processes."""
        while not self._waiting and self._elsewhere:
            self._changed.clear()
            await self._changed.wait()
        return bool(self._waiting)

    def _next(self) -> int | None:
        """Return a prompt to handle, if there is one."""
        while self._waiting:
            index = self._waiting.popleft()
            if index not in self._delivered:
                return index
        return None

    async def _outcome(self, index: int) -> Answer | None:
        """Return the outcome of a prompt; `None` if it is elsewhere, or if no more requests are sent."""
        prompt, answer = self._prompts[index], self._kept.get(index)
        if answer is not None:
            answer = await self._read_on(answer, prompt)
        if answer is None or (answer.error is not None and self._retry_interrupted):
            if self._hopeless is not None:
                return Answer(index=index, error=self._hopeless)
            answer = await self._answer(index, prompt)
        return answer

    def _end(self, answer: Answer) -> None:
        """Deliver an outcome."""
        self._delivered.add(answer.index)
        self._elsewhere.discard(answer.index)
        self._deliver(answer)
        self._changed.set()

    # Other processes that send prompts of the same batch

    async def _follow(self, ledger: Ledger) -> None:
        while True:
            for index, news in await ledger.news():
                self._take(index, news)
            await asyncio.sleep(FOLLOW_S)

    def _take(self, index: int, news: News) -> None:
        """Take the outcome of a prompt that another process had, or that it is free."""
        if index in self._delivered or index not in self._prompts:
            return
        if index in self._here:
            self._early[index] = news
            return
        answer = news.answer
        if (
            answer is not None
            and news.is_unknown
            and (self._retry_interrupted or answer.response_id is not None)
        ):
            self._kept[index] = answer
            answer = None
        if answer is not None:
            self._end(answer)
        elif index in self._elsewhere and not self._is_draining:
            self._elsewhere.discard(index)
            self._waiting.append(index)
            self._changed.set()

    def _is_hopeless(self, error: NbchatError) -> bool:
        # If no prompt has ever reached the server, the others will not reach it either.
        return isinstance(error, HOPELESS) or (isinstance(error, ConnectFailed) and not self._answered)

    async def _read_on(self, known: Answer, prompt: str) -> Answer:
        """Return the answer that the server kept, or the recorded outcome."""
        if self._ledger is None or known.response_id is None:
            return known
        async with self._turn():
            pass  # counts as a request
        with self._ledger.reading_on(known.index):
            answer = await self._attempt(known.index, prompt, known.attempts, known.response_id)
            if answer.error is not None:
                return known
            await self._ledger.over(answer)
            return answer

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Wait until a request may be sent. From then on, `drain` lets it end."""
        self._sending.discard(asyncio.current_task())
        async with self._limiter.turn():
            await self._open.wait()
            yield
            self._sending.add(asyncio.current_task())

    async def _answer(self, index: int, prompt: str) -> Answer | None:
        """Return the outcome of a prompt; `None` if it would be retried and no more requests are sent."""
        cached = await self._one_shot.cached(index, prompt) if self._one_shot.uses_cache else None
        if cached is None:
            return await self._sent(index, prompt)
        if self._ledger is not None:
            await self._ledger.over(cached)
        return cached

    async def _may_send(self, index: int) -> bool:
        """Wait until a prompt may be sent; False if another process has it, or its outcome."""
        ledger = self._ledger
        if ledger is None:
            async with self._turn():
                return True
        again = self._retry_interrupted and index in self._kept
        if not await ledger.claim(index, again=again):
            return False
        async with self._turn():
            return await ledger.asking(index)

    async def _sent(self, index: int, prompt: str) -> Answer | None:
        """Send a prompt until it is answered; returns as `_answer`."""
        attempts = refusals = 0
        usage: Usage | None = None
        while True:
            if not await self._may_send(index):
                self._elsewhere.add(index)
                return None
            attempts += 1
            answer = await self._attempt(index, prompt, attempts)
            if answer.usage is not None:
                usage = answer.usage if usage is None else usage + answer.usage
            answer = replace(answer, usage=usage)
            if self._ledger is not None:
                await self._ledger.over(answer)
            if answer.error is None:
                return answer
            refusals += isinstance(answer.error, RateLimited)
            wait_s = self._wait(answer.error, attempts - refusals, refusals)
            if wait_s is None or self._hopeless is not None:
                return await self._failed(answer, answer.error)
            if self._is_draining:
                return None
            self._sending.discard(asyncio.current_task())
            if isinstance(answer.error, RateLimited):
                await self._limiter.close_for(wait_s)  # other prompts would be refused too
            else:
                await asyncio.sleep(wait_s)

    async def _failed(self, answer: Answer, error: NbchatError) -> Answer | None:
        """Record the failure of a prompt and return it; `None` if other processes may send the prompt."""
        if self._give_up is not None and self._is_hopeless(error):
            self._give_up(error)
            return None
        if self._ledger is not None:
            await self._ledger.failed(answer)
        return answer

    def _wait(self, error: NbchatError, failures: int, refusals: int) -> float | None:
        """Return the seconds before the next attempt, or `None` if the prompt is not retried."""
        if failures >= self._attempts or refusals >= MAX_REFUSALS:
            return None
        again = error.retryable
        if again is False and not isinstance(error, BROKEN):
            return None
        if not isinstance(again, bool):
            return again if again <= self._one_shot.retry_after_s else None
        tries = refusals if isinstance(error, RateLimited) else failures
        backoff_s = min(BACKOFF_S * 2.0 ** (tries - 1), MAX_BACKOFF_S)
        return backoff_s * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret

    async def _attempt(
        self, index: int, prompt: str, attempts: int, response_id: str | None = None
    ) -> Answer:
        ledger = self._ledger

        async def answering(response_id: str) -> None:
            if ledger is not None:
                await ledger.answering(index, response_id)

        return await self._one_shot.ask(index, prompt, attempts, response_id=response_id, answering=answering)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in nested groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

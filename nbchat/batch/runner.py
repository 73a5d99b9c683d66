"""Many prompts, each answered on its own, several at a time: the engine's half of `nbchat.map`.

A prompt is a conversation of one turn, which no page shows and no journal keeps. Its run is the
engine's own, with the same clocks, limits and errors as any other; asking again is done here, where
the rate is known, and also after an answer that broke off, since nobody has seen its beginning.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from nbchat.batch.rate_limiter import RateLimiter
from nbchat.core.clock import now
from nbchat.core.errors import (
    AuthenticationFailed,
    ConfigError,
    ConnectFailed,
    EmptyResponse,
    FirstTokenTimeout,
    IdleTimeout,
    KernelGone,
    ModelNotFound,
    NbchatError,
    ProviderErrorEvent,
    RateLimited,
    StreamBroken,
    StreamTruncated,
    from_info,
)
from nbchat.core.events import SessionCreated, Settings
from nbchat.core.ids import new_id
from nbchat.core.transcript import SessionState
from nbchat.engine.callbacks import Callbacks
from nbchat.engine.live_session import LiveSession
from nbchat.engine.protocols import Journal
from nbchat.engine.scheduler import Scheduler

if TYPE_CHECKING:
    from nbchat.batch.answer_file import Ledger
    from nbchat.core.messages import Usage
    from nbchat.core.run import RunRecord, RunState
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.handles.registry import SessionRegistry
    from nbchat.providers.base import Provider, Request

BROKEN: Final = (
    EmptyResponse,
    FirstTokenTimeout,
    IdleTimeout,
    ProviderErrorEvent,
    StreamBroken,
    StreamTruncated,
)
"""Ends of one answer that say nothing about the next."""

HOPELESS: Final = (AuthenticationFailed, ConfigError, ModelNotFound)
"""What fails for one prompt fails for all: the rest is not asked."""

BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 30.0
"""Seconds before the second attempt, doubled for each that follows, and at most."""

MAX_REFUSALS: Final = 100
"""Times that a server may answer "too many requests" to one prompt before it is given up."""


class Answer(Struct, frozen=True, kw_only=True):
    """What became of one prompt."""

    index: int
    text: str = ""
    state: RunState | None = None
    error: NbchatError | None = None
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    """Of all attempts that reported it."""
    time_to_first_token_s: float | None = None
    duration_s: float | None = None
    """Of the last attempt."""
    attempts: int = 0
    response_id: str | None = None
    """Of one that was on its way when its process was killed: by which the server may have kept it."""


class BatchRunner:
    """Asks prompts on the engine's loop and hands each answer over as it comes.

    Parameters
    ----------
    registry
        Whose engine, limits and providers are used.
    prompts
        Pairs of an index and a text.
    settings, provider
        What all of them are asked with.
    concurrency, per_minute
        How many at the same time, and how many requests in a minute, attempts included.
    attempts
        How often one prompt is asked at most.
    deliver
        Takes each answer, on the engine's thread, in the order in which they are over.
    ledger
        Where it is written down that a prompt is asked, before it is, and what became of it, before the
        answer is delivered. None: nowhere.
    kept
        By index, what is known of prompts that were on their way when an earlier batch was killed. Their
        answers are read from the server, where it has kept them; else this is their answer.
    retry_interrupted
        Those that the server has not kept are asked again instead.
    """

    def __init__(
        self,
        registry: SessionRegistry,
        prompts: Iterable[tuple[int, str]],
        *,
        settings: Settings,
        provider: Provider | None,
        concurrency: int,
        per_minute: float | None,
        attempts: int,
        deliver: Callable[[Answer], object],
        ledger: Ledger | None = None,
        kept: Mapping[int, Answer] = MappingProxyType({}),
        retry_interrupted: bool = False,
    ) -> None:
        self._waiting = deque(prompts)
        self._context = _Context(registry, concurrency)
        self._settings = settings
        self._provider = provider
        self._concurrency = concurrency
        self._per_minute = per_minute
        self._attempts = attempts
        self._deliver = deliver
        self._ledger = ledger
        self._kept = kept
        self._retry_interrupted = retry_interrupted
        self._answered = 0
        self._hopeless: NbchatError | None = None

    async def run(self) -> None:
        """Ask all of them. Cancelling ends those that are being asked; what was delivered stays so.

        Raises
        ------
        StoreError
            The ledger cannot be written; all are ended.
        """
        gate = RateLimiter(self._per_minute)
        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._concurrency, len(self._waiting))):
                    workers.create_task(self._work(gate))
        except ExceptionGroup as errors:  # one cause has ended them all
            raise errors.exceptions[0] from None

    async def _work(self, gate: RateLimiter) -> None:
        while self._waiting:
            index, prompt = self._waiting.popleft()
            answer = self._kept.get(index)
            if answer is not None:
                answer = await self._read_on(answer, prompt, gate)
            if answer is None or (answer.error is not None and self._retry_interrupted):
                if self._hopeless is None:
                    answer = await self._answer(index, prompt, gate)
                else:
                    answer = Answer(index=index, error=self._hopeless)
            if answer.error is None:
                self._answered += 1
            elif self._is_hopeless(answer.error):
                self._hopeless = answer.error
            self._deliver(answer)

    def _is_hopeless(self, error: NbchatError) -> bool:
        # A server that was never reached by any prompt will not be there for the others.
        return isinstance(error, HOPELESS) or (isinstance(error, ConnectFailed) and not self._answered)

    async def _read_on(self, known: Answer, prompt: str, gate: RateLimiter) -> Answer:
        """Return the answer that the server has kept, or what was known before."""
        if self._ledger is None or known.response_id is None:
            return known
        async with gate.turn():
            pass  # a request as any other
        with self._ledger.reading_on(known.index):
            answer = await self._attempt(known.index, prompt, known.attempts, known.response_id)
            if answer.error is not None:
                return known
            await self._ledger.over(answer)
            return answer

    async def _answer(self, index: int, prompt: str, gate: RateLimiter) -> Answer:
        attempts = refusals = 0
        usage: Usage | None = None
        while True:
            async with gate.turn():
                if self._ledger is not None:
                    await self._ledger.asking(index)
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
                return answer
            if isinstance(answer.error, RateLimited):
                gate.close_for(wait_s)  # the others would be refused as well
            else:
                await asyncio.sleep(wait_s)

    def _wait(self, error: NbchatError, failures: int, refusals: int) -> float | None:
        """Return the seconds before the next attempt, or None where there is to be none."""
        if failures >= self._attempts or refusals >= MAX_REFUSALS:
            return None
        again = error.retryable
        if again is False and not isinstance(error, BROKEN):
            return None
        if not isinstance(again, bool):
            return again if again <= self._context.limits.retry_after_s else None
        tries = refusals if isinstance(error, RateLimited) else failures
        backoff_s = min(BACKOFF_S * 2.0 ** (tries - 1), MAX_BACKOFF_S)
        return backoff_s * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret

    async def _attempt(
        self, index: int, prompt: str, attempts: int, response_id: str | None = None
    ) -> Answer:
        context = self._context if response_id is None else _Rest(self._context, response_id)
        conversation = LiveSession(context, SessionState(id=new_id("s-")), self._provider)
        conversation.append(SessionCreated(at=now(), settings=self._settings, temporary=True))
        changed = asyncio.Event()
        conversation.watchers.add(changed.set)
        run_id = ""
        try:
            run_id = conversation.send(prompt)
            while not conversation.announced(run_id):
                await changed.wait()
                changed.clear()
                run = conversation.state.run(run_id)
                if run is not None and run.response_id not in (None, response_id):
                    response_id = run.response_id
                    if self._ledger is not None:
                        await self._ledger.answering(index, response_id)
        except NbchatError as error:  # the prompt itself was refused, as one that is too long
            return Answer(index=index, error=error, attempts=attempts)
        except asyncio.CancelledError:
            conversation.stop(run_id)
            raise
        return _answer_of(index, conversation.state, attempts)


def _answer_of(index: int, state: SessionState, attempts: int) -> Answer:
    record = state.runs[-1]  # its only one
    message = state.messages.get(record.message_id)
    started, first, ended = record.started_at, record.first_delta_at, record.ended_at
    return Answer(
        index=index,
        text=message.text if message is not None else "",
        state=record.state,
        error=from_info(record.error) if record.error is not None else None,
        model=record.model,
        finish_reason=record.finish_reason,
        usage=record.usage,
        time_to_first_token_s=first - started if first is not None and started is not None else None,
        duration_s=ended - started if ended is not None and started is not None else None,
        attempts=attempts,
    )


class _Context:
    """What the batch's conversations see of the registry: no readers, no journal, slots of their own."""

    def __init__(self, registry: SessionRegistry, concurrency: int) -> None:
        self.engine: LoopThread = registry.engine
        self.limits = dataclasses.replace(registry.limits, retries=0, live_runs=concurrency)
        self.scheduler = Scheduler(self.limits)
        self.observers = Callbacks()
        self.journal: Journal | None = None
        self._registry = registry

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider and the request with a model in it."""
        return await self._registry.choose(own, settings, request)

    def changed(self, conversation: LiveSession) -> None:
        """Nobody looks."""

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of the registry's `stats`."""
        self._registry.count(name, more)

    def ended(self, conversation: LiveSession, run: RunRecord) -> None:
        """Nothing follows from it."""

    def is_viewed(self, _session_id: str) -> bool:
        """As if shown: a mark "unread" would be for nobody."""
        return True


class _Rest(_Context):
    """A batch's context for one answer that the server may have kept: it is read, and not asked for."""

    def __init__(self, batch: _Context, response_id: str) -> None:
        vars(self).update(vars(batch))
        self._response_id = response_id

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider, and a request to read the response from its beginning.

        Raises
        ------
        KernelGone
            The provider reads no kept responses; asking is not what this is for.
        """
        provider, request = await super().choose(own, settings, request)
        if not provider.can_resume:
            raise KernelGone(f"{provider.name} reads no answers that were kept.")
        return provider, replace(request, resume_id=self._response_id, resume_after=0)

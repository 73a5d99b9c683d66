"""`OneShot`: sends one prompt in a session that is neither shown nor saved.

The run has the same clocks, limits and errors as any other. Used for batches and for titles.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from nbchat.core.cached import CACHE
from nbchat.core.clock import now
from nbchat.core.errors import EmptyResponse, KernelGone, NbchatError, from_info
from nbchat.core.events import SessionCreated, Settings
from nbchat.core.ids import new_id
from nbchat.core.transcript import SessionState
from nbchat.engine.alerts import Alerts
from nbchat.engine.callbacks import Callbacks
from nbchat.engine.live_session import LiveSession
from nbchat.engine.run_cache import SendsNothing
from nbchat.engine.scheduler import Scheduler
from nbchat.providers.base import cache_scope_of

if TYPE_CHECKING:
    from nbchat.core.messages import Attachment, Usage
    from nbchat.core.run import RunRecord, RunState
    from nbchat.engine.base import EngineBase
    from nbchat.engine.journal import Journal
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.engine.provider_resolver import ProviderResolver
    from nbchat.engine.session_log import SessionLog
    from nbchat.providers.base import Delta, Provider, Request
    from nbchat.stores.answer_cache import AnswerCache


class Answer(Struct, frozen=True, kw_only=True):
    """The outcome of one prompt."""

    index: int
    """Index among the prompts, from 0."""
    text: str = ""
    """The answer, or the part that had arrived before it failed."""
    state: RunState | None = None
    """Final state of the last attempt; `None` if nothing was sent."""
    error: NbchatError | None = None
    """The reason why there is no answer; `None` if there is one."""
    model: str | None = None
    server: str | None = None
    """Host of the server that answered, if it can have published prices."""
    from_cache: bool = False
    """True if the answer was taken from the cache of answers; nothing was sent for it."""
    finish_reason: str | None = None
    usage: Usage | None = None
    """Token counts of all attempts, as far as the server reported them."""
    time_to_first_token_s: float | None = None
    started_at: float | None = None
    """Start of the last attempt, in seconds since 1970-01-01 UTC; `None` if nothing was sent."""
    duration_s: float | None = None
    """Duration of the last attempt."""
    attempts: int = 0
    response_id: str | None = None
    """If the process ended while it was in progress: the id under which the server may have kept it."""


class OneShot:
    """Sends prompts with common settings. Only for the engine's loop.

    Parameters
    ----------
    settings, provider
        Used for all prompts.
    concurrency
        Runs that may be live at the same time.
    attachments
        Sent with every prompt.
    providers
        The providers to choose from. `None`: those that the engine has when a prompt is sent.
    """

    def __init__(
        self,
        engine: EngineBase,
        settings: Settings,
        provider: Provider | None,
        concurrency: int = 1,
        attachments: tuple[Attachment, ...] = (),
        *,
        providers: ProviderResolver | None = None,
    ) -> None:
        self._context = _Context(engine, concurrency, providers)
        self._settings = settings
        self._provider = provider
        self._attachments = attachments

    @property
    def uses_cache(self) -> bool:
        """True if answers may come from the cache of answers."""
        return self._settings.params.get(CACHE) is True

    async def cached(self, index: int, prompt: str) -> Answer | None:
        """Return the answer to a prompt from the cache, without sending anything; `None` if there is none."""
        answer = await self._ask(_OnlyCached(self._context), index, prompt, 1)
        return answer if answer.from_cache and answer.error is None else None

    @property
    def retry_after_s(self) -> float:
        """Maximum seconds that a server may ask to wait."""
        return self._context.limits.retry_after_s

    async def ask(
        self,
        index: int,
        prompt: str,
        attempts: int = 1,
        *,
        response_id: str | None = None,
        answering: Callable[[str], Awaitable[None]] | None = None,
    ) -> Answer:
        """Send a prompt once and return the answer, or the error in it. Cancelling stops the run.

        Parameters
        ----------
        index, attempts
            Copied to the answer.
        response_id
            A response to read from the server, which may have kept it, instead of asking again.
        answering
            Called with the id of a response that the server keeps, as soon as it is received.
        """
        context = self._context if response_id is None else _KeptResponse(self._context, response_id)
        return await self._ask(context, index, prompt, attempts, response_id=response_id, answering=answering)

    async def _ask(
        self,
        context: _Context,
        index: int,
        prompt: str,
        attempts: int,
        *,
        response_id: str | None = None,
        answering: Callable[[str], Awaitable[None]] | None = None,
    ) -> Answer:
        session = LiveSession(context, SessionState(id=new_id("s-")), self._provider)
        session.append(SessionCreated(at=now(), settings=self._settings, temporary=True))
        changed = asyncio.Event()
        session.watchers.add(changed.set)
        run_id = ""
        try:
            run_id = session.send(prompt, self._attachments)
            while not session.announced(run_id):
                await changed.wait()
                changed.clear()
                run = session.state.run(run_id)
                if run is not None and run.response_id not in (None, response_id):
                    response_id = run.response_id
                    if answering is not None:
                        await answering(response_id)
        except NbchatError as error:  # the prompt itself was refused, for example as too long
            return Answer(index=index, error=error, attempts=attempts)
        except asyncio.CancelledError:
            session.stop(run_id)
            raise
        return _answer_of(index, session.state, attempts)


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
        server=record.server,
        from_cache=record.from_cache,
        finish_reason=record.finish_reason,
        usage=record.usage,
        time_to_first_token_s=first - started if first is not None and started is not None else None,
        started_at=started,
        duration_s=ended - started if ended is not None and started is not None else None,
        attempts=attempts,
    )


class _Context:
    """Context of these sessions: no readers, no journal, and separate slots."""

    def __init__(
        self, engine: EngineBase, concurrency: int, providers: ProviderResolver | None = None
    ) -> None:
        self.loop: LoopThread = engine.loop
        self.limits = dataclasses.replace(engine.limits, retries=0, live_runs=concurrency)
        self.scheduler = Scheduler(self.limits)
        self.callbacks = Callbacks()
        self.alerts = Alerts(self.callbacks)
        self.journal: Journal | None = None
        self._engine = engine
        self._providers = providers

    @property
    def cache(self) -> AnswerCache | None:
        """The cache of answers; `None` if nothing may be written outside the notebook."""
        return self._engine.cache

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider and the request with a model in it."""
        return await self.providers_of("", "").choose(own, settings, request)

    def providers_of(self, _session_id: str, _run_id: str) -> ProviderResolver:
        """Return the providers to choose from."""
        return self._providers or self._engine.providers

    def changed(self, session: SessionLog) -> None:
        """Do nothing: there are no readers."""

    def count(self, name: str, more: int = 1) -> None:
        """Add to a counter of `registry.stats()`."""
        self._engine.count(name, more)

    def ended(self, session: SessionLog, run: RunRecord) -> None:
        """Do nothing."""

    def is_viewed(self, _session_id: str) -> bool:
        """Return True, so that the session is not marked unread."""
        return True

    def can_ask(self, _session_id: str) -> bool:
        """Return False: these sessions have no tools."""
        return False


class _OnlyCached(_Context):
    """Context for answers from the cache: without one, the run fails and nothing is sent."""

    def __init__(self, context: _Context) -> None:
        vars(self).update(vars(context))
        self.scheduler = Scheduler(self.limits)  # it takes no slot of a request

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return a provider of the same identity that has no answers, and the request with a model in it."""
        provider, request = await super().choose(own, settings, request)
        return _NoAnswers(provider), request

    def count(self, name: str, more: int = 1) -> None:
        """Do nothing: a prompt is counted when it is sent."""


class _NoAnswers(SendsNothing):
    """A provider that stands for another one in the cache."""

    def __init__(self, provider: Provider) -> None:
        self.name = provider.name
        self.cache_scope = cache_scope_of(provider)

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Raise `EmptyResponse`."""
        raise EmptyResponse(f"the cache has no answer of {request.model} to this prompt.")
        yield  # an asynchronous generator


class _KeptResponse(_Context):
    """Context for one response that the server may have kept: it is read, and never requested again."""

    def __init__(self, context: _Context, response_id: str) -> None:
        vars(self).update(vars(context))
        self._response_id = response_id

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider, and a request that reads the response from its beginning.

        Raises
        ------
        KernelGone
            If the provider cannot read kept responses.
        """
        provider, request = await super().choose(own, settings, request)
        if not provider.can_resume:
            raise KernelGone(f"{provider.name} does not support resuming a response.")
        return provider, replace(request, resume_id=self._response_id, resume_after=0)

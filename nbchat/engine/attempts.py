"""`Attempts`: sends the request of a round, again after a failure before the first piece of content."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from nbchat.core.clock import now
from nbchat.core.errors import ErrorInfo, LimitExceeded, ProviderError
from nbchat.core.events import Event, RunConnecting, RunRetrying
from nbchat.engine.run_cache import Replay
from nbchat.engine.run_outcome import safe
from nbchat.providers.base import server_of

if TYPE_CHECKING:
    from nbchat.engine.deadlines import Deadlines
    from nbchat.engine.limits import Limits
    from nbchat.engine.round import Round
    from nbchat.providers.base import Provider, Request

YIELD_AFTER_S: Final = 0.02
"""Maximum seconds for which one run occupies the loop."""


@runtime_checkable
class _Closes(Protocol):
    """An asynchronous iterator that can be closed."""

    async def aclose(self) -> None: ...


class Attempts:
    """The attempts of one run. Only for the engine's loop.

    Parameters
    ----------
    limits
        Read again at each check, so that a change applies at once.
    emit
        Appends an event to the session's log.
    choose
        Selects the provider and the model; may do I/O and may raise.
    is_over
        Returns whether the run is being ended.
    """

    def __init__(
        self,
        run_id: str,
        limits: Limits,
        clock: Deadlines,
        *,
        emit: Callable[[Event], object],
        choose: Callable[[Request], Awaitable[tuple[Provider, Request]]],
        is_over: Callable[[], bool],
    ) -> None:
        self.provider: Provider | None = None
        """The provider of the last attempt."""
        self.is_complete: bool = False
        """The server did not close after the finish reason, so the attempt was cancelled."""
        self.is_delayed: bool = False
        """There is a delay before the next attempt."""
        self._run_id = run_id
        self._limits = limits
        self._clock = clock
        self._emit = emit
        self._choose = choose
        self._is_over = is_over
        self._loop = asyncio.get_running_loop()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._woken = asyncio.Event()  # ends the delay before a retry
        self._hurried = False

    def pause(self) -> None:
        """Stop reading."""
        self._resumed.clear()
        self._woken.set()

    def resume(self) -> None:
        """Continue reading."""
        self._resumed.set()

    def hurry(self) -> None:
        """End the delay before a retry."""
        self._hurried = True
        self._woken.set()

    async def until_resumed(self) -> bool:
        """Wait while the run is paused; return whether it was."""
        was_paused = False
        while not self._resumed.is_set():  # it may be paused again before this continues
            was_paused = True
            await self._resumed.wait()
        return was_paused

    async def run(self, current: Round) -> None:
        """Read one whole response. An error of the connection after its finish reason is ignored.

        Raises
        ------
        ProviderError
            If an attempt failed and is not repeated.
        """
        retries = 0
        while True:
            try:
                await self._attempt(current)
                break
            except ProviderError as error:
                if current.outcome.finish is not None and not isinstance(error, LimitExceeded):
                    break
                wait_s = self._may_retry(current, error, retries)
                if wait_s is None:
                    raise
                retries += 1
                await self.again(error.info, retries, self._limits.retries, wait_s)
            except asyncio.CancelledError:
                if not self.is_complete or self._is_over():
                    raise
                break
        task = asyncio.current_task()
        if self.is_complete and task is not None:
            task.uncancel()
        self.is_complete = False
        self._clock.stream_over()

    async def again(self, error: ErrorInfo, attempt: int, of: int, wait_s: float) -> None:
        """Wait before the next attempt, and record both."""
        if not self._clock.is_paused:  # else it stays `paused`, and `resume` starts the next attempt
            self._emit(
                RunRetrying(
                    run_id=self._run_id, attempt=attempt, of=of, retry_at=now() + wait_s, error=safe(error)
                )
            )
        self._clock.wait_to_retry(waiting=True)
        resumed = await self._delay(wait_s)
        self._clock.wait_to_retry(waiting=False)
        if not resumed:  # else `resume` has recorded it
            self._emit(RunConnecting(run_id=self._run_id))

    def _may_retry(self, current: Round, error: ProviderError, retries: int) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` if there is no retry."""
        if current.builder.deltas or self._is_over() or retries >= self._limits.retries:
            return None
        if error.retryable is False:
            return None
        if error.retryable is True:
            return float(0.5 * 2**retries * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
        return error.retryable if error.retryable <= self._limits.retry_after_s else None

    async def _delay(self, wait_s: float) -> bool:
        """Wait before a retry; return whether the wait was ended by a pause and its end."""
        end = self._loop.time() + wait_s
        self.is_delayed, self._hurried = True, False
        try:
            while not (self._clock.is_paused or self._hurried) and (left := end - self._loop.time()) > 0:
                self._woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._woken.wait()
        finally:
            self.is_delayed = False
        return await self.until_resumed()

    async def _attempt(self, current: Round) -> None:
        self._clock.attempt()
        provider, request = await self._choose(current.request)
        self.provider = provider
        current.builder.server = server_of(provider)
        current.builder.from_cache = isinstance(provider, Replay)
        # Finding the provider may take a while (its client is imported, its models are listed): the wait for
        # the first token begins here.
        self._clock.attempt()
        stream = provider.stream(request)
        yielded_at = self._loop.time()
        try:
            async for delta in stream:
                if self._loop.time() - yielded_at > YIELD_AFTER_S:
                    # A provider that has all its text at once never waits; other runs need the loop too.
                    await asyncio.sleep(0)
                    yielded_at = self._loop.time()
                while self._clock.is_paused and not self._is_over():
                    await self._resumed.wait()  # it may be paused again before this continues
                if self._is_over() or self.is_complete:
                    # It was cancelled but continued; this delta is too late.
                    break
                current.accept(delta)
        finally:
            if isinstance(stream, _Closes):  # generators can be closed; other iterators may not
                await stream.aclose()

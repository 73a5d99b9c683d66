"""`LiveRun`: drives one run from its start to its end, on the engine's loop.

1. It settles on every path: finish, provider error, stop, limit, pause that expired, crash, shutdown.
2. It settles once. Everything that arrives after that is dropped (the fence), from any source.
3. No request is retried after the first piece of content was accepted.
4. Clocks are monotonic and measure content: neither pings nor pauses count.
5. An answer that does not match the schema of its request is asked for again once, in the same run. Its text
   stays until the corrected one begins.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from msgspec import Struct

from nbchat.core.clock import now
from nbchat.core.errors import (
    AnswerInvalid,
    ErrorInfo,
    LimitExceeded,
    NbchatError,
    ProviderError,
    RunCrashed,
)
from nbchat.core.events import (
    EndEvent,
    Event,
    RunConnecting,
    RunPaused,
    RunResumed,
    RunRetrying,
    RunStopped,
    StopRequested,
)
from nbchat.core.messages import Usage
from nbchat.engine.answer_builder import AnswerBuilder, as_name, as_source, as_text
from nbchat.engine.deadlines import Deadlines
from nbchat.engine.logs import about
from nbchat.engine.run_outcome import RunOutcome, no_match, safe, shown
from nbchat.engine.structured import mismatch, repair_request
from nbchat.providers.base import (
    Answering,
    Cancels,
    Delta,
    Finish,
    ImageDelta,
    Notice,
    Provider,
    ReasoningDelta,
    Request,
    SourceDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)

if TYPE_CHECKING:
    from nbchat.engine.limits import Limits

logger = logging.getLogger("nbchat")

BREATH_S: Final = 0.02
"""Maximum seconds for which one run occupies the loop."""

MAX_IMAGE_CHARS: Final = 12_000_000
"""Maximum characters of one generated image as a `data:` URL: 9 MB."""


@runtime_checkable
class _Closes(Protocol):
    """An asynchronous iterator that can be closed."""

    async def aclose(self) -> None: ...


class _Stopped(NbchatError):
    """The user stopped the run. Used in this module only."""


class RunPlan(Struct, frozen=True, kw_only=True):
    """The work of a live run, decided when it starts."""

    run_id: str
    request: Request
    first_part: int
    """Number of parts that the answer already has."""
    characters_left: int
    """Characters that may still be added to the session."""
    text_before: str = ""
    """Text of the answer that the run continues."""


class LiveRun:
    """Drives one run. Only for the engine's loop.

    Parameters
    ----------
    task
        The request and its limits.
    limits
        Read again at each check, so that a change applies at once.
    emit
        Appends an event to the session's log.
    choose
        Selects the provider and the model when the run starts; may do I/O and may raise.
    ended
        Called once with the last event, which it appends and announces.
    """

    def __init__(
        self,
        task: RunPlan,
        limits: Limits,
        *,
        emit: Callable[[Event], object],
        choose: Callable[[Request], Awaitable[tuple[Provider, Request]]],
        ended: Callable[[LiveRun, EndEvent], None],
    ) -> None:
        self.run_id: str = task.run_id
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._todo = task
        self._limits = limits
        self._emit = emit
        self._choose = choose
        self._ended = ended
        self._gathered = AnswerBuilder(task.run_id, task.first_part, emit, self.loop)
        self._cause: NbchatError | None = None
        self._outcome = RunOutcome()
        self._provider: Provider | None = None
        self.over: bool = False
        self.error: NbchatError | None = None
        """The error that ended the run, with its cause; `None` if it completed, was stopped, or was empty."""
        self._from_outside = False
        self._request = task.request
        self._answered: list[str] = []
        """The text of this round, if it has to match a schema."""
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._woken = asyncio.Event()  # ends the delay before a retry
        self._is_delayed = self._hurried = False
        self.clock: Deadlines = Deadlines(self.loop, limits, self._expired)
        self._patience: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] = self.loop.create_task(self._main(), name=f"nbchat-run-{task.run_id}")
        self.task.add_done_callback(self._task_over)

    # Commands

    def stop(self) -> None:
        """Stop the run and keep its text; it settles within `limits.stop_s`, whatever the provider does."""
        if self._cause is None and not self.over:
            self._gathered.flush()
            self._emit(StopRequested(run_id=self.run_id, at=now()))
            self._cancel(_Stopped("stopped"))

    def end(self, cause: NbchatError) -> None:
        """End the run from outside because of `cause`: it is `interrupted`, with or without text."""
        if self._cause is None and not self.over:
            self._from_outside = True
            self._cancel(cause)

    def abandon(self) -> None:
        """Settle as stopped at once and close the connection in the background, for a deletion."""
        self.stop()
        self._settle(self._end_by(self._cause or _Stopped("stopped")))

    def pause(self) -> None:
        """Stop reading. The connection stays open, and the server is slowed down by back-pressure."""
        if self.over or self._cause is not None or self.clock.is_paused:
            return
        self._gathered.flush()
        self.clock.pause()
        self._resumed.clear()
        self._woken.set()
        self._emit(RunPaused(run_id=self.run_id, at=now()))

    def resume(self) -> None:
        """Resume reading the same response."""
        if self.over or not self.clock.is_paused:
            return
        self.clock.resume()
        self._resumed.set()
        # A run without any content counts as connecting.
        event = RunResumed if self._gathered.deltas else RunConnecting
        self._emit(event(run_id=self.run_id))

    def retry_now(self) -> bool:
        """End the delay before the next attempt; return whether there was one."""
        if self._cause is not None or self.clock.is_paused or not self._is_delayed:
            return False
        self._hurried = True
        self._woken.set()
        return True

    def cancel_at_server(self) -> Coroutine[Any, Any, None] | None:
        """Return a coroutine that cancels the response at a server that would continue it, or None."""
        response_id = self._gathered.response_id or self._todo.request.resume_id
        if response_id is None or not isinstance(self._provider, Cancels):
            return None
        return _cancel(self._provider, response_id, self.run_id)

    # The task

    async def _main(self) -> None:
        end: EndEvent
        try:
            await self._answer()
            # There is a cause if a provider swallowed the cancellation and continued.
            end = self._end_by(self._cause)
        except asyncio.CancelledError:
            end = self._end_by(
                self._cause or RunCrashed("the run's task was cancelled from outside.", hint="")
            )
        except ProviderError as error:
            end = self._end_by(self._cause or error)
        except BaseException as error:
            logger.warning("run %s crashed", self.run_id, exc_info=error, extra=about(run_id=self.run_id))
            crash = RunCrashed(f"the provider raised {type(error).__name__}: {shown(str(error), 200)}.")
            end = self._end_by(self._cause or crash)
        self._settle(end)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        """Settle a run whose task did not: it was cancelled before its first step, or crashed."""
        crash = RunCrashed("the run's task was cancelled from outside.", hint="")
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error(
                "run %s could not be settled", self.run_id, exc_info=error, extra=about(run_id=self.run_id)
            )
            crash = RunCrashed(f"the provider raised {type(error).__name__}, in a form that cannot be shown.")
        if not self.over:
            self._settle(self._end_by(self._cause or crash))

    async def _answer(self) -> None:
        await self._round()
        problem = await self._mismatch()
        if problem is None:
            return
        if self._todo.first_part:  # it continues an answer whose beginning is not replaced
            self._outcome.notice(no_match(problem))
            return
        first, self._outcome = self._outcome, RunOutcome()
        self._gathered.close()
        self._request = repair_request(self._todo.request, "".join(self._answered), problem)
        self._answered.clear()
        self._gathered = AnswerBuilder(self.run_id, self._todo.first_part, self._emit, self.loop)
        try:
            await self._again(AnswerInvalid(no_match(problem)).info, 1, 1, 0.0)
            await self._round()
        except ProviderError as error:
            if self._gathered.deltas:
                raise
            # The first answer is complete, although it does not match.
            first.notice(f"{no_match(problem)} The correction failed: {error.args[0]}")
            self._outcome = first
            return
        self._outcome.add(first, whole=not self._gathered.deltas)
        if (left := await self._mismatch()) is not None:
            self._outcome.notice(no_match(left))

    async def _mismatch(self) -> str | None:
        """Return the reason why the answer does not match the schema of its request, if it has one."""
        schema = self._request.schema
        if schema is None or self._cause is not None or not self._outcome.is_whole:
            return None
        text = self._todo.text_before + "".join(self._answered)
        self.clock.hold()
        # On a thread, since validating a long answer takes a while, as does importing the validator.
        return await asyncio.to_thread(mismatch, schema, text)

    async def _round(self) -> None:
        retries = 0
        while True:
            try:
                await self._attempt()
            except ProviderError as error:
                wait_s = self._may_retry(error, retries)
                if wait_s is None:
                    raise
                retries += 1
                await self._again(error.info, retries, self._limits.retries, wait_s)
            else:
                return

    async def _again(self, error: ErrorInfo, attempt: int, of: int, wait_s: float) -> None:
        """Wait before the next attempt, and record both."""
        if not self.clock.is_paused:  # else it stays `paused`, and `resume` starts the next attempt
            self._emit(
                RunRetrying(
                    run_id=self.run_id, attempt=attempt, of=of, retry_at=now() + wait_s, error=safe(error)
                )
            )
        self.clock.wait_to_retry(waiting=True)
        resumed = await self._rest(wait_s)
        self.clock.wait_to_retry(waiting=False)
        if not resumed:  # else `resume` has recorded it
            self._emit(RunConnecting(run_id=self.run_id))

    def _may_retry(self, error: ProviderError, retries: int) -> float | None:
        """Return the seconds to wait before the next attempt, or `None` if there is no retry."""
        if self._gathered.deltas or self._outcome.finish or self._cause or retries >= self._limits.retries:
            return None
        if error.retryable is False:
            return None
        if error.retryable is True:
            return float(0.5 * 2**retries * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
        return error.retryable if error.retryable <= self._limits.retry_after_s else None

    async def _rest(self, wait_s: float) -> bool:
        """Wait before a retry; return whether the wait was ended by a pause and its end."""
        end = self.loop.time() + wait_s
        self._is_delayed, self._hurried = True, False
        try:
            while not (self.clock.is_paused or self._hurried) and (left := end - self.loop.time()) > 0:
                self._woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._woken.wait()
        finally:
            self._is_delayed = False
        held = False
        while not self._resumed.is_set():  # it may be paused again before this continues
            held = True
            await self._resumed.wait()
        return held

    async def _attempt(self) -> None:
        self.clock.attempt()
        provider, request = await self._choose(self._request)
        self._provider = provider
        # Finding the provider may take a while (its client is imported, its models are listed): the wait for
        # the first token begins here.
        self.clock.attempt()
        stream = provider.stream(request)
        breath = self.loop.time()
        try:
            async for delta in stream:
                if self.loop.time() - breath > BREATH_S:
                    # A provider that has all its text at once never waits; other runs need the loop too.
                    await asyncio.sleep(0)
                    breath = self.loop.time()
                while self.clock.is_paused and self._cause is None:
                    await self._resumed.wait()  # it may be paused again before this has its turn
                if self._cause is not None:
                    # It was cancelled but continued; this delta is too late.
                    break
                self._accept(delta)
        finally:
            if isinstance(stream, _Closes):  # generators can be closed; other iterators may not
                await stream.aclose()

    # Incoming deltas

    def _accept(self, delta: Delta) -> None:
        # Providers may be third-party code: a value of the wrong type is found here, before it is in the
        # log.
        if isinstance(delta, TextDelta | ReasoningDelta | ToolCallDelta):
            self._add(delta)
        elif isinstance(delta, Finish):
            self._outcome.finish = as_name(delta.reason)
            self.clock.finished()
        elif isinstance(delta, UsageDelta):
            self._outcome.usage = delta.usage if isinstance(delta.usage, Usage) else None
        elif isinstance(delta, Answering):
            self._gathered.answering(delta)
        elif isinstance(delta, Notice):
            text = shown(as_text(delta.text), 200)
            logger.info("run %s: %s", self.run_id, text, extra=about(run_id=self.run_id))
            if delta.shown:
                self._outcome.notice(text)
        elif isinstance(delta, SourceDelta):
            self._outcome.source(as_source(delta.source))
        elif isinstance(delta, ImageDelta):
            self._add_image(delta)
        else:
            raise TypeError(f"a provider yields deltas, not {type(delta).__name__}")

    def _add_image(self, delta: ImageDelta) -> None:
        gathered = self._gathered
        left = self._todo.characters_left - gathered.accepted - gathered.image_chars
        if not gathered.add_image(as_text(delta.url), as_name(delta.name), min(left, MAX_IMAGE_CHARS)):
            self._accept(Notice("An image is not shown: it is larger than the limit.", shown=True))
            return
        self.clock.content()

    def _add(self, delta: TextDelta | ReasoningDelta | ToolCallDelta) -> None:
        gathered, limits = self._gathered, self._limits
        before = gathered.deltas
        room = min(limits.answer_chars, self._todo.characters_left - gathered.image_chars) - gathered.accepted
        dropped = gathered.add(delta, room)
        if self._request.schema is not None and isinstance(delta, TextDelta):
            self._answered.append(delta.text)
        if dropped:
            limit = "answer_chars" if limits.answer_chars <= self._todo.characters_left else "session_chars"
            self._cancel(
                LimitExceeded(
                    f"the answer reached {gathered.accepted:,} characters, the limit for it.",
                    hint=f"What has arrived is kept. Raise registry.limits.{limit} to allow more.",
                )
            )
        if gathered.deltas == before:
            return
        if not self.clock.had_content:
            gathered.flush()
        self.clock.content()

    # The end

    def _expired(self, cause: NbchatError | None) -> None:
        self._cancel(cause or _Stopped("finished"))

    def _cancel(self, cause: NbchatError) -> None:
        if self._cause is None:
            self._cause = cause
            self.clock.close()
            self._resumed.set()
            self.task.cancel()
            self._patience = self.loop.call_later(self._limits.stop_s, self._give_up)

    def _give_up(self) -> None:
        """Settle although the provider does not close."""
        if not self.over:
            logger.warning(
                "run %s: the provider did not close within %g s",
                self.run_id,
                self._limits.stop_s,
                extra=about(run_id=self.run_id),
            )
            self._settle(self._end_by(self._cause))

    def _end_by(self, cause: NbchatError | None) -> EndEvent:
        """Return the event that ends the run, and keep its error."""
        end, self.error = self._outcome.end(
            self.run_id,
            cause,
            self._gathered,
            is_stopped=isinstance(cause, _Stopped),
            # The server may consider a partial answer complete and add nothing.
            may_add_nothing=self._request.prefill,
            from_outside=self._from_outside,
        )
        return end

    def _settle(self, end: EndEvent) -> None:
        if self.over:
            return
        if isinstance(end, RunStopped) and self._cause is None:
            self._emit(StopRequested(run_id=self.run_id, at=now()))
        try:
            self._gathered.close()
        except Exception:
            # The session must be released even if the text cannot be closed.
            logger.exception(
                "run %s: the answer could not be closed", self.run_id, extra=about(run_id=self.run_id)
            )
        self.over = True
        self.clock.close()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._ended(self, end)


async def _cancel(provider: Cancels, response_id: str, run_id: str) -> None:
    """Cancel a response at the server; the run is over even if this fails."""
    try:
        await provider.cancel(response_id)
    except ProviderError as error:
        logger.info("run %s: cancelling at its server failed: %s", run_id, error, extra=about(run_id=run_id))

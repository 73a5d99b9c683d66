"""One live run: from its turn to its end, on the engine's loop.

1. It settles on every path: finish, provider error, stop, limit, pause that expired, crash, shutdown.
2. It settles once. What arrives after that is dropped (the fence), wherever it comes from.
3. Nothing is asked again after the first piece of content was accepted.
4. Clocks are monotonic and watch content: pings do not count, and pauses do not either.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol, runtime_checkable

from nbchat.core.errors import (
    EmptyResponse,
    ErrorInfo,
    FirstTokenTimeout,
    IdleTimeout,
    LimitExceeded,
    NbchatError,
    PauseExpired,
    ProviderError,
    RunCrashed,
    StreamTruncated,
    TotalTimeout,
)
from nbchat.core.events import (
    EndEvent,
    Event,
    PartDelta,
    PartEnded,
    PartStarted,
    RunAnswering,
    RunCompleted,
    RunConnecting,
    RunFailed,
    RunIncomplete,
    RunInterrupted,
    RunPaused,
    RunResumed,
    RunRetrying,
    RunStopped,
    StopRequested,
)
from nbchat.core.messages import Part, ReasoningPart, TextPart, ToolCallPart, Usage
from nbchat.core.redact import redact
from nbchat.core.text import checksum, clean, utf16_length
from nbchat.providers.base import (
    Answering,
    Cancels,
    Delta,
    Finish,
    Notice,
    Provider,
    ReasoningDelta,
    Request,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from nbchat.runtime.logs import about

if TYPE_CHECKING:
    from nbchat.runtime.limits import Limits

logger = logging.getLogger("nbchat")

TICK_S: Final = 0.04
"""Text is gathered for this long before it becomes an event."""

MAX_DELTA: Final = 32_768
"""Characters of one delta event, at most; longer text becomes several."""

BREATH_S: Final = 0.02
"""The longest time for which one run keeps the loop to itself."""

AFTER_FINISH_S: Final = 3.0
"""After the finish reason, the time a server has to send the usage and to close."""

MAX_PARTS: Final = 1000
"""Parts of one answer, at most. Each takes room in every view, also when hardly anything is in it."""

LOOKED_AT: Final = 20_000
"""Characters of an error's text that are looked through for secrets; what is shown is far shorter."""

MAX_NAME: Final = 200
"""Characters of a name or id that a server gives: a model, a response, a call, a tool, a finish reason."""

EARLY: Final = frozenset({"length", "max_tokens", "max_output_tokens", "content_filter"})
"""Finish reasons that say the model stopped before it was done."""


@runtime_checkable
class _Closes(Protocol):
    """What an asynchronous iterator may have besides."""

    async def aclose(self) -> None: ...


class _Stopped(NbchatError):
    """The user ended the run; never leaves this module."""


@dataclass(slots=True)
class _OpenPart:
    """A part that text is arriving for."""

    index: int
    started: float
    call: ToolCallDelta | None = None
    pending: list[str] = field(default_factory=list)
    length: int = 0
    crc32: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a live run has to do, decided when its turn came."""

    run_id: str
    request: Request
    first_part: int
    """Parts that the answer has already."""
    characters_left: int
    """Characters that may still be added to the session."""


class LiveRun:
    """Drives one run. All methods are for the engine's thread.

    Parameters
    ----------
    task
        What to ask.
    limits
        Read again at each look, so that a change holds at once.
    emit
        Appends an event to the session's log.
    choose
        Finds the provider and the model, when the run starts; may do I/O and may raise.
    ended
        Called once with the last event, which it appends and announces.
    """

    def __init__(
        self,
        task: Task,
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
        self._parts: dict[object, _OpenPart] = {}
        self._parts_started = task.first_part
        self._flush_timer: asyncio.TimerHandle | None = None
        self._cause: NbchatError | None = None
        self._finish: str | None = None
        self._usage: Usage | None = None
        self.accepted: int = 0
        """Characters accepted."""
        self.deltas: int = 0
        """Pieces of content accepted."""
        self._provider: Provider | None = None
        self._answered_by: tuple[str | None, str | None] | None = None
        self._sequence = self._said_sequence = 0
        self._is_counted = True
        self._owes_sequence = False
        self.over: bool = False
        self.error: NbchatError | None = None
        """What ended it, with its cause; set for a failed or interrupted run."""
        self._from_outside = False
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._pausing = asyncio.Event()
        self._paused_at: float | None = None
        self._paused_s = 0.0
        self._resting = False
        self._began = self.loop.time()
        self._attempt_began = self._began
        self.last_content: float | None = None
        """When content came last, by the loop's clock."""
        self._finished_at: float | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._patience: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] = self.loop.create_task(self._main(), name=f"nbchat-run-{task.run_id}")
        self.task.add_done_callback(self._task_over)

    # What users ask for

    def stop(self) -> None:
        """End the run and keep its text; settled within `limits.stop_s` whatever the provider does."""
        if self._cause is None and not self.over:
            self.flush()
            self._emit(StopRequested(run_id=self.run_id, at=time.time()))
            self._cancel(_Stopped("stopped"))

    def end(self, cause: NbchatError) -> None:
        """End the run because of `cause`, from outside: it is `interrupted`, whatever had arrived."""
        if self._cause is None and not self.over:
            self._from_outside = True
            self._cancel(cause)

    def abandon(self) -> None:
        """Settle as stopped at once and close the connection behind the scenes; for deletion."""
        self.stop()
        self._settle(self._end_by(self._cause or _Stopped("stopped")))

    @property
    def is_held(self) -> bool:
        """It says nothing because it was told to: paused, or waiting before it tries again."""
        return self._paused_at is not None or self._resting

    def pause(self) -> None:
        """Stop reading. The connection stays, and so does what the server has sent: back-pressure."""
        if self.over or self._cause is not None or self._paused_at is not None:
            return
        self.flush()
        self._paused_at = self.loop.time()
        self._resumed.clear()
        self._pausing.set()
        self._emit(RunPaused(run_id=self.run_id, at=time.time()))
        self._look()

    def resume(self) -> None:
        """Read on in the same response."""
        if self.over or self._paused_at is None:
            return
        self._paused_s += self.loop.time() - self._paused_at
        if self.last_content is not None:
            self.last_content += self.loop.time() - self._paused_at
        self._attempt_began += self.loop.time() - self._paused_at
        self._paused_at = None
        self._resumed.set()
        # A run that had said nothing yet is still connecting, as far as anybody can tell.
        event = RunResumed if self.deltas else RunConnecting
        self._emit(event(run_id=self.run_id))
        self._look()

    def cancel_at_server(self) -> Coroutine[Any, Any, None] | None:
        """Return what ends the response at a server that would go on with it; None where none does."""
        answered = self._answered_by[1] if self._answered_by is not None else None
        response_id = answered or self._todo.request.resume_id
        if response_id is None or not isinstance(self._provider, Cancels):
            return None
        return _cancel(self._provider, response_id, self.run_id)

    @property
    def silent_s(self) -> float:
        """Seconds since content came, or since the attempt began; 0 while paused or waiting to retry."""
        if self.is_held:
            return 0.0
        return self.loop.time() - (self.last_content or self._attempt_began)

    # The task

    async def _main(self) -> None:
        end: EndEvent
        try:
            await self._answer()
            # A cause is there where somebody swallowed the cancellation and went on.
            end = self._end_by(self._cause)
        except asyncio.CancelledError:
            end = self._end_by(
                self._cause or RunCrashed("the run's task was cancelled from outside.", hint="")
            )
        except ProviderError as error:
            end = self._end_by(self._cause or error)
        except BaseException as error:
            logger.warning("run %s crashed", self.run_id, exc_info=error, extra=about(run_id=self.run_id))
            crash = RunCrashed(f"the provider raised {type(error).__name__}: {_shown(str(error), 200)}.")
            end = self._end_by(self._cause or crash)
        self._settle(end)

    def _task_over(self, task: asyncio.Task[None]) -> None:
        """Settle what the task itself could not: it was cancelled before its first step, or it broke."""
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
        retries = 0
        while True:
            try:
                await self._attempt()
            except ProviderError as error:
                wait_s = self._may_retry(error, retries)
                if wait_s is None:
                    raise
                retries += 1
                if self._paused_at is None:  # else it stays `paused`, and `resume` asks again
                    self._emit(
                        RunRetrying(
                            run_id=self.run_id,
                            attempt=retries,
                            of=self._limits.retries,
                            retry_at=time.time() + wait_s,
                            error=_safe(error.info),
                        )
                    )
                self._resting = True
                self._look()
                resumed = await self._rest(wait_s)
                self._resting = False
                if not resumed:  # else `resume` has said so already
                    self._emit(RunConnecting(run_id=self.run_id))
            else:
                return

    def _may_retry(self, error: ProviderError, retries: int) -> float | None:
        """Return the seconds to wait before the next attempt, or None where there is to be none."""
        if self.deltas or self._finish or self._cause or retries >= self._limits.retries:
            return None
        if error.retryable is False:
            return None
        if error.retryable is True:
            return float(0.5 * 2**retries * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
        return error.retryable if error.retryable <= self._limits.retry_after_s else None

    async def _rest(self, wait_s: float) -> bool:
        """Wait before a retry; a pause makes it longer, and its end ends it. True when that happened."""
        end = self.loop.time() + wait_s
        while self._paused_at is None and (left := end - self.loop.time()) > 0:
            self._pausing.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._pausing.wait(), left)
        held = False
        while not self._resumed.is_set():  # it may be paused again before this has its turn
            held = True
            await self._resumed.wait()
        return held

    async def _attempt(self) -> None:
        self._attempt_began = self.loop.time()
        self._look()
        provider, request = await self._choose(self._todo.request)
        self._provider = provider
        # Finding the provider may have taken a while (its client is loaded, its models are listed): the
        # wait for the first token begins here.
        self._attempt_began = self.loop.time()
        stream = provider.stream(request)
        breath = self._attempt_began
        try:
            async for delta in stream:
                if self.loop.time() - breath > BREATH_S:
                    # A provider that has everything at hand never waits, and nobody else would have a turn.
                    await asyncio.sleep(0)
                    breath = self.loop.time()
                while self._paused_at is not None and self._cause is None:
                    await self._resumed.wait()  # it may be paused again before this has its turn
                if self._cause is not None:
                    # It was cancelled and has not noticed; what it says now is too late.
                    break
                self._accept(delta)
        finally:
            if isinstance(stream, _Closes):  # all generators do; an iterator need not
                await stream.aclose()

    # What arrives

    def _accept(self, delta: Delta) -> None:
        # A provider may be anybody's: a value of another type is found here, before it is in the log.
        if isinstance(delta, TextDelta):
            if _text(delta.text):
                self._add("text", delta.text, TextPart)
        elif isinstance(delta, ReasoningDelta):
            if _text(delta.text):
                self._add("reasoning", delta.text, ReasoningPart)
        elif isinstance(delta, ToolCallDelta):
            self._add_call(delta)
        elif isinstance(delta, Finish):
            self._finish = _name(delta.reason)
            self._finished_at = self.loop.time()
            self._look()
        elif isinstance(delta, UsageDelta):
            self._usage = delta.usage if isinstance(delta.usage, Usage) else None
        elif isinstance(delta, Answering):
            self._answering(delta)
        elif isinstance(delta, Notice):
            logger.info("run %s: %s", self.run_id, _shown(delta.text, 200), extra=about(run_id=self.run_id))
        else:
            raise TypeError(f"a provider yields deltas, not {type(delta).__name__}")

    def _answering(self, delta: Answering) -> None:
        model = _name(delta.model) if delta.model else None
        response_id = _name(delta.response_id) if delta.response_id else None
        self._sequence, self._is_counted = int(delta.sequence), True
        if self._owes_sequence:
            self.flush()
        if (model, response_id) != self._answered_by:
            self._answered_by = (model, response_id)
            self._emit(RunAnswering(run_id=self.run_id, model=model, response_id=response_id))

    def _add(self, key: object, text: str, kind: type[Part]) -> None:
        part = self._parts.get(key)
        if part is None:
            # Text after reasoning, or the other way round, is a part of its own; calls stay open,
            # since their pieces may come interleaved.
            for other in [k for k in self._parts if isinstance(k, str)]:
                self._close(other)
            part = self._open(key, kind())
        self._append(part, text)

    def _add_call(self, delta: ToolCallDelta) -> None:
        key = ("call", delta.index)
        part = self._parts.get(key)
        call_id, name, arguments = _name(delta.id), _name(delta.name), _text(delta.arguments)
        if part is None:
            part = self._open(key, ToolCallPart(call_id=call_id, name=name))
            part.call = ToolCallDelta(delta.index, call_id, name)
        elif part.call is not None:
            part.call = replace(part.call, id=part.call.id or call_id, name=_name(part.call.name + name))
        self._append(part, arguments)

    def _open(self, key: object, empty: Part) -> _OpenPart:
        if self._parts_started >= self._todo.first_part + MAX_PARTS:
            raise LimitExceeded(
                f"the answer reached {MAX_PARTS:,} parts, the limit for it.", hint="What has arrived is kept."
            )
        part = self._parts[key] = _OpenPart(self._parts_started, self.loop.time())
        self._parts_started += 1
        self._emit(PartStarted(run_id=self.run_id, at=time.time(), part_index=part.index, part=empty))
        return part

    def _append(self, part: _OpenPart, text: str) -> None:
        allowed = min(self._limits.answer_chars, self._todo.characters_left) - self.accepted
        if len(text) > allowed:
            text = text[: max(allowed, 0)]
            limit = (
                "answer_chars" if self._limits.answer_chars <= self._todo.characters_left else "session_chars"
            )
            self._cancel(
                LimitExceeded(
                    f"the answer reached {self.accepted + len(text):,} characters, the limit for it.",
                    hint=f"What has arrived is kept. Raise registry.limits.{limit} to allow more.",
                )
            )
        first = self.last_content is None
        self.deltas += 1
        self._is_counted = False
        self.accepted += len(text)
        self.last_content = self.loop.time()
        part.pending.append(text)
        if first:
            self.flush()
            self._look()
        elif self._flush_timer is None:
            self._flush_timer = self.loop.call_later(TICK_S, self.flush)

    def flush(self, *, final: bool = False) -> None:
        """Turn the text that was gathered into events."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        for part in self._parts.values():
            if not part.pending:
                continue
            text = "".join(part.pending)
            part.pending.clear()
            if not final and "\ud800" <= text[-1:] <= "\udbff":
                # Half a character: the other half may come with the next delta.
                part.pending.append(text[-1])
                text = text[:-1]
            text = clean(text)
            for start in range(0, len(text), MAX_DELTA):
                piece = text[start : start + MAX_DELTA]
                self._emit(
                    PartDelta(
                        run_id=self.run_id,
                        at=time.time(),
                        part_index=part.index,
                        offset=part.length,
                        text=piece,
                    )
                )
                part.length += utf16_length(piece)
                part.crc32 = checksum(piece, part.crc32)
        self._say_sequence()

    def _say_sequence(self) -> None:
        """Say up to which number the text was read that has become events.

        In the same step of the loop as that text, neither before it nor after: a broken stream is read on
        from this number, and text that is not counted would come twice.
        """
        pending = any(part.pending for part in self._parts.values())
        self._owes_sequence = not self._is_counted or pending
        if not self._owes_sequence and self._sequence != self._said_sequence and self._parts:
            self._said_sequence = self._sequence
            self._emit(RunAnswering(run_id=self.run_id, sequence=self._sequence))

    def _close(self, key: object) -> None:
        self.flush(final=True)
        part = self._parts.pop(key)
        self._emit(
            PartEnded(
                run_id=self.run_id,
                part_index=part.index,
                length=part.length,
                crc32=part.crc32,
                seconds=round(self.loop.time() - part.started, 3),
                call_id=part.call.id if part.call else None,
                name=part.call.name if part.call else None,
            )
        )

    # Clocks

    def _look(self) -> None:
        """Set the watch to the next moment at which a limit could be reached."""
        self._unwatch()
        if self.over or self._cause is not None:
            return
        at, cause = min(self._deadlines(), key=lambda d: d[0], default=(None, None))
        if at is not None and cause is not None:
            self._watch = self.loop.call_at(at, self._looked, cause)

    def _looked(self, cause: Callable[[], NbchatError]) -> None:
        self._watch = None
        # Content may have come since the watch was set: then it is set again, for later.
        now = self.loop.time()
        due = next((c for at, c in self._deadlines() if at <= now), None)
        if due is None:
            self._look()
        else:
            del cause
            self._cancel(due())

    def _deadlines(self) -> list[tuple[float, Callable[[], NbchatError]]]:
        limits = self._limits
        if self._paused_at is not None:
            return [(self._paused_at + limits.pause_limit_s, self._pause_expired)]
        if self._finished_at is not None:
            return [(self._finished_at + AFTER_FINISH_S, lambda: _Stopped("finished"))]
        deadlines: list[tuple[float, Callable[[], NbchatError]]] = []
        if self.last_content is None:
            if limits.first_token_s is not None and not self._resting:
                deadlines.append((self._attempt_began + limits.first_token_s, self._no_first_token))
        elif limits.idle_s is not None:
            deadlines.append((self.last_content + limits.idle_s, self._idle))
        if limits.total_s is not None:
            deadlines.append((self._began + self._paused_s + limits.total_s, self._too_long))
        return deadlines

    def _no_first_token(self) -> NbchatError:
        return FirstTokenTimeout(f"the server sent nothing for {self._limits.first_token_s:g} s.")

    def _idle(self) -> NbchatError:
        return IdleTimeout(f"the answer stopped: no content came for {self._limits.idle_s:g} s.")

    def _too_long(self) -> NbchatError:
        return TotalTimeout(f"the answer took longer than the limit of {self._limits.total_s:g} s.")

    def _pause_expired(self) -> NbchatError:
        return PauseExpired(f"the run was paused for longer than {self._limits.pause_limit_s:g} s.")

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    # The end

    def _cancel(self, cause: NbchatError) -> None:
        if self._cause is None:
            self._cause = cause
            self._unwatch()
            self._resumed.set()
            self.task.cancel()
            self._patience = self.loop.call_later(self._limits.stop_s, self._give_up)

    def _give_up(self) -> None:
        """Settle without a provider that does not let itself be closed."""
        if not self.over:
            logger.warning(
                "run %s: the provider did not close within %g s",
                self.run_id,
                self._limits.stop_s,
                extra=about(run_id=self.run_id),
            )
            self._settle(self._end_by(self._cause))

    def _end_by(self, cause: NbchatError | None) -> EndEvent:
        """Return the event that ends the run.

        A finish reason completes a run whatever came after it; without one nothing does.
        """
        run_id, at, usage = self.run_id, time.time(), self._usage
        if self._finish is not None and not isinstance(cause, LimitExceeded):
            # A partial answer that the server finds complete has nothing to be added.
            if not self.deltas and self._finish not in EARLY and not self._todo.request.prefill:
                empty = EmptyResponse("the server finished without an answer.")
                return RunFailed(run_id=run_id, at=at, error=_safe(empty.info))
            kind = RunIncomplete if self._finish in EARLY else RunCompleted
            return kind(run_id=run_id, at=at, finish_reason=self._finish, usage=usage)
        if isinstance(cause, _Stopped):
            return RunStopped(run_id=run_id, at=at, usage=usage)
        if cause is None:
            cause = (
                StreamTruncated("the stream ended before the model said that it was done.")
                if self.deltas
                else EmptyResponse("the server's stream ended without an answer.")
            )
        info = _safe(replace(cause.info, partial_chars=self.accepted))
        self.error = cause
        if self.deltas or self._from_outside or isinstance(cause, PauseExpired):
            return RunInterrupted(run_id=run_id, at=at, error=info, usage=usage)
        return RunFailed(run_id=run_id, at=at, error=info)

    def _settle(self, end: EndEvent) -> None:
        if self.over:
            return
        if isinstance(end, RunStopped) and self._cause is None:
            self._emit(StopRequested(run_id=self.run_id, at=time.time()))
        try:
            for key in list(self._parts):
                self._close(key)
        except Exception:
            # Whatever is wrong with the text, the session must be free again.
            logger.exception(
                "run %s: the answer could not be closed", self.run_id, extra=about(run_id=self.run_id)
            )
        self.over = True
        self._unwatch()
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._ended(self, end)


async def _cancel(provider: Cancels, response_id: str, run_id: str) -> None:
    """Tell the server; the run is over, whatever it says."""
    try:
        await provider.cancel(response_id)
    except ProviderError as error:
        logger.info("run %s: the server was not told to end: %s", run_id, error, extra=about(run_id=run_id))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"the text of a delta is a string, not {type(value).__name__}")
    return value


def _name(value: object) -> str:
    return clean(_text(value))[:MAX_NAME]


def _safe(info: ErrorInfo) -> ErrorInfo:
    """Return the error without secrets and of a length that can be shown."""
    return replace(info, message=_shown(info.message, 600), hint=_shown(info.hint, 400))


def _shown(text: str, length: int) -> str:
    """Return the beginning of a text without secrets; of a huge one the rest is not looked at."""
    return clean(redact(text[:LOOKED_AT]))[:length]

"""`Run`: the handle of one answer, which can be read, awaited, iterated and stopped.

It holds a backend and ids but no state, so it can be created at any time and used from any thread or event
loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Generator, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from nbchat.core.calls import ToolCall, calls_of
from nbchat.core.commands import Pause, Resume, RetryNow, Stop
from nbchat.core.errors import (
    CommandError,
    NbchatError,
    PicklingRefused,
    RunOver,
    SessionGone,
    UnknownSession,
    from_info,
)
from nbchat.core.ids import new_id
from nbchat.core.messages import Message, ReasoningPart, TextPart
from nbchat.core.run import RunState
from nbchat.core.structured import SCHEMA
from nbchat.core.tracebacks import short_traceback, shorten
from nbchat.engine import lookup, prices
from nbchat.engine.backend import Backend
from nbchat.engine.loop_thread import POLL_S
from nbchat.engine.wakeup import Wakeup
from nbchat.handles import waits
from nbchat.handles.cache import HandleCache
from nbchat.handles.progress import Progress
from nbchat.handles.tools import decide, refuse_own_wait

if TYPE_CHECKING:
    from nbchat.core.kernel_commands import Outcome
    from nbchat.core.messages import Usage
    from nbchat.core.run import RunRecord
    from nbchat.core.transcript import SessionState
    from nbchat.handles.structured import Structure
    from nbchat.providers.base import Request


class Run:
    """One answer, from the prompt to its end.

    Returned by `Session.send` and similar methods. Iterating it yields its text as it arrives, from the
    first character, however late and often; awaiting it returns the answer.

    Examples
    --------
    >>> run = nbchat.session("geo", model="nbchat-echo").send("Seine")
    >>> "".join(run)
    'Seine'
    >>> run.wait(timeout=30).state == "completed"
    True
    >>> run.result().text
    'Seine'
    """

    def __init__(
        self, backend: Backend, session_id: str, run_id: str, runs: RunCache, structure: Structure | None
    ) -> None:
        self._backend = backend
        self._structure = structure
        self._session_id = session_id
        self._id = run_id
        self._runs = runs

    def __repr__(self) -> str:
        """Return one line with id, state and length."""
        try:
            self._record  # noqa: B018 - may raise
        except SessionGone:
            return f"<Run {self._id} of a deleted session>"
        text = f", {len(self.text):,} characters" if self.text else ""
        error = f", {self.error.code}" if self.error is not None else ""
        return f"<Run {self._id} {self.state}{text}{error}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise `PicklingRefused`: a pickled handle would have no backend."""
        raise PicklingRefused("a Run cannot be pickled; use run.text, or run.result() for its Message.")

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

    @property
    def session_id(self) -> str:
        """The id of its session."""
        return self._session_id

    @property
    def state(self) -> RunState:
        """One of `RunState`; compares and prints as a plain word."""
        return self._record.state

    @property
    def text(self) -> str:
        """The answer's text so far, as Markdown."""
        return self._text(TextPart)

    @property
    def reasoning(self) -> str:
        """The model's reasoning so far, if the server sends it."""
        return self._text(ReasoningPart)

    @property
    def error(self) -> NbchatError | None:
        """The cause of its end; set exactly when it is `failed` or `interrupted`."""
        record = self._record
        if record.error is None or record.state not in (RunState.FAILED, RunState.INTERRUPTED):
            return None
        error = from_info(record.error)
        error.__cause__ = self._backend.cause_of(self._session_id, self._id)
        return error

    @property
    def usage(self) -> Usage | None:
        """Token counts, if the server reported them."""
        return self._record.usage

    @property
    def from_cache(self) -> bool:
        """True if the answer was taken from the cache of answers: nothing was sent, and the cost is 0."""
        return self._record.from_cache

    @property
    def cost(self) -> Decimal | None:
        """The cost in USD, from `usage` and published prices; `None` if it is unknown.

        Needs the extra `jupyter-nbchat[prices]`. Of all requests of the run, with the prices of its date.
        Unknown for a run that was stopped or interrupted in a later request than its first, such as one with
        results of tools. Finished requests whose tokens the server did not report are not included.
        """
        state = self._state
        return prices.run_cost(state, lookup.run(state, self._id), hint=True)

    @property
    def finish_reason(self) -> str | None:
        """The model's reason to finish, as the server sent it."""
        return self._record.finish_reason

    @property
    def model(self) -> str | None:
        """The answering model, as far as it is known."""
        return self._record.model

    @property
    def request(self) -> Request | None:
        """The request: messages, model, instructions and params; enough to repeat it.

        `None` before it starts, for a run of an earlier kernel, and for all but a session's last 100 runs.
        """
        return self._backend.request_of(self._session_id, self._id)

    @property
    def progress(self) -> Progress:
        """Counts and times now."""
        record = self._record
        queued = record.state is RunState.QUEUED
        position = self._backend.position(self._session_id) if queued else None
        return Progress(
            state=record.state,
            characters=record.characters,
            queued_at=record.queued_at,
            started_at=record.started_at,
            first_delta_at=record.first_delta_at,
            last_delta_at=record.last_delta_at,
            ended_at=record.ended_at,
            position=position,
            attempt=record.attempt,
            attempts=record.attempts,
            retry_at=record.retry_at,
        )

    @property
    def started_at(self) -> float | None:
        """When it started, in seconds since 1970-01-01 UTC; `None` while queued."""
        return self._record.started_at

    @property
    def is_over(self) -> bool:
        """True if the run has ended and its end has been announced."""
        try:
            return self._record.state.is_over
        except SessionGone:  # deleting a session ends its runs
            return True

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the answer so far, with their states and results."""
        state = self._state
        record = lookup.run(state, self._id)
        return tuple(calls_of(lookup.own_part_of_answer(state, record), record))

    @property
    def message(self) -> Message:
        """The answer so far; empty before any text has arrived."""
        state = self._state
        record = lookup.run(state, self._id)
        found = state.messages.get(record.message_id)
        if found is None:
            found = Message(id=record.message_id, role="assistant", run_id=self._id, model=record.model)
        return found if self._structure is None else self._structure.message(found)

    # Waiting

    @short_traceback
    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end and return the run; its error is not raised.

        Parameters
        ----------
        timeout
            Seconds; `None` disables this limit.

        Raises
        ------
        TimeoutError
            If the run is not over by then; it continues. A tool call that this wait executes on the main
            thread delays this.
        TypeError, ValueError
            If the timeout is neither a number nor `None`.
        WouldDeadlock
            If called on the engine's own thread.
        """
        check_timeout(timeout)
        if self.is_over:
            return self
        self._backend.refuse_to_block("run.wait()")
        until = None if timeout is None else time.monotonic() + timeout
        with self._watching() as changed:
            while not self.is_over:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(
                        f"run {self._id!r} is still {self.state} after {timeout:g} s. "
                        "It continues; wait() again, or stop() it."
                    )
                waits.wait(changed, POLL_S if left is None else min(POLL_S, left))
        return self

    @short_traceback
    def result(self, timeout: float | None = None) -> Message:
        """Wait for the end and return the answer.

        Returns
        -------
        The message of a completed, incomplete or stopped run.

        Raises
        ------
        ProviderError
            If the run failed or was interrupted; its text so far is in `run.text`.
        TimeoutError, TypeError, ValueError, WouldDeadlock
            As `wait`.
        """
        self.wait(timeout)
        return self._outcome()

    def _outcome(self) -> Message:
        error = self.error
        if error is not None:
            raise error
        return self.message

    def __iter__(self) -> Iterator[str]:
        """Yield the text as it arrives, from the first character; raise the run's error at the end."""
        self._backend.refuse_to_block("iterating a run")
        seen = 0
        try:
            with self._watching() as changed:
                while True:
                    over = self.is_over  # read before the text: a run that is over has all its text
                    text = self._text_to_yield(over=over)
                    if len(text) > seen:
                        yield text[seen:]
                        seen = len(text)
                    elif over:
                        break
                    else:
                        waits.wait(changed, POLL_S)
        except KeyboardInterrupt as interrupt:
            shorten(interrupt)
            raise
        if (error := self.error) is not None:
            raise error

    def __aiter__(self) -> AsyncIterator[str]:
        """Yield the text as it arrives, in any event loop; raise the run's error at the end."""
        return self._deltas()

    async def _deltas(self) -> AsyncIterator[str]:
        seen = 0
        async with self._awaiting() as changed:
            while True:
                over = self.is_over
                text = self._text_to_yield(over=over)
                if len(text) > seen:
                    yield text[seen:]
                    seen = len(text)
                elif over:
                    break
                else:
                    await waits.turn(changed)
        if (error := self.error) is not None:
            raise error

    def _text_to_yield(self, *, over: bool) -> str:
        """Return the text so far; with a schema only at the end, since a corrected answer replaces it."""
        return self.text if over or SCHEMA not in self._record.params else ""

    def __await__(self) -> Generator[Any, None, Message]:
        """Wait for the answer in any event loop, as `result` does. An interrupt leaves the run alone."""
        return self._result_async().__await__()

    async def _result_async(self) -> Message:
        async with self._awaiting() as changed:
            while not self.is_over:
                await waits.turn(changed)
        return self._outcome()

    # Commands

    def stop(self) -> bool:
        """Stop it and keep its text; after the end this does nothing.

        Returns
        -------
        True if it is stopped by this call. False if its answer has ended, also while that is being saved.
        """
        return self._reaches(Stop)

    def retry_now(self) -> bool:
        """Make the next attempt now, if it is `retrying`; return whether it was."""
        return self._reaches(RetryNow)

    def _reaches(self, kind: type[Stop | RetryNow]) -> bool:
        with contextlib.suppress(SessionGone, UnknownSession):  # deleting the session has ended it
            return bool(self._execute(kind).runs)
        return False

    def _execute(self, kind: type[Stop | RetryNow | Pause | Resume]) -> Outcome:
        return self._backend.execute(kind(id=new_id("c-"), session_id=self._session_id, run_id=self._id))

    @short_traceback
    def pause(self) -> Run:
        """Stop reading; the connection stays open for `limits.pause_limit_s`.

        Raises
        ------
        RunOver
            If it has ended.
        """
        self._execute(Pause)
        return self

    @short_traceback
    def resume(self) -> Run:
        """Resume reading if it is paused; resume an interrupted run as a new one, if the server kept it.

        Raises
        ------
        CommandError
            If it is neither paused, nor interrupted with a copy kept by the server.
        """
        state = self.state
        if state.is_over and state is not RunState.INTERRUPTED:
            raise RunOver(f"run {self._id!r} is {state}; there is nothing to resume.")
        resumed = self._execute(Resume).run_id
        return self if resumed is None else self._runs.of((self._session_id, resumed))

    @short_traceback
    def approve(self, call_id: str | None = None) -> Run:
        """Approve a tool call that waits, or all that wait now (`None`); see `run.calls`.

        Raises
        ------
        NothingToDo
            If no such call waits for approval.
        """
        decide(self._backend, self._session_id, self._id, self.calls, decision="run", call_id=call_id)
        return self

    @short_traceback
    def refuse(self, reason: str = "", *, call_id: str | None = None) -> Run:
        """Refuse a tool call that waits, or all of them; the model gets the reason. Raises as `approve`."""
        decide(
            self._backend,
            self._session_id,
            self._id,
            self.calls,
            decision="refuse",
            call_id=call_id,
            reason=reason,
        )
        return self

    # Reading

    @property
    def _state(self) -> SessionState:
        return self._backend.state(self._session_id)

    @property
    def _record(self) -> RunRecord:
        return lookup.run(self._state, self._id)

    def _text(self, kind: type[TextPart | ReasoningPart]) -> str:
        state = self._state
        own = lookup.own_part_of_answer(state, lookup.run(state, self._id))
        return "".join([part.text for part in own.parts if isinstance(part, kind)])

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Wakeup]:
        changed = Wakeup()
        refuse_own_wait(self._session_id, is_over=self.is_over)
        with self._backend.watch(self._session_id, changed.set):
            yield changed

    @contextlib.asynccontextmanager
    async def _awaiting(self) -> AsyncIterator[waits.Change]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise CommandError(
                "a run can be awaited in an asyncio event loop only, and this code runs in another one "
                "(%autoawait trio or curio?).",
                hint="Write run.result() instead of `await run`, `for` instead of `async for`, or select "
                "asyncio with %autoawait asyncio.",
            ) from None
        refuse_own_wait(self._session_id, is_over=self.is_over)
        changed = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # that loop is closed, and nothing is waiting
                loop.call_soon_threadsafe(changed.set)

        with self._backend.watch(self._session_id, wake):
            yield waits.Change(changed, wake)


RunCache: TypeAlias = HandleCache[tuple[str, str], Run]
"""The handles of runs, by the ids of session and run."""


def run_cache(backend: Backend) -> RunCache:
    """Return a cache of handles for the runs of a backend."""
    cache: RunCache = HandleCache(lambda key: Run(backend, *key, cache, None))
    return cache


def check_timeout(timeout: object) -> None:
    """Validate a timeout before anything is sent.

    Raises
    ------
    TypeError, ValueError
        If `timeout` is neither a number nor `None`.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number of seconds, or None for no limit, not {timeout!r}.")
    if timeout != timeout:  # noqa: PLR0124 - nan
        raise ValueError("timeout must be a number of seconds, not nan.")

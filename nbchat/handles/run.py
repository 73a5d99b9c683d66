"""A run as users hold it: a handle that can be read, waited for, iterated, awaited and stopped.

A handle holds no state of its own: it reads the session's. So it is right however late it is made,
and from whatever thread or event loop it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from nbchat.core.clock import now
from nbchat.core.errors import CommandError, NbchatError, PicklingRefused, ProviderError, RunOver, from_info
from nbchat.core.messages import Message, ReasoningPart, TextPart
from nbchat.core.run import RunState
from nbchat.core.tracebacks import short_traceback, shorten
from nbchat.engine.loop_thread import POLL_S
from nbchat.engine.wakeup import Wakeup

if TYPE_CHECKING:
    from nbchat.core.messages import Usage
    from nbchat.core.run import RunRecord
    from nbchat.engine.live_session import LiveSession
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.handles.session import Session
    from nbchat.providers.base import Request


class Progress(Struct, frozen=True, kw_only=True):
    """Counts and times of a run at one moment. Times are seconds since 1970-01-01 UTC.

    Examples
    --------
    >>> now = geo.send("Seine").wait(30).progress
    >>> now.characters, now.attempt
    (5, 0)
    >>> now.elapsed_s >= now.time_to_first_token_s
    True
    """

    state: RunState
    characters: int
    """Accepted so far, text and reasoning."""
    queued_at: float
    started_at: float | None
    first_delta_at: float | None
    last_delta_at: float | None
    ended_at: float | None
    position: int | None
    """Place in the kernel's queue, from 1, while it waits for a slot."""
    attempt: int
    """Retries so far."""
    attempts: int
    """Retries that are allowed."""
    retry_at: float | None
    """When the next attempt comes, while `retrying`."""

    @property
    def elapsed_s(self) -> float:
        """Seconds from the start to the end, or to now."""
        if self.started_at is None:
            return 0.0
        return max((self.ended_at or now()) - self.started_at, 0.0)

    @property
    def time_to_first_token_s(self) -> float | None:
        """Seconds from the start to the first piece of content; None before it."""
        if self.first_delta_at is None or self.started_at is None:
            return None
        return self.first_delta_at - self.started_at

    @property
    def characters_per_s(self) -> float:
        """Rate since the first piece of content."""
        if self.first_delta_at is None or self.last_delta_at is None:
            return 0.0
        took = self.last_delta_at - self.first_delta_at
        return self.characters / took if took > 0 else 0.0


class Run:
    """One answer being generated, from the prompt to the end.

    Returned by `Session.send` and its kin. Iterating it yields its text as it comes, from the first
    character, however late and often; awaiting it gives the answer.

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

    def __init__(self, session: Session, run_id: str) -> None:
        self._session = session
        self._id = run_id
        self._last: RunRecord | None = None

    @classmethod
    def of(cls, session: Session, run_id: str) -> Run:
        """Return the handle of a run, always the same one as long as somebody holds it."""
        return session._runs.setdefault(run_id, cls(session, run_id))  # noqa: SLF001 - made for each other

    def __repr__(self) -> str:
        """Return one line: id, state, and how much there is."""
        text = f", {len(self.text):,} characters" if self.text else ""
        error = f", {self.error.code}" if self.error is not None else ""
        return f"<Run {self._id} {self.state}{text}{error}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Refuse: a pickle would not be the run."""
        raise PicklingRefused("a Run cannot be pickled; use run.text, or run.result() for its Message.")

    # What it is

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

    @property
    def session_id(self) -> str:
        """The id of its session."""
        return self._session.id

    @property
    def state(self) -> RunState:
        """One of `RunState`; compares and prints as a plain word."""
        record = self._record
        if record.state.is_over and not self._conversation.announced(self._id):
            return RunState.STOPPING  # the last word is being written down
        return record.state

    @property
    def text(self) -> str:
        """The answer's text so far, as Markdown."""
        return self._text(TextPart)

    @property
    def reasoning(self) -> str:
        """What the model thought aloud so far, where the server shows it."""
        return self._text(ReasoningPart)

    @property
    def error(self) -> NbchatError | None:
        """What ended it; set exactly when it is `failed` or `interrupted`."""
        record = self._record
        if record.error is None or record.state not in (RunState.FAILED, RunState.INTERRUPTED):
            return None
        error = from_info(record.error)
        error.__cause__ = self._conversation.causes.get(self._id)
        return error

    @property
    def usage(self) -> Usage | None:
        """Tokens, where the server reported them."""
        return self._record.usage

    @property
    def finish_reason(self) -> str | None:
        """Why the model ended, in the server's words."""
        return self._record.finish_reason

    @property
    def model(self) -> str | None:
        """The model that answers, as far as it is known."""
        return self._record.model

    @property
    def request(self) -> Request | None:
        """What was asked: messages, model, instructions, params; all that is needed to ask it again.

        None before its turn, for a run of an earlier kernel, and for all but a session's last 100 runs.
        """
        return self._conversation.requests.get(self._id)

    @property
    def progress(self) -> Progress:
        """Counts and times now."""
        record = self._record
        position = self._conversation.position if record.state is RunState.QUEUED else None
        return Progress(
            state=self.state,
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
        """When it got its turn, in seconds since 1970-01-01 UTC; None while queued."""
        return self._record.started_at

    @property
    def is_over(self) -> bool:
        """It has ended, and its end has been announced."""
        return self._conversation.announced(self._id)

    @property
    def message(self) -> Message:
        """The answer as it stands; empty before anything arrived."""
        record = self._record
        found = self._conversation.state.messages.get(record.message_id)
        return found or Message(id=record.message_id, role="assistant", run_id=self._id, model=record.model)

    # Waiting

    @short_traceback
    def wait(self, timeout: float | None = None) -> Run:
        """Wait for the end, and return the run; its error is not raised.

        Parameters
        ----------
        timeout
            Seconds; None: as long as it takes.

        Raises
        ------
        TimeoutError
            The run goes on.
        TypeError, ValueError
            The timeout is not a number of seconds.
        WouldDeadlock
            Called on the engine's own thread.
        """
        check_timeout(timeout)
        if self.is_over:
            return self
        self._engine.refuse_to_block("run.wait()")
        until = None if timeout is None else time.monotonic() + timeout
        with self._watching() as changed:
            while not self.is_over:
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError(
                        f"run {self._id!r} is still {self.state} after {timeout:g} s. "
                        "It goes on; wait() again, or stop() it."
                    )
                changed.wait(POLL_S if left is None else min(POLL_S, left))
        return self

    @short_traceback
    def result(self, timeout: float | None = None) -> Message:
        """Wait for the end, and return the answer.

        Returns
        -------
        The message of a completed, incomplete or stopped run.

        Raises
        ------
        ProviderError
            The run failed or was interrupted; what had arrived is in `run.text`.
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
        """Yield the text as it comes, from the first character; raise the run's error at the end."""
        self._engine.refuse_to_block("iterating a run")
        seen = 0
        try:
            with self._watching() as changed:
                while True:
                    over = self.is_over  # read before the text: a run that is over has all its text
                    text = self.text
                    if len(text) > seen:
                        yield text[seen:]
                        seen = len(text)
                    elif over:
                        break
                    else:
                        changed.wait(POLL_S)
        except KeyboardInterrupt as interrupt:
            shorten(interrupt)
            raise
        if (error := self.error) is not None:
            raise error

    def __aiter__(self) -> AsyncIterator[str]:
        """Yield the text as it comes, in any event loop; raise the run's error at the end."""
        return self._deltas()

    async def _deltas(self) -> AsyncIterator[str]:
        seen = 0
        async with self._awaiting() as changed:
            while True:
                over = self.is_over
                text = self.text
                if len(text) > seen:
                    yield text[seen:]
                    seen = len(text)
                elif over:
                    break
                else:
                    await _turn(changed)
        if (error := self.error) is not None:
            raise error

    def __await__(self) -> Generator[Any, None, Message]:
        """Wait for the answer in any event loop; as `result`. Interrupting the wait leaves the run alone."""
        return self._result_async().__await__()

    async def _result_async(self) -> Message:
        async with self._awaiting() as changed:
            while not self.is_over:
                await _turn(changed)
        return self._outcome()

    # Doing

    def stop(self) -> None:
        """End it and keep its text; after the end this does nothing."""
        self._engine.call(self._conversation.stop, self._id)

    @short_traceback
    def pause(self) -> Run:
        """Stop reading; the connection is held for `limits.pause_limit_s`.

        Raises
        ------
        RunOver
            It has ended.
        """
        self._engine.call(self._conversation.pause, self._id)
        return self

    @short_traceback
    def resume(self) -> Run:
        """Read on, when it is paused; go on as a new run, where an interrupted one can be resumed.

        Raises
        ------
        CommandError
            It is neither paused, nor interrupted with a copy kept by the server.
        """
        if self._record.state.is_over and self._record.state is not RunState.INTERRUPTED:
            raise RunOver(f"run {self._id!r} is {self.state}; there is nothing to resume.")
        return Run.of(self._session, self._engine.call(self._conversation.resume, self._id))

    # How

    @property
    def _conversation(self) -> LiveSession:
        return self._session._conversation  # noqa: SLF001 - made for each other

    @property
    def _engine(self) -> LoopThread:
        return self._session._registry.engine  # noqa: SLF001 - made for each other

    @property
    def _record(self) -> RunRecord:
        record = self._conversation.state.run(self._id)
        if record is None:
            if self._last is None:
                raise ProviderError(f"run {self._id!r} is not known in session {self.session_id!r}.")
            return self._last
        self._last = record
        return record

    def _text(self, kind: type[TextPart | ReasoningPart]) -> str:
        state, record = self._conversation.state, self._record
        message = state.messages.get(record.message_id)
        if message is None or record.started_at is None:
            return ""
        # A later `continue_` appends to the same message; its parts are not this run's.
        # The log's order decides what is later: the clock may have been set back.
        place = next((at for at, run in enumerate(state.runs) if run.id == record.id), len(state.runs))
        later = [
            run.first_part
            for run in state.runs[place + 1 :]
            if run.message_id == record.message_id
            and run.started_at is not None
            and run.first_part >= record.first_part
        ]
        parts = message.parts[record.first_part : min(later, default=None)]
        return "".join([part.text for part in parts if isinstance(part, kind)])

    @contextlib.contextmanager
    def _watching(self) -> Iterator[Wakeup]:
        changed = Wakeup()
        watchers = self._conversation.watchers
        try:
            self._engine.call(watchers.add, changed.ring)  # taken back also when this is interrupted
            yield changed
        finally:
            self._engine.post(watchers.discard, changed.ring)

    @contextlib.asynccontextmanager
    async def _awaiting(self) -> AsyncIterator[asyncio.Event]:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise CommandError(
                "a run can be awaited in an asyncio event loop only, and this code runs in another one "
                "(%autoawait trio or curio?).",
                hint="Write run.result() instead of `await run`, `for` instead of `async for`, or select "
                "asyncio with %autoawait asyncio.",
            ) from None
        changed = asyncio.Event()

        def ring() -> None:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
                loop.call_soon_threadsafe(changed.set)

        watchers = self._conversation.watchers
        try:
            self._engine.call(watchers.add, ring)
            yield changed
        finally:
            self._engine.post(watchers.discard, ring)


def check_timeout(timeout: object) -> None:
    """Refuse what is no number of seconds: for who waits, before anything is asked.

    Raises
    ------
    TypeError, ValueError
        It is none.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(
            f"timeout must be a number of seconds, or None to wait as long as it takes, not {timeout!r}."
        )
    if timeout != timeout:  # noqa: PLR0124 - nan
        raise ValueError("timeout must be a number of seconds, not nan.")


async def _turn(changed: asyncio.Event) -> None:
    """Wait for news, but look up now and then.

    An interrupt of a cell that awaits does not wake the kernel's idle loop; something has to.
    """
    # Not wait_for: on Python 3.11 it may keep a cancellation to itself that comes together with the news,
    # and a cell that was interrupted then waits on.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(POLL_S):
            await changed.wait()
    changed.clear()

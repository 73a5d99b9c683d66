"""`LiveRun`: drives one run from its start to its end, on the engine's loop.

1. It settles on every path: finish, provider error, stop, limit, pause that expired, crash, shutdown.
2. It settles once. Everything that arrives after that is dropped (the fence), from any source.
3. No request is retried after the first piece of content was accepted.
4. Clocks are monotonic and measure content: neither pings nor pauses count.
5. An answer that does not match the schema of its request is asked for again once, in the same run. Its text
   stays until the corrected one begins.
6. A round that ends with calls of tools is followed by another one with their results. No connection is open
   in between, and no time limit applies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from nbchat.core.calls import ToolCall
from nbchat.core.clock import now
from nbchat.core.errors import (
    AnswerInvalid,
    NbchatError,
    NothingToDo,
    ProviderError,
    RunCrashed,
    RunNotLive,
)
from nbchat.core.events import (
    EndEvent,
    Event,
    RunConnecting,
    RunPaused,
    RunResumed,
    RunStopped,
    StopRequested,
)
from nbchat.engine.attempts import Attempts
from nbchat.engine.deadlines import Deadlines
from nbchat.engine.logs import about
from nbchat.engine.round import Round, cancel_response
from nbchat.engine.run_outcome import EARLY, RunOutcome, no_match, shown
from nbchat.engine.run_plan import RunPlan
from nbchat.engine.structured import mismatch, repair_request
from nbchat.engine.tool_calls import ToolCalls, ToolContext
from nbchat.providers.base import Cancels, Provider, Request

if TYPE_CHECKING:
    from nbchat.core.commands import Decide
    from nbchat.engine.limits import Limits

logger = logging.getLogger("nbchat")


class _Stopped(NbchatError):
    """The user stopped the run. Used in this module only."""


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
    tool_context
        Executes calls of its tools. If it has none, calls are only shown.
    """

    def __init__(
        self,
        task: RunPlan,
        limits: Limits,
        *,
        emit: Callable[[Event], object],
        choose: Callable[[Request], Awaitable[tuple[Provider, Request]]],
        ended: Callable[[LiveRun, EndEvent], None],
        tool_context: ToolContext,
    ) -> None:
        self.run_id: str = task.run_id
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._todo = task
        self._limits = limits
        self._emit = emit
        self._choose = choose
        self._ended = ended
        self._cause: NbchatError | None = None
        self._outcome = RunOutcome()
        self.over: bool = False
        self.error: NbchatError | None = None
        """The error that ended the run, with its cause; `None` if it completed, was stopped, or was empty."""
        self._from_outside = False
        self.clock: Deadlines = Deadlines(self.loop, limits, self._expired)
        self._patience: asyncio.TimerHandle | None = None
        self._attempts = Attempts(
            task.run_id,
            limits,
            self.clock,
            emit=emit,
            choose=choose,
            is_over=lambda: self.over or self._cause is not None,
        )
        self._earlier_text = 0
        """Characters that the model wrote in earlier rounds."""
        self._earlier_size = 0
        """Characters of earlier rounds and of their results, pictures included."""
        self._is_acting = False
        self._tools: ToolCalls | None = None
        if tool_context.tools:
            self._tools = ToolCalls(task.run_id, tool_context, limits, emit=emit, left=lambda: self._left)
        self._number = 0
        """Number of finished rounds."""
        self._round = self._new_round(task.request, task.first_part)
        self.task: asyncio.Task[None] = self.loop.create_task(self._main(), name=f"nbchat-run-{task.run_id}")
        self.task.add_done_callback(self._task_over)

    # Commands

    def stop(self) -> None:
        """Stop the run and keep its text; it settles within `limits.stop_s`, whatever the provider does."""
        if self._cause is None and not self.over:
            self._round.builder.flush()
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
        """Stop reading. The connection stays open, and the server is slowed down by back-pressure.

        Raises
        ------
        RunNotLive
            If the run waits for tool calls: nothing is read, and no limit runs.
        """
        if self.over or self._cause is not None or self.clock.is_paused:
            return
        if self._is_acting:
            raise RunNotLive(
                f"run {self.run_id!r} waits for its tool calls; there is nothing to pause.", hint=""
            )
        self._round.builder.flush()
        self.clock.pause()
        self._attempts.pause()
        self._emit(RunPaused(run_id=self.run_id, at=now()))

    def resume(self) -> None:
        """Resume reading the same response."""
        if self.over or not self.clock.is_paused:
            return
        self.clock.resume()
        self._attempts.resume()
        # A run without any content counts as connecting.
        event = RunResumed if self._round.builder.deltas else RunConnecting
        self._emit(event(run_id=self.run_id))

    def retry_now(self) -> bool:
        """End the delay before the next attempt; return whether there was one."""
        if self._cause is not None or self.clock.is_paused or not self._attempts.is_delayed:
            return False
        self._attempts.hurry()
        return True

    @property
    def tools(self) -> ToolCalls | None:
        """The run's tool calls; `None` if it has no tools."""
        return self._tools

    def decide(self, command: Decide) -> None:
        """Carry out the user's decision on a tool call; raises as `ToolCalls.decide`."""
        if self._tools is None or self._cause is not None or self.over:
            raise NothingToDo(f"run {self.run_id!r} has no call that waits for approval.", hint="")
        self._tools.decide(command.call_id, command.decision, command.shown, command.reason)

    def drop_gone_calls(self) -> None:
        """End the wait for approval of calls whose kernel is gone."""
        if self._tools is not None and self._cause is None and not self.over:
            self._tools.drop_gone()

    def cancel_at_server(self) -> Coroutine[Any, Any, None] | None:
        """Return a coroutine that cancels the response at a server that would continue it, or None."""
        if self._is_acting:  # its response is complete
            return None
        response_id = self._round.builder.response_id or self._round.request.resume_id
        if response_id is None or not isinstance(self._attempts.provider, Cancels):
            return None
        return cancel_response(self._attempts.provider, response_id, self.run_id)

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
        await self._whole_round()
        while self._tools is not None and (calls := self._open_calls()):
            if self._number >= (most := self._limits.tool_rounds):
                self._outcome.notice(f"The calls were not run: a run can have {most} rounds with tools.")
                return
            await self._act(self._tools, calls)
            await self._whole_round()

    async def _whole_round(self) -> None:
        """Run one round; an answer that does not match its schema is asked for once more."""
        current = self._round
        await self._read()
        if self._open_calls():
            return
        problem = await self._mismatch()
        if problem is None:
            return
        if self._todo.first_part:  # it continues an answer whose beginning is not replaced
            self._outcome.notice(no_match(problem))
            return
        first, self._outcome = self._outcome, RunOutcome()
        current.builder.close()
        request = repair_request(current.request, "".join(current.text), problem)
        self._round = self._new_round(request, current.first_part)
        try:
            await self._attempts.again(AnswerInvalid(no_match(problem)).info, 1, 1, 0.0)
            await self._read()
        except ProviderError as error:
            if self._round.builder.deltas:
                raise
            # The first answer is complete, although it does not match.
            first.notice(f"{no_match(problem)} The correction failed: {error.args[0]}")
            self._outcome = first
            return
        self._outcome.add(first, whole=not self._round.builder.deltas)
        if (left := await self._mismatch()) is not None:
            self._outcome.notice(no_match(left))

    async def _read(self) -> None:
        await self._attempts.run(self._round)
        if self._cause is None:  # the server closed in time
            self._end_patience()

    async def _mismatch(self) -> str | None:
        """Return the reason why the answer does not match the schema of its request, if it has one."""
        schema = self._round.request.schema
        if schema is None or self._cause is not None or not self._outcome.is_whole:
            return None
        before = self._todo.text_before if self._number == 0 else ""  # a result separates the rounds
        text = before + "".join(self._round.text)
        self.clock.hold()
        # On a thread, since validating a long answer takes a while, as does importing the validator.
        return await asyncio.to_thread(mismatch, schema, text)

    def _new_round(self, request: Request, first_part: int) -> Round:
        return Round(
            self.run_id,
            request,
            first_part,
            outcome=self._outcome,
            clock=self.clock,
            limits=self._limits,
            used=self._earlier_text,
            characters_left=self._todo.characters_left - self._earlier_size,
            taken=None if self._tools is None else self._tools.taken,
            emit=self._emit,
            loop=self.loop,
            exceeded=self._cancel,
        )

    @property
    def _left(self) -> int:
        """Characters that may still be added to the session."""
        return self._todo.characters_left - self._earlier_size - self._round.size

    # Tools

    def _open_calls(self) -> list[ToolCall]:
        """Return the calls to execute, whatever the finish reason is called.

        There are none if the answer was truncated, or if the run is being ended.
        """
        if self._cause is not None or self.over:
            return []
        self._round.builder.close()
        return self._calls_of_round()

    def _calls_of_round(self) -> list[ToolCall]:
        finish = self._outcome.finish
        if self._tools is None or finish is None or finish in EARLY:
            return []
        return self._tools.open_calls(self._round.first_part)

    async def _act(self, tools: ToolCalls, calls: list[ToolCall]) -> None:
        """Execute the calls of a round, and begin the next one."""
        self._outcome.next_round()  # a run that is stopped from now on did not complete
        await self._attempts.until_resumed()
        self._is_acting = True
        self.clock.act()
        await tools.run(calls)
        self._earlier_text += self._round.builder.accepted
        self._earlier_size += self._round.size + tools.take_size()
        self._number += 1
        request, first_part = tools.next_request(self._todo.request)
        self._round = self._new_round(request, first_part)
        self._is_acting = False
        self._emit(RunConnecting(run_id=self.run_id))
        self.clock.acted()

    # The end

    def _expired(self, cause: NbchatError | None) -> None:
        if cause is not None:
            self._cancel(cause)
        elif not self.over and self._cause is None and not self._attempts.is_complete:
            self._attempts.is_complete = True
            self.task.cancel()
            self._be_patient()

    def _cancel(self, cause: NbchatError) -> None:
        if self._cause is None:
            self._cause = cause
            self.clock.close()
            self._attempts.resume()
            if self._tools is not None:
                self._tools.close()  # in this step: nothing is started any more
            self.task.cancel()
            self._be_patient()

    def _be_patient(self) -> None:
        """Settle without the provider if it does not close in time."""
        self._end_patience()
        self._patience = self.loop.call_later(self._limits.stop_s, self._give_up)

    def _end_patience(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        """Settle although the provider does not close."""
        self._patience = None
        if self.over:
            return
        logger.warning(
            "run %s: the provider did not close within %g s",
            self.run_id,
            self._limits.stop_s,
            extra=about(run_id=self.run_id),
        )
        if self._cause is None and self._calls_of_round():
            self._outcome.notice("The calls were not run: the server did not close the connection.")
        end = self._end_by(self._cause)
        # If the provider closes later, the run does not continue.
        self._cause = self._cause or _Stopped("not closed")
        self._settle(end)

    def _end_by(self, cause: NbchatError | None) -> EndEvent:
        """Return the event that ends the run, and keep its error."""
        if cause is not None and self._calls_of_round():
            self._outcome.next_round()  # the finish reason of a round whose calls were not run
        end, self.error = self._outcome.end(
            self.run_id,
            cause,
            has_content=bool(self._round.builder.deltas or self._number),
            characters=self._earlier_text + self._round.builder.accepted,
            is_stopped=isinstance(cause, _Stopped),
            # The server may consider a partial answer complete and add nothing.
            may_add_nothing=self._round.request.prefill,
            from_outside=self._from_outside,
        )
        return end

    def _settle(self, end: EndEvent) -> None:
        if self.over:
            return
        if isinstance(end, RunStopped) and self._cause is None:
            self._emit(StopRequested(run_id=self.run_id, at=now()))
        try:
            self._round.builder.close()
        except Exception:
            # The session must be released even if the text cannot be closed.
            logger.exception(
                "run %s: the answer could not be closed", self.run_id, extra=about(run_id=self.run_id)
            )
        self.over = True
        self.clock.close()
        self._end_patience()
        if self._tools is not None:
            self._tools.release()
        self._ended(self, end)

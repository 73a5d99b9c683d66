"""`RunQueue`: starts the runs of one session one at a time, in order, and announces their ends.

1. The question is in the journal before it is sent, and the end before it is announced. A journal that takes
   longer than `SETTLE_S` delays neither further.
2. A slot of the scheduler is released on every path.
3. A queued run may end without being started: by a stop, a deletion or the end of the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.commands import Decide
from nbchat.core.errors import (
    ErrorInfo,
    LimitExceeded,
    NbchatError,
    NothingToDo,
    QueueFull,
    RunCrashed,
    SessionGone,
    StoreError,
)
from nbchat.core.events import (
    EndEvent,
    RunAnswering,
    RunFailed,
    RunInterrupted,
    RunKind,
    RunPaused,
    RunQueued,
    RunRequeued,
    RunSaved,
    RunStarted,
    RunStopped,
    Settings,
    StopRequested,
    UnreadChanged,
)
from nbchat.core.ids import new_id
from nbchat.core.messages import Message
from nbchat.core.recovery import in_force
from nbchat.core.run import RunRecord, RunState
from nbchat.engine import lookup
from nbchat.engine.build_request import fitted, plan_of, resumed_by
from nbchat.engine.callbacks import Notification
from nbchat.engine.deadlines import Waiting
from nbchat.engine.live_run import LiveRun
from nbchat.engine.logs import about
from nbchat.engine.run_cache import RunCache
from nbchat.engine.run_span import RunSpan
from nbchat.engine.session_log import SessionLog
from nbchat.engine.tool_context import RunToolContext
from nbchat.providers.base import Provider, Request

logger = logging.getLogger("nbchat")

SETTLE_S: Final = 1.0
"""Maximum seconds for which the journal may delay a start or the announcement of an end."""

CAUSES: Final = 8
"""Exceptions that are kept per session, for `run.error.__cause__`."""

REQUESTS: Final = 100
"""Requests that are kept per session, for `run.request`."""


class RunQueue:
    """The runs of one session that are not over. Only for the engine's loop."""

    def __init__(self, session: SessionLog) -> None:
        self._session = session
        self._context = session.context
        self.live: LiveRun | None = None
        """The run that has a connection, or is about to."""
        self._starting = False
        self._has_slot = False
        self._slot: asyncio.Future[None] | None = None
        """Set while the live run waits for a slot for its next round."""

    def __repr__(self) -> str:
        """Return the session and its live run."""
        return f"<RunQueue of {self._session.id}, live: {self.live.run_id if self.live else None}>"

    def has_live(self, run: RunRecord) -> bool:
        """Return whether this run has a connection."""
        return self.live is not None and self.live.run_id == run.id

    # Entering and leaving the queue

    def enqueue(
        self,
        kind: RunKind,
        *,
        prompt: Message | None = None,
        message_id: str | None = None,
        rooted: bool = False,
        parent_id: str | None = None,
        replaces: str | None = None,
        run_id: str | None = None,
        params: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:
        """Queue a run and return its id; `params` override those of the session.

        Raises
        ------
        SessionGone, QueueFull
            If the session cannot accept it; nothing was queued.
        """
        session, state = self._session, self._session.state
        if state.deleted:
            raise SessionGone(session.id)
        waiting = sum(run.state is RunState.QUEUED for run in state.runs)
        if waiting >= self._context.limits.queue:
            self._observe(waiting)
            raise QueueFull(
                f"session {session.id!r} already has {waiting} queued prompts.",
                hint="Wait for some to finish, or stop_all() to drop them.",
            )
        session.touched = time.monotonic()
        run_id = run_id or new_id("r-")
        session.append(
            RunQueued(
                run_id=run_id,
                at=now(),
                kind=kind,
                message_id=message_id or new_id("m-"),
                prompt=prompt,
                rooted=rooted,
                parent_id=parent_id,
                replaces=replaces,
                params=dict(params),
            )
        )
        self.submit()
        self._observe(waiting + (self.live is not None))  # without a live run, one of them is about to start
        if self.live is None or self.live.run_id != run_id:
            self._context.callbacks.notify(Notification(event="queued", session_id=session.id, run_id=run_id))
        return run_id

    def _observe(self, waiting: int) -> None:
        hint = "Further prompts are refused. Wait for some to finish, stop_all(), or raise limits.queue."
        self._context.alerts.observe("queue", waiting, self._context.limits.queue, hint, self._session.id)

    def submit(self) -> None:
        """Ask the scheduler for a slot if a run is waiting and none is live."""
        if self.live is None and not self._starting and self._next() is not None:
            self._context.scheduler.submit(self)

    def _next(self) -> RunRecord | None:
        live = self._session.state.live
        return live if live is not None and live.state is RunState.QUEUED else None

    def _withdraw(self) -> None:
        """Leave the scheduler's queue, unless another prompt of this session keeps its place."""
        if self._next() is None and self._slot is None:
            self._context.scheduler.withdraw(self)

    def release_slot(self) -> None:
        """Release the slot, if there is one: the run has ended, or waits without a connection."""
        if self._has_slot:
            self._has_slot = False
            self._context.scheduler.release()

    async def take_slot(self) -> None:
        """Wait for a slot for the next round of the live run, unless it has one."""
        if self._has_slot:
            return
        self._slot = asyncio.get_running_loop().create_future()
        try:
            self._context.scheduler.submit(self)
            await self._slot
        finally:
            self._slot = None
            if not self._has_slot:
                self._context.scheduler.withdraw(self)

    def moved_up(self) -> None:
        """Publish the new position in the scheduler's queue."""
        self._context.changed(self._session)

    # Pausing and stopping

    def pause(self, run: RunRecord) -> None:
        """Pause the live run, or hold a queued one."""
        if self.live is not None and self.has_live(run):
            self.live.pause()
        else:
            self._session.append(RunPaused(run_id=run.id, at=now()))
            self._withdraw()

    def resume(self, run: RunRecord) -> None:
        """Resume the paused run."""
        if self.live is not None and self.has_live(run):
            self.live.resume()
        else:
            self._session.append(RunRequeued(run_id=run.id))
            self.submit()

    def retry_now(self, run: RunRecord) -> bool:
        """End the delay before the next attempt of the live run; return whether there was one."""
        return self.live is not None and self.has_live(run) and self.live.retry_now()

    def decide(self, command: Decide) -> None:
        """Carry out the user's decision on a tool call of the live run; raises as `LiveRun.decide`."""
        if self.live is None or self.live.run_id != command.run_id:
            raise NothingToDo(f"run {command.run_id!r} has no call that waits for approval.", hint="")
        self.live.decide(command)

    def drop_gone_calls(self) -> None:
        """End the wait for approval of calls whose kernel is gone."""
        if self.live is not None:
            self.live.drop_gone_calls()

    def waiting(self, run: RunRecord) -> Waiting | None:
        """Return the live run's wait for its first content; `None` if it does not wait."""
        return self.live.clock.waiting if self.live is not None and self.has_live(run) else None

    def stop(self, run: RunRecord) -> None:
        """Stop a run that is not over."""
        if self.live is not None and self.has_live(run):
            self.live.stop()
        else:
            self._session.append(StopRequested(run_id=run.id, at=now()))
            self._end_waiting(RunStopped(run_id=run.id, at=now()))

    def abandon_all(self) -> None:
        """Stop all runs at once, without waiting for the provider; newest first, so that none starts."""
        for run in self._not_over():
            if self.live is not None and self.has_live(run):
                self.live.abandon()
            else:
                self.stop(run)

    def interrupt_all(self, error: NbchatError) -> None:
        """End all runs as `interrupted`, because the kernel is shutting down."""
        info: ErrorInfo = error.info
        for run in self._not_over():
            if not self.has_live(run):
                self._end_waiting(RunInterrupted(run_id=run.id, at=now(), error=info))
        if self.live is not None:
            self.live.end(error)

    def _not_over(self) -> list[RunRecord]:
        return [run for run in reversed(self._session.state.runs) if run.state.is_live]

    def _end_waiting(self, end: EndEvent) -> None:
        self._session.append(end)
        self._withdraw()
        self._announce(end)
        self.submit()

    # Starting

    def start_next(self) -> bool:
        """Use a slot for the live run's next round or the oldest waiting prompt; return False without one."""
        if self._slot is not None:
            if self._slot.done():
                return False
            self._has_slot = True
            self._slot.set_result(None)
            return True
        run = self._next()
        if run is None or self.live is not None or self._starting or self._session.state.deleted:
            return False
        self._starting = self._has_slot = True
        task = self._context.loop.spawn(self._settled(), name=f"nbchat-start-{run.id}")
        task.add_done_callback(lambda task: self._start(run, task))
        return True

    def _start(self, run: RunRecord, settled: asyncio.Task[bool]) -> None:
        # A callback, since a task that is cancelled before its first step runs no code of its own.
        self._starting = False
        if settled.cancelled():  # from outside: the prompt goes back into the queue
            self.release_slot()
            self.submit()
            return
        try:
            self._begin(run)
        except Exception as error:
            # Without this the run would never end, and the slot would be lost.
            session_id = self._session.id
            logger.exception(
                "session %s: run %s could not be started",
                session_id,
                run.id,
                extra=about(session_id=session_id, run_id=run.id),
            )
            crash = RunCrashed(f"the run could not be started: {type(error).__name__}.", stage="connect")
            self._end_unstarted(RunFailed(run_id=run.id, at=now(), error=crash.info))

    def _end_unstarted(self, end: RunFailed) -> None:
        self._session.append(end)
        self._announce(end)
        self.release_slot()
        self.submit()

    def _begin(self, run: RunRecord) -> None:
        session, state = self._session, self._session.state
        current = state.run(run.id)
        if current is None or current.state is not RunState.QUEUED or state.deleted:
            self.release_slot()
            self.submit()
            return
        run = current
        settings = in_force(state.settings)
        appends = run.kind in ("continue", "resume")
        if appends and run.message_id not in state.messages:
            gone = NothingToDo("the answer to continue was removed.").info
            self._end_unstarted(RunFailed(run_id=run.id, at=now(), error=gone))
            return
        prompt = run.prompt
        if prompt is not None and not run.rooted:
            prompt = replace(prompt, parent_id=state.leaf)
        answer = None
        if not appends:
            answer = Message(
                id=run.message_id,
                role="assistant",
                created_at=now(),
                parent_id=prompt.id if prompt is not None else run.parent_id,
                run_id=run.id,
                model=settings.model,
            )
        session.append(
            RunStarted(run_id=run.id, at=now(), prompt=prompt, answer=answer, model=settings.model)
        )
        resumed = resumed_by(session.state, run)
        if resumed is not None:
            # Recorded at once, so that a resume of which nothing arrives can be resumed again.
            session.append(
                RunAnswering(
                    run_id=run.id, response_id=resumed.response_id, sequence=resumed.response_sequence
                )
            )
        if prompt is not None:
            self._context.callbacks.notify(
                Notification(event="message", session_id=session.id, run_id=run.id, data=prompt)
            )
        tool_context = RunToolContext(session, self, run.id, run.message_id)
        specs = tuple(tool.spec for tool in tool_context.tools.values())
        plan = plan_of(session.state, lookup.run(session.state, run.id), self._context.limits, specs)
        cache = None
        if plan.uses_cache:
            cache = RunCache(plan.request, self._context.cache, reads=run.kind != "regenerate")
        span = RunSpan()
        self.live = LiveRun(
            plan,
            self._context.limits,
            emit=session.append,
            choose=self._choose(settings, cache, span),
            ended=lambda live, end: self._run_ended(live, end, cache, span),
            tool_context=tool_context,
        )

    def _choose(
        self, settings: Settings, cache: RunCache | None, span: RunSpan
    ) -> Callable[[Request], Awaitable[tuple[Provider, Request]]]:
        session = self._session

        async def choose(asked: Request) -> tuple[Provider, Request]:
            provider, request = await self._context.choose(session.provider, settings, asked)
            request = session.requests[request.run_id] = fitted(request, provider)
            while len(session.requests) > REQUESTS:
                del session.requests[next(iter(session.requests))]
            if cache is not None:
                credential = self._context.providers_of(session.id, request.run_id).credential
                provider = await cache.provider(provider, asked, request, credential)
            span.sent(provider, request)
            return provider, request

        return choose

    # Ending

    def _run_ended(self, live: LiveRun, end: EndEvent, cache: RunCache | None, span: RunSpan) -> None:
        session = self._session
        if cache is not None:
            end = cache.noted(end)
        if live.error is not None and live.error.__cause__ is not None:
            session.causes[live.run_id] = live.error.__cause__
            while len(session.causes) > CAUSES:
                del session.causes[next(iter(session.causes))]
        unread = isinstance(end, RunStopped) or isinstance(live.error, LimitExceeded)
        if unread and (cancel := live.cancel_at_server()) is not None:
            self._context.loop.spawn(cancel, name=f"nbchat-cancel-{live.run_id}")
        session.record.hold(end.run_id)  # readers see the end when the journal has accepted or refused it
        session.append(end)
        span.ended(lookup.run(session.state, end.run_id))
        ending = self._settled() if cache is None else self._settled_and_kept(cache, end)
        task = self._context.loop.spawn(ending, name=f"nbchat-finish-{live.run_id}")
        task.add_done_callback(lambda task: self._finish(live, end, task))

    async def _settled_and_kept(self, cache: RunCache, end: EndEvent) -> bool:
        """Wait for the journal, and meanwhile for the cache: an equal question finds the answer there."""
        kept = cache.keep(self._session.state, end, self._context.limits.cache_bytes)
        return (await asyncio.gather(self._settled(), kept))[0]

    def _finish(self, live: LiveRun, end: EndEvent, settled: asyncio.Task[bool]) -> None:
        saved = not settled.cancelled() and settled.exception() is None and settled.result()
        self._session.record.release()
        if self.live is live:
            self.live = None
        if not saved:
            self._session.append(RunSaved(run_id=end.run_id, saved=False))
        self._announce(end)
        self.release_slot()
        self.submit()

    def _announce(self, end: EndEvent) -> None:
        session = self._session
        run = session.state.run(end.run_id)
        self._context.callbacks.notify(
            Notification(
                event="end",
                session_id=session.id,
                run_id=end.run_id,
                state=str(run.state) if run is not None else None,
                data=getattr(end, "error", None),
            )
        )
        was_started = run is not None and run.started_at is not None
        if was_started and not session.state.deleted and not self._context.is_viewed(session.id):
            self.set_unread(unread=True)
        session.publish()
        if run is not None:
            self._context.ended(session, run)

    def set_unread(self, *, unread: bool) -> None:
        """Mark the session read or unread."""
        if self._session.state.unread != unread:
            self._session.append(UnreadChanged(unread=unread))

    async def _settled(self) -> bool:
        return await self.stored(SETTLE_S)

    async def stored(self, timeout_s: float) -> bool:
        """Wait for the journal, at most `timeout_s`; return False if it does not have everything."""
        session, journal = self._session, self._context.journal
        if journal is None or session.state.temporary:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await journal.settled(session.id)
        except (StoreError, TimeoutError):
            return False
        except Exception:
            logger.exception("session %s: the journal failed", session.id, extra=about(session_id=session.id))
            return False
        return True

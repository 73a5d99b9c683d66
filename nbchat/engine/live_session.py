"""A session at work: what can be asked of it, on the engine's loop.

One object for each session, owned by the loop. `nbchat.Session` and the page's commands are two ways
to it; both end in the same methods, so both get the same answers and errors.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import (
    ErrorInfo,
    LimitExceeded,
    NothingToDo,
    QueueFull,
    RunCrashed,
    RunInProgress,
    RunNotLive,
    SessionFull,
    SessionGone,
    StoreError,
)
from nbchat.core.events import (
    EndEvent,
    Event,
    MessageRemoved,
    MessageSelected,
    PartDelta,
    RunAcknowledged,
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
    SessionDeleted,
    Settings,
    SettingsChanged,
    StopRequested,
    UnreadChanged,
)
from nbchat.core.ids import new_id
from nbchat.core.messages import Attachment, Message, Part, TextPart
from nbchat.core.recovery import in_force
from nbchat.core.refusals import is_refusal
from nbchat.core.run import Illegal, Moved, RunRecord, RunState, Stale
from nbchat.core.saved import Clock, SavedSession
from nbchat.core.session import SessionRecord
from nbchat.core.text import clean
from nbchat.engine import lookup
from nbchat.engine.build_request import fitted, plan_of, resumed_by
from nbchat.engine.callbacks import Notification
from nbchat.engine.live_run import LiveRun, RunPlan
from nbchat.engine.logs import about
from nbchat.engine.protocols import Context
from nbchat.providers.base import Provider, Request

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState

logger = logging.getLogger("nbchat")

SETTLE_S: Final = 1.0
"""The longest time that the journal may keep a run from starting or its end from being told."""

_COUNTED: Final = {"part_delta": "deltas", "run_retrying": "retries", "run_queued": "runs"}
"""Events that `registry.stats()` counts, and under which names."""

CAUSES: Final = 8
"""Foreign exceptions that are kept for each session, for `run.error.__cause__`."""

REQUESTS: Final = 100
"""Requests that are kept for each session, for `run.request`."""


class LiveSession:
    """A session and its runs. All methods are for the engine's thread, and none of them waits."""

    def __init__(self, context: Context, state: SessionState, provider: Provider | None = None) -> None:
        self.record: SessionRecord = SessionRecord(state)
        self.provider = provider
        """The session's own provider object, which is never saved."""
        self.watchers: set[Callable[[], None]] = set()
        """Called after every visible change; run handles wait by them."""
        self.touched: float = time.monotonic()
        """When something was last asked of it; the longest untouched is evicted first."""
        self.clock: Clock = {}
        """Whose events are in the state that it was restored from."""
        self.restored_seq: int = 0
        """Number of the last of those events."""
        self.omitted: int = 0
        """Messages that the file it was restored from had left out; nobody here has them."""
        self.evicted: bool = False
        """Its messages are in the store only; `state` is an outline of it."""
        self.requests: dict[str, Request] = {}
        """What the last runs asked; enough to ask the same again. Never saved or sent."""
        self.causes: dict[str, BaseException] = {}
        """What is behind the errors of the last runs; never saved or sent."""
        self._context = context
        self._live: LiveRun | None = None
        self._starting = False
        self._last_title = state.title

    def __repr__(self) -> str:
        """Return the id and what it does."""
        return f"<LiveSession {self.id} {self.state.status}>"

    # What it is

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.state.id

    @property
    def state(self) -> SessionState:
        """The fold of the log."""
        return self.record.state

    @property
    def live(self) -> LiveRun | None:
        """The run that has a connection (or is about to)."""
        return self._live

    @property
    def is_idle(self) -> bool:
        """No run is live or waits."""
        return self._live is None and self.state.live is None

    # Leaving memory and coming back, and being restored

    def leave(self, outline: SessionState) -> None:
        """Keep an outline; what it stands for is in the store."""
        self.record = SessionRecord(outline)
        self.evicted = True

    def come_back(self, state: SessionState) -> None:
        """Be again what was evicted."""
        self.record = SessionRecord(state)
        self.evicted = False
        self.touched = time.monotonic()

    def take_over(self, saved: SavedSession) -> None:
        """Go on from a state that was merged from this one and another. Nothing may be live."""
        self.record = SessionRecord(saved.state)
        self.clock, self.omitted = saved.clock, saved.omitted
        self.restored_seq = saved.state.seq
        self.publish()

    def announced(self, run_id: str) -> bool:
        """Tell whether the run is over and its end may be seen."""
        run = self.state.run(run_id)
        ending = self._live is not None and self._live.run_id == run_id
        return run is not None and run.state.is_over and not ending

    @property
    def status(self) -> str:
        """As `SessionState.status`, but a run is `stopping` until its end may be seen."""
        runs = self.state.runs
        if self.state.live is None and runs and not self.announced(runs[-1].id):
            return str(RunState.STOPPING)
        return self.state.status

    @property
    def position(self) -> int | None:
        """Place in the kernel's queue, from 1."""
        return self._context.scheduler.position(self)

    # Events

    def append(self, event: Event) -> None:
        """Append to the log, and tell everybody who reads it. What does not fit is dropped and logged."""
        run = self.state.run(getattr(event, "run_id", ""))
        outcome = self.record.append(event)
        if isinstance(outcome, Illegal):
            self._context.count("dropped")
            logger.error(
                "session %s: a run that is %s cannot take %s",
                self.id,
                outcome.state,
                event.type,
                extra=about(session_id=self.id),
            )
            return
        if isinstance(outcome, Stale):
            self._context.count("dropped")
            logger.debug(
                "session %s: dropped %s, which came too late",
                self.id,
                event.type,
                extra=about(session_id=self.id),
            )
            return
        if event.type in _COUNTED and not (event.type == "run_queued" and run is not None):
            self._context.count(_COUNTED[event.type])
        if self._context.journal is not None and not self.state.temporary:
            try:
                self._context.journal.record(self.id, self.state.seq, event)
            except Exception:
                # The run must not pay for a journal's defect; `settled` will say that it is not saved.
                logger.exception(
                    "session %s: the journal did not take %s",
                    self.id,
                    event.type,
                    extra=about(session_id=self.id),
                )
        if isinstance(outcome, Moved):
            self._tell_run(event, outcome, before=run.state if run is not None else None)
        self.publish()

    def publish(self) -> None:
        """Tell the readers that there is news."""
        self._context.changed(self)
        for watcher in list(self.watchers):
            watcher()

    def _tell_run(self, event: Event, outcome: Moved, before: RunState | None) -> None:
        observers = self._context.observers
        run_id = getattr(event, "run_id", None)
        if isinstance(event, PartDelta):
            observers.tell(Notification(event="delta", session_id=self.id, run_id=run_id, text=event.text))
        elif outcome.state is not before and outcome.state.is_live:
            observers.tell(
                Notification(event="transition", session_id=self.id, run_id=run_id, state=str(outcome.state))
            )

    # Asking

    def send(
        self,
        text: str,
        attachments: tuple[Attachment, ...] = (),
        run_id: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> str:
        """Queue a prompt and return the new run's id; `params` win over those of the session.

        Raises
        ------
        SessionGone, SessionFull, QueueFull
            Nothing was queued.
        """
        self._check_room(len(text) + sum(len(attachment.text) for attachment in attachments))
        prompt = self._user_message(text, attachments)
        return self._queue("send", prompt=prompt, run_id=run_id, params=params or {})

    def edit(self, message_id: str, text: str) -> str | None:
        """Ask a changed question as a new version of the old one; of a waiting prompt, change the text.

        Returns
        -------
        The new run's id; None where a waiting prompt was changed.
        """
        for run in self.state.runs:
            if run.state.is_live and run.prompt is not None and run.prompt.id == message_id:
                self._edit_waiting(run, run.prompt, text)
                return None
        message = lookup.message(self.state, message_id)
        if message.role != "user":
            raise NothingToDo(
                "only a message of the user can be edited.", hint="Use regenerate for an answer."
            )
        self._refuse_while_busy()
        self._check_room(len(text))
        changed = self._user_message(text, _attachments(message))
        prompt = replace(changed, parent_id=message.parent_id)
        return self._queue("send", prompt=prompt, rooted=True)

    def _edit_waiting(self, run: RunRecord, prompt: Message, text: str) -> None:
        """Say the same run again with another prompt: it keeps its place, its id, and who waits for it."""
        self._check_room(len(text))
        changed = replace(prompt, parts=self._user_message(text, _attachments(prompt)).parts)
        self.append(
            RunQueued(
                run_id=run.id,
                at=run.queued_at,
                kind=run.kind,
                message_id=run.message_id,
                prompt=changed,
                rooted=run.rooted,
                parent_id=run.parent_id,
                replaces=run.replaces,
                params=run.params,
            )
        )

    def retry(self, message_id: str | None = None) -> str:
        """Ask again for an answer that failed, was interrupted or stopped; it is replaced.

        What it says stays until the new answer says something; where that fails before it does, both stay
        as versions, and the next retry replaces both.
        """
        self._refuse_while_busy()
        run = lookup.last_run(self.state) if message_id is None else lookup.run_of(self.state, message_id)
        if run.state not in (RunState.FAILED, RunState.INTERRUPTED, RunState.STOPPED) and not is_refusal(run):
            raise NothingToDo(
                f"the last answer is {run.state}; retry is for one that failed, was interrupted or stopped.",
                hint="Use regenerate for another version.",
            )
        appends = run.kind in ("continue", "resume")
        if run.started_at is None or (appends and run.state is RunState.FAILED):
            # It never had its turn, or added nothing to the answer that it went on with: the same is
            # asked again. A prompt that waited is in its run, and not in the transcript yet.
            return self._queue(
                run.kind,
                prompt=None if run.prompt is None else replace(run.prompt, id=new_id("m-")),
                message_id=run.message_id if appends else None,
                rooted=run.rooted,
                parent_id=run.parent_id,
                replaces=run.replaces,
                params=run.params,
            )
        answer = self.state.messages.get(run.message_id)
        parent = answer.parent_id if answer is not None else run.prompt_id or run.parent_id
        replaced = run.message_id
        before = self.state.messages.get(run.replaces or "")
        if answer is not None and not answer.parts and before is not None:
            # A retry of which nothing came: what it was to replace still waits to be replaced.
            self.append(MessageRemoved(message_id=answer.id))
            replaced = before.id
        # Where the conversation went on after it, the answer stays as a version, and so does what follows.
        followed = any(m.parent_id == replaced for m in self.state.messages.values())
        return self._queue(
            "retry",
            rooted=True,
            parent_id=parent,
            replaces=None if followed else replaced,
            params=run.params,
        )

    def regenerate(self, message_id: str | None = None) -> str:
        """Ask for another version of an answer; the earlier one stays beside it."""
        self._refuse_while_busy()
        answer = lookup.answer(self.state, message_id)
        params = self._params_of(answer.id)
        return self._queue("regenerate", rooted=True, parent_id=answer.parent_id, params=params)

    def continue_(self, message_id: str | None = None) -> str:
        """Ask the model to go on at the end of an answer; the text is appended to the same message."""
        self._refuse_while_busy()
        answer = lookup.answer(self.state, message_id)
        return self._queue("continue", message_id=answer.id, params=self._params_of(answer.id))

    def resume(self, run_id: str | None = None) -> str:
        """Read on in a paused run, or go on with an interrupted one where the server keeps it.

        Returns
        -------
        The id of the run that goes on: the paused one itself, or a new one.
        """
        held = self.state.live if run_id is None else self.state.run(run_id)
        if held is not None and held.state.is_live:
            if held.state is not RunState.PAUSED:
                raise RunNotLive(f"run {held.id!r} is {held.state}, not paused.")
            if self._live is not None and self._live.run_id == held.id:
                self._live.resume()
            else:
                self.append(RunRequeued(run_id=held.id))
                self._submit()
            return held.id
        self._refuse_while_busy()
        run = lookup.last_run(self.state) if run_id is None else lookup.run(self.state, run_id)
        if run.state is not RunState.INTERRUPTED:
            raise NothingToDo(f"the last run is {run.state}; there is nothing to resume.")
        if run.response_id is None or (run.error is not None and run.error.code == LimitExceeded.code):
            raise NothingToDo(
                "the server keeps no copy of this answer to read on from."
                if run.response_id is None
                else "the answer ended at a limit of this kernel, in the middle of what was read.",
                hint="Use continue_() to let the model go on from the text, or regenerate().",
            )
        return self._queue("resume", message_id=run.message_id, params=run.params)

    # Holding and ending

    def pause(self, run_id: str | None = None) -> RunRecord:
        """Hold the oldest live run, or the one named; one that waits stays where it is in the queue."""
        run = lookup.live_run(self.state, run_id, "pause")
        if run.state is RunState.STOPPING:
            raise RunNotLive(f"run {run.id!r} is stopping.")
        if run.state is not RunState.PAUSED:
            if self._live is not None and self._live.run_id == run.id:
                self._live.pause()
            else:
                self.append(RunPaused(run_id=run.id, at=now()))
                self._withdraw()
        return self.state.run(run.id) or run

    def stop(self, run_id: str | None = None) -> bool:
        """End the oldest run that is not over, or the one named; its text is kept.

        Returns
        -------
        True when there was something to end. After the end it does nothing.
        """
        run = self.state.live if run_id is None else self.state.run(run_id)
        if run is None or run.state.is_over:
            return False
        if self._live is not None and self._live.run_id == run.id:
            self._live.stop()
        elif run.state.is_live:
            self._end_waiting(run, RunStopped(run_id=run.id, at=now()))
        return True

    def stop_all(self) -> int:
        """End every run, the waiting ones first so that none of them starts; return how many."""
        runs = [run for run in self.state.runs if run.state.is_live]
        for run in reversed(runs):
            self.stop(run.id)
        return len(runs)

    def _end_waiting(self, run: RunRecord, end: EndEvent) -> None:
        if isinstance(end, RunStopped):
            self.append(StopRequested(run_id=run.id, at=now()))
        self.append(end)
        self._withdraw()
        self._announce(end)
        self._submit()

    def _withdraw(self) -> None:
        """Leave the queue, unless another prompt of this session keeps its place."""
        if self._next_queued() is None:
            self._context.scheduler.withdraw(self)

    def end_live(self, error: Any) -> bool:  # noqa: ANN401 - an NbchatError; the live run knows what to do
        """End the live run because of `error`; for clocks that are not its own."""
        if self._live is None:
            return False
        self._live.end(error)
        return True

    def fail_all(self, info: ErrorInfo) -> None:
        """End everything as interrupted: the kernel is going away."""
        for run in reversed([run for run in self.state.runs if run.state.is_live]):
            if self._live is not None and self._live.run_id == run.id:
                continue
            self._end_waiting(run, RunInterrupted(run_id=run.id, at=now(), error=info))

    # Versions, settings, life

    def discard(self, message_id: str) -> None:
        """Remove an answer that is over, with what follows it; the question stays."""
        answer = lookup.answer(self.state, message_id)
        run = self.state.run(answer.run_id) if answer.run_id else None
        if run is not None and run.state.is_live:
            raise RunInProgress(self.id, run.id, run.state)
        self._refuse_while_busy()
        self.append(MessageRemoved(message_id=message_id))

    def keep(self, run_id: str) -> None:
        """Take an interrupted answer as it is."""
        run = lookup.run(self.state, run_id)
        if not run.acknowledged:
            self.append(RunAcknowledged(run_id=run_id))

    def select(self, message_id: str) -> None:
        """Show this version of a turn."""
        lookup.message(self.state, message_id)
        self._refuse_while_busy()
        self.append(MessageSelected(message_id=message_id))

    def configure(self, **changes: Any) -> None:  # noqa: ANN401 - fields of Settings
        """Change settings; runs that are live keep what they started with."""
        settings = replace(self._own_settings(changes), **changes)
        if settings != self.state.settings:
            self.append(SettingsChanged(settings=settings))
            self._context.observers.tell(Notification(event="changed", session_id=self.id))

    def _own_settings(self, changes: Mapping[str, Any]) -> Settings:
        """Return the settings to change: what came with a file goes where the user chooses for himself."""
        settings = self.state.settings
        if settings.from_file and not {"model", "instructions", "params", "provider"}.isdisjoint(changes):
            return replace(in_force(settings), from_file=False)
        return settings

    def set_unread(self, *, unread: bool) -> None:
        """Mark the session read or unread."""
        if self.state.unread != unread:
            self.append(UnreadChanged(unread=unread))

    def delete(self) -> None:
        """End everything at once and mark the session deleted; late deltas find nobody."""
        for run in reversed([run for run in self.state.runs if run.state.is_live]):
            if self._live is not None and self._live.run_id == run.id:
                self._live.abandon()
            else:
                self.stop(run.id)
        self.append(SessionDeleted(at=now()))

    def undelete(self) -> None:
        """Take a deletion back; what was stopped stays stopped."""
        if self.state.deleted:
            self.append(SessionDeleted(at=now(), deleted=False))

    # The run's way

    def _params_of(self, message_id: str) -> Mapping[str, Any]:
        """Return the request fields that the run of an answer had for itself."""
        runs = [run for run in self.state.runs if run.message_id == message_id]
        return runs[-1].params if runs else {}

    def _queue(
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
        if self.state.deleted:
            raise SessionGone(self.id)
        waiting = sum(run.state is RunState.QUEUED for run in self.state.runs)
        if waiting >= self._context.limits.queue:
            raise QueueFull(
                f"session {self.id!r} has {waiting} prompts waiting already.",
                hint="Wait for some to finish, or stop_all() to drop them.",
            )
        self.touched = time.monotonic()
        run_id = run_id or new_id("r-")
        self.append(
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
        self._submit()
        if self._live is None or self._live.run_id != run_id:
            self._context.observers.tell(Notification(event="queued", session_id=self.id, run_id=run_id))
        return run_id

    def _submit(self) -> None:
        if self._live is None and not self._starting and self._next_queued() is not None:
            self._context.scheduler.submit(self)

    def _next_queued(self) -> RunRecord | None:
        live = self.state.live
        return live if live is not None and live.state is RunState.QUEUED else None

    def moved_up(self) -> None:
        """Hear that the place in the queue changed: the tab shows it."""
        self._context.changed(self)

    def start_next(self) -> bool:
        """Take a slot for the oldest waiting prompt; False when there is none."""
        run = self._next_queued()
        if run is None or self._live is not None or self._starting or self.state.deleted:
            return False
        self._starting = True
        # The question is durable before anybody is asked.
        task = self._context.engine.spawn(self._settled(), name=f"nbchat-start-{run.id}")
        task.add_done_callback(lambda task: self._start(run, task))
        return True

    def _start(self, run: RunRecord, settled: asyncio.Task[bool]) -> None:
        # A callback, for a task that is cancelled before its first step runs none of its own lines.
        self._starting = False
        if settled.cancelled():  # by somebody: the prompt stands in the queue again
            self._context.scheduler.release()
            self._submit()
            return
        try:
            self._begin(run)
        except Exception as error:
            # Nobody would ever end this run, and nobody give the slot back.
            logger.exception(
                "session %s: run %s could not be started",
                self.id,
                run.id,
                extra=about(session_id=self.id, run_id=run.id),
            )
            crash = RunCrashed(f"the run could not be started: {type(error).__name__}.", stage="connect")
            self._end_unstarted(RunFailed(run_id=run.id, at=now(), error=crash.info))

    def _end_unstarted(self, end: RunFailed) -> None:
        self.append(end)
        self._announce(end)
        self._context.scheduler.release()
        self._submit()

    def _begin(self, run: RunRecord) -> None:
        current = self.state.run(run.id)
        if current is None or current.state is not RunState.QUEUED or self.state.deleted:
            self._context.scheduler.release()
            self._submit()
            return
        run = current
        state, settings = self.state, in_force(self.state.settings)
        appends = run.kind in ("continue", "resume")
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
        if appends and run.message_id not in state.messages:
            gone = NothingToDo("the answer to go on with was removed.").info
            self._end_unstarted(RunFailed(run_id=run.id, at=now(), error=gone))
            return
        self.append(RunStarted(run_id=run.id, at=now(), prompt=prompt, answer=answer, model=settings.model))
        resumed = resumed_by(self.state, run)
        if resumed is not None:
            # Said at once: should nothing come of it, it is still known where to read on.
            self.append(
                RunAnswering(
                    run_id=run.id, response_id=resumed.response_id, sequence=resumed.response_sequence
                )
            )
        if prompt is not None:
            self._context.observers.tell(
                Notification(event="message", session_id=self.id, run_id=run.id, data=prompt)
            )
        self._live = LiveRun(
            self._task(run.id),
            self._context.limits,
            emit=self.append,
            choose=self._choose(settings),
            ended=self._run_ended,
        )

    def _task(self, run_id: str) -> RunPlan:
        return plan_of(self.state, lookup.run(self.state, run_id), self._context.limits)

    def _choose(self, settings: Settings) -> Callable[[Request], Awaitable[tuple[Provider, Request]]]:
        async def choose(request: Request) -> tuple[Provider, Request]:
            provider, request = await self._context.choose(self.provider, settings, request)
            request = self.requests[request.run_id] = fitted(request, provider)
            while len(self.requests) > REQUESTS:
                del self.requests[next(iter(self.requests))]
            return provider, request

        return choose

    def _run_ended(self, live: LiveRun, end: EndEvent) -> None:
        # Readers do not see the end before the journal has it, or has refused it.
        if live.error is not None and live.error.__cause__ is not None:
            self.causes[live.run_id] = live.error.__cause__
            while len(self.causes) > CAUSES:
                del self.causes[next(iter(self.causes))]
        unread = isinstance(end, RunStopped) or isinstance(live.error, LimitExceeded)
        if unread and (cancel := live.cancel_at_server()) is not None:
            self._context.engine.spawn(cancel, name=f"nbchat-cancel-{live.run_id}")
        self.record.hold()
        self.append(end)
        task = self._context.engine.spawn(self._settled(), name=f"nbchat-finish-{live.run_id}")
        task.add_done_callback(lambda task: self._finish(live, end, task))

    def _finish(self, live: LiveRun, end: EndEvent, settled: asyncio.Task[bool]) -> None:
        saved = not settled.cancelled() and settled.exception() is None and settled.result()
        self.record.release()
        if self._live is live:
            self._live = None
        if not saved:
            self.append(RunSaved(run_id=end.run_id, saved=False))
        self._announce(end)
        self._context.scheduler.release()
        self._submit()

    def _announce(self, end: EndEvent) -> None:
        run = self.state.run(end.run_id)
        self._context.observers.tell(
            Notification(
                event="end",
                session_id=self.id,
                run_id=end.run_id,
                state=str(run.state) if run is not None else None,
                data=getattr(end, "error", None),
            )
        )
        if (
            run is not None
            and run.started_at is not None
            and not self.state.deleted
            and not self._context.is_viewed(self.id)
        ):
            self.set_unread(unread=True)
        self.publish()
        if run is not None:
            self._context.ended(self, run)

    async def _settled(self) -> bool:
        """Wait for the journal, but not for long; False when it does not have everything."""
        if self._context.journal is None or self.state.temporary:
            return True
        try:
            async with asyncio.timeout(SETTLE_S):
                await self._context.journal.settled(self.id)
        except (StoreError, TimeoutError):
            return False
        except Exception:
            logger.exception("session %s: the journal failed", self.id, extra=about(session_id=self.id))
            return False
        return True

    # Finding things

    def _user_message(self, text: str, attachments: tuple[Attachment, ...]) -> Message:
        parts: tuple[Part, ...] = (
            TextPart(text=clean(text)),
            *(replace(part, name=clean(part.name), text=clean(part.text)) for part in attachments),
        )
        return Message(id=new_id("m-"), role="user", parts=parts, created_at=now())

    def _check_room(self, chars: int) -> None:
        if self.state.deleted:
            raise SessionGone(self.id)
        held, limit = self.state.characters, self._context.limits.session_chars
        if held + chars > limit:
            raise SessionFull(self.id, held + chars, limit)

    def _refuse_while_busy(self) -> None:
        if self.state.deleted:
            raise SessionGone(self.id)
        live = self.state.live
        if live is not None:
            raise RunInProgress(self.id, live.id, live.state)


def _attachments(message: Message) -> tuple[Attachment, ...]:
    return tuple(part for part in message.parts if isinstance(part, Attachment))

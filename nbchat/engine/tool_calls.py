"""`ToolCalls`: decides on the tool calls of a run and executes the approved ones, a round at a time.

1. A call is executed at most once, and only after `RunActing` with its id is in the log and in the journal.
2. A call is approved by the session's policy, the tool's author, or the user's decision on exactly these
   arguments. The approval is kept in memory, for this call only; `run_all` holds until the run ends.
3. Every call gets a result: of the tool, or the reason why it was not run. An error is a result too.
4. After `run` has ended, in any way, nothing more is started, and no result is appended.
5. The run has no slot meanwhile, since tools and policies may wait for other runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from msgspec.structs import replace

from nbchat.core.calls import ToolCall, calls_of
from nbchat.core.clock import now
from nbchat.core.errors import CommandError, KernelGone, NothingToDo
from nbchat.core.events import Approver, Event, PartEnded, PartStarted, RunActing, RunAwaitingApproval
from nbchat.core.messages import Message, ToolResultPart
from nbchat.core.text import checksum, clean, utf16_length
from nbchat.engine.logs import about
from nbchat.engine.tool_results import part_of, preview_of
from nbchat.engine.tool_threads import decided, execute_work, on_worker
from nbchat.engine.tools import (
    AnyPolicy,
    AnyTool,
    ArgumentsInvalid,
    RemotePolicy,
    RemoteTool,
    ToolOutput,
    error,
    not_run,
)

if TYPE_CHECKING:
    from nbchat.core.commands import Decision
    from nbchat.engine.limits import Limits
    from nbchat.providers.base import Request

logger = logging.getLogger("nbchat")

MAX_CALLS: Final = 16
"""Maximum calls of one round. Later ones are not run."""

SIDE_BY_SIDE: Final = 4
"""Maximum calls of one run that are executed at the same time."""

NO_PAGE: Final = (
    "The call was not run: it needs the user's approval, and no page is open in which it could be given."
)
NOT_STORED: Final = "The call was not run: its approval could not be recorded in the journal."
NO_KERNEL: Final = "The call was not run: the kernel with the tool is gone."
REFUSED: Final = "The user refused this call."
BY_POLICY: Final = "A policy of the user refused this call."
TOO_LARGE: Final = "The call was run, but its result exceeds the size limit of this session."


class ToolContext(Protocol):
    """The session of a run, as its tool calls use it."""

    session_id: str
    tools: Mapping[str, AnyTool]
    """The tools that were switched on when the run started, by name."""

    @property
    def policy(self) -> AnyPolicy | None:
        """The session's policy now."""
        ...

    def answer(self) -> Message:
        """Return the answer so far."""
        ...

    async def stored(self) -> bool:
        """Wait until all events so far are in the journal; return False if it refuses them."""
        ...

    def can_ask(self) -> bool:
        """Return whether a page is open or a callback is subscribed, so that a decision is possible."""
        ...

    def changed(self) -> None:
        """Notify readers of a change in the calls that wait."""
        ...

    def asks(self, calls: tuple[ToolCall, ...]) -> None:
        """Notify callbacks of calls that wait for approval."""
        ...

    def release_slot(self) -> None:
        """Release the slot of the run while no connection is open."""
        ...

    async def take_slot(self) -> None:
        """Wait for a slot, unless the run has one."""
        ...

    def release_tools(self) -> None:
        """Drop the tools, since tools of a server keep its process alive."""
        ...


@dataclass(slots=True, eq=False)
class _Ready:
    """A call with valid arguments."""

    call: ToolCall
    tool: AnyTool
    execute: Callable[[float], Awaitable[ToolOutput | ToolResultPart]]
    """Executes the call within a number of seconds."""
    preview: Callable[[], Awaitable[str | None]]
    """Returns the text of the result before the call is approved; `None` if that is not possible."""


class ToolCalls:
    """The tool calls of one run. Only for the engine's loop.

    Parameters
    ----------
    run_id
        The run.
    context
        Its session.
    limits
        Read again for each call.
    emit
        Appends an event to the session's log.
    left
        Returns the characters that may still be added to the session.
    """

    def __init__(
        self,
        run_id: str,
        context: ToolContext,
        limits: Limits,
        *,
        emit: Callable[[Event], object],
        left: Callable[[], int],
    ) -> None:
        self._run_id = run_id
        self._context = context
        self._limits = limits
        self._emit = emit
        self._left = left
        self.taken: set[str] = {call.id for call in calls_of(context.answer(), None)}
        """Ids of the calls of the answer."""
        self.previews: dict[str, str] = {}
        """The texts that calls would return, by id, while the calls wait for approval."""
        self.queued: set[str] = set()
        """Ids of approved calls that wait for the main thread."""
        self._characters = 0
        self._asking: dict[str, _Ready] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._all_approved = False
        self._lost: KernelGone | None = None
        """The error of a call whose outcome is unknown, because the kernel that executed it is gone."""
        self._is_open = False
        self._changed = asyncio.Event()
        self._side_by_side = asyncio.Semaphore(SIDE_BY_SIDE)
        self._on_main = asyncio.Lock()

    def open_calls(self, first_part: int) -> list[ToolCall]:
        """Return the calls without a result, from a part of the answer on."""
        found = calls_of(self._context.answer(), None, first_part)
        return [call for call in found if call.name and call.result is None]

    def next_request(self, request: Request) -> tuple[Request, int]:
        """Return the request with the answer so far, and the index of the next part."""
        answer = self._context.answer()
        return _with_results(request, answer), len(answer.parts)

    async def run(self, calls: Sequence[ToolCall]) -> None:
        """Decide on the calls of a round, execute the approved ones, and append a result for each.

        Returns when each call has its result and the run has a slot for the next round.

        Raises
        ------
        KernelGone
            If a call has no result, since the kernel that executed it is gone.
        """
        self._is_open = True
        self._context.release_slot()
        try:
            await self._decide_all(calls)
            while self._asking or self._running:
                self._changed.clear()
                await self._changed.wait()
                if self._lost is not None:
                    raise self._lost
            await self._context.take_slot()
        finally:
            self.close()

    def close(self) -> None:
        """Start no more calls, and cancel those that are being executed, as far as possible."""
        self._is_open = False
        self._asking.clear()
        self.previews.clear()
        self.queued.clear()
        for task in self._running:
            task.cancel()

    def release(self) -> None:
        """Close, and drop the tools: the run is over."""
        self.close()
        self._context.release_tools()

    def take_size(self) -> int:
        """Return the characters of the results since the last call, pictures included."""
        characters, self._characters = self._characters, 0
        return characters

    async def _decide_all(self, calls: Sequence[ToolCall]) -> None:
        approved: dict[Approver, list[_Ready]] = {"user": [], "policy": [], "author": []}
        asking: list[_Ready] = []
        for number, call in enumerate(calls):
            ready = await self._checked(call, number)
            if ready is None:
                continue
            decision = await self._policy(call)
            if decision is False:
                self._append(call, not_run(BY_POLICY))
            elif decision is True:
                approved["policy"].append(ready)
            elif not ready.tool.asks:
                approved["author"].append(ready)
            elif self._all_approved:
                approved["user"].append(ready)
            elif not self._context.can_ask():
                self._append(call, not_run(NO_PAGE))
            else:
                asking.append(ready)
        await asyncio.gather(*(self._make_preview(ready) for ready in asking))
        self._asking = {ready.call.id: ready for ready in asking}
        self.drop_gone()
        if self._asking:
            self._ask()
            self._context.asks(tuple(ready.call for ready in self._asking.values()))
        for by, several in approved.items():
            self._start(several, by)

    async def _checked(self, call: ToolCall, number: int) -> _Ready | None:
        """Return the call if it can be executed; otherwise append the reason as its result."""
        tool = self._context.tools.get(call.name)
        if number >= MAX_CALLS:
            reason = f"The call was not run: one answer can have {MAX_CALLS} calls at a time."
        elif tool is None:
            reason = f"There is no tool {call.name!r}. The tools are: {', '.join(self._context.tools)}."
        else:
            try:
                return await self._prepared(tool, call)
            except ArgumentsInvalid as problem:
                reason = str(problem)
            except KernelGone:
                reason = NO_KERNEL
            except Exception as problem:
                logger.warning(
                    "tool %s: its arguments could not be validated",
                    call.name,
                    exc_info=problem,
                    extra=about(run_id=self._run_id),
                )
                reason = f"The arguments could not be validated: {type(problem).__name__}."
        self._append(call, not_run(reason))
        return None

    async def _prepared(self, tool: AnyTool, call: ToolCall) -> _Ready:
        """Return a call with valid arguments; raises `ArgumentsInvalid`."""
        session_id = self._context.session_id
        start: Callable[..., Awaitable[ToolOutput | ToolResultPart]]
        if isinstance(tool, RemoteTool):
            await tool.check(call)
            start, preview = partial(tool.execute, session_id, call), partial(tool.preview, call)
        else:
            # On a thread, since annotations may contain validators of the user.
            work = await on_worker(tool.prepare, call.text)
            start = partial(
                execute_work,
                work,
                name=call.name,
                session_id=session_id,
                on_main_thread=tool.on_main_thread,
                stop_s=self._limits.stop_s,
            )
            preview = partial(preview_of, work, call.id)

        async def execute(limit_s: float) -> ToolOutput | ToolResultPart:
            if not tool.on_main_thread:
                return await start(limit_s=limit_s, begun=lambda: None)
            self._set_queued(call.id, queued=True)
            try:
                return await start(limit_s=limit_s, begun=lambda: self._set_queued(call.id, queued=False))
            finally:
                self.queued.discard(call.id)

        return _Ready(call, tool, execute, preview)

    async def _make_preview(self, ready: _Ready) -> None:
        """Store the text that a call would return, if it is available before the call is run."""
        text = await ready.preview()
        if text is not None:
            self.previews[ready.call.id] = text

    def _set_queued(self, call_id: str, *, queued: bool) -> None:
        """Publish whether an approved call waits for the main thread."""
        (self.queued.add if queued else self.queued.discard)(call_id)
        self._context.changed()

    async def _policy(self, call: ToolCall) -> bool | None:
        """Return the decision of the session's policy; `None` without one, or if it fails."""
        policy = self._context.policy
        if policy is None:
            return None
        try:
            async with asyncio.timeout(self._limits.tool_s):
                if isinstance(policy, RemotePolicy):
                    return await policy.decide(call)
                return await decided(policy, self._context.session_id, call)
        except TimeoutError:
            logger.warning(
                "session.approve did not return within limits.tool_s; it has not decided on %s",
                call.name,
                extra=about(run_id=self._run_id),
            )
        except Exception:
            logger.exception("session.approve failed; it has not decided on %s", call.name)
        return None

    # Decisions

    def decide(self, call_id: str, decision: Decision, shown: int, reason: str = "") -> None:
        """Carry out the user's decision on a call that waits.

        Raises
        ------
        NothingToDo
            If the call does not wait for a decision: it has one, or its run ended.
        CommandError
            If other arguments were displayed than those of the call.
        """
        ready = self._asking.get(call_id)
        if ready is None or not self._is_open:
            raise NothingToDo(f"the tool call {call_id!r} does not wait for approval.", hint="")
        if shown != checksum(ready.call.text):
            raise CommandError(
                f"the arguments of {ready.call.name!r} that were shown are not those of the call.",
                hint="Read the call again before you decide.",
            )
        for over in list(self._asking) if decision == "run_all" else [call_id]:
            self.previews.pop(over, None)
        if decision == "refuse":
            del self._asking[call_id]
            self._append(ready.call, not_run(f"{REFUSED} {clean(reason).strip()[:2000]}".strip()))
        elif decision == "run":
            del self._asking[call_id]
            self._start([ready], "user")
        else:
            self._all_approved = True
            waiting, self._asking = list(self._asking.values()), {}
            self._start(waiting, "user")
        self._changed.set()

    def drop_gone(self) -> None:
        """Append the reason as the result of each waiting call whose kernel is gone."""
        for call_id, ready in list(self._asking.items()):
            if isinstance(ready.tool, RemoteTool) and ready.tool.is_gone:
                del self._asking[call_id]
                self._append(ready.call, not_run(NO_KERNEL))
        self._changed.set()

    def _ask(self) -> None:
        self._emit(RunAwaitingApproval(run_id=self._run_id, at=now(), call_ids=tuple(self._asking)))

    # Execution

    def _start(self, several: Sequence[_Ready], by: Approver) -> None:
        """Record the approval of calls and execute them."""
        if not several:
            return
        ids = tuple(ready.call.id for ready in several)
        self._emit(RunActing(run_id=self._run_id, at=now(), call_ids=ids, by=by))
        for ready in several:
            task = asyncio.get_running_loop().create_task(
                self._execute(ready), name=f"nbchat-call-{self._run_id}"
            )
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        problem = None if task.cancelled() else task.exception()
        if isinstance(problem, KernelGone):
            self._lost = problem
        elif problem is not None:
            logger.error("run %s: a call failed", self._run_id, exc_info=problem)
        if self._is_open and self._asking and not self._running and self._lost is None:
            self._ask()
        self._changed.set()

    async def _execute(self, ready: _Ready) -> None:
        async with self._on_main if ready.tool.on_main_thread else self._side_by_side:
            stored = await self._context.stored()
            if not self._is_open:
                return
            if not stored:
                output: ToolOutput | ToolResultPart = not_run(NOT_STORED)
            else:
                output = await ready.execute(self._limit(ready.tool))
        if self._is_open:
            self._append(ready.call, output)

    def _limit(self, tool: AnyTool) -> float:
        return self._limits.tool_s if tool.timeout_s is None else tool.timeout_s

    # Results

    def _append(self, call: ToolCall, output: ToolOutput | ToolResultPart) -> None:
        """Append the result of a call to the answer."""
        part = output if isinstance(output, ToolResultPart) else part_of(call.id, output)
        if part.size > self._left() - self._characters:
            part = part_of(call.id, error(TOO_LARGE))
        self._characters += part.size
        index = len(self._context.answer().parts)
        self._emit(PartStarted(run_id=self._run_id, at=now(), part_index=index, part=part))
        self._emit(
            PartEnded(
                run_id=self._run_id,
                part_index=index,
                length=utf16_length(part.text),
                crc32=checksum(part.text),
                seconds=0.0,
            )
        )


def _with_results(request: Request, answer: Message) -> Request:
    """Return the request of the next round: the conversation, and the answer with its calls and results."""
    messages = request.messages
    if messages and messages[-1].id == answer.id:  # the beginning of an answer that is continued
        messages = messages[:-1]
    return replace(request, messages=(*messages, answer), prefill=False, resume_id=None, resume_after=0)

"""Tools and policies: their objects stay in the kernel that set them, and the runner has it call them.

`KernelCalls` is the runner's side and `ToolObjects` the kernel's. A call is executed at most once, ever:

1. The approval is in the runner's journal before the request leaves. The request is sent once, over one link.
2. The kernel asks for permission when the call starts, and the runner gives it once, while the run waits.
3. If the link ends before that, the call was not run. If it ends later, the outcome is unknown.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.calls import ToolCall
from nbchat.core.errors import CommandError, KernelGone, NbchatError
from nbchat.core.ids import new_id
from nbchat.core.messages import ToolResultPart
from nbchat.core.values import convert
from nbchat.engine.tool_calls import MAX_CALLS, NO_KERNEL
from nbchat.engine.tool_results import part_of, preview_of
from nbchat.engine.tool_threads import decided, execute_work, on_worker
from nbchat.engine.tools import ArgumentsInvalid, Policy, Tool, ToolOutput, Work, error, not_run
from nbchat.runner.messages import OfferedTool

if TYPE_CHECKING:
    from nbchat.engine.limits import Limits
    from nbchat.runner.link import Link

logger = logging.getLogger("nbchat")

START_S: Final = 120.0
"""Longest wait for a kernel that neither validates nor starts a call: it is suspended."""

GRACE_S: Final = 5.0
"""Seconds after a call's limit in which its kernel, which has the same limit, may report the result."""

BEGIN_S: Final = 10.0
"""Longest wait of a kernel for the permission to start a call."""

NO_ANSWER: Final = "The call was not run: the kernel with the tool does not answer."
NO_RUNNER: Final = "The call was not run: the runner did not permit it in time."
NOT_CHECKED: Final = "The call was not run: its kernel has not checked it."
TOO_LATE: Final = "The call was not run: its run does not wait for it any more."


# In the runner


class KernelCalls:
    """The calls that one kernel executes for the runner. Only for the engine's loop.

    Parameters
    ----------
    ask
        Calls a function of the kernel and returns its value.
    notify
        Calls a function of the kernel without waiting.
    post
        Calls a function on the engine's loop, from any thread.
    """

    def __init__(
        self,
        ask: Callable[..., Awaitable[Any]],
        notify: Callable[..., None],
        post: Callable[..., None],
    ) -> None:
        self.ask = ask
        self.notify = notify
        self._post = post
        self.is_gone: bool = False
        """True after the link has ended."""
        self._permitted: dict[str, asyncio.Future[None]] = {}
        """For each call that was sent, a future that is done when the kernel may have started it."""

    def __repr__(self) -> str:
        """Return the number of calls."""
        return f"<KernelCalls, {len(self._permitted)}>"

    def unused(self, set_id: str) -> None:
        """Let the kernel forget a set of tools, which no session and no run uses. From any thread."""
        self._post(lambda: self.notify("tools_unused", tools=set_id))

    def begin(self, key: str) -> bool:
        """Return whether the kernel may start a call: once, and while the run waits for it."""
        permitted = self._permitted.get(key)
        if permitted is None or permitted.done():
            return False
        permitted.set_result(None)
        return True

    async def execute(
        self,
        tool: KernelTool,
        session_id: str,
        call: ToolCall,
        limit_s: float,
        begun: Callable[[], object],
    ) -> ToolResultPart | ToolOutput:
        """Execute a call in the kernel; see `RemoteTool.execute`."""
        if self.is_gone:
            return not_run(NO_KERNEL)
        key = new_id("x-")
        permitted = self._permitted[key] = asyncio.get_running_loop().create_future()
        answer = asyncio.ensure_future(
            self.ask(
                "run_call",
                key=key,
                tools=tool.tools.id,
                session_id=session_id,
                call=call,
                limit_s=limit_s,
            )
        )
        # The error is retrieved in any case, since a run that is stopped does not wait for it.
        answer.add_done_callback(lambda answer: answer.cancelled() or answer.exception())
        try:
            # The time that a call waits for the running cell does not count.
            if not await _first({answer, permitted}, None if tool.on_main_thread else START_S):
                return not_run(NO_ANSWER)
            begun()
            if not await _first({answer}, limit_s + GRACE_S):
                return error(f"The call did not end within {limit_s:g} s. It may still be running.")
            value = answer.result()
        except NbchatError as problem:
            if not permitted.done():
                return not_run(NO_KERNEL if self.is_gone else f"The call was not run: {problem.args[0]}")
            if not self.is_gone:
                return error(f"The result of the call was lost: {problem.args[0]}")
            raise KernelGone(
                "the kernel that executed a tool call is gone, and the outcome of the call is unknown."
            ) from problem
        else:
            part: ToolResultPart = convert(ToolResultPart, value)
            return part
        finally:
            del self._permitted[key]
            if not answer.done():
                answer.cancel()
                self.notify("cancel_call", key=key)


async def _first(futures: Collection[asyncio.Future[Any]], timeout_s: float | None) -> bool:
    """Wait until one is done; return False after `timeout_s`."""
    done, _ = await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


class KernelTools:
    """Tools of a kernel that were set together; the kernel keeps them for as long as this object exists."""

    def __init__(self, calls: KernelCalls, set_id: str) -> None:
        self.calls = calls
        self.id = set_id
        weakref.finalize(self, calls.unused, set_id).atexit = False


class KernelTool:
    """A tool of a kernel. Implements `RemoteTool`, in the runner."""

    def __init__(self, tools: KernelTools, offered: OfferedTool) -> None:
        self.tools = tools
        """The tools that were set together with it."""
        self.spec = offered.spec
        self.asks = offered.asks
        self.timeout_s = offered.timeout_s
        self.on_main_thread = offered.on_main_thread

    def __repr__(self) -> str:
        """Return the name."""
        return f"<KernelTool {self.spec.name}>"

    @property
    def is_gone(self) -> bool:
        """True if its kernel is gone."""
        return self.tools.calls.is_gone

    async def check(self, call: ToolCall) -> None:
        """Validate the arguments of a call in the kernel."""
        try:
            async with asyncio.timeout(START_S):
                reason = await self.tools.calls.ask("check_call", tools=self.tools.id, call=call)
        except TimeoutError as problem:
            raise ArgumentsInvalid(NO_ANSWER) from problem
        if reason is not None:
            raise ArgumentsInvalid(str(reason))

    async def preview(self, call: ToolCall) -> str | None:
        """Return the text that a call will return, which its kernel keeps until then."""
        try:
            async with asyncio.timeout(START_S):
                text: str | None = await self.tools.calls.ask(
                    "preview_call", tools=self.tools.id, call_id=call.id
                )
        except (NbchatError, TimeoutError):  # the kernel is gone or suspended; the call is not run then
            return None
        return text

    async def execute(
        self, session_id: str, call: ToolCall, limit_s: float, begun: Callable[[], object]
    ) -> ToolResultPart | ToolOutput:
        """Execute a call in the kernel."""
        return await self.tools.calls.execute(self, session_id, call, limit_s, begun)


class KernelPolicy:
    """A policy of a kernel. Implements `RemotePolicy`, in the runner."""

    def __init__(self, calls: KernelCalls, policy_id: str) -> None:
        self.calls = calls
        self.id = policy_id

    async def decide(self, call: ToolCall) -> bool | None:
        """Return the decision of the function in the kernel."""
        decision: bool | None = await self.calls.ask("decide_call", policy=self.id, call=call)
        return decision


# In the kernel


class ToolSet:
    """The tools that were set for a session at one time."""

    def __init__(self, session_id: str, tools: Sequence[Tool]) -> None:
        self.id: str = new_id("t-")
        self.session_id = session_id
        self.tools: dict[str, Tool] = {tool.spec.name: tool for tool in tools}
        self.checked: dict[str, Work] = {}
        """Calls with valid arguments that were not started, by id; the oldest are of earlier rounds."""
        self.off: frozenset[str] = frozenset()
        """Names of the tools that a page switched off."""
        self.is_set: bool = False
        """The runner has accepted them."""
        self.is_replaced: bool = False
        """Other tools were set since then, by this kernel or another one."""

    def offer(self) -> dict[str, Any]:
        """Return the arguments of `use_tools`, which describe the tools to the runner."""
        tools = [
            OfferedTool(
                spec=tool.spec,
                asks=tool.asks,
                timeout_s=tool.timeout_s,
                on_main_thread=tool.on_main_thread,
            )
            for tool in self.tools.values()
        ]
        return {"session_id": self.session_id, "tools": self.id, "offered": tools, "off": sorted(self.off)}


class ToolObjects:
    """The tools and policies of this kernel. Coroutines run on the loop of the kernel's own engine.

    Parameters
    ----------
    limits
        The kernel's limits.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sets: dict[str, ToolSet] = {}
        """The sets that sessions or live runs use."""
        self._policies: dict[str, tuple[str, Policy]] = {}
        """Id and policy of each session that has one."""
        self._running: dict[str, tuple[Link, asyncio.Task[Any] | None]] = {}

    def __repr__(self) -> str:
        """Return the number of sets."""
        return f"<ToolObjects, {len(self._sets)} sets>"

    # Tools and policies of sessions

    def add(self, session_id: str, tools: Sequence[Tool]) -> ToolSet:
        """Keep the tools of a session, for a runner that is about to get them."""
        made = ToolSet(session_id, tools)
        self._sets[made.id] = made
        return made

    def remove(self, tools: ToolSet) -> None:
        """Forget tools that the runner refused."""
        self._sets.pop(tools.id, None)

    def current(self) -> list[ToolSet]:
        """Return the sets that sessions use now."""
        return [tools for tools in list(self._sets.values()) if tools.is_set and not tools.is_replaced]

    def tools_of(self, session_id: str) -> tuple[Tool, ...]:
        """Return the tools of a session that are switched on."""
        found = next((tools for tools in self.current() if tools.session_id == session_id), None)
        if found is None:
            return ()
        return tuple(tool for name, tool in found.tools.items() if name not in found.off)

    def policies(self) -> list[tuple[str, str]]:
        """Return session and id of each policy."""
        return [(session_id, policy_id) for session_id, (policy_id, _) in list(self._policies.items())]

    def policy_of(self, session_id: str) -> Policy | None:
        """Return the policy of a session."""
        return self._policies[session_id][1] if session_id in self._policies else None

    def set_policy(self, session_id: str, policy: Policy | None) -> str:
        """Keep the policy of a session; return its id."""
        policy_id = new_id("p-")
        if policy is None:
            self._policies.pop(session_id, None)
        else:
            self._policies[session_id] = (policy_id, policy)
        return policy_id

    # Notifications from the runner, on the reading thread of the link

    def tools_switched(self, tools: str, off: Sequence[str]) -> None:
        """Record the tools that a page switched off."""
        if tools in self._sets:
            self._sets[tools].off = frozenset(off)

    def tools_replaced(self, tools: str) -> None:
        """Record that these tools were replaced; live runs may still use them."""
        if tools in self._sets:
            self._sets[tools].is_replaced = True

    def tools_unused(self, tools: str) -> None:
        """Forget tools that no session and no run of the runner uses."""
        self._sets.pop(tools, None)

    def policy_replaced(self, policy: str) -> None:
        """Forget a policy that another kernel has replaced."""
        for session_id, policy_id in self.policies():
            if policy_id == policy:
                self._policies.pop(session_id, None)

    # Functions that the runner calls; they get the link of the call

    async def check_call(self, _link: Link, tools: str, call: Mapping[str, Any]) -> str | None:
        """Return the reason why the arguments of a call are invalid; `None` if they are not."""
        parsed: ToolCall = convert(ToolCall, call)
        found, tool = self._tool(tools, parsed.name)
        try:
            work = await on_worker(tool.prepare, parsed.text)
        except ArgumentsInvalid as problem:
            return str(problem)
        except Exception as problem:
            logger.warning("tool %s: its arguments could not be validated", parsed.name, exc_info=problem)
            return f"The arguments could not be validated: {type(problem).__name__}."
        found.checked.pop(parsed.id, None)
        found.checked[parsed.id] = work
        while len(found.checked) > 2 * MAX_CALLS:
            del found.checked[next(iter(found.checked))]
        return None

    async def preview_call(self, _link: Link, tools: str, call_id: str) -> str | None:
        """Return the text that a checked call will return; `None` if it is not available before."""
        found = self._sets.get(tools)
        work = None if found is None else found.checked.get(call_id)
        return None if work is None else await preview_of(work, call_id)

    async def decide_call(self, _link: Link, policy: str, call: Mapping[str, Any]) -> bool | None:
        """Return the decision of a policy. The runner does not wait for it for ever."""
        for session_id, (known, function) in list(self._policies.items()):
            if known == policy:
                return await decided(function, session_id, convert(ToolCall, call))
        return None

    async def run_call(  # noqa: PLR0917 - as the message
        self, link: Link, key: str, tools: str, session_id: str, call: Mapping[str, Any], limit_s: float
    ) -> ToolResultPart:
        """Execute a call, if the runner still permits it."""
        self._running[key] = (link, asyncio.current_task())
        try:
            parsed: ToolCall = convert(ToolCall, call)
            found, tool = self._tool(tools, parsed.name)
            work = found.checked.pop(parsed.id, None)
            if work is None:
                return part_of(parsed.id, not_run(NOT_CHECKED))
            output = await execute_work(
                PermittedWork(work, lambda: _may_begin(link, key)),
                name=parsed.name,
                session_id=session_id,
                on_main_thread=tool.on_main_thread,
                limit_s=limit_s,
                stop_s=self._limits.stop_s,
            )
            return part_of(parsed.id, output)
        finally:
            del self._running[key]

    async def cancel_call(self, _link: Link, key: str) -> None:
        """Cancel a call whose run is over."""
        _, task = self._running.get(key, (None, None))
        if task is not None:
            task.cancel()

    def end(self, link: Link) -> None:
        """Cancel all calls of a link that is lost: their results cannot be reported.

        Tools that were replaced are forgotten, since the runs that used them cannot call them any more.
        """
        for tools in list(self._sets.values()):
            if tools.is_replaced:
                self.remove(tools)
        for of, task in list(self._running.values()):
            if of is link and task is not None:
                task.cancel()

    def _tool(self, tools: str, name: str) -> tuple[ToolSet, Tool]:
        found = self._sets.get(tools)
        if found is None or name not in found.tools:
            raise CommandError(
                f"the kernel no longer has the tool {name!r}.", hint="Set session.tools again."
            )
        return found, found.tools[name]


class PermittedWork:
    """A call that asks for permission when it starts, and then executes another one. Implements `Work`."""

    def __init__(self, work: Work, may_begin: Callable[[], bool]) -> None:
        self._work = work
        self._may_begin = may_begin
        self._is_interrupted = False

    @property
    def was_interrupted(self) -> bool:
        """True if an interrupt ended it."""
        return self._is_interrupted or getattr(self._work, "was_interrupted", False) is True

    def run(self) -> ToolOutput:
        """Execute the call, if it is permitted."""
        try:
            if not self._may_begin():
                return not_run(TOO_LATE)
        except KeyboardInterrupt:
            self._is_interrupted = True
            return not_run("The call was interrupted before it was started.")
        except (NbchatError, OSError):  # the link is lost, or the runner does not answer in time
            return not_run(NO_RUNNER)
        return self._work.run()

    def cancel(self) -> None:
        """Ask the call to end."""
        self._work.cancel()


def _may_begin(link: Link, key: str) -> bool:
    """Ask the runner for the permission to start a call. Blocks."""
    return link.call("begin_call", BEGIN_S, key=key) is True

"""Functions about tools: `checked_tools` validates those of a session, `decide` approves or refuses calls."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nbchat.core.calls import ToolCall
from nbchat.core.commands import Decide, Decision
from nbchat.core.errors import NothingToDo, WouldDeadlock
from nbchat.core.ids import new_id
from nbchat.core.text import checksum
from nbchat.engine.backend import Backend
from nbchat.engine.tools import Tool, ToolServer, caller
from nbchat.handles.served_tools import expanded


def checked_tools(tools: object) -> tuple[Tool, ...]:
    """Return tools as a tuple; servers are replaced by their tools, for which they are contacted.

    Raises
    ------
    TypeError
        If they are not objects made with `@nbchat.tool`, or not in a list.
    ValueError
        If two have the same name.
    NbchatError
        If a server cannot be used.
    """
    if isinstance(tools, Tool | ToolServer | str | bytes) or not isinstance(tools, Iterable):
        raise TypeError("tools must be a list of tools, such as [rate]; () switches all off.")
    found: dict[str, Tool] = {}
    for tool in expanded(tools):
        if not isinstance(tool, Tool):
            hint = (
                "Decorate the function with @nbchat.tool."
                if callable(tool)
                else ("OpenAI's own tools are given as params={'tools': …}.")
            )
            raise TypeError(f"tools must contain objects made with @nbchat.tool, not {tool!r}. {hint}")
        name = tool.spec.name
        if name in found and found[name] is not tool:
            raise ValueError(f"two tools have the name {name!r}; names of tools must be unique.")
        found[name] = tool
    return tuple(found.values())


def decide(
    backend: Backend,
    session_id: str,
    run_id: str,
    calls: Iterable[ToolCall],
    *,
    decision: Decision,
    call_id: str | None,
    reason: str = "",
) -> None:
    """Decide on one of a run's calls, or on all that wait.

    Raises
    ------
    TypeError
        If the reason is not a string.
    NothingToDo
        If no such call waits for approval.
    """
    if not isinstance(reason, str):
        raise TypeError(f"the reason must be a string, not {type(reason).__name__}.")
    waiting = [call for call in calls if call.state == "asking" and call_id in (None, call.id)]
    if not waiting:
        which = "no tool call" if call_id is None else f"no tool call {call_id!r}"
        raise NothingToDo(f"{which} of run {run_id!r} waits for approval.", hint="Look at run.calls.")
    refused: NothingToDo | None = None
    decided = 0
    for call in waiting:
        command = Decide(
            id=new_id("c-"),
            session_id=session_id,
            run_id=run_id,
            call_id=call.id,
            decision=decision,
            shown=checksum(call.text),
            reason=reason,
        )
        try:
            backend.execute(command)
            decided += 1
        except NothingToDo as problem:  # a page was faster
            refused = problem
    if refused is not None and not decided:
        raise refused


@contextmanager
def stopped_after(timeout: float | None, stop: Callable[[], bool], tools: Iterable[Tool]) -> Iterator[None]:
    """Call `stop` at the end of a timeout, also while a wait in this context executes a call.

    Raises
    ------
    TimeoutError
        If `stop` returned true.
    """
    if timeout is None or not any(tool.on_main_thread for tool in tools):
        yield
        return
    stopped: list[bool] = []
    timer = threading.Timer(min(max(timeout, 0), threading.TIMEOUT_MAX), lambda: stopped.append(stop()))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
    if any(stopped):
        raise TimeoutError


def refuse_own_wait(session_id: str, *, is_over: bool) -> None:
    """Refuse a wait of a tool or a policy for a run of its own session, which waits for it.

    Raises
    ------
    WouldDeadlock
        If the current code is executed as a tool or the policy of this session, and the run is not over.
    """
    if not is_over and caller.get() == session_id:
        raise WouldDeadlock(
            "a tool or policy cannot wait for its own session, which waits for it.",
            hint="Use another session, or nbchat.ask().",
        )

"""Threads for code of the user: `execute_work` executes a tool call, on its own or the main thread.

`decided` calls a policy on a thread of its own, and `on_worker` a function that does not wait for runs.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

from nbchat.engine.main_thread import Job, main_thread
from nbchat.engine.tools import Policy, ToolOutput, Work, caller, error, not_run

if TYPE_CHECKING:
    from nbchat.core.calls import ToolCall

logger = logging.getLogger("nbchat")

T = TypeVar("T")

NO_MAIN_THREAD: Final = (
    "The call was not run: it needs the main thread, which is busy and does not wait for an answer."
)


def start_thread(target: Callable[[], object], name: str) -> None:
    """Call a function on a thread of its own."""
    threading.Thread(target=target, name=name, daemon=True).start()


async def on_worker(function: Callable[..., T], *args: object) -> T:
    """Call code of the user on a worker thread."""
    return await asyncio.to_thread(function, *args)


async def decided(policy: Policy, session_id: str, call: ToolCall) -> bool | None:
    """Return the decision of a policy of a session; `None` if it fails.

    It is called on a thread of its own: it may wait for other runs, which need the worker threads.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool | None] = loop.create_future()

    def returned(decision: bool | None) -> None:
        if not done.done():
            done.set_result(decision)

    def target() -> None:
        caller.set(session_id)
        decision = None
        try:
            decision = policy(call)
        except BaseException:
            logger.exception("session.approve raised an error; it has not decided on %s", call.name)
        with suppress(RuntimeError):  # the loop is closed
            # Any other value has the meaning of `None`: a truthy value may be an accident.
            loop.call_soon_threadsafe(returned, decision if decision is True or decision is False else None)

    start_thread(target, "nbchat-policy")
    return await done


async def execute_work(
    work: Work,
    *,
    name: str,
    session_id: str,
    on_main_thread: bool,
    limit_s: float,
    stop_s: float,
    begun: Callable[[], object] = lambda: None,
) -> ToolOutput:
    """Execute a call once, and return its result. A task that is cancelled cancels the call.

    Parameters
    ----------
    name
        The tool's name.
    session_id
        The session that waits for the result; the tool cannot wait for it.
    limit_s
        Seconds for the call, from its start.
    stop_s
        Longest wait for a call that was interrupted.
    begun
        Called when a call for the main thread no longer waits for it.
    """
    if on_main_thread:
        return await _on_main_thread(work, session_id, limit_s, stop_s, begun)
    return await _on_own_thread(work, name, session_id, limit_s)


async def _on_own_thread(work: Work, name: str, session_id: str, limit_s: float) -> ToolOutput:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[ToolOutput] = loop.create_future()

    def target() -> None:
        caller.set(session_id)
        output = _output_of(work)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_set, done, output)

    start_thread(target, f"nbchat-tool-{name}"[:60])
    try:
        async with asyncio.timeout(limit_s):
            return await done
    except TimeoutError:
        work.cancel()
        return error(f"The call did not end within {limit_s:g} s. Its thread may still be running.")
    except asyncio.CancelledError:
        work.cancel()
        raise


async def _on_main_thread(
    work: Work, session_id: str, limit_s: float, stop_s: float, begun: Callable[[], object]
) -> ToolOutput:
    loop = asyncio.get_running_loop()
    has_begun: asyncio.Event = asyncio.Event()
    done: asyncio.Future[ToolOutput] = loop.create_future()
    outputs: list[ToolOutput] = []

    def run() -> bool:
        token = caller.set(session_id)
        try:
            outputs.append(_output_of(work))
        finally:
            caller.reset(token)
        return getattr(work, "was_interrupted", False) is True

    def on_start() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(has_begun.set)

    def on_end(reason: str) -> None:
        missing = not_run(reason) if reason else error("The call was interrupted.")
        output = outputs[0] if outputs else missing
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(has_begun.set)
            loop.call_soon_threadsafe(_set, done, output)

    job = Job(run, on_start, on_end)
    main_thread.submit(job)
    try:
        while not has_begun.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await has_begun.wait()
            # The time that it waits for the running cell does not count.
            if not (has_begun.is_set() or main_thread.will_run(job)):
                job.fail(NO_MAIN_THREAD)
        begun()
        async with asyncio.timeout(limit_s):
            return await asyncio.shield(done)
    except TimeoutError:
        job.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(stop_s):
                output = await asyncio.shield(done)
                text = f"{output.text}\n\nThe call was interrupted after {limit_s:g} s."
                return error(text.strip())
        return error(f"The call did not end within {limit_s:g} s, although it was interrupted.")
    except asyncio.CancelledError:
        job.cancel()
        raise


def _set(done: asyncio.Future[ToolOutput], output: ToolOutput) -> None:
    if not done.done():
        done.set_result(output)


def _output_of(work: Work) -> ToolOutput:
    """Execute a call. Whatever the tool raises, `sys.exit()` included, is its result."""
    try:
        return work.run()
    except BaseException as problem:  # noqa: BLE001 - a tool of another package that breaks the contract
        return error(f"The call raised {type(problem).__name__}.")

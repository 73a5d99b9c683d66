"""Waits for changes of a run, in which the main thread executes calls of tools."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from nbchat.engine.loop_thread import POLL_S
from nbchat.engine.main_thread import main_thread

if TYPE_CHECKING:
    from nbchat.engine.wakeup import Wakeup


def wait(changed: Wakeup, timeout_s: float) -> None:
    """Wait for a change, and execute the jobs of the main thread."""
    with main_thread.waiting(changed.set):
        main_thread.run_pending()
        changed.wait(timeout_s)
        main_thread.run_pending()


class Change(NamedTuple):
    """A change that a coroutine waits for."""

    event: asyncio.Event
    wake: Callable[[], object]
    """Sets the event. From any thread."""


async def turn(changed: Change) -> None:
    """Wait for a change as `wait` does, but return now and then.

    An interrupt of a cell that awaits does not wake the kernel's idle loop; this does.
    """
    with main_thread.waiting(changed.wake):
        _run_jobs()
        # Not wait_for: on Python 3.11 it may swallow a cancellation that comes together with the change,
        # and an interrupted cell would then continue to wait.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_S):
                await changed.event.wait()
        changed.event.clear()
        _run_jobs()


def _run_jobs() -> None:
    """Execute the jobs of the main thread in a coroutine; an interrupt of one cancels the coroutine.

    `KeyboardInterrupt` would end the event loop, and with it the kernel.
    """
    try:
        main_thread.run_pending()
    except KeyboardInterrupt:
        before = signal.getsignal(signal.SIGINT)
        # The loop's own handler interrupts what the loop runs, such as a cell that awaits another task.
        if callable(before) and before is not signal.default_int_handler:
            before(signal.SIGINT, None)
        raise asyncio.CancelledError from None

"""`run_nested` runs a coroutine to its end where an event loop may be running already."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def run_nested(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own, and return its result.

    A loop that is already running in this thread is blocked meanwhile, as it is while any cell runs. Tasks
    that the coroutine has not finished are cancelled.
    """
    # With a factory, the runner does not replace the thread's current loop.
    with _without_loop(), asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(coroutine)


@contextmanager
def _without_loop() -> Iterator[None]:
    """Let another loop run in this thread."""
    outer = asyncio._get_running_loop()  # noqa: SLF001 - for implementers of event loops
    task = None if outer is None else asyncio.current_task(outer)
    if outer is not None and task is not None:
        asyncio.tasks._leave_task(outer, task)  # noqa: SLF001 - as above
    asyncio._set_running_loop(None)  # noqa: SLF001 - as above
    try:
        yield
    finally:
        asyncio._set_running_loop(outer)  # noqa: SLF001 - as above
        if outer is not None and task is not None:
            asyncio.tasks._enter_task(outer, task)  # noqa: SLF001 - as above

"""`LoopThread`: one daemon thread with its own asyncio loop, on which all sessions change.

Work on the loop runs one piece at a time, so sessions need no locks. Cells, comm handlers, magics and
callbacks post to it, and the kernel's main thread may be busy for any length of time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar, cast

from nbchat.core.errors import CommandError, WouldDeadlock
from nbchat.engine.daemon_executor import DaemonExecutor

logger = logging.getLogger("nbchat")

P = ParamSpec("P")
T = TypeVar("T")

Reply: TypeAlias = "queue.SimpleQueue[tuple[T | None, BaseException | None]]"
"""Carries one value, or one error, to the waiting thread."""

POLL_S: Final = 0.2
"""Seconds between two polls of a blocking wait, so that an interrupt is noticed on every platform."""


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's default loop, regardless of the policy of the process.

    With uvloop, connections of the embedded server broke; and a policy may be set at any time, so the
    engine would run on one loop or the other.
    """
    if sys.platform == "win32":
        return asyncio.ProactorEventLoop()
    return asyncio.SelectorEventLoop()


class LoopThread:
    """A thread and its event loop, started by the first call and stopped with the process.

    A forked child has the object but not the thread: its calls raise `CommandError`, so that it never
    writes to the parent's sockets or files.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._closed = False

    def __repr__(self) -> str:
        """Return whether the thread runs, and how many tasks it has."""
        state = "closed" if self._closed else "running" if self._thread else "not started"
        return f"<LoopThread {state}, {len(self._tasks)} tasks>"

    @property
    def aio(self) -> asyncio.AbstractEventLoop:
        """The event loop, started if necessary."""
        loop = self._loop
        if loop is None or self._pid != os.getpid() or self._closed:
            loop = self._start()
        return loop

    @property
    def is_running(self) -> bool:
        """True if the thread was started in this process and has not been closed."""
        return self._loop is not None and not self._closed and self._pid == os.getpid()

    @property
    def is_current(self) -> bool:
        """True if the calling code runs on the loop's thread."""
        return self._thread is threading.current_thread()

    def check(self) -> None:
        """Raise unless the calling code runs on the loop's thread.

        Everything that reads or changes live sessions calls this first.

        Raises
        ------
        RuntimeError
            If another thread is running.
        """
        if not self.is_current:
            raise RuntimeError(
                f"thread {threading.current_thread().name!r} cannot touch the engine's sessions; "
                "send a command to the backend, or use call()."
            )

    def _start(self) -> asyncio.AbstractEventLoop:
        if self._pid != os.getpid():
            raise CommandError(
                "this process was forked from the one that owns the chats.",
                hint="Use nbchat in the parent, or start the child with the 'spawn' method.",
            )
        if sys.platform == "emscripten":
            raise CommandError(
                "nbchat needs threads and sockets, which Python in a browser (Pyodide, JupyterLite) lacks.",
                hint="Open this notebook with a kernel that runs on a computer, such as ipykernel.",
            )
        with self._lock:
            if self._closed:
                raise CommandError("nbchat is shut down: the process is ending.")
            if self._loop is None:
                # Assigned before the thread runs, so that an interrupt here does not lead to a second
                # one. Work posted until then waits in the loop.
                self._loop = loop = _new_loop()
                loop.set_default_executor(DaemonExecutor())
                self._thread = threading.Thread(
                    target=self._work, args=(loop,), name="nbchat-engine", daemon=True
                )
                try:
                    self._thread.start()
                except RuntimeError as error:
                    self._loop = self._thread = None
                    loop.close()
                    raise CommandError(
                        f"nbchat needs a thread, and the system did not start one: {error}.",
                        hint="End other threads or processes, or raise their limit, then try again.",
                    ) from error
            return self._loop

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            while not self._ending:
                # asyncio lets SystemExit and KeyboardInterrupt of any callback end its loop, and any code
                # may call its `stop`. Here that is a mistake, since all sessions live on this loop.
                try:
                    loop.run_forever()
                except BaseException:
                    logger.exception("a callback tried to end nbchat's loop; it continues")
                else:
                    if not self._ending:
                        logger.error("nbchat's loop was stopped from outside; it continues")
        finally:
            loop.close()

    def _is_alive(self) -> bool:
        return self._thread is None or self._thread.is_alive()

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Schedule `function` on the loop without waiting. From any thread; does nothing once closed."""
        if self._closed and self._pid == os.getpid():
            return
        with contextlib.suppress(RuntimeError):  # the loop was closed in between
            self.aio.call_soon_threadsafe(function, *args)

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` on the loop and return its value, or raise its error.

        From any thread; on the loop's thread it is called directly. `function` must not block.
        """
        return self.call_within(None, function, *args, **kwargs)

    def call_within(
        self, timeout_s: float | None, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call `function` as `call` does; raise `TimeoutError` if there is no answer in time."""
        if self.is_current:
            return function(*args, **kwargs)
        answer: Reply[T] = queue.SimpleQueue()

        def work() -> None:
            try:
                answer.put((function(*args, **kwargs), None))
            except BaseException as error:  # noqa: BLE001 - it is raised again in the calling thread
                answer.put((None, error))

        self._hand_over(work)
        return _take(answer, timeout_s, alive=self._is_alive)

    def _hand_over(self, work: Callable[[], object]) -> None:
        try:
            self.aio.call_soon_threadsafe(work)
        except RuntimeError as error:  # the loop was closed in between
            raise CommandError("nbchat is shut down: the process is ending.") from error

    def run(self, coroutine: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Run a coroutine on the loop and wait for it; it is cancelled if the wait is interrupted.

        Raises
        ------
        WouldDeadlock
            If called on the loop's thread, which would wait for itself.
        """
        try:
            self.refuse_to_block("wait")
        except WouldDeadlock:
            coroutine.close()
            raise
        answer: Reply[T] = queue.SimpleQueue()
        tasks: list[asyncio.Task[T]] = []

        def done(task: asyncio.Task[T]) -> None:
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            answer.put((None, error) if error is not None else (task.result(), None))

        def work() -> None:
            tasks.append(self.aio.create_task(coroutine))
            tasks[0].add_done_callback(done)

        self._hand_over(work)
        try:
            return _take(answer, timeout_s, alive=self._is_alive)
        except BaseException:
            self.post(lambda: [task.cancel() for task in tasks])
            raise

    def refuse_to_block(self, what: str) -> None:
        """Raise `WouldDeadlock` on the loop's thread."""
        if self.is_current:
            raise WouldDeadlock(
                f"{what} would block nbchat's own thread, which does the work it waits for.",
                hint="In a provider or tool, await the run instead, or call from a thread of your own.",
            )

    def spawn(self, coroutine: Coroutine[Any, Any, object], name: str) -> asyncio.Task[Any]:
        """Start a task; its failure is logged. Only on the loop's thread."""
        self.check()
        task = self.aio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("task %s failed", task.get_name(), exc_info=error)

    def close(self, timeout_s: float) -> None:
        """Cancel remaining tasks and end the thread, at the end of the process."""
        if self._loop is None or self._pid != os.getpid() or self._closed:
            self._closed = True
            return
        loop, thread = self._loop, self._thread

        async def finish() -> None:
            until = loop.time() + timeout_s / 2
            # A timer may start another task while the current ones are ending.
            while self._tasks and (left_s := until - loop.time()) > 0:
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.wait(self._tasks, timeout=left_s)
            self._ending = True
            loop.call_soon(loop.stop)

        with contextlib.suppress(RuntimeError):
            asyncio.run_coroutine_threadsafe(finish(), loop)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        self._closed = True


def _take(answer: Reply[T], timeout_s: float | None, *, alive: Callable[[], bool]) -> T:
    """Wait for an answer in short steps, so that an interrupt of the waiting thread is noticed.

    Raises
    ------
    TimeoutError
        If no answer arrives within `timeout_s`.
    CommandError
        If the answering thread is no longer `alive`.
    """
    left = timeout_s
    while True:
        step = POLL_S if left is None else min(POLL_S, max(left, 0.0))
        # Not a Future: see wakeup.py.
        with contextlib.suppress(queue.Empty):
            value, error = answer.get(timeout=step)
            if error is not None:
                raise error
            return cast("T", value)
        if not alive() and answer.empty():
            raise CommandError("nbchat is shut down: the process is ending.")
        if left is not None:
            left -= step
            if left <= 0:
                raise TimeoutError(f"not done after {timeout_s} s")

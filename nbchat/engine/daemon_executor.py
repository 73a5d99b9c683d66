"""`DaemonExecutor`: runs blocking work of the engine loop (DNS, TLS, imports, files) on daemon threads.

The threads of `concurrent.futures` accept no work once the main thread of a script has ended. Other threads
may still send prompts then, and runs must still be ended properly.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.thread import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS: Final = 32
"""Maximum number of threads; further work is queued."""


class DaemonExecutor(ThreadPoolExecutor):
    """An executor for `loop.set_default_executor`; a thread lives as long as there is work."""

    def __init__(self) -> None:
        super().__init__(1)
        self._lock = threading.Lock()
        self._todo: deque[Callable[[], None]] = deque()
        self._busy = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` on a thread and return the future of its value."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - passed to the waiting code
                future.set_exception(error)

        with self._lock:
            self._todo.append(work)
            if self._busy < MAX_THREADS:
                threading.Thread(target=self._work, name="nbchat-executor", daemon=True).start()
                self._busy += 1
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._todo:
                    self._busy -= 1
                    return
                work = self._todo.popleft()
            work()

"""Default executor of the engine loop: daemon threads for blocking work (DNS, TLS, imports, files).

The threads of `concurrent.futures` accept no work once the main thread of a script has ended. Its other
threads may still ask questions then, and runs still have to be ended in good order.
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
"""Threads at a time; further work waits."""


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

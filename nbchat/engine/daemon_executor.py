"""What would block the engine's loop (names, certificates, imports, files) runs aside, on daemon threads.

The threads of `concurrent.futures` take nothing any more from the moment the main thread of a script has
ended, while its other threads may go on asking, and while what is being answered is ended in good order.
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

MOST: Final = 32
"""Threads at a time; what comes then waits."""


class DaemonExecutor(ThreadPoolExecutor):
    """An executor for `loop.set_default_executor`; a thread lives as long as there is something to do."""

    def __init__(self) -> None:
        super().__init__(1)
        self._lock = threading.Lock()
        self._todo: deque[Callable[[], None]] = deque()
        self._busy = 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call `fn` on a thread, and return the future of what it gives."""
        future: Future[T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is the waiter's, whatever it is
                future.set_exception(error)

        with self._lock:
            self._todo.append(work)
            if self._busy < MOST:
                threading.Thread(target=self._work, name="nbchat-aside", daemon=True).start()
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

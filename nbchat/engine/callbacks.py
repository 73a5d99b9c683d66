"""`Callbacks`: user callbacks by event, called one after the other on a dedicated thread.

A callback may block, raise, or call nbchat; the engine's loop never waits for it.
"""

from __future__ import annotations

import inspect
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct, field

from nbchat.core.errors import CallbackError

logger = logging.getLogger("nbchat")

SLOW_S: Final = 0.1
"""Seconds after which a callback is named in a warning, once."""

EVENTS: Final = frozenset(
    {
        "created",
        "changed",
        "closed",
        "deleted",
        "message",
        "transition",
        "delta",
        "end",
        "queued",
        "limit",
        "stale",
        "resync",
        "evicted",
        "saved",
        "error",
        "approval_needed",
        "alert",
    }
)
"""Event names that `on` accepts."""


class Notification(Struct, frozen=True, kw_only=True):
    """The argument of a callback.

    Examples
    --------
    >>> import queue
    >>> seen = queue.SimpleQueue()
    >>> off = geo.on("end", seen.put)
    >>> geo.ask("Seine").text
    'Seine'
    >>> event = seen.get(timeout=30)
    >>> event.event, event.state
    ('end', 'completed')
    >>> off()
    """

    event: str
    session_id: str | None = None
    run_id: str | None = None
    state: str | None = None
    """Of the run, after a `transition` or an `end`."""
    text: str = ""
    """Of a `delta`."""
    at: float = field(default_factory=time.time)
    data: Any = None
    """Depends on the event: a failed run's error, the limit that is near, an `Alert`, the calls that wait."""


Callback = Callable[[Notification], object]


class Callbacks:
    """Calls callbacks in the order of the notifications, on a thread that starts when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[tuple[str, str | None, Callback]] = []
        self._queue: queue.SimpleQueue[Notification | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._slow: set[int] = set()
        self._failed: set[int] = set()
        self.errors: int = 0
        """Number of calls that raised."""

    def on(self, event: str, callback: Callback, session_id: str | None = None) -> Callable[[], None]:
        """Call `callback` with every notification of `event`; return the function that unsubscribes.

        Raises
        ------
        ValueError
            If there is no such event.
        TypeError
            If `callback` is not callable, or is a coroutine function.
        """
        if event not in EVENTS:
            raise ValueError(f"there is no event {event!r}; the events are {', '.join(sorted(EVENTS))}.")
        if not callable(callback):
            raise TypeError(f"the callback must be callable, not {callback!r}.")
        if inspect.iscoroutinefunction(callback):
            raise TypeError(
                f"the callback must be a plain function, not {callback!r}: no event loop runs where it is "
                "called. Await the run instead, or start the coroutine with run_coroutine_threadsafe."
            )
        entry = (event, session_id, callback)
        with self._lock:
            self._callbacks.append(entry)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="nbchat-callbacks", daemon=True)
                self._thread.start()

        def off() -> None:
            with self._lock:
                # Compared by identity, since the same function may be subscribed twice.
                for index, known in enumerate(self._callbacks):
                    if known is entry:
                        del self._callbacks[index]
                        return

        return off

    def wants(self, event: str, session_id: str | None = None) -> bool:
        """Return whether a callback is subscribed to the event, of the given session if there is one."""
        return any(
            name == event and (session_id is None or wanted in (None, session_id))
            for name, wanted, _ in self._callbacks
        )

    def notify(self, notification: Notification) -> None:
        """Queue a notification and return at once. From any thread."""
        if self.wants(notification.event):
            self._queue.put(notification)

    def drain(self, timeout_s: float) -> bool:
        """Wait until all notifications so far were handled; return False after `timeout_s`."""
        if self._thread is None or not self._thread.is_alive() or self._thread is threading.current_thread():
            return True
        handled = threading.Event()
        self._queue.put(handled)
        return handled.wait(timeout_s)

    def close(self) -> None:
        """End the thread when all notifications so far were handled. From any thread."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            with self._lock:
                chosen = [
                    callback
                    for event, session_id, callback in self._callbacks
                    if event == item.event and session_id in (None, item.session_id)
                ]
            for callback in chosen:
                self._call(callback, item)

    def _call(self, callback: Callback, item: Notification) -> None:
        start = time.monotonic()
        try:
            callback(item)
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a callback ends that callback only
            self.errors += 1
            self._report(callback, item, error)
        took = time.monotonic() - start
        if took > SLOW_S and id(callback) not in self._slow:
            self._slow.add(id(callback))
            logger.warning(
                "callback %r for %r took %.1f s and delays later callbacks", callback, item.event, took
            )

    def _report(self, callback: Callback, item: Notification, error: BaseException) -> None:
        """Log a callback's first failure only: deltas come 25 times a second."""
        if id(callback) in self._failed:
            return
        self._failed.add(id(callback))
        failure = CallbackError(
            f"a callback for {item.event!r} raised {type(error).__name__}; nothing else is affected.",
            hint="Its later failures are counted in registry.stats()['callback_errors'].",
        )
        failure.__cause__ = error
        logger.error("%s", failure, exc_info=failure)

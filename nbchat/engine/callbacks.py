"""User callbacks, kept away from the runs: one thread calls them, one after the other.

A callback may take its time, raise, or call back into nbchat; the engine's loop never waits for it.
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
"""A callback that takes longer is named in a warning, once."""

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
    }
)
"""Names that `on` takes."""


class Notification(Struct, frozen=True, kw_only=True):
    """What a callback gets: one object, with what it is about.

    Examples
    --------
    >>> seen = []
    >>> off = geo.on("end", lambda event: seen.append((event.event, event.state)))
    >>> geo.ask("Seine").text
    'Seine'
    >>> nbchat.registry.observers.drain(30)
    >>> seen
    [('end', 'completed')]
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
    """More, by event: the error of a failed run, the limit that is near, a page's statistics."""


Callback = Callable[[Notification], object]


class Callbacks:
    """Callbacks by event, called in the order of the notifications on a thread that starts when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[tuple[str, str | None, Callback]] = []
        self._queue: queue.SimpleQueue[Notification | threading.Event] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._blamed: set[int] = set()
        self._failed: set[int] = set()
        self.errors: int = 0
        """Callbacks that raised, so far."""

    def on(self, event: str, callback: Callback, session_id: str | None = None) -> Callable[[], None]:
        """Call `callback` with every notification of `event`; return the function that ends that.

        Raises
        ------
        ValueError
            There is no such event.
        TypeError
            `callback` cannot be called, or would only make a coroutine that nobody runs.
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
                # Compared by identity: the same function may have been given twice.
                for index, known in enumerate(self._callbacks):
                    if known is entry:
                        del self._callbacks[index]
                        return

        return off

    def wants(self, event: str) -> bool:
        """Tell whether anybody listens, so that nothing is built for nobody."""
        return any(name == event for name, _, _ in self._callbacks)

    def tell(self, notification: Notification) -> None:
        """Hand a notification over; returns at once. May be called from any thread."""
        if self.wants(notification.event):
            self._queue.put(notification)

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything told so far was heard; False when that took too long."""
        if self._thread is None or not self._thread.is_alive() or self._thread is threading.current_thread():
            return True
        heard = threading.Event()
        self._queue.put(heard)
        return heard.wait(timeout_s)

    def _work(self) -> None:
        while True:
            item = self._queue.get()
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
        except BaseException as error:  # noqa: BLE001 - `sys.exit()` in a callback ends that callback, too
            self.errors += 1
            self._report(callback, item, error)
        took = time.monotonic() - start
        if took > SLOW_S and id(callback) not in self._blamed:
            self._blamed.add(id(callback))
            logger.warning(
                "callback %r for %r took %.1f s; later ones wait for it", callback, item.event, took
            )

    def _report(self, callback: Callback, item: Notification, error: BaseException) -> None:
        """Log a callback's first failure, and count the others: a delta comes 25 times a second."""
        if id(callback) in self._failed:
            return
        self._failed.add(id(callback))
        failure = CallbackError(
            f"a callback for {item.event!r} raised {type(error).__name__}; runs and other callbacks go on.",
            hint="Its later failures are counted in registry.stats()['callback_errors'].",
        )
        failure.__cause__ = error
        logger.error("%s", failure, exc_info=failure)

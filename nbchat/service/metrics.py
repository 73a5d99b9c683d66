"""`Metrics`: measurements of a service for Prometheus, without names of people, text of sessions, or keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from nbchat.core.errors import LeaseLost, NbchatError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping
    from wsgiref.simple_server import WSGIServer

    from nbchat.engine.loop_thread import LoopThread
    from nbchat.service.namespace import Namespace
    from nbchat.stores.base import Contents, Entry, FencedStore, Kept, Record

COLLECT_S: Final = 10.0
"""Longest wait for the loop when the measurements are read."""

_BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """The measurements of one service, and the address at which they are read."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.write_seconds: Final = self._of(Histogram, "store_write_seconds", "Time of a write", _BUCKETS)
        self.written_bytes: Final = self._of(Counter, "store_written_bytes", "Bytes written to the stores")
        self.failed: Final = self._of(Counter, "store_errors", "Writes that a store did not accept")
        self.fenced: Final = self._of(
            Counter, "fenced_writes", "Writes and renewals that were refused since another process took over"
        )
        self.takeovers: Final = self._of(
            Counter, "takeovers", "Leases that were claimed from a process that had not released them"
        )
        self.stores: Final[set[MeasuredStore]] = set()
        """The stores that are open."""
        self._server: tuple[WSGIServer, threading.Thread] | None = None

    def __repr__(self) -> str:
        """Return the number of stores."""
        return f"<Metrics of {len(self.stores)} stores>"

    def _of(self, kind: Any, name: str, text: str, buckets: Sequence[float] = ()) -> Any:  # noqa: ANN401 - a counter or a histogram
        more = {"buckets": buckets} if buckets else {}
        return kind(f"nbchat_{name}", f"{text}.", registry=self.registry, **more)

    def measured(self, store: FencedStore) -> FencedStore:
        """Return a store whose writes and lease are measured."""
        return MeasuredStore(store, self)

    def watch(self, loop: LoopThread, namespaces: Callable[[], Sequence[Namespace]]) -> None:
        """Count what these namespaces have. They are read on the loop."""
        self.registry.register(_OfNamespaces(loop, namespaces, self))

    def serve(self, host: str, port: int) -> int:
        """Answer requests for the measurements at this address; return the port."""
        self._server = start_http_server(port, host, self.registry)
        bound: int = self._server[0].server_port
        return bound

    def close(self) -> None:
        """Answer no more requests. Blocks."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()


class _OfNamespaces(Collector):
    """Counts what the namespaces have when the measurements are read."""

    def __init__(
        self, loop: LoopThread, namespaces: Callable[[], Sequence[Namespace]], metrics: Metrics
    ) -> None:
        self._loop = loop
        self._namespaces = namespaces
        self._metrics = metrics

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return nothing: the names do not depend on the loop."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the gauges."""
        for name, text, value in self._loop.call_within(COLLECT_S, self._values):
            yield GaugeMetricFamily(f"nbchat_{name}", f"{text}.", value=value)

    def _values(self) -> list[tuple[str, str, float]]:
        namespaces = self._namespaces()
        engines = [one.engine for one in namespaces]
        journals = [engine.journal for engine in engines if engine.journal is not None]
        alone = [one for one in namespaces if not one.kernels]
        found = [
            ("namespaces", "Namespaces in memory", len(namespaces)),
            ("links", "Kernels that are linked", sum(one.kernels for one in namespaces)),
            ("live_runs", "Runs with a connection to a model", sum(e.scheduler.live for e in engines)),
            ("queued_sessions", "Sessions that wait for a slot", sum(len(e.scheduler) for e in engines)),
            ("orphaned_runs", "Live runs without a kernel", sum(o.engine.scheduler.live for o in alone)),
            (
                "unsaved_seconds",
                "Age of the oldest event that is not stored",
                max((journal.lag_s for journal in journals), default=0.0),
            ),
        ]
        margins = [margin for store in list(self._metrics.stores) if (margin := store.margin_s) is not None]
        if margins:
            text = "Shortest time until another process could claim a namespace of this one"
            found.append(("lease_margin_seconds", text, min(margins)))
        return found


class MeasuredStore:
    """Measures the writes and the lease of a store. Implements `FencedStore`."""

    def __init__(self, store: FencedStore, metrics: Metrics) -> None:
        self.where: str = store.where
        self._store = store
        self._metrics = metrics
        self._lease_s = 0.0
        self._until: float | None = None
        """End of the lease, by the monotonic clock; `None` without a lease."""
        metrics.stores.add(self)

    def __repr__(self) -> str:
        """Return the store."""
        return f"<MeasuredStore {self._store!r}>"

    @property
    def margin_s(self) -> float | None:
        """Time until the lease expires; `None` without a lease."""
        return None if self._until is None else self._until - time.monotonic()

    def claim(self, token: str, lease_s: float, *, after: str | None = None) -> bool:
        """Claim the lease."""
        began = time.monotonic()
        other = self._store.holder()
        held = self._store.claim(token, lease_s, after=after)
        if held:
            self._until, self._lease_s = began + lease_s, lease_s
            if other not in (None, token):
                self._metrics.takeovers.inc()
        return held

    def renew(self, token: str, lease_s: float) -> bool:
        """Extend the lease."""
        began = time.monotonic()
        renewed = self._store.renew(token, lease_s)
        if renewed:
            self._until, self._lease_s = began + lease_s, lease_s
        else:
            self._until = None
            self._metrics.fenced.inc()
        return renewed

    def release(self, token: str) -> None:
        """End the lease."""
        self._until = None
        self._store.release(token)

    def holder(self) -> str | None:
        """Return the token that claimed last."""
        return self._store.holder()

    def read(self) -> Contents:
        """Return all entries."""
        return self._store.read()

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        return self._store.read_session(session_id)

    def write(
        self, first: str | Sequence[Entry], write_id: str = "", records: Sequence[Record] = (), /
    ) -> None:
        """Write records."""
        with self._measured():
            if isinstance(first, str):
                self._store.write(first, write_id, records)
            else:
                self._store.write(first)
        written = records if isinstance(first, str) else first
        self._metrics.written_bytes.inc(sum(len(record.body) for record in written))

    @contextmanager
    def _measured(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except LeaseLost:
            self._until = None
            self._metrics.fenced.inc()
            raise
        except NbchatError:
            self._metrics.failed.inc()
            raise
        self._metrics.write_seconds.observe(time.monotonic() - began)
        if self._until is not None:
            self._until = began + self._lease_s

    def acknowledged(self) -> Mapping[str, bytes]:
        """Return the last acknowledgements."""
        return self._store.acknowledged()

    def recall(self, name: str) -> str:
        """Return a property of the store."""
        return self._store.recall(name)

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        self._store.remember(name, value)

    def close(self) -> None:
        """Close the store."""
        self._metrics.stores.discard(self)
        self._store.close()

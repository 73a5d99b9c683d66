"""`Metrics`: measurements of a service for Prometheus, without names of people, text of sessions, or keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

    from nbchat.engine.loop_thread import LoopThread
    from nbchat.service.measured_store import MeasuredStore
    from nbchat.service.namespace import Namespace

COLLECT_S: Final = 10.0
"""Longest wait for the loop when the measurements are read."""

_BUCKETS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """The measurements of one service, and the address at which they are read. Implements `StoreMetrics`."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._write_seconds: Final = self._of(Histogram, "store_write_seconds", "Time of a write", _BUCKETS)
        self._written_bytes: Final = self._of(Counter, "store_written_bytes", "Bytes written to the stores")
        self._failed: Final = self._of(Counter, "store_errors", "Writes that a store did not accept")
        self._fenced: Final = self._of(
            Counter, "fenced_writes", "Writes and renewals that were refused since another process took over"
        )
        self._takeovers: Final = self._of(
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

    # The stores

    def opened(self, store: MeasuredStore) -> None:
        """Measure the lease of a store from now on."""
        self.stores.add(store)

    def closed(self, store: MeasuredStore) -> None:
        """Forget a store."""
        self.stores.discard(store)

    def written(self, seconds: float, length: int) -> None:
        """Count a write, its time and its bytes."""
        self._write_seconds.observe(seconds)
        self._written_bytes.inc(length)

    def failed(self) -> None:
        """Count a write that the store did not accept."""
        self._failed.inc()

    def fenced(self) -> None:
        """Count a write or a renewal that was refused since another process took over."""
        self._fenced.inc()

    def took_over(self) -> None:
        """Count the claim of a lease that was not released."""
        self._takeovers.inc()

    # Reading

    def watch(self, loop: LoopThread, namespaces: Callable[[], Sequence[Namespace]]) -> None:
        """Measure these namespaces, whose values are read on the loop."""
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
            (
                "orphaned_runs",
                "Live runs of namespaces without a kernel",
                sum(o.engine.scheduler.live for o in alone),
            ),
            (
                "stored_bytes",
                "Bytes of sessions and of answers of batches",
                sum(one.stored_bytes for one in namespaces),
            ),
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

"""`PacketPacer`: sends at most one packet per tick, within the rate limit of comm messages."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from nbchat.protocol import KernelMessage, Packet, encode_packet, pieces

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine

logger = logging.getLogger("nbchat")

TICK_S: Final = 0.04
"""Minimum seconds between two packets."""

RATE: Final = 25.0
BURST: Final = 40.0
"""Rate limit of comm messages: `RATE` per second plus a burst of `BURST`, at most 290 in any ten seconds."""

BEACONS: Final = (0.2, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Seconds between the empty packets that follow the last change."""

Send = Callable[[Mapping[str, Any], list[bytes]], None]


class PacketSource(Protocol):
    """Collects the contents of packets."""

    @property
    def epoch(self) -> str:
        """The epoch of the kernel, as its pages see it."""
        ...

    @property
    def rev(self) -> int:
        """Revision of the directory, after `collect`."""
        ...

    @property
    def is_pending(self) -> bool:
        """True if there is more to collect."""
        ...

    def collect(self) -> tuple[KernelMessage, ...]:
        """Return the contents of the next packet."""
        ...

    def before_beacon(self) -> None:
        """Look for changes of which the source is not notified."""
        ...

    def on_sent(self) -> None:
        """React to the moment when everything that was collected has been sent."""
        ...


class PacketPacer:
    """Sends packets on the engine's loop. After the last change it repeats the packet's number for a while.

    The repeated numbers let a page detect that it missed the last packet.
    """

    def __init__(self, engine: Engine, send: Send, source: PacketSource) -> None:
        self._engine = engine
        self._send = send
        self._source = source
        self._loop = engine.loop.aio
        self._outbox: deque[tuple[Mapping[str, Any], list[bytes]]] = deque()
        self._n = 0
        self._tick: asyncio.TimerHandle | None = None
        self._beacon: asyncio.TimerHandle | None = None
        self._beacons_left: deque[float] = deque()
        self._last_packet = 0.0
        self._tokens = BURST
        self._tokens_at = self._loop.time()

    @property
    def is_idle(self) -> bool:
        """True if every packet has been sent."""
        return not self._outbox

    def wake(self) -> None:
        """Send a packet with the next tick."""
        if self._tick is None:
            at = max(self._last_packet + TICK_S, self._loop.time())
            self._tick = self._loop.call_at(at, self._on_tick)

    def close(self) -> None:
        """Send nothing more."""
        for timer in (self._tick, self._beacon):
            if timer is not None:
                timer.cancel()

    def _on_tick(self) -> None:
        self._tick = None
        self._last_packet = self._loop.time()
        if not self._outbox:
            messages = self._source.collect()
            if messages:
                self._n += 1
                self._pack(messages)
        self._drain()
        if self._outbox or self._source.is_pending:
            self.wake()

    def _pack(self, messages: tuple[KernelMessage, ...]) -> None:
        packet = Packet(epoch=self._source.epoch, n=self._n, rev=self._source.rev, messages=messages)
        parts = pieces(encode_packet(packet))
        self._outbox.extend(
            ({"nbchat": f"{self._n}", "piece": i, "of": len(parts)}, [part]) for i, part in enumerate(parts)
        )
        self._engine.count("packets")
        if messages:
            self._beacons_left = deque(BEACONS)
        self._plan_beacon()

    def _drain(self) -> None:
        now = self._loop.time()
        self._tokens = min(BURST, self._tokens + (now - self._tokens_at) * RATE)
        self._tokens_at = now
        while self._outbox and self._tokens >= 1:
            self._tokens -= 1
            content, buffers = self._outbox.popleft()
            try:
                self._send(content, buffers)
            except Exception:
                self._engine.count("send_errors")
                logger.debug("a packet could not be sent", exc_info=True)
            self._engine.count("frames")
            self._engine.count("frame_bytes", len(buffers[0]))
        if not self._outbox:
            self._source.on_sent()

    def _plan_beacon(self) -> None:
        if self._beacon is not None:
            self._beacon.cancel()
            self._beacon = None
        if self._beacons_left:
            self._beacon = self._loop.call_later(self._beacons_left[0], self._on_beacon)

    def _on_beacon(self) -> None:
        self._beacon = None
        self._beacons_left.popleft()
        if not self._outbox:
            self._source.before_beacon()
            self._pack(())
            self._drain()

"""`Checkpoints`: sends the state to the page where the user last acted, which writes it into the notebook."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import msgspec

from nbchat.protocol import Checkpoint

if TYPE_CHECKING:
    from nbchat.engine.engine import Engine
    from nbchat.engine.live_session import LiveSession
    from nbchat.jupyter.transcripts import Bundle
    from nbchat.wire.server import WireServer

SETTLED_S: Final = 0.3
"""Delay of a checkpoint after a run has ended, so that one checkpoint covers several changes."""

STREAMING_S: Final = 2.0
"""Interval of checkpoints while answers stream; longer if checkpoints are large."""

BYTES_PER_S: Final = 200_000
"""Average bandwidth that checkpoints may use."""

ACK_S: Final = 3.0
"""Time to acknowledge a checkpoint. A page that exceeds it receives no further checkpoints."""

MAX_METADATA: Final = 2 * 1024 * 1024
"""Maximum bytes of metadata that nbchat writes; `NBCHAT_MAX_METADATA` overrides it."""


class TranscriptOutputs(Protocol):
    """Outputs with transcripts, in this process or in a kernel of a runner."""

    async def news(self, page: str) -> dict[str, Bundle]:
        """Return the outputs that a page lacks, and mark them as delivered."""
        ...

    def lost(self, page: str) -> None:
        """Mark the outputs delivered to a page as not delivered."""
        ...

    async def display(self) -> None:
        """Update all outputs if no page does."""
        ...


class Checkpoints:
    """Sends a checkpoint when a run has ended, periodically while answers stream, and on request.

    Methods are for the engine's loop.

    Parameters
    ----------
    engine
        The engine whose sessions are saved.
    transcripts
        The outputs that are updated together with the metadata.
    is_blocked
        Returns whether the metadata must not be overwritten.
    """

    def __init__(
        self, engine: Engine, transcripts: TranscriptOutputs, is_blocked: Callable[[], bool]
    ) -> None:
        self._engine = engine
        self._transcripts = transcripts
        self._is_blocked = is_blocked
        self._wire: WireServer | None = None
        self._version = 0
        self._acked = 0
        self._mute: set[str] = set()
        """Pages that did not acknowledge a checkpoint."""
        self._without_notebook: set[str] = set()
        """Pages whose host gives no access to the notebook."""
        self._sent: object = None
        """Identifies the contents of the last checkpoint and its page."""
        self._dirty = False
        self._making = False
        self._timer: asyncio.TimerHandle | None = None
        self._ack_timer: asyncio.TimerHandle | None = None
        self._last_bytes = 0

    def connected(self, wire: WireServer) -> None:
        """Send by this wire server from now on."""
        self._wire = wire
        self._mute.clear()

    def start(self) -> None:
        """Follow the sessions, which have been restored, and send the first checkpoint."""
        self._engine.readers.add(self._news)
        self._engine.checkpoints.add(self._now)
        self._dirty = True
        self._plan(SETTLED_S)

    def restart(self) -> None:
        """Send a checkpoint now, even if its contents have been sent before."""
        self._dirty, self._sent = True, None
        self._plan(0.0)

    def reconnected(self, page: str) -> None:
        """Send checkpoints to this page again."""
        self._mute.discard(page)

    def exclude(self, page: str) -> None:
        """Send no checkpoints to this page, which has no access to the notebook."""
        self._without_notebook.add(page)

    def acknowledge(self, version: int) -> bool:
        """Record that a page has written a checkpoint; return `False` if it is not the last one."""
        if not version >= self._version > 0:
            return False
        self._acked = max(self._acked, version)
        if self._dirty:
            self._plan(0.0)
        return True

    def writer(self) -> str | None:
        """Return the page that writes: where the user last acted, else the one that connected last."""
        presence = self._engine.presence
        pages = [page for page in presence.pages if page not in self._mute | self._without_notebook]
        if presence.last_actor in pages:
            return presence.last_actor
        return pages[-1] if pages else None

    def _now(self) -> None:
        self._dirty = True
        self._plan(0.0)

    def _news(self, session: LiveSession) -> None:
        if session.state.temporary:
            return
        self._dirty = True
        self._plan(self._pause(settled=session.state.live is None))

    def _pause(self, *, settled: bool) -> float:
        """Return the time until the next checkpoint."""
        return SETTLED_S if settled else max(STREAMING_S, self._last_bytes / BYTES_PER_S)

    def _plan(self, delay_s: float) -> None:
        if self._making:
            return
        loop = self._engine.loop.aio
        at = loop.time() + delay_s
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = loop.call_at(at, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if not self._dirty or self._making:
            return
        if self._is_blocked() or self.writer() is None:
            if all(session.is_idle for session in self._engine.sessions):
                self._engine.loop.spawn(self._transcripts.display(), name="nbchat-transcripts")
            return
        self._dirty, self._making = False, True
        task = self._engine.loop.spawn(self._make(), name="nbchat-checkpoint")
        task.add_done_callback(self._made)

    def _made(self, task: asyncio.Task[bool]) -> None:
        # A callback, because a task that is cancelled before its first step runs no code of its own.
        self._making = False
        self._dirty = self._dirty or task.cancelled()
        if self._dirty:
            broken = task.cancelled() or task.exception() is not None
            self._plan(self._pause(settled=broken or task.result()))

    async def _make(self) -> bool:
        """Send the state to the page that writes. Return whether it contains no live run."""
        snapshots = self._engine.snapshots
        snapshot = snapshots.take()
        settled = all(one.state.live is None for one in snapshot.sessions)
        contents = (
            tuple((one.state.id, one.state.seq, tuple(one.clock.items())) for one in snapshot.sessions),
            tuple(snapshot.deleted),
            self.writer(),
        )
        if contents == self._sent:
            return settled
        body = await asyncio.to_thread(snapshots.encode, snapshot, _max_metadata())
        self._last_bytes = len(body)
        writer = self.writer()
        transcripts = await self._transcripts.news(writer) if writer is not None else {}
        self._sent = contents  # not before: the transcripts may come from a kernel that does not answer
        self._version += 1
        if self._wire is not None and writer is not None:
            self._last_bytes += sum(len(text) for b in transcripts.values() for text in b.values())
            metadata = cast("Any", msgspec.Raw(body))
            self._wire.say(
                Checkpoint(
                    to=writer,
                    version=self._version,
                    metadata=metadata,
                    transcripts=transcripts,
                    settled=settled,
                )
            )
            self._wait_for_ack(writer)
        return settled

    def _wait_for_ack(self, page: str) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
        version = self._version

        def check() -> None:
            self._ack_timer = None
            if self._acked < version:
                # The page is closed or shows no notebook. Try another page.
                self._mute.add(page)
                self._transcripts.lost(page)
                self.restart()

        self._ack_timer = self._engine.loop.aio.call_later(ACK_S, check)


def _max_metadata() -> int:
    with contextlib.suppress(KeyError, ValueError):
        return max(int(os.environ["NBCHAT_MAX_METADATA"]), 16_384)
    return MAX_METADATA

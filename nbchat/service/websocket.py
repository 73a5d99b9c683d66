"""`WebSocketTransport` and `AsyncWebSocketTransport`: links over WebSockets.

Each binary message is one frame.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from websockets.exceptions import ConnectionClosed

from nbchat.core.errors import WireError
from nbchat.engine.logs import Redacting
from nbchat.runner.frames import check_for_service, decode_frame
from nbchat.runner.messages import ToKernel, ToRunner

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncClientConnection
    from websockets.asyncio.server import ServerConnection
    from websockets.sync.client import ClientConnection

    from nbchat.engine.loop_thread import LoopThread

LOW: Final = 64 * 1024
"""Bytes that may wait when `drain` returns."""

CLOSE_S: Final = 5.0
"""Longest time to send what is waiting when a link ends; a peer may have stopped reading."""

GOING_AWAY: Final = 1001
"""Close code of a service that ends; the kernel connects again."""

MAX_REASON: Final = 123
"""Bytes of the reason in a close frame."""

quiet: Final = logging.getLogger("nbchat.websockets")
"""The logger of the library. At the level DEBUG it would write headers, and with them tokens."""
quiet.setLevel(logging.WARNING)
quiet.addFilter(Redacting())


class WebSocketTransport:
    """The kernel's end of a WebSocket. Implements `Transport`."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        """Return the connection."""
        return f"<WebSocketTransport {self._connection.id}>"

    def read(self, timeout_s: float | None = None) -> tuple[ToKernel, bytes]:
        """Return the next message and its bytes; raises `TimeoutError` if there is none in time."""
        try:
            received = self._connection.recv(timeout_s)
        except ConnectionClosed as error:
            reason = "" if error.rcvd is None else error.rcvd.reason
            raise EOFError(reason if reason.isprintable() and reason else "the link has ended") from error
        if isinstance(received, str):
            raise WireError("the link to the runner carried text.")
        return decode_frame(received, ToKernel)

    def check(self, frame: bytes) -> None:
        """Raise `CommandError` if the service would not accept a frame."""
        check_for_service(frame)

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        try:
            self._connection.send(frame)
        except ConnectionClosed as error:
            raise ConnectionError("the link has ended") from error

    def finish(self) -> None:
        """End the link with the closing handshake."""
        self._connection.close()

    def abort(self) -> None:
        """End the link without a handshake."""
        with suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()


class AsyncWebSocketTransport:
    """A service's end of a WebSocket. Implements `AsyncTransport`. Only for the engine's loop."""

    def __init__(self, connection: ServerConnection | AsyncClientConnection, loop: LoopThread) -> None:
        self._connection = connection
        self._frames: deque[bytes] = deque()
        self._waiting = 0
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()
        self._is_closing = False
        self._reason = ""
        self._has_ended = False
        self._loop = loop
        self._task = loop.spawn(self._send(), name="nbchat-link-write")

    def __repr__(self) -> str:
        """Return the number of bytes that wait."""
        return f"<AsyncWebSocketTransport, {self._waiting} bytes wait>"

    async def read(self) -> tuple[ToRunner, bytes]:
        """Return the next message and its bytes."""
        try:
            received = await self._connection.recv()
        except ConnectionClosed as error:
            raise EOFError("the link has ended") from error
        if self._is_closing:
            raise EOFError("the link is ended")
        if isinstance(received, str):
            raise WireError("the link carried text.")
        check_for_service(received)
        return decode_frame(received, ToRunner)

    def write(self, frame: bytes) -> None:
        """Send a frame after those before; it is dropped if the link has ended."""
        if not self._has_ended and not self._is_closing:
            self._frames.append(frame)
            self._waiting += len(frame)
            self._changed.set()

    @property
    def waiting(self) -> int:
        """Number of bytes that were written and not sent yet."""
        return self._waiting

    async def drain(self) -> None:
        """Wait until few bytes are waiting."""
        while self._waiting > LOW and not self._has_ended:
            self._drained.clear()
            await self._drained.wait()
        if self._has_ended:
            raise ConnectionError("the link has ended")

    def close(self, reason: str = "") -> None:
        """Send what is waiting, and end the link; the kernel shows the beginning of the reason."""
        if not self._is_closing:
            self._is_closing = True
            self._reason = reason.encode()[:MAX_REASON].decode(errors="ignore")
            self._changed.set()
            if not self._has_ended:
                self._loop.aio.call_later(CLOSE_S, self._abort)

    def _abort(self) -> None:
        if not self._has_ended:
            self._connection.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the link has ended."""
        await asyncio.wait([self._task])

    async def _send(self) -> None:
        try:
            while True:
                while self._frames:
                    await self._connection.send(self._frames[0])
                    self._waiting -= len(self._frames.popleft())
                    if self._waiting <= LOW:
                        self._drained.set()
                if self._is_closing:
                    await self._connection.close(GOING_AWAY, self._reason)
                    return
                self._changed.clear()
                await self._changed.wait()
        except ConnectionClosed:
            pass  # `read` raises too
        finally:
            self._has_ended = True
            self._frames.clear()
            self._waiting = 0
            self._drained.set()

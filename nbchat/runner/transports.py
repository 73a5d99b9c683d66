"""`Transport` and `AsyncTransport` carry the frames of a link: the kernel's end and the runner's end.

`SocketTransport` and `StreamTransport` implement them for sockets of this machine. `RunnerAddress` connects
a kernel with its runner.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Protocol

from nbchat.runner.frames import read_frame, read_frame_async
from nbchat.runner.messages import Greeting, ToKernel, ToRunner


class Transport(Protocol):
    """The kernel's end. One thread reads, another one writes, and any thread may abort."""

    def read(self) -> tuple[ToKernel, bytes]:
        """Return the next message of the runner and its bytes; blocks.

        Raises
        ------
        EOFError, OSError
            If the link has ended.
        WireError
            If the frame or the message is invalid.
        """
        ...

    def check(self, frame: bytes) -> None:
        """Raise `CommandError` if the runner would not accept a frame."""
        ...

    def write(self, frame: bytes) -> None:
        """Send a frame; blocks while the link is full.

        Raises
        ------
        OSError
            If the link has ended.
        """
        ...

    def finish(self) -> None:
        """Send nothing more. The runner ends the link when it has read everything."""
        ...

    def abort(self) -> None:
        """End the link in both directions, so that `read` raises."""
        ...

    def close(self) -> None:
        """Release the connection, which has ended."""
        ...


class RunnerAddress(Protocol):
    """The address of a kernel's runner."""

    def connect(self) -> tuple[Transport, Greeting]:
        """Return a connection to the runner, and the greeting that it sent; blocks.

        Raises
        ------
        CommandError
            If the runner cannot be reached.
        """
        ...

    @property
    def hint(self) -> str:
        """The place to look at if links to the runner end again and again; a sentence."""
        ...


class AsyncTransport(Protocol):
    """The runner's end. Only for the engine's loop."""

    async def read(self) -> tuple[ToRunner, bytes]:
        """Return the next message of the kernel and its bytes.

        Raises
        ------
        EOFError
            If the link has ended.
        WireError
            If the frame or the message is invalid.
        """
        ...

    def write(self, frame: bytes) -> None:
        """Send a frame after those before; it is dropped if the link has ended."""
        ...

    @property
    def waiting(self) -> int:
        """Number of bytes that were written and not sent yet."""
        ...

    async def drain(self) -> None:
        """Wait until few bytes are waiting.

        Raises
        ------
        ConnectionError
            If the link has ended.
        """
        ...

    def close(self) -> None:
        """Send what is waiting, and end the link."""
        ...


class SocketTransport:
    """The kernel's end of a socket. Implements `Transport`."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def __repr__(self) -> str:
        """Return the socket."""
        return f"<SocketTransport {self.connection!r}>"

    def read(self) -> tuple[ToKernel, bytes]:
        """Return the next message and its bytes."""
        return read_frame(self._exactly, ToKernel)

    def _exactly(self, count: int) -> bytes:
        """Read as many bytes; raises `EOFError` if the connection ends before."""
        buffer = bytearray(count)
        view, got = memoryview(buffer), 0
        while got < count:
            more = self.connection.recv_into(view[got:])
            if more == 0:
                raise EOFError("the link has ended")
            got += more
        return bytes(buffer)

    def check(self, frame: bytes) -> None:
        """Accept a frame: the runner belongs to the same user."""

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        self.connection.sendall(frame)

    def finish(self) -> None:
        """Send nothing more."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End the link in both directions."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        with suppress(OSError):
            self.connection.close()


class StreamTransport:
    """The runner's end of a socket. Implements `AsyncTransport`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def __repr__(self) -> str:
        """Return the socket."""
        return f"<StreamTransport {self._writer.transport!r}>"

    async def read(self) -> tuple[ToRunner, bytes]:
        """Return the next message and its bytes."""
        return await read_frame_async(self._reader, ToRunner)

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        self._writer.write(frame)

    @property
    def waiting(self) -> int:
        """Number of bytes in the buffer of the stream."""
        return self._writer.transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait until the stream's buffer is nearly empty."""
        await self._writer.drain()

    def close(self) -> None:
        """Close the stream."""
        self._writer.close()

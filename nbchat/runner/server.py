"""`RunnerServer`: the engine of one notebook, and the kernels that are linked to it.

It ends when it has had neither a link nor a live run for `limits.runner_idle_s`. When its last kernel
vanishes, runs continue for `limits.orphan_s`. When its last kernel is shut down, they end.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from nbchat.batch_engine.answer_file import FilePlace
from nbchat.core.errors import KernelGone, NbchatError, Orphaned, WireError
from nbchat.core.version import VERSION
from nbchat.runner.engine import RunnerEngine
from nbchat.runner.engine_server import EngineServer
from nbchat.runner.kernel_link import KernelLink
from nbchat.runner.messages import LINK_VERSION, Greeting, Hello
from nbchat.runner.places import Place, is_same_user
from nbchat.runner.transports import StreamTransport

logger = logging.getLogger("nbchat")

LOOK_S: Final = 0.5
"""Interval at which the server checks whether it is still needed."""

DRAIN_S: Final = 15.0
"""Longest time that live runs may take to finish after a request to drain; others are interrupted."""

CLOSE_S: Final = 2.0
"""Longest wait for the end of the links."""

HELLO_S: Final = 10.0
"""Longest wait for the first message of a link."""

ARRIVING: Final = 5
"""Passes of the event loop after which a connection that asyncio has accepted has its task."""


class Saved(Protocol):
    """Restores and saves the sessions of a notebook."""

    def restore(self) -> None:
        """Restore the saved sessions, once; blocks."""
        ...

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook."""
        ...

    @property
    def notebook_id(self) -> str:
        """The notebook's id; empty before the sessions are restored."""
        ...

    @property
    def path(self) -> str:
        """The notebook's path, which changes when it is renamed."""
        ...

    def batch_journal(self, batch_id: str) -> Path | None:
        """Return the path of a batch's journal; `None` if nothing may be written outside the notebook."""
        ...


class RunnerServer(EngineServer):
    """Listens for kernels. Methods are for the engine's loop, unless their docstring names another thread.

    Parameters
    ----------
    place
        The files of the notebook's runner.
    engine
        The engine.
    """

    def __init__(self, place: Place, engine: RunnerEngine) -> None:
        super().__init__(engine, self._batch_journal)
        self.place = place
        self.saved: Saved | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._token = ""
        self._inode: int | None = None
        self._drained_at: float | None = None
        self._alone_since = engine.loop.aio.time()
        self._restoring = threading.Lock()
        engine.replaced.add(self._replaced)

    def __repr__(self) -> str:
        """Return the address and the number of kernels."""
        return f"<RunnerServer at {self.place.address}, {len(self._links)} links>"

    # Listening

    async def start(self) -> None:
        """Listen at the notebook's address, in place of a runner that no longer answers."""
        address = self.place.address
        temporary = address.with_name(f"{address.stem}.{os.getpid()}{address.suffix}")
        with suppress(FileNotFoundError):
            temporary.unlink()
        old = os.umask(0o177)
        try:
            if self.place.has_socket:
                self._server = await asyncio.start_unix_server(self._connected, path=temporary)
            else:
                self._token = secrets.token_hex(32)
                self._server = await asyncio.start_server(self._connected, host="127.0.0.1", port=0)
                port = self._server.sockets[0].getsockname()[1]
                temporary.write_text(f"{port} {self._token}", "utf-8")
        finally:
            os.umask(old)
        temporary.chmod(0o600)
        temporary.replace(address)  # at once: a kernel never sees half of it
        self._inode = address.stat().st_ino
        self.engine.loop.spawn(self._look(), name="nbchat-runner-look")

    def _is_mine(self) -> bool:
        """Return whether the address is still this runner's."""
        try:
            return self.place.address.stat().st_ino == self._inode
        except OSError:
            return False

    def remove_address(self) -> None:
        """Remove the address, so that the next kernel starts another runner."""
        if self._is_mine():
            with suppress(OSError):
                self.place.address.unlink()

    async def close(self) -> None:
        """End all links, and wait until they have ended."""
        self.over.set()
        self.remove_address()
        # asyncio loses a connection that it accepts while its server closes: first those that wait.
        for _ in range(ARRIVING):
            await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving, timeout=CLOSE_S)
        await self.batches.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self.engine.loop.spawn(self._serve(reader, writer), name="nbchat-runner-link")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = StreamTransport(reader, writer)
        try:
            try:
                hello = await self._hello(transport, writer.get_extra_info("socket"))
            except (EOFError, ConnectionError, TimeoutError, NbchatError) as error:
                logger.warning("a link was refused: %s", error)
            else:
                await self._serve_link(transport, hello)
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await writer.wait_closed()

    async def _serve_link(self, transport: StreamTransport, hello: Hello) -> None:
        greeting = Greeting(
            link=LINK_VERSION,
            version=VERSION,
            pid=os.getpid(),
            epoch=self.engine.epoch,
            notebook=self.place.notebook,
            notebook_id="" if self.saved is None else self.saved.notebook_id,
            path=self.place.notebook if self.saved is None else self.saved.path,
        )
        await self.serve(transport, hello, greeting)

    async def _hello(self, transport: StreamTransport, peer: socket.socket) -> Hello:
        if self.place.has_socket and not is_same_user(peer):
            raise WireError("it belongs to another user.")
        async with asyncio.timeout(HELLO_S):
            message, _ = await transport.read()
        if not isinstance(message, Hello):
            raise WireError("it did not begin with a hello.")
        if self._token and not hmac.compare_digest(message.token, self._token):
            raise WireError("its token is wrong.")
        return message

    # Life

    def link_ended(self, link: KernelLink) -> None:
        """Note the time at which the last kernel vanished."""
        if link.is_kernel and not self.kernels:
            self._alone_since = self.engine.loop.aio.time()

    def kernel_shut_down(self, link: KernelLink) -> None:
        """End all runs if no other kernel shows them, and end the process."""
        if any(other.is_kernel and other is not link for other in self._links):
            return
        self.interrupt(KernelGone("the kernel was shut down."))
        self.drain()

    def drain(self) -> None:
        """Finish the live runs, accept no new ones, and end the process."""
        if not self._draining:
            self._draining = True
            self._drained_at = self.engine.loop.aio.time()
            self.remove_address()
            self.batches.drain()

    def _replaced(self) -> None:
        """End the links, so that kernels find the runner that has taken over, and end the process."""
        logger.warning("another runner has taken over the journal; this one ends")
        self.over.set()
        self.remove_address()
        self.close_links()

    async def _look(self) -> None:
        """Check now and then whether the process is still needed."""
        loop, limits = self.engine.loop.aio, self.engine.limits
        while not self.over.is_set():
            await asyncio.sleep(LOOK_S)
            busy, now = self.is_busy, loop.time()
            if self._drained_at is not None:
                if not busy or now - self._drained_at > DRAIN_S:
                    break
            elif not self._is_mine():
                logger.warning("another runner has taken this notebook's address; this one ends")
                break
            elif self.kernels == 0:
                alone = now - self._alone_since
                if busy and alone > limits.orphan_s:
                    self.interrupt(Orphaned(f"no kernel came back within {limits.orphan_s:g} s."))
                elif not busy and alone > self._idle_s():
                    break
        self.remove_address()
        self.over.set()

    def _idle_s(self) -> float:
        """Return how long the process stays without a kernel: longer if it has answers in memory only."""
        limits = self.engine.limits
        return max(limits.runner_idle_s, limits.orphan_s if self.batches.has_unsaved else 0.0)

    # Restoring

    def restore(self) -> None:
        """Restore the notebook's sessions, once. On a thread; other callers wait."""
        with self._restoring:
            if self.saved is not None:
                self.saved.restore()

    def set_journal(self, *, on: bool) -> None:
        """Enable or disable writing outside the notebook. On a thread."""
        if self.saved is not None:
            self.saved.set_journal(on=on)

    def _batch_journal(self, batch_id: str) -> FilePlace | None:
        """Return the place of a batch's journal. On a thread."""
        self.restore()
        path = None if self.saved is None else self.saved.batch_journal(batch_id)
        return None if path is None else FilePlace(path)


Make = Callable[[RunnerServer], Saved | None]
"""Connects a runner with the notebook whose sessions it saves."""

"""`Connection`: one connection to an MCP server, and the task that owns it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeVar

from mcp import Client, ClientSession
from mcp_types import Implementation

from nbchat.core.version import VERSION
from nbchat.engine.logs import logger
from nbchat.engine.loop_thread import LoopThread

T = TypeVar("T")

CLOSE_S: Final = 8.0
"""Seconds for an orderly close; then the owner is cancelled."""

# Without a handler, Python prints warnings of the library into the output of the running cell.
for _name in ("mcp", "client"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


class Lost(Exception):
    """The connection ended, or the server does not answer."""


class Transport(Protocol):
    """Connects to a server."""

    problem: str

    @property
    def last_error_line(self) -> str:
        """The last line of the server's error output; empty without output."""
        ...

    def open(self) -> AbstractAsyncContextManager[tuple[Any, Any]]:
        """Connect; yield the streams of messages from the server and to it."""
        ...


class Connection:
    """A connection that is opened at once. Only for the engine's loop.

    Opening and closing happen in one task, as the library requires. Requests may come from any task.
    """

    def __init__(self, transport: Transport, name: str, loop: LoopThread) -> None:
        self.transport: Transport = transport
        self.calls: int = 0
        """Calls of tools without a result."""
        self._in_flight = 0
        self._loop = loop.aio
        self._is_retired = False
        self._closing = asyncio.Event()
        self._session: asyncio.Future[ClientSession] = self._loop.create_future()
        self._session.add_done_callback(_retrieve)
        self._owner: asyncio.Task[None] = loop.spawn(self._own(), name=f"nbchat-mcp-{name}")

    @property
    def is_over(self) -> bool:
        """True if it is closed."""
        return self._owner.done()

    async def _own(self) -> None:
        try:
            client = Client(
                self.transport.open(),
                cache=None,
                client_info=Implementation(name="nbchat", version=VERSION),
            )
            async with client:
                self._session.set_result(client.session)
                await self._closing.wait()
        except asyncio.CancelledError:
            self._fail(Lost("it was closed while it was being opened"))
            raise
        except Exception as error:  # noqa: BLE001 - any error of the library or the server ends this connection only
            self._fail(error)
            logger.debug("the connection to an MCP server ended", exc_info=True)

    def _fail(self, error: BaseException) -> None:
        if not self._session.done():
            self._session.set_exception(error)

    async def opened(self, within_s: float) -> None:
        """Wait until the server is ready.

        Raises
        ------
        Exception
            The error with which opening failed; the connection is closed.
        """
        try:
            await asyncio.wait({self._session}, timeout=within_s)
        except BaseException:
            self._owner.cancel()
            raise
        if not self._session.done():
            self._owner.cancel()
            raise Lost(f"it did not answer within {within_s:g} s")
        self._session.result()

    @property
    def session(self) -> ClientSession:
        """The session of the library, once the connection is opened."""
        return self._session.result()

    async def call(self, result: Coroutine[Any, Any, T]) -> T:
        """Wait for the result of a tool's call, which is sent once; raises as `request`."""
        self.calls += 1
        try:
            return await self.request(result)
        finally:
            self.calls -= 1

    async def request(self, answer: Coroutine[Any, Any, T], within_s: float | None = None) -> T:
        """Wait for the answer to a request, which is sent once.

        Raises
        ------
        Lost
            If the connection ends first, or there is no answer in time.
        """
        self._in_flight += 1
        task = self._loop.create_task(answer)
        task.add_done_callback(_retrieve)
        try:
            await asyncio.wait({task, self._owner}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            if self._owner.done():
                raise Lost("the connection ended")
            raise Lost(f"it did not answer within {within_s:g} s")
        finally:
            task.cancel()
            self._in_flight -= 1
            self._close_if_unused()

    def retire(self) -> None:
        """Close once no request is in flight."""
        self._is_retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_retired and not self._in_flight and not self._closing.is_set():
            self._closing.set()
            self._loop.call_later(CLOSE_S, self._owner.cancel)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Retrieve a future's error, so that asyncio does not log it; a waiting request reports it."""
    if not future.cancelled():
        future.exception()

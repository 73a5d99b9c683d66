"""`Connector`: lists the tools of an MCP server and calls them, over a connection that is opened when needed.

1. A call is sent once. Only listing is repeated over a new connection.
2. Before each call the tools are listed again. A tool that has changed since it was switched on is not
   called.
3. The connection is closed when no tool of the server is in use any more.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import httpx2
from mcp import ClientSession, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    PARSE_ERROR,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from nbchat.mcp_client.connection import Connection, Lost, Transport
from nbchat.mcp_client.definition import Definition, NotCalled, ServerFailed
from nbchat.mcp_client.http_transport import HttpTransport
from nbchat.mcp_client.settings import MAX_TOOLS, ServerSettings
from nbchat.mcp_client.stdio_transport import StdioTransport
from nbchat.providers.errors import said

if TYPE_CHECKING:
    from nbchat.engine.limits import Limits
    from nbchat.engine.loop_thread import LoopThread

MAX_PAGES: Final = 50
"""Maximum pages of the list of tools."""


class Use:
    """Keeps the connection open while it exists."""

    __slots__ = ("__weakref__",)


class Connector:
    """The tools of one server. Methods are for the engine's loop, except `use`."""

    def __init__(self, settings: ServerSettings, loop: LoopThread, limits: Limits) -> None:
        self._settings = settings
        self._loop = loop
        self._limits = limits
        self._uses = 0
        self._connection: Connection | None = None
        self._opening = asyncio.Lock()

    def use(self) -> Use:
        """Return an object that keeps the connection open. From any thread."""
        use = Use()
        self._loop.call(self._add)
        # Called by the garbage collector, on any thread.
        weakref.finalize(use, self._loop.post, self._release).atexit = False
        return use

    def _add(self) -> None:
        self._uses += 1

    def _release(self) -> None:
        self._uses -= 1
        if not self._uses and self._connection is not None:
            self._retire(self._connection)

    async def fetch(self) -> Mapping[str, Definition]:
        """Return the definitions of the tools, by name.

        Each step has `limits.connect_s`: listing over the connection in use, connecting, listing again.

        Raises
        ------
        ServerFailed
            If the server cannot be reached, or its tools cannot be listed.
        """
        _, found = await self._listed()
        return found

    async def call(self, wanted: Definition, arguments: Mapping[str, Any]) -> CallToolResult:
        """Call a tool, once.

        Raises
        ------
        ServerFailed
            If it was not called, or has no result. The message states which.
        """
        try:
            connection, found = await self._listed(for_call=True)
        except ServerFailed as error:
            raise NotCalled(f"{error} The tool was not called.") from error
        current = found.get(wanted.name)
        if current is None:
            raise NotCalled(f"{self._title} no longer has this tool. It was not called.")
        if current.digest != wanted.digest:
            raise NotCalled(
                f"{self._title} changed the definition of this tool after it was switched on. It was not "
                "called. The user can set session.tools again to accept the new definition."
            )
        request = CallToolRequest(params=CallToolRequestParams(name=wanted.name, arguments=dict(arguments)))
        try:
            # Not `call_tool`, which may send the call again, and validates results against schemas of the
            # server on this loop.
            return await connection.call(connection.session.send_request(request, CallToolResult))
        except MCPError as error:
            server_message = self._quote(error.message)
            if error.code == PARSE_ERROR:
                raise ServerFailed(f"{self._title}: the result cannot be read: {server_message}.") from error
            if error.code != CONNECTION_CLOSED:
                raise ServerFailed(f"{self._title} refused the call: {server_message}") from error
            raise self._unknown(connection) from error
        except ValidationError as error:
            raise ServerFailed(
                f"{self._title} was called, and its answer is not a result. It may ask for input, which is "
                "not supported."
            ) from error
        except Exception as error:
            raise self._unknown(connection) from error

    def _unknown(self, connection: Connection) -> ServerFailed:
        reason = connection.transport.problem or "the connection ended during the call"
        return ServerFailed(f"{self._title}: {reason}. It is unknown whether the call was executed.")

    # Connecting

    async def _listed(self, *, for_call: bool = False) -> tuple[Connection, Mapping[str, Definition]]:
        """Return a connection that works, with the tools; a broken one is replaced once."""
        connection, is_new = await self._connected()
        try:
            return connection, await self._list(connection, for_call=for_call)
        except ServerFailed:
            raise
        except Exception as error:
            self._retire(connection)
            if is_new:
                raise self._failed(connection, error) from error
        connection, _ = await self._connected()
        try:
            return connection, await self._list(connection, for_call=for_call)
        except Exception as error:
            self._retire(connection)
            raise self._failed(connection, error) from error

    async def _list(self, connection: Connection, *, for_call: bool) -> Mapping[str, Definition]:
        limit: float | None = self._limits.connect_s
        if for_call:
            # Other calls may keep the server too busy to answer; the engine limits this one.
            limit = None if connection.calls else min(self._limits.connect_s, self._limits.tool_s / 3)
        return await connection.request(self._pages(connection.session), limit)

    async def _pages(self, session: ClientSession) -> Mapping[str, Definition]:
        found: dict[str, Definition] = {}
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
            for tool in page.tools:
                found.setdefault(tool.name, Definition(tool.name, tool.description or "", tool.input_schema))
            cursor = page.next_cursor
            if len(found) > MAX_TOOLS:
                raise ServerFailed(f"{self._title} has more than {MAX_TOOLS} tools.")
            if cursor is None:
                return found
        raise ServerFailed(f"{self._title} has a list of tools that does not end.")

    async def _connected(self) -> tuple[Connection, bool]:
        """Return the connection, and whether it is new."""
        async with self._opening:
            if self._connection is not None and not self._connection.is_over:
                return self._connection, False
            connection = Connection(self._transport(), self._settings.name, self._loop)
            try:
                await connection.opened(self._limits.connect_s)
            except Exception as error:
                raise self._failed(connection, error) from error
            self._connection = connection
            if not self._uses:  # its tools were dropped meanwhile
                self._retire(connection)
            return connection, True

    def _transport(self) -> Transport:
        settings = self._settings
        if settings.url is None:
            return StdioTransport(settings.command, _revealed(settings.variables))
        headers = _revealed(settings.headers)
        return HttpTransport(settings.url.reveal(), settings.endpoint, headers, self._limits.connect_s)

    def _retire(self, connection: Connection) -> None:
        if self._connection is connection:
            self._connection = None
        connection.retire()

    # Messages

    @property
    def _title(self) -> str:
        return f"MCP server {self._settings.name!r}"

    def _quote(self, text: str) -> str:
        return said(text, self._settings.secrets())

    def _failed(self, connection: Connection, error: BaseException) -> ServerFailed:
        transport = connection.transport
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if isinstance(error, ServerFailed):
            return error
        if transport.problem:
            reason = transport.problem
        elif isinstance(error, httpx2.TransportError):
            reason = f"it could not be reached ({type(error).__name__})"
        elif isinstance(error, OSError):
            reason = f"it could not be started: {error.strerror or type(error).__name__}"
        elif isinstance(error, MCPError | Lost):
            reason = self._quote(str(error)) or "it could not be reached"
        else:
            reason = f"it could not be used ({type(error).__name__})"
        words = self._quote(transport.last_error_line)
        if words:
            reason = f"{reason}. The last line of its error output is: {words}"
        place = self._quote(self._settings.place)
        return ServerFailed(f"{self._title} ({place}): {reason}.".replace("..", "."))


def _revealed(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: secret.reveal() for name, secret in values.items()}

"""`HttpTransport`: connects to an MCP server over streamable HTTP.

The client is that of model servers: the same proxies and certificates, and no proxy for this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx2
from mcp.client.streamable_http import streamable_http_client

from nbchat.mcp_client.settings import MAX_MESSAGE
from nbchat.providers.endpoint import Endpoint
from nbchat.providers.transport import open_http_client


class HttpTransport:
    """A server that has a URL. Only for the engine's loop.

    Parameters
    ----------
    url
        As given by the user.
    endpoint
        The same server, for the choice of a proxy.
    headers
        Sent with every request.
    connect_s
        Seconds for the connection. An answer may take as long as a tool call.
    """

    problem: str = ""
    """The reason why the server's output is no longer read."""
    last_error_line: str = ""
    """Empty, since the error output of a server over HTTP is not available."""

    def __init__(self, url: str, endpoint: Endpoint, headers: Mapping[str, str], connect_s: float) -> None:
        self._url = url
        self._endpoint = endpoint
        self._headers = headers
        self._connect_s = connect_s

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Any, Any]]:
        """Connect; yield the streams of messages from the server and to it."""
        client = await asyncio.to_thread(open_http_client, self._endpoint)  # it may read certificates
        client.headers.update(self._headers)
        client.headers["Accept-Encoding"] = "identity"  # otherwise a small answer can become a huge one
        client.timeout = httpx2.Timeout(None, connect=self._connect_s)
        client.event_hooks = {"response": [_limit]}
        async with (
            client,
            streamable_http_client(self._url, http_client=client, max_sse_event_size=MAX_MESSAGE) as streams,
        ):
            yield streams


async def _limit(response: httpx2.Response) -> None:
    """Limit the size of an answer; the library limits the events of a stream itself."""
    if response.headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise httpx2.RemoteProtocolError("the answer has an encoding that was not requested")
    if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
        response.stream = _Limited(cast("httpx2.AsyncByteStream", response.stream))


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        left = MAX_MESSAGE
        async for data in self._stream:
            left -= len(data)
            if left < 0:
                raise httpx2.StreamError(f"more than {MAX_MESSAGE // 1_000_000} MB")
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()

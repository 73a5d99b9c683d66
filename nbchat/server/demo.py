"""`DemoServer` runs the demo server in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from typing import Self

from nbchat.server import guard
from nbchat.server.api import Api
from nbchat.server.connection import Connection
from nbchat.server.pace import Clock, LoopClock, default_pace, parse_pace

LOOPBACK = "127.0.0.1"


class DemoServer:
    """An OpenAI-compatible server of demo models, in the event loop that starts it.

    It requires no key and no network, writes nothing to disk, and never blocks the loop.

    Parameters
    ----------
    pace
        Factor on every delay of the models: 1 is their own pace, 0 is as fast as possible. `None`: the
        value of `NBCHAT_DEMO_PACE`, else 1. The header `X-NBChat-Pace` or the field `nbchat_pace` of a
        request overrides it.
    clock
        The clock of the models. Default: the clock of the loop; tests can pass another.
    allowed_hosts
        Host names to accept in addition to loopback names and, if the server listens beyond loopback, IP
        addresses.

    Raises
    ------
    ValueError
        If the pace is not a number from 0 to 1000.

    Examples
    --------
    >>> async with DemoServer(pace=0) as server:  # doctest: +SKIP
    ...     client = AsyncOpenAI(base_url=server.base_url, api_key="any")
    """

    def __init__(
        self, *, pace: float | None = None, clock: Clock | None = None, allowed_hosts: Collection[str] = ()
    ) -> None:
        pace = default_pace() if pace is None else parse_pace(pace, "pace")
        self._api = Api(clock or LoopClock(), pace, allowed_hosts)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """The base URL for clients, such as `http://127.0.0.1:8765/v1`.

        Raises
        ------
        RuntimeError
            If the server is not started.
        """
        if self._base_url is None:
            raise RuntimeError("the demo server is not started: await server.start() first.")
        return self._base_url

    @property
    def generating(self) -> int:
        """The number of answers being generated."""
        return self._api.activity.count

    async def quiet(self) -> None:
        """Wait until no answer is being generated."""
        await self._api.activity.quiet()

    async def start(self, host: str = LOOPBACK, port: int = 0) -> str:
        """Start to listen and return the base URL.

        Parameters
        ----------
        host
            Address to listen on. Beyond loopback, the server accepts all clients that can reach it.
        port
            0: any free port.

        Raises
        ------
        OSError
            If the port is in use, or the address does not belong to this machine.
        RuntimeError
            If the server is already started.
        """
        if self._server is not None:
            raise RuntimeError(f"the demo server is already started at {self._base_url}.")
        loop = asyncio.get_running_loop()
        self._api.is_public = not guard.is_loopback(host)
        self._server = await loop.create_server(lambda: Connection(self._api, self._connections), host, port)
        # The bound address, not `host`: a name may resolve to several addresses.
        address, port, *_ = self._server.sockets[0].getsockname()
        self._base_url = f"http://{_reachable(address)}:{port}/v1"
        return self._base_url

    async def close(self) -> None:
        """Stop listening, end all answers and drop all connections. The server can be started again."""
        if self._server is None:
            return
        server, self._server, self._base_url = self._server, None, None
        server.close()
        await asyncio.gather(*[connection.closed() for connection in list(self._connections)])
        await self._api.close()
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        """Start on loopback, on a free port."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the server."""
        await self.close()


def _reachable(host: str) -> str:
    """Return the host part of a URL for a listening address; loopback for a wildcard address."""
    address = ip_address(host)
    if address.is_unspecified:
        return LOOPBACK if address.version == 4 else "[::1]"  # noqa: PLR2004 - IPv4
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)

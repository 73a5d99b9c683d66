"""The server itself: it listens, and it closes."""

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

    It needs no key and no network, keeps nothing on disk, and never blocks the loop.

    Parameters
    ----------
    pace
        Factor on every delay of the models: 1 as they speak, 0 as fast as possible. None: what
        `NBCHAT_DEMO_PACE` says, else 1. A request may have its own, by the header `X-NBChat-Pace` or the
        field `nbchat_pace`.
    clock
        Time as the models see it; the loop's own unless a test brings another.
    allowed_hosts
        Names that the server may be called by, besides the loopback ones and, where it listens
        beyond loopback, IP addresses.

    Raises
    ------
    ValueError
        The pace is not a number from 0 to 1000.

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
        """Where clients find it, as `http://127.0.0.1:8765/v1`.

        Raises
        ------
        RuntimeError
            It is not started.
        """
        if self._base_url is None:
            raise RuntimeError("the demo server is not started: await server.start() first.")
        return self._base_url

    @property
    def generating(self) -> int:
        """How many answers are being generated."""
        return self._api.activity.count

    async def quiet(self) -> None:
        """Return when no answer is being generated."""
        await self._api.activity.quiet()

    async def start(self, host: str = LOOPBACK, port: int = 0) -> str:
        """Listen, and return the base URL.

        Parameters
        ----------
        host
            Address to listen at. Beyond loopback the server is open to whoever reaches it.
        port
            0: any that is free.

        Raises
        ------
        OSError
            The port is taken, or the address is not one of this machine.
        RuntimeError
            It is started already.
        """
        if self._server is not None:
            raise RuntimeError(f"the demo server is already started at {self._base_url}.")
        loop = asyncio.get_running_loop()
        self._api.is_public = not guard.is_loopback(host)
        self._server = await loop.create_server(lambda: Connection(self._api, self._connections), host, port)
        # What was bound, not what was asked for: a name may stand for several addresses.
        address, port, *_ = self._server.sockets[0].getsockname()
        self._base_url = f"http://{_reachable(address)}:{port}/v1"
        return self._base_url

    async def close(self) -> None:
        """Stop listening, end every answer and drop every connection; it can be started again."""
        if self._server is None:
            return
        server, self._server, self._base_url = self._server, None, None
        server.close()
        await asyncio.gather(*[connection.closed() for connection in list(self._connections)])
        await self._api.close()
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        """Start on loopback, at a free port."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        await self.close()


def _reachable(host: str) -> str:
    """Return how a URL names an address that was listened at; for all addresses it is loopback."""
    address = ip_address(host)
    if address.is_unspecified:
        return LOOPBACK if address.version == 4 else "[::1]"  # noqa: PLR2004 - IPv4
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)

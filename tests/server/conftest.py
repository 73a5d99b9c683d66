"""Fixtures for tests of the embedded server: a server, the openai client, a raw connection and a clock."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import pytest
from openai import AsyncOpenAI

from nbchat.server import DemoServer


class HandClock:
    """A clock that only moves when a test advances it."""

    def __init__(self) -> None:
        self.now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0
        self._asleep = asyncio.Event()

    def time(self) -> float:
        """Return the time set by the test."""
        return self.now

    async def sleep_until(self, when: float) -> None:
        """Sleep until the test has advanced the clock to `when`."""
        if when <= self.now:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (when, self._count, future))
        self._asleep.set()
        await future

    def advance(self, seconds: float) -> None:
        """Advance the clock, and wake sleepers that are due."""
        self.now += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def someone_sleeps(self) -> None:
        """Wait until a sleeper has been added since the last call."""
        await self._asleep.wait()
        self._asleep.clear()


@dataclass(frozen=True)
class Reply:
    """An HTTP answer from the socket."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body parsed as JSON."""
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object of the answer, checked for all its fields."""
        error = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        assert isinstance(error, dict)
        return error


class RawConnection:
    """A TCP connection that sends arbitrary bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, server: DemoServer) -> Self:
        """Connect to a server."""
        return cls(*await asyncio.open_connection("127.0.0.1", port_of(server)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def reply(self, *, to: str = "GET") -> Reply:
        """Read one answer."""
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            body = b"" if to == "HEAD" else await self._body(headers)
            return Reply(int(status.split(" ")[1]), headers, body)

    async def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body

    async def is_closed(self) -> bool:
        """Read to the end, and return whether the server has closed the connection."""
        async with asyncio.timeout(20):
            try:
                await self.reader.read()
            except ConnectionResetError:
                return True
            return self.reader.at_eof()


def port_of(server: DemoServer) -> int:
    """Return the port of a server."""
    return int(server.base_url.split(":")[2].split("/")[0])


def request(
    target: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a request as bytes; `body` is sent unchanged if bytes, else as JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
    method = method or ("GET" if body is None else "POST")
    fields = {"host": "127.0.0.1", **(headers or {})}
    if body is not None:
        fields = {"content-type": "application/json", "content-length": str(len(data)), **fields}
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + data


async def ask(server: DemoServer, data: bytes, *, to: str = "GET") -> Reply:
    """Send one request on a new connection, and return the answer."""
    async with await RawConnection.open(server) as connection:
        connection.send(data)
        return await connection.reply(to=to)


def user(*texts: str) -> list[Any]:
    """Return a conversation in which user and assistant alternate, the user first."""
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]


@pytest.fixture
async def server() -> AsyncIterator[DemoServer]:
    """Yield a server without delays."""
    async with DemoServer(pace=0) as server:
        yield server


@pytest.fixture
async def clock() -> HandClock:
    """Return the clock of `held_server`."""
    return HandClock()


@pytest.fixture
async def held_server(clock: HandClock) -> AsyncIterator[DemoServer]:
    """Yield a server whose models answer as the test advances the clock."""
    async with DemoServer(pace=1, clock=clock) as server:
        yield server


def client_of(server: DemoServer) -> AsyncOpenAI:
    """Return an openai client for a server."""
    return AsyncOpenAI(base_url=server.base_url, api_key="any", max_retries=0, timeout=20)


@pytest.fixture
async def client(server: DemoServer) -> AsyncIterator[AsyncOpenAI]:
    """Yield an openai client for `server`."""
    async with client_of(server) as client:
        yield client


@pytest.fixture
async def held_client(held_server: DemoServer) -> AsyncIterator[AsyncOpenAI]:
    """Yield an openai client for `held_server`."""
    async with client_of(held_server) as client:
        yield client

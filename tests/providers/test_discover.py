"""Local servers are found by their answers, on loopback, and only on request."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from nbchat.providers.discover import LocalServer, discover
from nbchat.server import DemoServer
from tests.providers.fault_server import Seen, read_request


@asynccontextmanager
async def answering(data: bytes, seen: list[Seen] | None = None) -> AsyncIterator[int]:
    """Serve these bytes to every client and keep the connection open; yield the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        if seen is not None:
            seen.append(request)
        writer.write(data)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


def http(body: object, status: str = "200 OK", **fields: str) -> bytes:
    """Return an HTTP response with that JSON."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    if not fields:
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode() + data


MODELS = {"object": "list", "data": [{"id": "llama", "owned_by": "library"}, {"id": "qwen"}]}


async def test_a_server_is_found_with_its_models() -> None:
    """A server that answers with a list of models is found, with its models and its probable name."""
    seen: list[Seen] = []
    async with answering(http(MODELS), seen) as port:
        found = await discover([port], limit_s=30)
    assert found == [
        LocalServer(name="Ollama", base_url=f"http://127.0.0.1:{port}/v1", models=("llama", "qwen"))
    ]
    assert str(found[0]) == f"Ollama at http://127.0.0.1:{port}/v1: llama, qwen"
    assert seen[0].target == "/v1/models"
    assert "authorization" not in seen[0].headers


async def test_the_embedded_server_is_found() -> None:
    """The server of nbchat is found when it runs by itself."""
    server = DemoServer()
    url = await server.start()
    try:
        found = await discover({int(url.split(":")[2].split("/")[0]): "demo"}, limit_s=30)
    finally:
        await server.close()
    assert [(one.base_url, bool(one.models)) for one in found] == [(url, True)]


@pytest.mark.parametrize(
    "answer",
    [
        http({"models": []}),
        http({"data": {}}),
        http({"data": [1]}),
        http({"data": [{"name": "x"}]}),
        http([]),
        http(b"<html>"),
        http(MODELS, "401 Unauthorized"),
        http(b"", "301 Moved", Location="http://elsewhere.example/v1/models"),
        http(MODELS, **{"Content-Length": "x"}),
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        http(b"zz\r\n", **{"Transfer-Encoding": "chunked"}),
    ],
)
async def test_other_servers_are_not_listed(answer: bytes) -> None:
    """A program that answers anything else, or nothing, is not listed and causes no error."""
    async with answering(answer) as port:
        assert await discover([port], limit_s=0.1) == []


async def test_a_server_may_have_no_model() -> None:
    """A server with an empty list of models is found."""
    async with answering(http({"data": []})) as port:
        found = await discover({port: "LM Studio"}, limit_s=30)
    assert [str(one) for one in found] == [f"LM Studio at http://127.0.0.1:{port}/v1: no model"]


async def test_all_ports_are_looked_at_side_by_side() -> None:
    """Ports are probed concurrently: no server answers before all were asked, and all are found."""
    together = asyncio.Barrier(20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.write(http(MODELS))
        await writer.drain()
        writer.close()

    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(await asyncio.start_server(serve, "127.0.0.1", 0))
            for _ in range(20)
        ]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        assert len(await discover(ports, limit_s=60)) == 20

"""HTTP/1.1 over raw sockets: valid requests of any client, and broken or hostile ones."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from nbchat.server import DemoServer, connection
from tests.server.conftest import HandClock, RawConnection, ask, request, user

ECHO: dict[str, Any] = {"model": "nbchat-echo", "messages": user("Hello")}


def content(body: Any) -> str:
    """Return the text of an answer that was not streamed."""
    return str(body["choices"][0]["message"]["content"])


async def test_a_connection_is_used_again(server: DemoServer) -> None:
    """Many requests, some of them streamed, use one connection."""
    async with await RawConnection.open(server) as raw:
        for index in range(5):
            raw.send(request("/v1/chat/completions", {**ECHO, "messages": user(f"round {index}")}))
            assert content((await raw.reply()).json) == f"round {index}"
            raw.send(request("/v1/chat/completions", {**ECHO, "stream": True}))
            assert (await raw.reply()).body.endswith(b"data: [DONE]\n\n")
            raw.send(request("/v1/nowhere"))
            assert (await raw.reply()).status == 404


async def test_requests_sent_ahead_are_answered_in_order(server: DemoServer) -> None:
    """A client may send further requests before the first answer arrives."""
    async with await RawConnection.open(server) as raw:
        raw.send(
            b"".join([request("/v1/chat/completions", {**ECHO, "messages": user(f"{i}")}) for i in range(20)])
        )
        assert [content((await raw.reply()).json) for _ in range(20)] == [str(i) for i in range(20)]


async def test_a_request_may_come_byte_by_byte(server: DemoServer) -> None:
    """A request can arrive in pieces of any size."""
    async with await RawConnection.open(server) as raw:
        raw.writer.transport.set_write_buffer_limits(high=0)  # each byte separately
        for byte in request("/v1/chat/completions", {**ECHO, "messages": user("Größe 👩‍👩‍👧")}):
            raw.send(bytes([byte]))
            await raw.writer.drain()
            await asyncio.sleep(0)
        assert content((await raw.reply()).json) == "Größe 👩‍👩‍👧"


async def test_a_body_may_be_chunked(server: DemoServer) -> None:
    """A chunked body is reassembled."""
    body = request("/", ECHO).split(b"\r\n\r\n", 1)[1]
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-type: application/json; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunks = b"".join([b"1;ext=1\r\n" + body[i : i + 1] + b"\r\n" for i in range(len(body))])
    reply = await ask(server, head + chunks + b"0\r\ntrailer: x\r\n\r\n")
    assert content(reply.json) == "Hello"


async def test_a_client_may_wait_for_100_continue(server: DemoServer) -> None:
    """`Expect: 100-continue` is answered with 100, or with an error if the body is too large."""
    head, body = request("/v1/chat/completions", ECHO, headers={"expect": "100-continue"}).split(
        b"\r\n\r\n", 1
    )
    async with await RawConnection.open(server) as raw:
        raw.send(head + b"\r\n\r\n")
        assert (await raw.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        raw.send(body)
        assert content((await raw.reply()).json) == "Hello"
    large = {"expect": "100-continue", "content-length": str(connection.MAX_BODY_BYTES + 1)}
    reply = await ask(server, request("/v1/chat/completions", b"", headers=large))
    assert (reply.status, reply.error["code"]) == (413, "request_too_large")


async def test_a_client_of_http_1_0_is_answered(server: DemoServer) -> None:
    """A stream to an HTTP/1.0 client ends with the connection."""
    async with await RawConnection.open(server) as raw:
        raw.send(
            request("/v1/chat/completions", {**ECHO, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        )
        async with asyncio.timeout(20):
            whole = await raw.reader.read()
    assert b"transfer-encoding" not in whole.lower()
    assert whole.endswith(b"data: [DONE]\n\n")


async def test_a_client_may_ask_to_close(server: DemoServer) -> None:
    """`Connection: close` is honoured after the answer."""
    async with await RawConnection.open(server) as raw:
        raw.send(request("/v1/models", headers={"connection": "close"}))
        assert (await raw.reply()).status == 200
        assert await raw.is_closed()


async def test_head_is_get_without_the_body(server: DemoServer) -> None:
    """HEAD has the headers of GET and no body, and the connection continues."""
    get = await ask(server, request("/v1/models"))
    async with await RawConnection.open(server) as raw:
        raw.send(request("/v1/models", method="HEAD"))
        head = await raw.reply(to="HEAD")
        assert (head.status, head.headers["content-length"]) == (200, get.headers["content-length"])
        raw.send(request("/v1/models"))
        assert (await raw.reply()).body == get.body


async def test_options_lists_methods_and_allows_no_other_site(server: DemoServer) -> None:
    """OPTIONS names the methods, and no answer of any kind has a CORS header."""
    reply = await ask(server, request("/v1/responses/x", method="OPTIONS"))
    assert (reply.status, reply.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")
    replies = [
        reply,
        await ask(server, request("/v1/models")),
        await ask(server, request("/v1/chat/completions", ECHO)),
    ]
    assert not [name for reply in replies for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "target", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("PUT", "/v1/models", 405, "method_not_allowed"),
        ("BREW", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/v1", 404, "unknown_path"),
        ("GET", "/v1/models/", 200, None),
        ("GET", "/v1/models/nope", 404, "model_not_found"),
        ("GET", "/v1/responses/nope", 404, "response_not_found"),
        ("GET", "/v1/responses/nope/input_items", 404, "unknown_path"),
        ("POST", "/v1/embeddings", 404, "unknown_path"),
        ("GET", "/../../etc/passwd", 404, "unknown_path"),
        ("GET", "/%ff%00", 404, "unknown_path"),
        ("GET", "//[", 400, "bad_request"),
        ("GET", "/", 200, None),
    ],
)
async def test_paths_and_methods(
    server: DemoServer, method: str, target: str, status: int, code: str | None
) -> None:
    """An unknown path or method gives an error in the format of the OpenAI API."""
    reply = await ask(server, request(target, method=method))
    assert reply.status == status
    if code is not None:
        assert reply.error["code"] == code
    assert reply.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",  # TLS
        b"GET /v1/models HTTP/1.1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nbad header\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET /v1 models HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
async def test_other_protocols_are_refused_and_closed(server: DemoServer, data: bytes) -> None:
    """Garbage gets a 400 as JSON, then the connection ends; the server continues."""
    async with await RawConnection.open(server) as raw:
        raw.send(data)
        reply = await raw.reply()
        assert reply.status == 400
        assert reply.error["type"] == "invalid_request_error"
        assert await raw.is_closed()
    assert (await ask(server, request("/v1/models"))).status == 200


async def test_other_versions_and_encodings_are_refused(server: DemoServer) -> None:
    """Unsupported versions and encodings are refused."""
    assert (await ask(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")).status == 505
    reply = await ask(server, request("/v1/responses", b"{}", headers={"transfer-encoding": "gzip"}))
    assert reply.status == 501


async def test_headers_without_end_are_cut_off(server: DemoServer) -> None:
    """Headers are read up to 64 KiB."""
    async with await RawConnection.open(server) as raw:
        raw.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: ")
        raw.send(b"x" * connection.MAX_HEAD_BYTES)
        assert (await raw.reply()).status == 431


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_without_end_is_cut_off(
    server: DemoServer, monkeypatch: pytest.MonkeyPatch, *, chunked: bool
) -> None:
    """A body is read up to the limit, chunked or not; the error is sent while the client still sends."""
    monkeypatch.setattr(connection, "MAX_BODY_BYTES", 2**20)
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: 4000000"
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n" if chunked else b" " * 0x10000
    async with await RawConnection.open(server) as raw:
        raw.send(b"POST /v1/responses HTTP/1.1\r\nhost: localhost\r\n" + framing + b"\r\n\r\n" + chunk * 60)
        reply = await raw.reply()
        assert (reply.status, reply.error["code"]) == (413, "request_too_large")
        assert "1 MiB" in reply.error["message"]


async def test_a_body_just_below_the_limit_is_read(
    server: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body of exactly the limit is served."""
    body = request("/", ECHO).split(b"\r\n\r\n", 1)[1]
    monkeypatch.setattr(connection, "MAX_BODY_BYTES", len(body) + 1000)
    assert (await ask(server, request("/v1/chat/completions", body + b" " * 1000))).status == 200


async def test_a_silent_client_is_dropped(server: DemoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without a complete request is closed after a timeout."""
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.05)
    for data in (b"", b"GET /v1/mod"):
        async with await RawConnection.open(server) as raw:
            raw.send(data)
            assert await raw.is_closed()


async def test_sending_ahead_without_end_is_cut_off(held_server: DemoServer, clock: HandClock) -> None:
    """While an answer is generated, the amount of data read ahead from the client is limited."""
    async with await RawConnection.open(held_server) as raw:
        raw.send(request("/v1/chat/completions", {**ECHO, "stream": True}))
        await clock.someone_sleeps()
        raw.send(b"x" * 4_000_000)
        assert await raw.is_closed()
        async with asyncio.timeout(10):
            await held_server.quiet()


async def test_a_body_must_be_declared_as_json(server: DemoServer) -> None:
    """A form, which a web page may send across origins without a preflight, is not accepted as JSON."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = await ask(server, request("/v1/chat/completions", ECHO, headers={"content-type": kind}))
        assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


async def test_a_failure_inside_is_an_error_not_silence(
    server: DemoServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect gives a 500 before the answer, a broken stream during it, and a traceback in the log."""

    def broken(*_: object) -> str:
        raise ZeroDivisionError("deliberate")

    monkeypatch.setattr("nbchat.server.api.ChatWriter.whole", broken)
    reply = await ask(server, request("/v1/chat/completions", ECHO))
    assert (reply.status, reply.error["code"], reply.error["type"]) == (500, "internal_error", "server_error")
    assert "deliberate" not in reply.error["message"]
    monkeypatch.setattr("nbchat.server.api.ChatWriter.chunk", broken)
    async with await RawConnection.open(server) as raw:
        raw.send(request("/v1/chat/completions", {**ECHO, "stream": True}))
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await raw.reply()
    monkeypatch.setattr("nbchat.server.store.ResponseWriter.piece", broken)
    reply = await ask(server, request("/v1/responses", {"model": "nbchat-echo", "input": "Hello"}))
    assert reply.json["status"] == "failed"
    assert server.generating == 0
    assert caplog.text.count("ZeroDivisionError: deliberate") == 3


@pytest.mark.parametrize("turns", [0, 1, 5])
async def test_cancelling_its_tasks_leaves_no_client_waiting(held_server: DemoServer, turns: int) -> None:
    """If the server's tasks are cancelled, even before their first step, connections and responses end."""
    ours = asyncio.all_tasks()
    body = {"model": "nbchat-slow", "input": "?", "background": True, "stream": False}
    kept = (await ask(held_server, request("/v1/responses", body))).json["id"]
    asked = request("/v1/chat/completions", {"model": "nbchat-slow", "messages": user("?"), "stream": True})
    async with await RawConnection.open(held_server) as connection:
        connection.send(asked)
        while len(asyncio.all_tasks() - ours) < 2:  # noqa: ASYNC110 - waits for the tasks themselves
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - ours:
            task.cancel()
        assert await connection.is_closed()
    found = (await ask(held_server, request(f"/v1/responses/{kept}"))).json
    assert found["status"] == "failed"

"""Access to the server: programs on this machine, and no web page of another origin."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from nbchat.server import DemoServer
from nbchat.server.connection import HttpRequest
from nbchat.server.errors import ApiError
from nbchat.server.guard import check
from tests.server.conftest import RawConnection, ask, request, user

ECHO = {"model": "nbchat-echo", "messages": user("Hello")}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8765", "localhost", "LocalHost:1", "127.8.8.8", "[::1]", "[::1]:80"]
)
async def test_loopback_names_are_served(server: DemoServer, host: str) -> None:
    """Any loopback name or address of this machine can be used for the server."""
    assert (await ask(server, request("/v1/models", headers={"host": host}))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "evil.example:8765",
        "192.168.1.7",
        "[::2]",
        "0x7f000001",
        "127.0.0.1:99999999",
        "localhost/x",
        "[::1",
        "",
        ".",
        "localhost, evil.example",
    ],
)
async def test_other_names_are_refused(server: DemoServer, host: str) -> None:
    """A foreign name that resolves to this machine (DNS rebinding) is refused."""
    reply = await ask(server, request("/v1/chat/completions", ECHO, headers={"host": host}))
    assert (reply.status, reply.error["code"]) == (403, "foreign_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:8888"},
        {"origin": "https://127.0.0.1"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_pages_of_other_origins_are_refused(
    server: DemoServer, headers: Mapping[str, str], method: str
) -> None:
    """A web page of another origin is refused, also for requests that browsers send without a preflight."""
    target = "/v1/models" if method == "GET" else "/v1/chat/completions"
    reply = await ask(
        server, request(target, ECHO if method == "POST" else None, method=method, headers=headers)
    )
    assert (reply.status, reply.error["code"]) == (403, "foreign_origin")


async def test_a_request_of_its_own_origin_is_served(server: DemoServer) -> None:
    """Requests from the address bar, and of the server's own origin, are served."""
    for headers in (
        {"origin": "http://127.0.0.1"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin"},
    ):
        assert (await ask(server, request("/v1/models", headers=headers))).status == 200


async def test_two_host_headers_are_refused(server: DemoServer) -> None:
    """A second Host header, which could hide the true name, is refused."""
    async with await RawConnection.open(server) as raw:
        raw.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")
        assert (await raw.reply()).status == 400


@pytest.mark.parametrize(
    ("host", "public", "allowed"),
    [
        ("192.168.1.7:8765", True, True),
        ("[fd00::1]", True, True),
        ("box.local", True, True),
        ("box.local", False, True),
        ("evil.example", True, False),
        ("192.168.1.7", False, False),
    ],
)
def test_beyond_loopback_addresses_are_good_names(host: str, *, public: bool, allowed: bool) -> None:
    """A public server is reached by an address or by a configured name."""
    asked = HttpRequest("GET", "/", {}, {"host": host}, b"", (host,))
    if allowed:
        check(asked, allowed_hosts={"box.local"}, is_public=public)
    else:
        with pytest.raises(ApiError, match="not one of this server's names"):
            check(asked, allowed_hosts={"box.local"}, is_public=public)

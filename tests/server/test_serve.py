"""The server as a whole: starting, closing, and the command line."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from nbchat.cli import main
from nbchat.server import DEFAULT_PORT, DemoServer
from tests.server.conftest import HandClock, RawConnection, ask, client_of, port_of, request, user

ROOT = Path(__file__).parents[2]


async def test_a_server_starts_and_closes_again_and_again() -> None:
    """The base URL is the listening address; after `close` the port is free and the server can restart."""
    server = DemoServer(pace=0)
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.base_url
    for _ in range(2):
        assert await server.start() == server.base_url
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1", server.base_url)
        with pytest.raises(RuntimeError, match="already started"):
            await server.start()
        port = port_of(server)
        assert (await ask(server, request("/v1/models"))).status == 200
        await server.close()
        await server.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_closing_ends_everything(held_server: DemoServer, clock: HandClock) -> None:
    """No answer, connection or task outlives the server."""
    before = asyncio.all_tasks()
    bodies = [
        ("/v1/chat/completions", {"model": "nbchat-slow", "messages": user("Hello"), "stream": True}),
        ("/v1/chat/completions", {"model": "nbchat-slow", "messages": user("Hello")}),
        ("/v1/responses", {"model": "nbchat-slow", "input": "Hello", "stream": True}),
        ("/v1/responses", {"model": "nbchat-slow", "input": "Hello", "background": True, "stream": True}),
    ]
    connections = [await RawConnection.open(held_server) for _ in [*bodies, "idle"]]
    for connection, (path, body) in zip(connections, bodies, strict=False):
        connection.send(request(path, body))
        await clock.someone_sleeps()
    assert held_server.generating == 4
    await held_server.close()
    assert held_server.generating == 0
    for connection in connections:
        assert await connection.is_closed()
        connection.writer.close()
    assert asyncio.all_tasks() - before == set()


async def test_a_taken_port_is_an_error(server: DemoServer) -> None:
    """Two servers cannot share a port, and the one that fails can be started on another."""
    other = DemoServer(pace=0)
    with pytest.raises(OSError, match="address already in use"):
        await other.start(port=port_of(server))
    await other.start()
    await other.close()


async def test_it_listens_beyond_loopback_only_if_configured() -> None:
    """On all addresses the base URL is still loopback, and foreign names are refused."""
    server = DemoServer(pace=0)
    assert (await server.start("0.0.0.0")).startswith("http://127.0.0.1:")
    try:
        assert (await ask(server, request("/v1/models", headers={"host": "10.0.0.7"}))).status == 200
        assert (await ask(server, request("/v1/models", headers={"host": "evil.example"}))).status == 403
    finally:
        await server.close()


async def test_a_name_is_listened_at_by_its_address() -> None:
    """The base URL of `localhost` has the address of the listening socket."""
    server = DemoServer(pace=0)
    base_url = await server.start("localhost")
    try:
        async with client_of(server) as client:
            assert [model async for model in await client.models.list()]
        assert re.match(r"http://(127\.0\.0\.1|\[::1\]):\d+/v1$", base_url)
    finally:
        await server.close()


async def test_twenty_streams_at_once_stay_apart(server: DemoServer) -> None:
    """Each of many streams gets its own whole text."""
    async with client_of(server) as client:

        async def echo(number: int) -> bool:
            text = f"stream {number}: " + f"{number} " * 500
            stream = await client.chat.completions.create(
                model="nbchat-echo", messages=user(text), stream=True
            )
            async with stream:
                parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return "".join(parts) == text

        assert all(await asyncio.gather(*[echo(number) for number in range(20)]))


def test_a_wrong_pace_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong pace raises an error when the server is created, whatever its source."""
    with pytest.raises(ValueError, match="pace must be a number"):
        DemoServer(pace=-1)
    monkeypatch.setenv("NBCHAT_DEMO_PACE", "quick")
    with pytest.raises(ValueError, match="NBCHAT_DEMO_PACE must be a number"):
        DemoServer()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_its_address_and_stops_cleanly(signal_number: int) -> None:
    """`nbchat serve` prints its address first, answers there, and exits cleanly on Ctrl-C."""
    process = subprocess.Popen(
        [sys.executable, "-m", "nbchat", "serve", "--port", "0", "--pace", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/v1", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(f"{found[0]}/models", timeout=20) as answer:
            assert b"nbchat-tour" in answer.read()
        process.send_signal(signal_number)
        assert process.wait(timeout=20) == 0
        assert process.stderr is not None
        out, err = process.stdout.read(), process.stderr.read()
        assert err == ""
        assert f"OPENAI_BASE_URL={found[0]}" in out
        assert out.endswith("Stopped.\n")


async def test_serve_names_a_taken_port(server: DemoServer, capsys: pytest.CaptureFixture[str]) -> None:
    """A port that is in use gives an error message and an exit status, not a traceback."""
    arguments = ["serve", "--port", str(port_of(server))]
    assert await asyncio.to_thread(main, arguments) == 1
    assert "address already in use" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["serve", "--pace", "-1"], ["serve", "--pace", "nan"]])
def test_serve_refuses_a_wrong_pace(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid pace is reported by an error message."""
    assert main(arguments) == 1
    assert "pace must be a number from 0" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_serve_refuses_an_invalid_port(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A number that cannot be a port is a usage error."""
    with pytest.raises(SystemExit) as left:
        main(["serve", f"--port={port}"])
    assert left.value.code == 2
    assert "--port" in capsys.readouterr().err


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists the options and the actual default port."""
    with pytest.raises(SystemExit) as left:
        main(["serve", "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert all(
        option in shown for option in ("--host", "--port", "--pace", "--allow-host", str(DEFAULT_PORT))
    )
    with pytest.raises(SystemExit) as left:
        main([])
    assert left.value.code == 2


def test_importing_nbchat_does_not_import_the_server() -> None:
    """`import nbchat` does not load the demo server."""
    code = "import sys, nbchat, nbchat.cli; print([name for name in sys.modules if 'nbchat.server' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"

"""Real MCP servers, and a registry for each test."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nbchat.handles.registry import SessionRegistry
from nbchat.mcp_client.server import McpServer
from nbchat.mcp_client.settings import settings_of
from tests.engines import engine_of
from tests.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
SERVER = str(HERE / "serve.py")
RAW = str(HERE / "raw.py")


class Servers:
    """Makes servers for a registry. `log` has a line for each execution of a tool."""

    def __init__(self, registry: SessionRegistry, log: Path) -> None:
        self._engine = engine_of(registry)
        self.log = log
        self.seen = 0
        """Lines that the log had before the test."""

    def made(self, name: str = "hostile", **settings: Any) -> McpServer:
        """Return a server."""
        given = {"url": None, "command": None, "headers": None, "env": None, **settings}
        return McpServer(settings_of(name, **given), self._engine.loop, self._engine.limits)

    def process(self, name: str = "hostile", **settings: Any) -> McpServer:
        """Return a server that is started as a process."""
        return self.made(name, command=[sys.executable, SERVER, "stdio", str(self.log)], **settings)

    def raw(self, mode: str) -> McpServer:
        """Return a server without the library."""
        return self.made("raw", command=[sys.executable, RAW, str(self.log), mode])

    def lines(self) -> list[str]:
        """Return the lines of the log."""
        if not self.log.exists():
            return []
        return self.log.read_text(encoding="utf-8").splitlines()[self.seen :]


class Http:
    """A server over HTTP, on a port of its own that it keeps when it is started again."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def start(self) -> None:
        """Start the process, and wait until it accepts connections."""
        command = [sys.executable, SERVER, "http", str(self.log), str(self.port)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def end(self) -> None:
        """End the process, unless it has ended."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def registry() -> Iterator[SessionRegistry]:
    """Return a registry; its servers are ended with the test."""
    made = SessionRegistry()
    made.limits.connect_s = 100.0  # Python starts slowly on a busy machine
    made.limits.tool_s = 100.0
    yield made
    for session in list(made.values()):
        session.tools = ()
    engine = engine_of(made)
    # Collected again and again: what has just ended may still be in use on another thread.
    wait_for(lambda: gc.collect() >= 0 and not engine.loop.call(connections), "the servers are ended", 100)
    engine.shutdown()


def connections() -> list[str]:
    """Return the names of the tasks that own connections, on the engine's loop."""
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("nbchat-mcp-")]


@pytest.fixture
def servers(registry: SessionRegistry, tmp_path: Path) -> Servers:
    """Return a maker of servers."""
    return Servers(registry, tmp_path / "log.txt")


@pytest.fixture(scope="module")
def one_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """Return a server over HTTP for all tests that leave it as it was."""
    made = Http(tmp_path_factory.mktemp("http") / "log.txt")
    yield made
    made.end()


@pytest.fixture
def shared(one_http: Http, servers: Servers) -> Http:
    """Return a server over HTTP that must be left as it was; `servers` has its log."""
    servers.log = one_http.log
    servers.seen = len(servers.lines())
    return one_http


@pytest.fixture
def http(servers: Servers) -> Iterator[Http]:
    """Return a server over HTTP."""
    made = Http(servers.log)
    yield made
    made.end()

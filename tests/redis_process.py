"""`RedisProcess`: a server of Redis or Valkey for tests, and `LossyProxy`, which drops its answers."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.proxy import Proxy
from tests.waiting import wait_for
from tools.demo_service import redis_program


class RedisProcess:
    """A server with a socket and a folder of its own. Use it in a `with` statement.

    Parameters
    ----------
    options
        Additional options; they take precedence.
    """

    def __init__(self, *options: str) -> None:
        # The path of a socket is limited to about a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="nbchat-redis-"))
        self.url = f"unix://{self.folder / 'socket'}"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Start the server, and wait until it has loaded its data."""
        found = redis_program()
        if found is None:
            pytest.skip("no server of Redis or Valkey is installed")
        settings = {
            "port": "0",
            "unixsocket": str(self.folder / "socket"),
            "dir": str(self.folder),
            "logfile": str(self.folder / "log"),
            "appendonly": "yes",
            "save": "",
        }
        options = [part for name, value in settings.items() for part in (f"--{name}", value)]
        process = self._process = subprocess.Popen([found, *options, *self._options])

        def answers() -> bool:
            log = self.folder / "log"
            assert process.poll() is None, log.read_text("utf-8") if log.exists() else "it has ended"
            with contextlib.suppress(redis.ConnectionError), self.client() as client:
                return bool(client.ping())
            return False

        wait_for(answers, "the server answers")

    def client(self) -> redis.Redis:
        """Return a client for use in a `with` statement."""
        client: redis.Redis = redis.Redis.from_url(
            self.url, socket_timeout=60.0, retry=Retry(NoBackoff(), 0), protocol=2
        )
        return client

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the server by SIGKILL, and wait for its end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class LossyProxy(Proxy):
    """A proxy in front of a server's socket, with the URL of a server."""

    def __init__(self, server: RedisProcess) -> None:
        def connected() -> socket.socket:
            made = socket.socket(socket.AF_UNIX)
            try:
                made.connect(str(server.folder / "socket"))
            except OSError:
                made.close()
                raise
            return made

        super().__init__(connected)
        self.url = f"redis://127.0.0.1:{self.port}/0"

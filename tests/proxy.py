"""`Proxy`: passes data between clients on a loopback port and a server."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self


class Proxy:
    """Passes data in both directions. Use it in a `with` statement.

    After `drop_answers`, the next request of each connection is passed on; instead of its answer, the client
    gets the end of the connection.

    Parameters
    ----------
    connect
        Returns a connection to the server. Raises `OSError` if the client is to be refused.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self._has_ended = False
        self._to_drop = 0
        self.dropped = 0
        """Answers that were dropped."""

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
            self._has_ended = True
            for one in self._sockets:
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
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
                if self._has_ended:
                    return
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

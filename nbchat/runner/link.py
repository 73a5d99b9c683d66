"""`Link`: the kernel's end of one connection to a runner, with threads that read, write and watch it.

Callers never write to the transport themselves, since an interrupt of a cell in the middle of a frame would
break the link.
"""

from __future__ import annotations

import itertools
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from nbchat.core.errors import CommandError, NbchatError, from_info
from nbchat.core.version import VERSION
from nbchat.engine.loop_thread import POLL_S
from nbchat.runner.frames import encode_frame
from nbchat.runner.messages import LINK_VERSION, Call, Greeting, Hello, Reply, ToKernel, ToRunner
from nbchat.runner.places import PORT, is_same_user, is_suspended
from nbchat.runner.transports import SocketTransport, Transport

logger = logging.getLogger("nbchat")

HELLO_S: Final = 10.0
"""Longest wait for a runner's greeting; one that takes longer is stopped or hangs."""

PING_S: Final = 4.0
"""Interval of the pings."""

MISSES: Final = 4
"""Intervals without any message of the runner after which the link counts as lost.

Intervals are counted, not seconds: a suspended machine or kernel receives nothing either, and has received
what arrived meanwhile after one interval.
"""

Answer: TypeAlias = "queue.SimpleQueue[Reply | None]"


class LinkLost(ConnectionError):
    """The link ended before the answer came."""


class Link:
    """One connection. All methods may be called from any thread.

    Parameters
    ----------
    transport
        A connection on which the greeting was exchanged.
    greeting
        The runner's greeting.
    receive
        Takes each message that is no reply, on the reading thread.
    ended
        Called once, on the reading thread, when the link has ended.
    """

    def __init__(
        self,
        transport: Transport,
        greeting: Greeting,
        receive: Callable[[Link, ToKernel, bytes], None],
        ended: Callable[[Link], None],
    ) -> None:
        self.greeting = greeting
        self._transport = transport
        self._receive = receive
        self._on_end = ended
        self._numbers = itertools.count(1)
        self._answers: dict[int, Answer] = {}
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._received = 0
        """Number of messages so far."""
        self._over = False
        self._ended = threading.Event()

    def __repr__(self) -> str:
        """Return the runner's process."""
        return f"<Link to runner {self.greeting.pid}{', ended' if self._over else ''}>"

    def start(self) -> None:
        """Read and write from now on."""
        for work, name in ((self._read, "read"), (self._write, "write"), (self._watch, "watch")):
            threading.Thread(target=work, name=f"nbchat-link-{name}", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """True if the link has ended."""
        return self._over

    def send(self, message: ToRunner) -> None:
        """Send a message; it is dropped if the link has ended.

        Raises
        ------
        CommandError
            If it is larger than the runner accepts; nothing is sent.
        """
        frame = encode_frame(message)
        self._transport.check(frame)
        self._out.put(frame)

    def call(self, name: str, timeout_s: float | None = None, /, **args: Any) -> Any:  # noqa: ANN401 - its value
        """Call a function of the runner and wait for its value.

        Raises
        ------
        LinkLost
            If the link ends first.
        TimeoutError
            If there is no answer in time.
        NbchatError
            If the function raised.
        """
        number = next(self._numbers)
        answer: Answer = queue.SimpleQueue()
        self._answers[number] = answer
        until = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            self.send(Call(id=number, name=name, args=args))
            if self._over:
                answer.put(None)
            while True:
                left = POLL_S if until is None else min(POLL_S, until - time.monotonic())
                with suppress(queue.Empty):
                    reply = answer.get(timeout=max(left, 0.0))
                    if reply is None:
                        raise LinkLost("the link to the runner was lost.")
                    if reply.error is not None:
                        raise from_info(reply.error)
                    return reply.value
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"not done after {timeout_s} s")
        finally:
            self._answers.pop(number, None)

    def close(self) -> None:
        """Send what is queued, and end the link."""
        self._out.put(None)

    # Threads

    def _read(self) -> None:
        try:
            while True:
                message, body = self._transport.read()
                self._received += 1
                if isinstance(message, Reply):
                    if (answer := self._answers.get(message.id)) is not None:
                        answer.put(message)
                else:
                    self._receive(self, message, body)
        except (EOFError, OSError):
            pass
        except NbchatError as error:
            logger.warning("%s", error)
        except Exception:
            logger.exception("the link to the runner failed")
        finally:
            self._over = True
            self._ended.set()
            self._out.put(None)
            self._transport.close()
            for answer in list(self._answers.values()):
                answer.put(None)
            self._on_end(self)

    def _write(self) -> None:
        try:
            while (frame := self._out.get()) is not None:
                self._transport.write(frame)
            self._transport.finish()
        except OSError:
            self._transport.abort()  # the reading thread ends the link

    def _watch(self) -> None:
        """End the link if the runner is suspended or hangs."""
        before, misses = -1, 0
        while not self._ended.wait(PING_S):
            misses = misses + 1 if self._received == before else 0
            if misses == MISSES:
                logger.warning("runner %d does not answer; it is replaced", self.greeting.pid)
                self._transport.abort()
                return
            before = self._received
            self.send(Call(id=next(self._numbers), name="ping"))


def greet(path: Path, *, is_kernel: bool = True) -> tuple[SocketTransport, Greeting]:
    """Connect to the runner at this address, and return the connection and the runner's greeting.

    Raises
    ------
    OSError
        If nothing listens there, or it does not answer.
    NbchatError
        If what answers is no runner of this user.
    """
    connection, token = _connected(path)
    transport = SocketTransport(connection)
    try:
        hello = Hello(link=LINK_VERSION, version=VERSION, token=token, is_kernel=is_kernel)
        transport.write(encode_frame(hello))
        greeting, _ = transport.read()
        connection.settimeout(None)
    except EOFError as error:
        connection.close()
        raise ConnectionError(f"{path} refused the link") from error
    except BaseException:
        connection.close()
        raise
    if not isinstance(greeting, Greeting):
        connection.close()
        raise CommandError(f"what listens at {path} is no runner.")
    return transport, greeting


def _connected(path: Path) -> tuple[socket.socket, str]:
    """Return a connection to an address, and the token that it needs."""
    if path.suffix == PORT:
        port, _, token = path.read_text("utf-8").partition(" ")
        return socket.create_connection(("127.0.0.1", int(port)), HELLO_S), token
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(HELLO_S)
    try:
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    if not is_same_user(connection):
        connection.close()
        raise CommandError(f"the runner at {path} belongs to another user.")
    if is_suspended(connection):
        connection.close()
        raise ConnectionError(f"the runner at {path} is suspended")
    return connection, ""

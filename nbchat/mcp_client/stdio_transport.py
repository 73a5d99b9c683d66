"""`StdioTransport`: runs an MCP server as a process, and exchanges lines of JSON with it.

The transport of the library `mcp` reads lines of any length, and cannot end the process while the event loop
is closing. This one limits a line, and always ends the process.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process, SubprocessStreamProtocol
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import DEFAULT_INHERITED_ENV_VARS
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from nbchat.mcp_client.settings import MAX_MESSAGE

INHERITED: Final = ("LANG", "LC_ALL", "LC_CTYPE")
"""Variables that the server inherits in addition to those of the library, for the encoding of its texts."""

GRACE_S: Final = 2.0
"""Seconds that the server has to end after its input was closed, and again after it was terminated."""

HURRIED_S: Final = 0.1
"""Seconds that it has to end after it was terminated while the kernel is ending."""

REAPED_S: Final = 1.0
"""Seconds to wait for the end of a killed process."""

_KILL: Final = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL

_POLL_S: Final = 0.01
_TAIL: Final = 40
"""Lines of the error output that are kept."""


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a server: an allow-list of this process's variables, and the given ones."""
    names = (*DEFAULT_INHERITED_ENV_VARS, *INHERITED)
    found = {name: value for name in names if (value := os.environ.get(name)) is not None}
    # Some shells export functions in variables.
    return {name: value for name, value in found.items() if not value.startswith("()")} | dict(given)


class StdioTransport:
    """A server that is started as a process. Only for the engine's loop.

    Parameters
    ----------
    command
        The program and its arguments. No shell is involved.
    variables
        Added to the environment.
    """

    def __init__(self, command: Sequence[str], variables: Mapping[str, str]) -> None:
        self._command = command
        self._variables = variables
        self._tail: deque[bytes] = deque(maxlen=_TAIL)
        self.problem: str = ""
        """The reason why the server's output is no longer read."""

    @property
    def last_error_line(self) -> str:
        """The last line of the server's error output."""
        lines = b"".join(self._tail).decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Any, Any]]:
        """Start the server; yield the streams of messages from it and to it. End it on exit."""
        variables = environment(self._variables)
        program = shutil.which(self._command[0], path=variables.get("PATH")) or self._command[0]
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.subprocess_exec(
            lambda: SubprocessStreamProtocol(limit=MAX_MESSAGE, loop=loop),
            program,
            *self._command[1:],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=variables,
            # An interrupt of the kernel must not reach the server; and its children end with it.
            start_new_session=True,
        )
        process = Process(transport, protocol, loop)
        from_server: MemoryObjectSendStream[SessionMessage | Exception]
        messages: MemoryObjectReceiveStream[SessionMessage | Exception]
        to_server: MemoryObjectSendStream[SessionMessage]
        queued: MemoryObjectReceiveStream[SessionMessage]
        from_server, messages = anyio.create_memory_object_stream(0)
        to_server, queued = anyio.create_memory_object_stream(0)
        tasks = [
            loop.create_task(self._read(process, from_server)),
            loop.create_task(self._write(process, queued, from_server)),
        ]
        errors = loop.create_task(self._read_errors(process))
        grace_s = GRACE_S
        try:
            yield messages, to_server
        except asyncio.CancelledError:
            grace_s = HURRIED_S
            _kill(process, signal.SIGTERM)
            raise
        finally:
            try:
                await _end(process, grace_s)
                await asyncio.wait({errors}, timeout=grace_s)  # a child may keep the pipe open
            finally:
                if process.returncode is None:  # the wait was cancelled: the kernel is ending
                    _kill(process, _KILL)
                    await _has_ended(process, REAPED_S)
                for task in (*tasks, errors):
                    task.cancel()
                for stream in (messages, to_server, from_server, queued):
                    stream.close()
                # A child of the server may keep its pipes open.
                with suppress(PermissionError):
                    transport.close()

    async def _read(
        self, process: Process, from_server: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        output = process.stdout
        assert output is not None  # noqa: S101 - a pipe, as asked for
        with from_server, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            while True:
                try:
                    line = await output.readline()
                except ValueError:
                    self.problem = f"it sent a message of more than {MAX_MESSAGE // 1_000_000} MB"
                    return
                if not line:
                    return
                try:
                    message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                except ValueError:
                    continue  # servers print other lines, too
                await from_server.send(SessionMessage(message))

    async def _write(
        self,
        process: Process,
        queued: MemoryObjectReceiveStream[SessionMessage],
        from_server: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        stdin = process.stdin
        assert stdin is not None  # noqa: S101 - a pipe, as asked for
        # Closing `from_server` ends the connection: a message that was not sent would never be answered.
        with queued, from_server:
            try:
                async for message in queued:
                    text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                    stdin.write(f"{text}\n".encode())
                    await stdin.drain()
            except OSError:
                pass  # the server has closed its input or ended
            except Exception as error:  # noqa: BLE001 - any error of the library ends this connection only
                self.problem = f"a message could not be sent ({type(error).__name__})"

    async def _read_errors(self, process: Process) -> None:
        errors = process.stderr
        assert errors is not None  # noqa: S101 - a pipe, as asked for
        with suppress(OSError):
            while data := await errors.read(1000):
                self._tail.append(data)


async def _end(process: Process, grace_s: float) -> None:
    """Close the server's input, wait, terminate it, wait again, and kill it."""
    if process.stdin is not None:
        process.stdin.close()
    if not await _has_ended(process, grace_s):
        _kill(process, signal.SIGTERM)
        if not await _has_ended(process, grace_s):
            _kill(process, _KILL)
            await _has_ended(process, grace_s)


async def _has_ended(process: Process, within_s: float) -> bool:
    # Not `process.wait()`, which also waits for children of the server that keep its pipes open.
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while process.returncode is None and loop.time() < until:  # noqa: ASYNC110 - asyncio has no such event
        await asyncio.sleep(_POLL_S)
    return process.returncode is not None


def _kill(process: Process, how: signal.Signals) -> None:
    """Send a signal to the server and its children, unless it has ended."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, how)

"""`Connection` implements HTTP/1.1 (by h11) on one TCP connection.

Requests are handled one at a time, in order. Each has its own task, which is cancelled as soon as the client
disconnects. EOF from the client counts as a disconnect, since a waiting client keeps its side open.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import h11
import msgspec

from nbchat.server.errors import ApiError

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_HEAD_BYTES: Final = 64 * 1024
READ_TIMEOUT_S: Final = 120.0
"""Limit for one request, and for the idle time between two; longer than the keep-alive time of clients."""
LINGER_S: Final = 5.0
"""Time for a client that is still sending a rejected request to read the error."""

_VERSIONS = (b"1.0", b"1.1")
_log = logging.getLogger("nbchat")  # this logger redacts secrets


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A complete request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name; the last one if repeated."""
    body: bytes
    hosts: tuple[str, ...]
    """All `Host` headers; a valid request has exactly one."""


Handler = Callable[[HttpRequest, "Exchange"], Awaitable[None]]


class Exchange:
    """Sends the response to one request: either `respond`, or `start_stream`, `send` and `finish`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.is_started: bool = False

    async def respond(self, status: int, body: object, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Send a JSON response, or a response without a body if `body` is `None`."""
        data = b"" if body is None else msgspec.json.encode(body)
        kind = () if body is None else (("content-type", "application/json"),)
        length = () if status == HTTPStatus.NO_CONTENT else (("content-length", str(len(data))),)
        self._head(status, (*kind, *length, *headers))
        if data:
            await self.send(data)
        self.finish()

    def start_stream(self) -> None:
        """Send the status and headers of a stream of server-sent events."""
        self._head(
            HTTPStatus.OK,
            (
                ("content-type", "text/event-stream; charset=utf-8"),
                ("cache-control", "no-cache"),
                ("x-accel-buffering", "no"),  # disables buffering in a proxy
                ("transfer-encoding", "chunked"),
            ),
        )

    def _head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.is_started = True
        self._connection.send_head(status, headers)

    async def send(self, data: bytes) -> None:
        """Send a piece of the body; waits while the write buffer is full."""
        self._connection.send_data(data)
        await self._connection.drained()

    def finish(self) -> None:
        """Complete the response; the next request can then be handled."""
        self._connection.finish()


class Connection(asyncio.Protocol):
    """One client's connection.

    Parameters
    ----------
    handler
        Handles a request. It may be cancelled at any `await`.
    connections
        Set that contains the connection while it is open.
    """

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_lingering = False
        self._writable = asyncio.Event()
        self._writable.set()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection and start the timer for the first request."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type; create_server makes no other
        self._transport = transport
        self._connections.add(self)
        self._set_timer(READ_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        """Process data from the client."""
        if self._is_lingering:
            return
        self._http.receive_data(data)
        if self._task is None:
            self._advance()
        elif len(self._http.trailing_data[0]) > MAX_HEAD_BYTES:
            # Pipelined requests are buffered. A client that exceeds the limit is disconnected: pausing
            # reads instead would hide the end of the connection.
            self.abort()

    def eof_received(self) -> bool:
        """Treat EOF as a disconnect."""
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - every end is alike
        """Cancel the response in progress."""
        self._connections.discard(self)
        self._transport = None
        self._writable.set()
        self._clear_timer()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Suspend sending, since the client does not read."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Resume sending."""
        self._writable.set()

    # Called by `Exchange`.

    def send_head(self, status: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Send the status and the headers."""
        common = (("date", formatdate(usegmt=True)), ("server", "nbchat-demo"))
        encoded = [(name.encode(), value.encode()) for name, value in (*common, *headers)]
        reason = HTTPStatus(status).phrase.encode()
        self._write(self._http.send(h11.Response(status_code=status, headers=encoded, reason=reason)))

    def send_data(self, data: bytes) -> None:
        """Send a piece of the body, except for a HEAD request."""
        if self._request is not None and self._request.method == b"HEAD":
            return
        self._write(self._http.send(h11.Data(data=data)))

    async def drained(self) -> None:
        """Wait until the write buffer has drained."""
        if not self._writable.is_set():
            await self._writable.wait()

    def finish(self) -> None:
        """Send the end of the body."""
        self._write(self._http.send(h11.EndOfMessage()))

    # Lifecycle.

    def abort(self) -> None:
        """Drop the connection and cancel the response in progress."""
        if self._transport is not None:
            self._transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def closed(self) -> None:
        """Abort, and wait until the handler has returned."""
        task = self._task
        self.abort()
        if task is not None:
            await asyncio.gather(task, return_exceptions=True)

    def _write(self, data: bytes | None) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def _set_timer(self, seconds: float) -> None:
        self._clear_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _advance(self) -> None:
        """Parse data until a request is complete or more data is needed."""
        try:
            while self._task is None:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._request = event
                    self._check_head(event)
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_BODY_BYTES:
                        raise _too_large()
                elif isinstance(event, h11.EndOfMessage):
                    self._handle()
                elif isinstance(event, h11.ConnectionClosed):
                    self.abort()
                    return
                else:
                    if self._http.they_are_waiting_for_100_continue:
                        self._write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])))
                    return
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            self._refuse(ApiError(status, f"This is not an HTTP/1.1 request: {error}.", code="bad_request"))
        except ApiError as error:
            self._refuse(error)

    @staticmethod
    def _check_head(request: h11.Request) -> None:
        if request.http_version not in _VERSIONS:
            raise ApiError(505, "This server speaks HTTP/1.1.", code="bad_request")
        for name, value in request.headers:
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                raise _too_large()

    def _handle(self) -> None:
        assert self._request is not None  # noqa: S101 - h11 gives the end of a message after its beginning
        try:
            request = _read(self._request, bytes(self._body))
        except ValueError:
            message = f"The request's target is not a path: {self._request.target[:200]!r}."
            raise ApiError(400, message, code="bad_request") from None
        self._body = bytearray()
        self._clear_timer()
        self._task = asyncio.get_running_loop().create_task(self._answer(request))
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() and self._transport is not None:
            # Cancelled from outside, perhaps before its first step: the client must not wait forever.
            self._transport.abort()

    async def _answer(self, request: HttpRequest) -> None:
        exchange = Exchange(self)
        try:
            await self._handler(request, exchange)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is told
            await self._answer_error(request, exchange, error)
        self._task = None
        self._next()

    async def _answer_error(self, request: HttpRequest, exchange: Exchange, error: Exception) -> None:
        if not isinstance(error, ApiError):
            _log.error("%s %s failed", request.method, request.path, exc_info=error)
            error = ApiError(500, "The demo server failed; its log has the reason.", code="internal_error")
        if exchange.is_started:
            # The client must see a broken response, not one that looks complete.
            self.abort()
        else:
            await exchange.respond(error.status, error.body, error.headers)

    def _next(self) -> None:
        """Accept the next request, or close if the client or the protocol requires it."""
        if self._transport is None:
            return
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._request = None
            self._set_timer(READ_TIMEOUT_S)
            self._advance()
        else:
            self._transport.close()

    def _refuse(self, error: ApiError) -> None:
        """Send an error for a request that was not fully read, and close."""
        if self._transport is None:
            return
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = msgspec.json.encode(error.body)
            head = (
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            )
            self.send_head(error.status, head)
            self.send_data(body)
            self.finish()
        # Closing with unread data resets the connection, so that the client might not receive the response.
        self._is_lingering = True
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._set_timer(LINGER_S)


def _too_large() -> ApiError:
    limit = f"{MAX_BODY_BYTES // 2**20} MiB"
    return ApiError(
        413, f"The request is larger than {limit}, the most this server reads.", code="request_too_large"
    )


def _read(request: h11.Request, body: bytes) -> HttpRequest:
    """Return the request, decoded to text.

    Raises
    ------
    ValueError
        If the target cannot be split into path and query.
    """
    target = urlsplit(request.target.decode("ascii"))
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
    return HttpRequest(
        method=request.method.decode("ascii"),
        path=unquote(target.path),
        query=dict(parse_qsl(target.query, keep_blank_values=True)),
        headers=dict(headers),
        body=body,
        hosts=tuple([value for name, value in headers if name == "host"]),
    )

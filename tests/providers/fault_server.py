"""FaultServer, a server on raw sockets that misbehaves in one way per model, one for each fault listed.

::

    async with FaultServer() as server:
        provider = OpenAIProvider(server.base_url)
        ...  # model="reset": the connection is reset in the middle of a chunk

`FAULTS` lists the faults by model, with the promise and the expected outcome of each, so that a test can
iterate over all of them. There are no delays, except if sending slowly is the fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import struct
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec

from nbchat.core import errors

TLS = Path(__file__).parent / "tls"
"""A key used only in these tests, and certificates for loopback: `own.pem` and `expired.pem`."""

ECHOED_KEY = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
"""A key that the error texts of this server contain, whatever key was sent."""

TEXT = "Hello, wörld 🌍"
PIECES = ("Hel", "lo, ", "wör", "ld ", "🌍")
BOM = b"\xef\xbb\xbf"


def chunk(delta: object = None, reason: object = None, **more: object) -> dict[str, Any]:
    """Return a `chat.completion.chunk` with that delta."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": reason}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "answering-model",
        "choices": [choice],
        **more,
    }


def say(text: str, **more: object) -> dict[str, Any]:
    """Return a chunk with that text."""
    return chunk({"content": text}, **more)


def completion(text: str = TEXT, **more: object) -> dict[str, Any]:
    """Return a whole answer, as sent by servers that do not stream."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "answering-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        **more,
    }


def event(payload: object) -> bytes:
    """Return an event with that payload, as JSON unless it is bytes already."""
    data = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    return b"data: " + data + b"\n\n"


ANSWER = b"".join([event(chunk({"role": "assistant", "content": ""})), *map(event, map(say, PIECES))])
END = event(chunk(None, "stop")) + event(b"[DONE]")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any

    @property
    def model(self) -> str:
        """The requested model, which names the fault."""
        return str(self.body.get("model", "")) if isinstance(self.body, dict) else ""


@dataclass(slots=True)
class Wire:
    """One exchange, seen from the server."""

    seen: Seen
    attempt: int
    """Number of requests for this model, including this one."""
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    chunked: bool = False
    keep: bool = False
    """If true, the connection may serve another request after this one."""

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: str = "200 OK", kind: str = "text/event-stream", **fields: str) -> None:
        """Write a head; the body is chunked unless a length is given."""
        self.chunked = "content_length" not in fields
        lines = [f"HTTP/1.1 {status}", f"content-type: {kind}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        if self.chunked:
            lines.append("transfer-encoding: chunked")
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """Write a piece of the body. An empty one is not written: as a chunk it would be the end."""
        if data:
            await self.raw(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)

    async def events(self, *payloads: object) -> None:
        """Write events."""
        for payload in payloads:
            await self.send(event(payload))

    async def end(self) -> None:
        """End a chunked body properly."""
        await self.raw(b"0\r\n\r\n")
        self.keep = True

    async def stream(self, *payloads: object, done: bool = True) -> None:
        """Answer with these events, `[DONE]`, and a proper end."""
        await self.head()
        await self.events(*payloads)
        if done:
            await self.events(b"[DONE]")
        await self.end()

    async def refuse(self, status: str, body: object, kind: str = "application/json", **fields: str) -> None:
        """Answer with a status and a body."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        await self.head(status, kind, content_length=str(len(data)), x_request_id="req-17", **fields)
        await self.send(data)
        self.keep = True

    def reset(self) -> None:
        """Break the connection with an RST."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Wait until the client closes the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


Behaviour = Callable[[Wire], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to misbehave, and the expected outcome."""

    model: str
    promise: str
    """Its line in the list of faults."""
    behave: Behaviour
    error: type[errors.ProviderError] | None = None
    """The error that the provider raises; `None` if the answer is valid."""
    kept: str = TEXT
    """The text that the provider yields before the error or the end."""
    finish: str | None = "stop"
    """The finish reason that the provider yields."""
    retryable: errors.Retryable = False
    endless: bool = False
    """The server continues, or stays silent, until the client disconnects."""
    alone: bool = False
    """If true, it need not be tried in every state of a run, because another fault behaves like it there."""


FAULTS: dict[str, Fault] = {}
"""All faults by model."""


def fault(model: str, promise: str, **outcome: Any) -> Callable[[Behaviour], Behaviour]:
    """Register a fault. With an error, no text and no finish reason are expected unless given."""
    if outcome.get("error") or outcome.get("endless"):
        outcome = {"kept": "", "finish": None, **outcome}

    def register(behave: Behaviour) -> Behaviour:
        FAULTS[model] = Fault(model=model, promise=promise, behave=behave, **outcome)
        return behave

    return register


RESPONSES: dict[str, Behaviour] = {}
"""Answers of the Responses API, by model."""


class FaultServer:
    """Serves `/v1/chat/completions`, `/v1/responses` and `/v1/models`, and one redirect's target.

    Parameters
    ----------
    certificate
        Serve TLS with this file of `TLS`.
    """

    def __init__(self, certificate: str | None = None) -> None:
        self.requests: list[Seen] = []
        """All requests, oldest first."""
        self.connections = 0
        """Number of connections opened."""
        self.open = 0
        """Number of connections now open."""
        self.attempts: Counter[str] = Counter()
        self._changed = asyncio.Condition()
        self._certificate = certificate
        self._server: asyncio.Server | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        """Tasks that serve connections."""
        self.base_url = ""
        self.port = 0

    async def __aenter__(self) -> Self:
        context = None
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(TLS / self._certificate, TLS / "key.pem")
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context, limit=2**20)
        self.port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http{'s' if context else ''}://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def until(self, condition: Callable[[FaultServer], object]) -> None:
        """Wait until the condition holds; it is checked on each request and when a connection closes."""
        async with self._changed:
            await self._changed.wait_for(lambda: condition(self))

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        self.open += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.tasks.discard(task)
            self.open -= 1
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            await self._tell()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await read_request(reader)
        self.requests.append(seen)
        self.attempts[seen.model] += 1
        await self._tell()
        wire = Wire(seen, self.attempts[seen.model], reader, writer)
        path = seen.target.split("?", 1)[0].split("/v1", 1)[-1]
        if path == "/models":
            await wire.refuse("200 OK", {"object": "list", "data": [{"id": name} for name in FAULTS]})
        elif path == "/chat/completions":
            found = FAULTS.get(seen.model)
            if found is None:
                await wire.refuse("404 Not Found", {"error": {"message": f"no model {seen.model}"}})
            else:
                await found.behave(wire)
        elif path == "/responses" and seen.model in RESPONSES:
            await RESPONSES[seen.model](wire)
        else:
            await wire.refuse("404 Not Found", b"not here", "text/plain")
        return wire.keep and not writer.is_closing()


async def read_request(reader: asyncio.StreamReader) -> Seen:
    """Read one request."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
    }
    data = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(method, target, headers, msgspec.json.decode(data) if data else None)


# Valid answers, in the forms that servers send


@fault("ok", "section 1")
async def _ok(wire: Wire) -> None:
    await wire.head()
    await wire.send(ANSWER + event(chunk(None, "stop", usage={"prompt_tokens": 3, "completion_tokens": 5})))
    await wire.events(b"[DONE]")
    await wire.end()


def plain(model: str, promise: str, body: bytes, **outcome: Any) -> None:
    """Register an answer of 200 with this body."""

    @fault(model, promise, **outcome)
    async def _(wire: Wire) -> None:
        await wire.head()
        await wire.send(body)
        await wire.end()


def streams(model: str, promise: str, *payloads: object, done: bool = True, **outcome: Any) -> None:
    """Register an answer of 200 with these events."""

    @fault(model, promise, **outcome)
    async def _(wire: Wire) -> None:
        await wire.stream(*payloads, done=done)


plain("bom", "section 1", BOM + ANSWER + END)
plain("crlf", "section 1", (ANSWER + END).replace(b"\n", b"\r\n"))
plain("cr", "section 1", (ANSWER + END).replace(b"\n", b"\r"))
plain("comments", "section 1", b": hello\n\n" + ANSWER.replace(b"\n\n", b"\n\n: ping\n\n") + END)
plain("no-space", "section 1", (ANSWER + END).replace(b"data: ", b"data:"))
plain("several-lines", "section 1", (ANSWER + END).replace(b'"choices":', b'\ndata: "choices":'))
plain("empty-events", "section 1", b"id: 1\n\ndata\n\ndata: \n\n" + ANSWER + END)
plain("after-done", "section 1", ANSWER + END + event(say("late")))


@fault("byte-by-byte", "section 1")
async def _byte_by_byte(wire: Wire) -> None:
    await wire.head()
    for byte in ANSWER + END:
        await wire.send(bytes([byte]))
    await wire.end()


@fault("with-length", "section 1")
async def _with_length(wire: Wire) -> None:
    await wire.head(content_length=str(len(ANSWER + END)))
    await wire.send(ANSWER + END)
    wire.keep = True


# P5 - P16: statuses

_SAYS = {"error": {"message": f"No! Your key was {ECHOED_KEY}.", "type": "oops", "code": None}}


def status(
    line: str, promise: str, error: type[errors.ProviderError], *, retryable: errors.Retryable = False
) -> None:
    """Register a status as a fault of the model `status-<number>`."""

    @fault(f"status-{line.split(' ', maxsplit=1)[0]}", promise, error=error, retryable=retryable)
    async def _(wire: Wire) -> None:
        await wire.refuse(line, _SAYS)


status("400 Bad Request", "P5", errors.RequestRejected)
status("422 Unprocessable Content", "P5", errors.RequestRejected)
status("413 Content Too Large", "P6", errors.ContextTooLong)
status("401 Unauthorized", "P7", errors.AuthenticationFailed)
status("403 Forbidden", "P8", errors.AuthenticationFailed)
status("404 Not Found", "P9", errors.ModelNotFound)
status("408 Request Timeout", "P10", errors.ProviderUnavailable, retryable=True)
status("409 Conflict", "P10", errors.ProviderUnavailable, retryable=True)
status("429 Too Many Requests", "P11", errors.RateLimited, retryable=True)
status("500 Internal Server Error", "P14", errors.ProviderUnavailable, retryable=True)
status("502 Bad Gateway", "P14", errors.ProviderUnavailable, retryable=True)
status("503 Service Unavailable", "P14", errors.ProviderUnavailable, retryable=True)
status("504 Gateway Timeout", "P14", errors.ProviderUnavailable, retryable=True)
status("529 Overloaded", "P15", errors.ProviderUnavailable, retryable=True)
status("407 Proxy Authentication Required", "P4", errors.ConnectFailed)
status("402 Payment Required", "P5", errors.RequestRejected)


@fault("context", "P6", error=errors.ContextTooLong)
async def _context(wire: Wire) -> None:
    message = "This model's maximum context length is 4096 tokens."
    await wire.refuse("400 Bad Request", {"error": {"message": message, "code": "context_length_exceeded"}})


RETRY_AFTER: dict[str, tuple[dict[str, str], errors.Retryable]] = {
    "seconds": ({"retry_after": "3"}, 3.0),
    "fraction": ({"retry_after": "0.05"}, 0.05),
    "long": ({"retry_after": "3600"}, 3600.0),
    "ms": ({"retry_after_ms": "40", "retry_after": "7"}, 0.04),
    "past-date": ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, True),
    "negative": ({"retry_after": "-5"}, True),
    "nan": ({"retry_after": "nan"}, True),
    "overflow": ({"retry_after": "1e400"}, True),
    "words": ({"retry_after": "soon"}, True),
}
"""Headers of a 429 by name, and their meaning."""


def _limited(name: str, fields: dict[str, str], retryable: errors.Retryable) -> None:
    @fault(f"retry-after-{name}", "P12", error=errors.RateLimited, retryable=retryable)
    async def _(wire: Wire) -> None:
        await wire.refuse("429 Too Many Requests", _SAYS, **fields)


for _name, (_fields, _wait) in RETRY_AFTER.items():
    _limited(_name, _fields, _wait)


@fault("quota", "P13", error=errors.RateLimited)
async def _quota(wire: Wire) -> None:
    body = {"error": {"message": "You exceeded your current quota.", "code": "insufficient_quota"}}
    await wire.refuse("429 Too Many Requests", body)


@fault("busy-once", "P11", error=errors.RateLimited, retryable=0.001)
async def _busy_once(wire: Wire) -> None:
    if wire.attempt == 1:
        await wire.refuse("429 Too Many Requests", _SAYS, retry_after_ms="1")
    else:
        await wire.stream(*map(say, PIECES), chunk(None, "stop"))


_PAGE = (
    f"<html><head><title>502</title><script>alert('{ECHOED_KEY}')</script></head>"
    f"<body onload=alert(1)><h1>Bad gateway</h1><p>{'very ' * 100}sorry</p></body></html>"
).encode()


@fault("page-502", "P16", error=errors.ProviderUnavailable, retryable=True)
async def _page_502(wire: Wire) -> None:
    await wire.refuse("502 Bad Gateway", _PAGE, "text/html")


@fault("endless-page", "P16", error=errors.ProviderUnavailable, retryable=True)
async def _endless_page(wire: Wire) -> None:
    await wire.head("500 Internal Server Error", "text/html")
    while True:
        await wire.send(b"<p>no</p>" * 1000)


# P17 - P20: silence


@fault("silent", "P17", endless=True)
async def _silent(wire: Wire) -> None:
    await wire.gone()


@fault("headers-only", "P17", endless=True)
async def _headers_only(wire: Wire) -> None:
    await wire.head()
    await wire.gone()


@fault("stall", "P18", endless=True, kept="Hello, ")
async def _stall(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await wire.gone()


async def _repeat(wire: Wire, data: bytes, every_s: float) -> None:
    gone = asyncio.ensure_future(wire.gone())
    try:
        while not (await asyncio.wait([gone], timeout=every_s))[0]:
            await wire.send(data)
    finally:
        gone.cancel()


@fault("pings", "P19", endless=True, kept="Hello, ")
async def _pings(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await _repeat(wire, b": ping\n\n", 0.01)


@fault("empty-deltas", "P19", endless=True, kept="Hello, ")
async def _empty_deltas(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await _repeat(wire, event(say("")), 0.01)


@fault("drip", "P20", endless=True, kept="Hello, ")
async def _drip(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await _repeat(wire, event(say(".")), 0.02)


# P21 - P23: broken connections


@fault("eof-in-chunk", "P21", error=errors.StreamBroken, kept="Hello, ")
async def _eof_in_chunk(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await wire.raw(b"40\r\ndata: {")


@fault("half-closed", "P21", error=errors.StreamBroken, kept="Hello, ")
async def _half_closed(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    wire.writer.write_eof()
    await wire.gone()


@fault("reset", "P22", error=errors.StreamBroken, kept="Hello, ")
async def _reset(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await wire.raw(b"40\r\ndata: {")
    wire.reset()


@fault("short-length", "P23", error=errors.StreamBroken, kept="Hello, ")
async def _short_length(wire: Wire) -> None:
    body = b"".join(map(event, map(say, PIECES[:2])))
    await wire.head(content_length=str(len(body) + 1000))
    await wire.send(body)


@fault("hang-up", "P21", error=errors.StreamBroken, retryable=True)
async def _hang_up(wire: Wire) -> None:
    wire.keep = False


@fault("garbage", "section 1", error=errors.StreamBroken)
async def _garbage(wire: Wire) -> None:
    await wire.raw(b"\x00\x01SSH-2.0-OpenSSH_9.9\r\n\r\n" * 3)


@fault("huge-header", "section 1", error=errors.StreamBroken)
async def _huge_header(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 200 OK\r\nx-large: " + b"x" * 2_000_000 + b"\r\n\r\n")


@fault("bad-chunk-size", "section 1", error=errors.StreamBroken, kept="Hello, ")
async def _bad_chunk_size(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    await wire.raw(b"zz\r\nabc\r\n")


# P24 - P25, P31 - P33: ends

streams("no-done", "P24", *map(say, PIECES), chunk(None, "stop"), done=False)
streams("no-finish", "P25", *map(say, PIECES), done=False, error=errors.StreamTruncated, kept=TEXT)
streams("done-without-finish", "P25", *map(say, PIECES), error=errors.StreamTruncated, kept=TEXT)
plain(
    "cut-event",
    "P25",
    ANSWER + event(chunk(None, "stop")).rstrip(),
    error=errors.StreamTruncated,
    kept=TEXT,
)
plain("done-ish", "P25", ANSWER + event(b"[DONE]ish"), error=errors.StreamTruncated, kept=TEXT)
streams("length", "P31", *map(say, PIECES), chunk(None, "length"), finish="length")
streams("content-filter", "P32", *map(say, PIECES), chunk(None, "content_filter"), finish="content_filter")
streams("eos", "P33", *map(say, PIECES), chunk(None, "eos_token"), finish="eos_token")
streams("finish-with-text", "P24", *map(say, PIECES[:-1]), chunk({"content": PIECES[-1]}, "stop"))


@fault("http-1.0", "P25", error=errors.StreamTruncated, kept=TEXT)
async def _http_1_0(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.0 200 OK\r\ncontent-type: text/event-stream\r\n\r\n" + ANSWER)


@fault("reset-after-finish", "P24")
async def _reset_after_finish(wire: Wire) -> None:
    await wire.head()
    await wire.send(ANSWER + event(chunk(None, "stop")))
    wire.reset()


@fault("open-after-finish", "P24")
async def _open_after_finish(wire: Wire) -> None:
    await wire.head()
    await wire.send(ANSWER + END)
    await wire.gone()


# P26 - P30, P42: malformed events

_HELLO = event(say("Hello, "))

plain(
    "cut-utf8",
    "P26",
    _HELLO + event('{"choices":[{"index":0,"delta":{"content":"ö'.encode()[:-1] + b'"}}]}'),
    error=errors.ProtocolError,
    kept="Hello, ",
)
plain(
    "cut-utf8-at-end",
    "P26",
    _HELLO + 'data: {"choices":[{"delta":{"content":"ö'.encode()[:-1],
    error=errors.ProtocolError,
    kept="Hello, ",
)
plain("three-bad", "P27", event(b"{") + event(b"nonsense") + ANSWER + event(b'{"a":') + END)
plain("four-bad", "P27", _HELLO + event(b"{oops") * 4 + END, error=errors.ProtocolError, kept="Hello, ")
plain("deep", "P27", event(b"[" * 100_000) + ANSWER + END)
plain("nan", "P27", event(b'{"choices":[{"index":0,"delta":{},"logprobs":NaN}]}') + ANSWER + END)

ERROR_EVENTS: dict[str, bytes] = {
    "object": event({"error": {"message": f"It broke: {ECHOED_KEY}", "type": "server_error", "code": 502}}),
    "typed": b"event: error\n" + event({"message": f"It broke: {ECHOED_KEY}"}),
    "flat": event({"object": "error", "message": f"It broke: {ECHOED_KEY}", "code": 400}),
    "string": event({"error": f"It broke: {ECHOED_KEY}"}),
    "typed-string": b"event: error\n" + event(b'"It broke"'),
}
"""Shapes in which servers send an error in the middle of a stream."""

for _name, _event in ERROR_EVENTS.items():
    plain(f"error-{_name}", "P28", _HELLO + _event, error=errors.ProviderErrorEvent, kept="Hello, ")
plain("error-first", "P28", ERROR_EVENTS["object"], error=errors.ProviderErrorEvent)
plain(
    "overloaded",
    "P15",
    event({"error": {"message": "busy", "type": "overloaded_error"}}),
    error=errors.ProviderErrorEvent,
    retryable=True,
)


def _numbered(texts: list[tuple[str, int]]) -> bytes:
    return b"".join([f"id: {number}\n".encode() + event(say(text)) for text, number in texts])


plain("twice", "P29", _numbered([(p, i) for i, p in enumerate(PIECES, 1) for _ in range(2)]) + END)
plain("again", "P29", _numbered([*((p, i) for i, p in enumerate(PIECES)), (PIECES[1], 1)]) + END)
plain("same-text", "P29", event(say("ha")) * 3 + END, kept="hahaha")
plain("one-id", "P29", _numbered([(piece, 7) for piece in PIECES]) + END)

_OTHER = {"index": 1, "delta": {"content": "no"}, "finish_reason": "length"}
streams(
    "two-choices",
    "P30",
    *[{**say(p), "choices": [_OTHER, *say(p)["choices"]]} for p in PIECES],
    chunk(None, "stop"),
)
streams("wrong-index", "P30", {**say("no"), "choices": [_OTHER]}, *map(say, PIECES), chunk(None, "stop"))

WRONG: dict[str, object] = {
    "chunk-number": 42,
    "chunk-null": None,
    "chunk-list": [1],
    "chunk-string": "hello",
    "choices-object": {"choices": {}},
    "choice-number": {"choices": [1]},
    "index-string": {"choices": [{"index": "0", "delta": {}}]},
    "delta-list": chunk([]),
    "delta-string": chunk("text"),
    "content-number": chunk({"content": 123}),
    "content-list": chunk({"content": [7]}),
    "content-flag": chunk({"content": True}),
    "finish-number": chunk({}, 1),
    "calls-object": chunk({"tool_calls": {}}),
    "call-string": chunk({"tool_calls": ["x"]}),
    "call-index": chunk({"tool_calls": [{"index": "a", "function": {}}]}),
    "function-list": chunk({"tool_calls": [{"index": 0, "function": []}]}),
    "name-number": chunk({"tool_calls": [{"index": 0, "function": {"name": 1}}]}),
    "arguments-list": chunk({"tool_calls": [{"index": 0, "function": {"arguments": []}}]}),
    "call-id-number": chunk({"tool_calls": [{"index": 0, "id": 7}]}),
}
"""Payloads in which a field has a wrong type."""

for _name, _payload in WRONG.items():
    streams(f"wrong-{_name}", "P42", say("Hello, "), _payload, error=errors.ProtocolError, kept="Hello, ")

# P43 - P44: extra or missing fields

streams(
    "unknown-fields",
    "P43",
    *[chunk({"content": p, "audio": {"data": 1}, "x": None}, timings={}, obfuscation=p * 3) for p in PIECES],
    chunk({"role": 7, "annotations": [1]}, "stop", service_tier=[]),
)
streams("refusal", "P43", *[chunk({"refusal": piece}) for piece in PIECES], chunk(None, "stop"))
for _spelling in ("reasoning_content", "reasoning"):
    streams(
        _spelling.replace("_", "-"),
        "P43",
        chunk({"role": "assistant", "content": None, _spelling: "hm, "}),
        chunk({_spelling: "yes", "content": ""}),
        *map(say, PIECES),
        chunk(None, "stop"),
    )
streams("odd-reasoning", "P43", chunk({"reasoning": {"a": 1}}), *map(say, PIECES), chunk(None, "stop"))

USAGES: dict[str, object] = {
    "missing": None,
    "negative": {"prompt_tokens": -1, "completion_tokens": 5},
    "string": {"prompt_tokens": "3", "completion_tokens": 5},
    "flag": {"prompt_tokens": True, "completion_tokens": 5},
    "list": [3, 5],
    "empty": {},
}
"""Usage objects without usable numbers."""

for _name, _usage in USAGES.items():
    streams(f"usage-{_name}", "P44", *map(say, PIECES), chunk(None, "stop", usage=_usage))
streams(
    "usage-always",
    "P44",
    *[
        say(piece, usage={"prompt_tokens": 3, "completion_tokens": number})
        for number, piece in enumerate(PIECES, 1)
    ],
    chunk(None, "stop"),
    {**chunk(), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}},
)

# P36 - P40: bodies

plain("empty", "P36", b"", error=errors.EmptyResponse)
plain("only-done", "P36", event(b"[DONE]"), error=errors.EmptyResponse)
streams("only-role", "P36", chunk({"role": "assistant"}), error=errors.EmptyResponse)
streams("no-text", "P36", chunk({"role": "assistant", "content": ""}), chunk(None, "stop"), kept="")


@fault("no-content", "P36", error=errors.EmptyResponse)
async def _no_content(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 204 No Content\r\n\r\n")


GIANT = "x" * (10 * 1024 * 1024)
"""Ten megabytes."""

streams("giant", "P37", say(GIANT), chunk(None, "stop"), kept=GIANT)


@fault("endless", "P38", endless=True, kept="Hello, ")
async def _endless(wire: Wire) -> None:
    await wire.head()
    await wire.events(*map(say, PIECES[:2]))
    more = b"".join([event(say(f"{number} ")) for number in range(100)])
    while True:
        await wire.send(more)
        await asyncio.sleep(0)


@fault("whole-json", "P39")
async def _whole_json(wire: Wire) -> None:
    await wire.refuse("200 OK", completion())


@fault("whole-json-as-stream", "P39")
async def _whole_json_as_text(wire: Wire) -> None:
    await wire.refuse("200 OK", b"\n " + msgspec.json.encode(completion()), "text/plain")


@fault("whole-json-cut", "P39", error=errors.ProtocolError)
async def _whole_json_cut(wire: Wire) -> None:
    await wire.refuse("200 OK", msgspec.json.encode(completion())[:-40])


@fault("whole-json-error", "P39", error=errors.ProviderErrorEvent)
async def _whole_json_error(wire: Wire) -> None:
    await wire.refuse("200 OK", _SAYS)


@fault("whole-json-other", "P39", error=errors.ProtocolError)
async def _whole_json_other(wire: Wire) -> None:
    await wire.refuse("200 OK", {"detail": f"what? {ECHOED_KEY}"})


@fault("events-as-json", "P39")
async def _events_as_json(wire: Wire) -> None:
    await wire.head(kind="application/json")
    await wire.send(ANSWER + END)
    await wire.end()


@fault("page", "P39", error=errors.ProtocolError)
async def _page(wire: Wire) -> None:
    await wire.refuse("200 OK", _PAGE, "text/html; charset=utf-8")


@fault("page-as-json", "P39", error=errors.ProtocolError)
async def _page_as_json(wire: Wire) -> None:
    await wire.refuse("200 OK", b" \n<!doctype html>" + _PAGE, "application/json")


async def _gzip(wire: Wire, data: bytes) -> None:
    await wire.head(content_encoding="gzip")
    for start in range(0, len(data), 50):
        await wire.send(data[start : start + 50])
    await wire.end()


@fault("gzip", "P40")
async def _gzip_ok(wire: Wire) -> None:
    await _gzip(wire, gzip.compress(ANSWER + END))


LONG = "".join([f"{number:x}." for number in range(3000)])


@fault("gzip-cut", "P40", error=errors.StreamTruncated, kept="Hello, ")
async def _gzip_cut(wire: Wire) -> None:
    # Flushed after the first event, then cut in the middle of the rest.
    packer = zlib.compressobj(wbits=31)
    packed = packer.compress(_HELLO) + packer.flush(zlib.Z_SYNC_FLUSH)
    packed += (packer.compress(event(say(LONG)) + END) + packer.flush())[:-2000]
    await _gzip(wire, packed)


@fault("gzip-lie", "P40", error=errors.StreamBroken)
async def _gzip_lie(wire: Wire) -> None:
    await _gzip(wire, ANSWER + END)


# P41, redirects


@fault("redirect-away", "P41", error=errors.ConfigError)
async def _redirect_away(wire: Wire) -> None:
    await wire.refuse("307 Temporary Redirect", b"", location="https://elsewhere.example/v1/x?key=1")


@fault("redirect-home", "P41", error=errors.ConfigError)
async def _redirect_home(wire: Wire) -> None:
    await wire.refuse("308 Permanent Redirect", b"", location=wire.seen.target)


# Calls of tools: P34


def call(index: int | None, call_id: str = "", name: str = "", arguments: str = "") -> dict[str, Any]:
    """Return a chunk with a piece of a tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value}
    piece: dict[str, Any] = {"type": "function", "function": function}
    if index is not None:
        piece["index"] = index
    if call_id:
        piece["id"] = call_id
    return chunk({"tool_calls": [piece]})


CALLS = [("call_a", "get_weather", '{"city":"Zürich"}'), ("call_b", "get_time", '{"zone":"CET"}')]
"""The calls that all of `CALL_STREAMS` make, as far as they have them: id, name, arguments."""

_A, _B = CALLS
CALL_STREAMS: dict[str, tuple[list[dict[str, Any]], int]] = {
    "whole": ([call(0, *_A), call(1, *_B)], 2),
    "letters": ([call(0, _A[0], _A[1]), *[call(0, arguments=letter) for letter in _A[2]]], 1),
    "id-late": ([call(0, name=_A[1]), call(0, arguments=_A[2]), call(0, call_id=_A[0])], 1),
    "name-parts": ([call(0, _A[0], "get_"), call(0, name="weather"), call(0, arguments=_A[2])], 1),
    "repeated": ([call(0, _A[0], _A[1], _A[2][:5]), call(0, _A[0], _A[1], _A[2][5:])], 1),
    "interleaved": (
        [
            call(0, _A[0], _A[1]),
            call(1, _B[0], _B[1]),
            call(0, arguments=_A[2][:4]),
            call(1, arguments=_B[2][:4]),
            call(0, arguments=_A[2][4:]),
            call(1, arguments=_B[2][4:]),
        ],
        2,
    ),
    "no-index": ([call(None, *_A[:2]), call(None, arguments=_A[2]), call(None, *_B)], 2),
    "no-index-by-id": (
        [
            call(None, *_A[:2]),
            call(None, *_B[:2]),
            call(None, _A[0], "", _A[2]),
            call(None, _B[0], "", _B[2]),
        ],
        2,
    ),
    "all-index-0": ([call(0, *_A), call(0, *_B)], 2),
    "arguments-object": (
        [
            {
                **chunk(),
                "choices": [
                    {
                        "index": 0,
                        "delta": {
                            "tool_calls": [
                                {
                                    "index": at,
                                    "id": one[0],
                                    "function": {"name": one[1], "arguments": msgspec.json.decode(one[2])},
                                }
                            ]
                        },
                    }
                ],
            }
            for at, one in enumerate(CALLS)
        ],
        2,
    ),
}
"""The same calls, split and encoded in all the ways that servers do, and the number of calls."""

for _name, (_payloads, _) in CALL_STREAMS.items():
    streams(f"calls-{_name}", "P34", *_payloads, chunk(None, "tool_calls"), kept="", finish="tool_calls")

# Split characters: a server that cuts UTF-16 sends lone surrogates

_HALVES = [
    b'{"choices":[{"index":0,"delta":{"content":"Hello, w\\u00f6rld \\ud83c"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"\\udf0d"}}]}',
]
streams("halves", "section 1", *_HALVES, chunk(None, "stop"))
streams("lost-half", "section 1", _HALVES[0], chunk(None, "stop"), kept="Hello, wörld \ufffd")

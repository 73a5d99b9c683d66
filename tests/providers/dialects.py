"""What servers and the proxies before them say in other words; imported, it adds them to `FAULTS`.

Each is one body, or one head, that real servers of this API send (or that HTTP allows and few clients are
tried with), and the one thing that has to come of it. They misbehave before the answer, in it or after it in
the ways that `fault_server` has already, so they are run alone, and not in every state of a run.
"""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Any, Final

import orjson

from nbchat.core import errors
from tests.providers import fault_server
from tests.providers.fault_server import (
    ANSWER,
    CALLS,
    END,
    PIECES,
    TEXT,
    Behaviour,
    Wire,
    chunk,
    completion,
    event,
    say,
)

WHOLE: Final = ANSWER + END
HELLO: Final = event(say("Hello, "))


def dialect(model: str, promise: str, **outcome: Any) -> Any:
    """Register a fault that is run alone."""

    def register(behave: Behaviour) -> Behaviour:
        return fault_server.fault(model, promise, alone=True, **outcome)(behave)

    return register


def body(
    model: str, promise: str, data: bytes, *, head: dict[str, str] | None = None, **outcome: Any
) -> None:
    """Register an answer of 200 with this body and these fields in its head."""

    @dialect(model, promise, **outcome)
    async def _(wire: Wire) -> None:
        await wire.head(**(head or {}))
        await wire.send(data)
        await wire.end()


def raw(model: str, promise: str, data: bytes, **outcome: Any) -> None:
    """Register an answer that is these bytes, after which the server hangs up."""

    @dialect(model, promise, **outcome)
    async def _(wire: Wire) -> None:
        await wire.raw(data)


def head(*lines: str) -> bytes:
    """Return the head of an answer."""
    return "\r\n".join(["HTTP/1.1 200 OK", "content-type: text/event-stream", *lines, "", ""]).encode()


# Errors, in the places where servers put them

_BOOM: Final = {"message": "It broke.", "type": "server_error"}
_ERROR: Final[dict[str, Any]] = {"error": errors.ProviderErrorEvent}

body("error-as-stream", "P28", orjson.dumps({"error": _BOOM}), **_ERROR)
body("error-without-field", "P28", HELLO + orjson.dumps({"error": _BOOM}) + b"\n", **_ERROR, kept="Hello, ")
body("error-as-field", "P28", HELLO + b"error: " + orjson.dumps(_BOOM) + b"\n\n", **_ERROR, kept="Hello, ")
body("error-unended", "P28", HELLO + event({"error": _BOOM}).rstrip(), **_ERROR, kept="Hello, ")
body("error-list", "P28", HELLO + event({"error": ["It broke.", 7]}), **_ERROR, kept="Hello, ")
body("error-number", "P28", HELLO + event({"error": 500}), **_ERROR, kept="Hello, ")
body("error-words", "P28", HELLO + b"event: error\ndata: It broke.\n\n", **_ERROR, kept="Hello, ")
body("error-deep", "P28", event(b'{"error":' * 500 + b"1" + b"}" * 500), **_ERROR)
body("error-after-finish", "P28", ANSWER + event(chunk(None, "stop")) + event({"error": _BOOM}))
body("detail", "P36", event({"detail": "It broke."}) + event(b"[DONE]"), error=errors.ProtocolError)
body(
    "other-api",
    "P36",
    b"event: message_start\n" + event({"type": "message_start"}),
    error=errors.ProtocolError,
)


@dialect("status-500-not-gzip", "P14", error=errors.ProviderUnavailable, retryable=True)
async def _status_not_gzip(wire: Wire) -> None:
    await wire.refuse("500 Internal Server Error", b"It broke.", content_encoding="gzip")


@dialect("status-400-cut", "P6", error=errors.ContextTooLong)
async def _status_cut(wire: Wire) -> None:
    await wire.head("400 Bad Request", "application/json", content_length="1000")
    await wire.send(b'{"error":{"message":"maximum context length"}}')


@dialect("status-422-odd", "P5", error=errors.RequestRejected)
async def _status_odd(wire: Wire) -> None:
    await wire.refuse("422 Unprocessable Content", {"detail": [{"loc": [None, 1], "msg": 5}, 7, None]})


@dialect("status-204-with-body", "P36", error=errors.EmptyResponse)
async def _no_content_with_body(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc")


# Beginnings

_AZURE: Final = {"id": "", "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
_BARE: Final = {"choices": [{"index": 0, "delta": None, "finish_reason": None}]}

body("azure", "P43", event(_AZURE) + WHOLE)
body("role-again", "P43", event(chunk({"role": "assistant"})) * 3 + WHOLE)
body("no-delta", "P43", event(_BARE) + event({"choices": [{"index": 0}]}) + WHOLE)
body("empty-objects", "P19", event({}) * 10 + WHOLE)
body("pings-by-name", "P19", b"event: ping\ndata: ping\n\n" * 10 + WHOLE)
body(
    "retry-and-ids",
    "section 1",
    b"retry: x\nid: a\0b\n\n" + WHOLE.replace(b"data:", b"retry: 1\nid: \0\ndata:"),
)
body("nul-lines", "section 1", WHOLE.replace(b"\n\n", b"\n\n\0\n\n"))
body("named-events", "section 1", WHOLE.replace(b"data:", b"event: completion.chunk\ndata:"))
body("huge-comment", "section 1", b": " + b"c" * 3_000_000 + b"\n\n" + WHOLE)
body("json-as-stream", "P39", orjson.dumps(completion()))
body("page-as-stream", "P39", b"<html>Bad gateway", error=errors.ProtocolError)
body(
    "ndjson",
    "P39",
    orjson.dumps(say(TEXT)) + b"\n" + orjson.dumps(chunk(None, "stop")),
    error=errors.ProtocolError,
)
body("other-choice-first", "P30", event({"choices": [{"index": 1, "delta": {"content": "no"}}]}) + WHOLE)
body("other-choice-only", "P30", event({"choices": [{"index": 1, "delta": {}}]}), error=errors.EmptyResponse)
body("done-first", "P36", event(b"[DONE]") + WHOLE, error=errors.EmptyResponse)

# Servers that look at the conversation


@dialect("strict", "section 1")
async def _strict(wire: Wire) -> None:
    """Answer as the templates of many models do: only where the roles alternate, the user's first."""
    roles = [message["role"] for message in wire.seen.body["messages"]]
    turns = [role for role in roles if role != "tool"]
    if turns[:1] == ["system"]:
        turns = turns[1:]
    if turns != [("user", "assistant")[at % 2] for at in range(len(turns))]:
        message = "Conversation roles must alternate user/assistant/user/assistant/..."
        await wire.refuse("400 Bad Request", {"error": {"message": message}})
    elif found := re.search(r"REFUSE (\d{3})(.*?) END", str(wire.seen.body["messages"])):
        await wire.refuse(f"{found[1]} No", {"error": {"message": found[2] or "No."}})
    elif "'image_url'" in str(wire.seen.body["messages"]):
        await wire.refuse("400 Bad Request", {"error": {"message": "This model does not support images."}})
    else:
        await wire.stream(*map(say, PIECES), chunk(None, "stop"))


# Ends

body("done-twice", "P24", WHOLE + event(b"[DONE]"))
body(
    "text-after-finish",
    "P24",
    event(say("Hello, ")) + event(chunk(None, "stop")) + b"".join(map(event, map(say, PIECES[2:]))),
)
body(
    "finish-empty",
    "P25",
    ANSWER + event(chunk(None, "")) + event(b"[DONE]"),
    error=errors.StreamTruncated,
    kept=TEXT,
)
body(
    "usage-alone",
    "P44",
    WHOLE.replace(event(b"[DONE]"), event({"choices": None, "usage": {"prompt_tokens": 1}})),
)
body(
    "usage-too-large",
    "P44",
    event(
        rb'{"choices":[{"index":0,"delta":{"content":"\ud83c"}}],"usage":{"prompt_tokens":1%s}}' % (b"0" * 30)
    )
    + event(rb'{"choices":[{"index":0,"delta":{"content":"\udf0d"}}]}')
    + END,
    kept="🌍",
)

# Pieces

body("both-reasonings", "P43", event(chunk({"reasoning": "hm, yes", "reasoning_content": ""})) + WHOLE)
body(
    "unnamed-calls",
    "P34",
    event(chunk({"tool_calls": [{"function": {"name": n, "arguments": a}} for _, n, a in CALLS]}))
    + event(chunk(None, "tool_calls")),
    kept="",
    finish="tool_calls",
)
body("reasoning-details", "P43", event(chunk({"reasoning_details": [{"text": "hm"}]})) + WHOLE)
body(
    "refusal-null",
    "P43",
    b"".join([event(chunk({"content": p, "refusal": None, "tool_calls": []})) for p in PIECES]) + END,
)
body("deep", "P27", event(b'{"choices":[],"x":' + b"[" * 900 + b"]" * 900 + b"}") + WHOLE)
body("long-number", "P27", event(b'{"choices":[],"created":' + b"9" * 5000 + b"}") + WHOLE)
body(
    "halves-far-apart",
    "section 1",
    event(rb'{"choices":[{"index":0,"delta":{"content":"\ud83c"}}]}')
    + event(say(""))
    + event(chunk({"role": "assistant"}))
    + event(rb'{"choices":[{"index":0,"delta":{"content":"\udf0d"}}]}')
    + END,
    kept="🌍",
)

# HTTP

raw(
    "early-hints",
    "section 1",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    + head(f"content-length: {len(WHOLE)}")
    + WHOLE,
)
raw(
    "switching",
    "section 1",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    error=errors.StreamBroken,
)
raw(
    "trailers",
    "section 1",
    head("transfer-encoding: chunked", "trailer: x-end")
    + b"%x;a=b\r\n%s\r\n0\r\nx-end: 1\r\n\r\n" % (len(WHOLE), WHOLE),
)
raw(
    "padded-chunk-size",
    "section 1",
    head("transfer-encoding: chunked") + b"0000%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE),
)
raw(
    "negative-chunk-size",
    "P21",
    head("transfer-encoding: chunked") + b"%x\r\n%s\r\n-5\r\n" % (len(HELLO), HELLO),
    error=errors.StreamBroken,
    kept="Hello, ",
)
raw(
    "two-lengths",
    "section 1",
    head("content-length: 5", "content-length: 6") + WHOLE,
    error=errors.StreamBroken,
)
raw(
    "length-and-chunks",
    "section 1",
    head("content-length: 5", "transfer-encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(WHOLE), WHOLE),
)
raw(
    "length-too-short",
    "P23",
    head(f"content-length: {len(HELLO) + 9}") + HELLO + WHOLE,
    error=errors.StreamTruncated,
    kept="Hello, ",
)
raw("http-0.9", "section 1", WHOLE, error=errors.StreamBroken)
raw("http-1.0-whole", "P24", b"HTTP/1.0 200 OK\r\n\r\n" + WHOLE)
raw("line-feeds-only", "section 1", b"HTTP/1.1 200\ncontent-length: %d\n\n" % len(WHOLE) + WHOLE)
raw(
    "latin-1-head",
    "P14",
    b"HTTP/1.1 500 \xff\r\nx-request-id: \xff\r\nretry-after: \xb2\r\ncontent-length: 0\r\n\r\n",
    error=errors.ProviderUnavailable,
    retryable=True,
)
raw("status-000", "section 1", b"HTTP/1.1 000 No\r\ncontent-length: 0\r\n\r\n", error=errors.StreamBroken)
raw(
    "status-999",
    "P14",
    b"HTTP/1.1 999 No\r\ncontent-length: 0\r\n\r\n",
    error=errors.ProviderUnavailable,
    retryable=True,
)
raw("not-modified", "P41", b"HTTP/1.1 304 Not Modified\r\n\r\n", error=errors.ConfigError)

for _coding in ("br", "zstd", "x-unknown"):
    body(f"claims-{_coding}", "P40", WHOLE, head={"content_encoding": _coding})
body(
    "gzip-in-deflate", "P40", gzip.compress(zlib.compress(WHOLE)), head={"content_encoding": "deflate, gzip"}
)
body(
    "gzip-bomb",
    "P40",
    gzip.compress(b": " + b"0" * 70_000_000),
    head={"content_encoding": "gzip"},
    error=errors.ProtocolError,
)
body("utf-16", "P26", WHOLE.decode().encode("utf-16"), error=errors.ProtocolError)
body(
    "latin-1",
    "P26",
    HELLO + event('{"choices":[{"delta":{"content":"ö"}}]}'.encode("latin-1")),
    error=errors.ProtocolError,
    kept="Hello, ",
)

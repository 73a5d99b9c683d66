"""Variants of answers that servers and proxies send; importing this module adds them to `FAULTS`.

Each is one body, or one head, with its expected outcome. Real servers of this API send it, or HTTP allows it
and few clients are tested with it. The variants misbehave before, in or after the answer as the faults of
`fault_server` do, so they are run alone, and not in every state of a run.
"""

from __future__ import annotations

import gzip
import re
import zlib
from typing import Any, Final

import msgspec

from nbchat.core import errors
from tests.providers import fault_server
from tests.providers.fault_server import (
    ANSWER,
    CALLS,
    END,
    PIECES,
    RESPONSES,
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
    """Register an answer of 200 with this body and these headers."""

    @dialect(model, promise, **outcome)
    async def _(wire: Wire) -> None:
        await wire.head(**(head or {}))
        await wire.send(data)
        await wire.end()


def raw(model: str, promise: str, data: bytes, **outcome: Any) -> None:
    """Register an answer of these bytes, after which the server closes the connection."""

    @dialect(model, promise, **outcome)
    async def _(wire: Wire) -> None:
        await wire.raw(data)


def head(*lines: str) -> bytes:
    """Return the head of an answer."""
    return "\r\n".join(["HTTP/1.1 200 OK", "content-type: text/event-stream", *lines, "", ""]).encode()


# Errors, in the places where servers put them

_BOOM: Final = {"message": "It broke.", "type": "server_error"}
_ERROR: Final[dict[str, Any]] = {"error": errors.ProviderErrorEvent}

body("error-as-stream", "P28", msgspec.json.encode({"error": _BOOM}), **_ERROR)
body(
    "error-without-field",
    "P28",
    HELLO + msgspec.json.encode({"error": _BOOM}) + b"\n",
    **_ERROR,
    kept="Hello, ",
)
body(
    "error-as-field",
    "P28",
    HELLO + b"error: " + msgspec.json.encode(_BOOM) + b"\n\n",
    **_ERROR,
    kept="Hello, ",
)
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
body("json-as-stream", "P39", msgspec.json.encode(completion()))
body("page-as-stream", "P39", b"<html>Bad gateway", error=errors.ProtocolError)
body(
    "ndjson",
    "P39",
    msgspec.json.encode(say(TEXT)) + b"\n" + msgspec.json.encode(chunk(None, "stop")),
    error=errors.ProtocolError,
)
body("other-choice-first", "P30", event({"choices": [{"index": 1, "delta": {"content": "no"}}]}) + WHOLE)
body("other-choice-only", "P30", event({"choices": [{"index": 1, "delta": {}}]}), error=errors.EmptyResponse)
body("done-first", "P36", event(b"[DONE]") + WHOLE, error=errors.EmptyResponse)

# Servers that look at the conversation


@dialect("strict", "section 1")
async def _strict(wire: Wire) -> None:
    """Answer as many chat templates do: only if the roles alternate, the user's first."""
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

# Content in other forms than a string


def in_parts(*parts: object) -> bytes:
    """Return an answer whose content consists of these parts."""
    return b"".join([event(chunk({"content": part})) for part in parts]) + END


def thought(text: str) -> dict[str, Any]:
    """Return a part of reasoning."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}


def written(text: str) -> dict[str, Any]:
    """Return a part of text."""
    return {"type": "text", "text": text}


PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CITED: Final = "https://example.org/a"
SEARCHED: Final = [
    {"title": "A", "url": CITED, "date": "2026"},
    {"title": "B", "url": "https://example.org/b"},
]
ANNOTATION: Final = {"type": "url_citation", "url_citation": {"title": "A", "url": CITED, "end_index": 1}}
USED: Final = {"prompt_tokens": 3, "completion_tokens": 5}

body("parts", "P42", in_parts(*[[written(piece)] for piece in PIECES]))
body("parts-thinking", "P42", in_parts([thought("hm, ")], [thought("yes"), written(TEXT[:3])], TEXT[3:]))
body("parts-thinking-text", "P42", in_parts([{"type": "thinking", "thinking": "hm, yes"}], TEXT))
body("parts-strings", "P42", in_parts([TEXT[:3], TEXT[3:]]))
body("parts-unknown", "P42", in_parts([{"type": "reference", "reference_ids": [1]}], TEXT, [{}]))
body(
    "parts-image",
    "P42",
    in_parts(TEXT, [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]),
)
body(
    "parts-refusal",
    "P42",
    in_parts(*[[{"type": "refusal", "refusal": piece}] for piece in PIECES]),
)
body("parts-reasoning", "P42", in_parts([{"type": "reasoning", "text": "hm, yes"}], TEXT))
body(
    "whole-parts",
    "P42",
    msgspec.json.encode(
        completion(
            choices=[{"message": {"content": [thought("hm, yes"), written(TEXT)]}, "finish_reason": "stop"}]
        )
    ),
)
body("object", "P42", in_parts({"city": "Zürich"}), kept='{"city":"Zürich"}')
body(
    "whole-object",
    "P42",
    msgspec.json.encode(completion(choices=[{"message": {"content": {"a": [1]}}, "finish_reason": "stop"}])),
    kept='{"a":[1]}',
)
body("choices-null", "P42", event({"choices": None}) + event(chunk(None)) + WHOLE)
body(
    "delta-null",
    "P42",
    event({"choices": [{"index": 0, "delta": None}]}) + HELLO + WHOLE,
    kept="Hello, " + TEXT,
)
body(
    "usage-after-finish", "P44", ANSWER + event(chunk(None, "stop")) + event({"choices": None, "usage": USED})
)
body(
    "usage-beside-error",
    "P44",
    HELLO + event({"choices": None, "usage": USED, "error": _BOOM}),
    **_ERROR,
    kept="Hello, ",
)
body("usage-and-error", "P44", event({"usage": USED, "error": _BOOM}), **_ERROR)
body(
    "usage-beside-late-error",
    "P44",
    ANSWER + event(chunk(None, "stop")) + event({"usage": USED, "error": _BOOM}),
)
body("usage-beside-wrong", "P44", ANSWER + event(chunk(None, "stop")) + event({"choices": 7, "usage": USED}))
body("paid-for-nothing", "P44", event(chunk(None, "stop", usage=USED)) + event(b"[DONE]"), kept="")
body(
    "old-function-call",
    "P34",
    event(chunk({"function_call": {"name": CALLS[0][1], "arguments": ""}}))
    + event(chunk({"function_call": {"arguments": CALLS[0][2]}}))
    + event(chunk(None, "function_call")),
    kept="",
    finish="function_call",
)
body(
    "index-0-no-ids",
    "P34",
    b"".join(
        [
            event(
                chunk({"tool_calls": [{"index": 0, "function": {"name": name, "arguments": arguments[:4]}}]})
            )
            + event(chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments[4:]}}]}))
            for _, name, arguments in CALLS
        ]
    )
    + event(chunk(None, "tool_calls")),
    kept="",
    finish="tool_calls",
)
body("audio-without-words", "P43", event(chunk({"audio": {"id": "a", "data": "AA=="}})) + END, kept="")
body("audio", "P43", b"".join([event(chunk({"audio": {"id": "a", "transcript": p}})) for p in PIECES]) + END)
body(
    "images",
    "P43",
    event(chunk({"images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]}))
    + WHOLE,
)
body(
    "image-elsewhere",
    "P43",
    event(chunk({"images": [{"type": "image_url", "image_url": {"url": CITED}}]})) + WHOLE,
)
body(
    "citations",
    "P43",
    b"".join([event(say(p, citations=[s["url"] for s in SEARCHED], search_results=SEARCHED)) for p in PIECES])
    + END,
)
body("citations-late", "P43", ANSWER + event(chunk(None, citations=[CITED, 7, "", None])) + END)
body(
    "citations-odd", "P43", ANSWER + event(chunk(None, citations={}, search_results=[[], {"title": 1}])) + END
)
body("annotations", "P43", ANSWER + event(chunk({"annotations": [ANNOTATION, ANNOTATION, 7]})) + END)
body(
    "think",
    "P43",
    event(say("<think>\nhm, yes\n</think>\n\n")) + WHOLE,
    kept="<think>\nhm, yes\n</think>\n\n" + TEXT,
)


# Responses


def response(model: str, *events: dict[str, Any], **end: Any) -> None:
    """Register an answer of the Responses API: these events, and the whole response at its end."""

    async def behave(wire: Wire) -> None:
        head = {"id": "resp_1", "object": "response", "model": "answering-model", "status": "in_progress"}
        usage = {"input_tokens": 3, "output_tokens": 5}
        last = {**head, "status": "completed", "usage": usage, "output": [], **end}
        stream = [
            {"type": "response.created", "response": head},
            *events,
            {"type": "response.completed", "response": last},
        ]
        await wire.stream(*({**one, "sequence_number": number} for number, one in enumerate(stream)))

    RESPONSES[model] = behave


def spoken(**part: Any) -> dict[str, Any]:
    """Return an item of text."""
    return {"type": "message", "id": "msg", "content": [{"type": "output_text", "text": TEXT, **part}]}


_URL: Final = {"type": "url_citation", "title": "A", "url": CITED}
_FILE: Final = {"type": "file_citation", "file_id": "f-1", "filename": "rivers.pdf"}
_IMAGE: Final = {"type": "image_generation_call", "id": "ig", "status": "completed", "result": PNG}
_SHELL: Final = {"type": "local_shell_call", "id": "ls"}

for _kind in ("custom_tool_call", "local_shell_call", "mcp_approval_request", "web_search_call", "<b>x</b>"):
    response(f"item {_kind}", output=[{"type": _kind, "id": "x"}])
    response(
        f"done {_kind}",
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": _kind, "id": "x"}},
        output=[{"type": _kind, "id": "x"}],
    )
response("items", output=[_SHELL, {**_SHELL, "id": "ls2"}, {"type": 7}, spoken()])
response(
    "search",
    {"type": "response.output_item.done", "item": {"type": "web_search_call", "id": "ws"}},
    output=[{"type": "web_search_call", "id": "ws"}, spoken()],
)
response("empty")
response("empty-null", output=None)
response("odd-part", output=[{"type": "message", "id": "m", "content": [{"type": "video", "url": CITED}]}])
response(
    "odd-part-and-text",
    {
        "type": "response.output_item.done",
        "output_index": 0,
        "item": {"type": "message", "id": "m", "content": [{"type": "video"}, {"type": "output_text"}]},
    },
    output=[
        {"type": "message", "id": "m", "content": [{"type": "video"}, {"type": "output_text", "text": TEXT}]}
    ],
)
response("reasoning-only", output=[{"type": "reasoning", "content": [{"text": "hm, yes"}]}])
response("image", {"type": "response.output_item.done", "item": _IMAGE}, output=[_IMAGE])
response("image-whole", output=[_IMAGE, spoken()])
response("image-broken", output=[{**_IMAGE, "result": "<svg>"}])
response("audio", {"type": "response.audio.transcript.delta", "delta": TEXT})
response(
    "audio-whole", output=[{"type": "message", "content": [{"type": "output_audio", "transcript": TEXT}]}]
)
response(
    "cited",
    {"type": "response.output_text.delta", "delta": TEXT},
    {"type": "response.output_text.annotation.added", "annotation": _URL},
    output=[spoken(annotations=[_URL, _FILE, {"type": "file_path", "file_id": "f-2"}, 7])],
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
BODIES: Final = {
    "br": b"\x0b\x02\x80hello\x03",
    "zstd": b"\x28\xb5\x2f\xfd\x20\x05\x29\x00\x00hello",
    "x-unknown": b"\x00\x01hello",
}
"""Encoded bodies that the client did not ask for, by encoding."""

for _coding, _data in BODIES.items():
    body(f"in-{_coding}", "P40", _data, head={"content_encoding": _coding}, error=errors.ProtocolError)
body("x-gzip", "P40", gzip.compress(WHOLE), head={"content_encoding": "X-GZip"})
body(
    "gzip-in-x-gzip",
    "P40",
    gzip.compress(gzip.compress(WHOLE)),
    head={"content_encoding": "gzip, x-gzip"},
)


@dialect("status-400-br", "P40", error=errors.RequestRejected)
async def _status_br(wire: Wire) -> None:
    await wire.refuse("400 Bad Request", BODIES["br"], content_encoding="br")


UNDECLARED: Final = {
    "gzip": gzip.compress(WHOLE),
    "zstd": BODIES["zstd"],
    "deflate": zlib.compress(WHOLE),
    "UTF-16": WHOLE.decode().encode("utf-16"),
}
"""Encoded bodies without a `Content-Encoding` header, by encoding."""

for _coding, _data in UNDECLARED.items():
    body(f"undeclared-{_coding}", "P40", _data, error=errors.ProtocolError)


@dialect("undeclared-by-the-byte", "P40", error=errors.ProtocolError)
async def _by_the_byte(wire: Wire) -> None:
    await wire.head()
    for at in range(4):
        await wire.send(UNDECLARED["zstd"][at : at + 1])
    await wire.end()


body("undeclared-br", "P40", BODIES["br"] + bytes(range(128, 256)), error=errors.ProtocolError)


@dialect("status-400-undeclared", "P40", error=errors.RequestRejected)
async def _status_undeclared(wire: Wire) -> None:
    await wire.refuse("400 Bad Request", UNDECLARED["gzip"])


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
body(
    "latin-1",
    "P26",
    HELLO + event('{"choices":[{"delta":{"content":"ö"}}]}'.encode("latin-1")),
    error=errors.ProtocolError,
    kept="Hello, ",
)

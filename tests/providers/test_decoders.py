"""Both decoders give the content of a stream however its bytes are cut, and add nothing to it."""

import json
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.errors import (
    ContextTooLong,
    EmptyResponse,
    ProtocolError,
    ProviderError,
    ProviderErrorEvent,
    StreamTruncated,
)
from nbchat.core.messages import Usage
from nbchat.providers.base import EMPTY, Answering, Delta, Finish, Notice, TextDelta, ToolCallDelta
from nbchat.providers.chat import ChatDecoder, read_usage
from nbchat.providers.decoder import Decoder
from nbchat.providers.responses import ResponsesDecoder
from tests.providers.conftest import Heard
from tests.providers.fault_server import ANSWER, CALL_STREAMS, END, ERROR_EVENTS, WRONG, chunk, event, say

MakeDecoder = Callable[[], Decoder]


def decode(decoder: Decoder, pieces: Iterable[bytes]) -> Heard:
    """Return the deltas that a decoder makes of a stream that ends after these pieces."""
    heard = Heard()
    try:
        for piece in pieces:
            for delta in decoder.feed(piece):
                heard.deltas.append(delta)
        for delta in decoder.end():
            heard.deltas.append(delta)
    except ProviderError as error:
        heard.error = error
    return heard


def gist(heard: Heard) -> tuple[object, ...]:
    """Return the content that does not depend on cuts; the division of text into deltas does."""
    cause = None if heard.error is None else (type(heard.error), heard.error.args)
    return heard.text, heard.reasoning, heard.calls, heard.finish, heard.usage, heard.model, cause


def a_response(**more: Any) -> dict[str, Any]:
    """Return a response object."""
    whole = {"id": "resp_1", "object": "response", "model": "answering-model", "status": "in_progress"}
    return {**whole, "background": True, **more}


def typed(kind: str, number: int, **fields: Any) -> bytes:
    """Return an event of the Responses API."""
    data = {"type": kind, "sequence_number": number, **fields}
    return f"event: {kind}\n".encode() + event(data)


USAGE = {
    "input_tokens": 3,
    "output_tokens": 9,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens_details": {"reasoning_tokens": 4},
}

RESPONSE = b"".join(
    [
        typed("response.created", 0, response=a_response()),
        typed("response.in_progress", 1, response=a_response()),
        typed("response.reasoning_summary_text.delta", 2, delta="hm"),
        typed("response.output_item.added", 3, item={"type": "message", "id": "msg_1"}),
        typed("response.output_text.delta", 4, delta="Hello, "),
        typed("response.output_text.delta", 5, delta="wörld 🌍"),
        typed("response.output_text.done", 6, text="Hello, wörld 🌍"),
        typed("response.completed", 7, response=a_response(status="completed", usage=USAGE)),
    ]
)

CHAT_STREAMS: dict[str, bytes] = {
    "answer": ANSWER + END,
    "no-end": ANSWER,
    "cut": ANSWER + b"data: {",
    "nothing": b"",
    "halves": event(b'{"choices":[{"delta":{"content":"a\\ud83c"}}]}')
    + event(b'{"choices":[{"delta":{"content":"\\udf0d\\ud800 z\\udc00"}}]}')
    + END,
    "half-reasoning": event(b'{"choices":[{"delta":{"reasoning":"\\ud83c"}}]}') + ANSWER + END,
    **{f"error-{name}": ANSWER + data for name, data in ERROR_EVENTS.items()},
    **{f"wrong-{name}": ANSWER + event(payload) for name, payload in WRONG.items()},
    **{f"calls-{name}": b"".join(map(event, payloads)) + END for name, (payloads, _) in CALL_STREAMS.items()},
}

STREAMS: dict[str, tuple[MakeDecoder, bytes]] = {
    **{f"chat-{name}": (ChatDecoder, data) for name, data in CHAT_STREAMS.items()},
    "responses": (ResponsesDecoder, RESPONSE),
    "responses-cut": (ResponsesDecoder, RESPONSE[:-30]),
    "responses-error": (
        ResponsesDecoder,
        RESPONSE[:500] + typed("error", 9, message="no", code="server_error"),
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_byte_by_byte_is_whole(name: str) -> None:
    """A stream gives the same content in one piece and byte by byte."""
    make, data = STREAMS[name]
    for line_end in (b"\n", b"\r\n", b"\r"):
        stream = data.replace(b"\n", line_end)
        assert gist(decode(make(), (bytes([b]) for b in stream))) == gist(decode(make(), [stream]))


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 5000), max_size=8))
def test_cuts_change_nothing(name: str, cuts: list[int]) -> None:
    """A stream gives the same content wherever the network cuts it."""
    make, data = STREAMS[name]
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(places)]
    assert gist(decode(make(), pieces)) == gist(decode(make(), [data]))


FIELDS = [
    *(
        "choices",
        "index",
        "delta",
        "content",
        "reasoning",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
    ),
    *("finish_reason", "usage", "error", "message", "code", "type", "object", "prompt_tokens"),
    *("response", "output", "item", "status"),
]
"""Field names that one of the decoders uses."""


def test_an_event_inside_a_line_belongs_to_the_line() -> None:
    """Text that looks like a whole event is part of the open line, wherever the network cut it."""
    for opened in (b": comment ", b"data: ", b"x", b"id: 1\n", b"event: ping\n"):
        pieces = [ANSWER, opened, event(say("no")), event(say("yes")), END]
        assert gist(decode(ChatDecoder(), pieces)) == gist(decode(ChatDecoder(), [b"".join(pieces)]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4), st.sampled_from([ChatDecoder, ResponsesDecoder]), st.booleans())
def test_no_json_is_a_surprise(payloads: list[object], make: MakeDecoder, whole: bool) -> None:
    """Any JSON from a server gives deltas of the right types, or a provider error."""
    deltas: list[Delta] = []
    try:
        if whole and payloads:
            deltas += make().whole(msgspec.json.encode(payloads[0]))
        else:
            decoder = make()
            for payload in payloads:
                deltas += decoder.feed(event({"type": "response.output_text.delta", "delta": "x"}))
                deltas += decoder.feed(event(payload))
    except ProviderError:
        pass
    for delta in deltas:
        if isinstance(delta, TextDelta):
            assert isinstance(delta.text, str)
        elif isinstance(delta, ToolCallDelta):
            assert all(isinstance(part, str) for part in (delta.id, delta.name, delta.arguments))


@given(st.binary(max_size=200), st.sampled_from([ChatDecoder, ResponsesDecoder]))
def test_no_bytes_are_a_surprise(data: bytes, make: MakeDecoder) -> None:
    """Any bytes from a server give deltas or a provider error, and no other exception."""
    heard = decode(make(), [data])
    assert isinstance(heard.error, ProviderError)


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=())),
    st.lists(st.integers(0, 400), max_size=6),
)
def test_utf16_may_be_cut_anywhere(text: str, cuts: list[int]) -> None:
    """Characters of which a server sends UTF-16 halves are joined."""
    units = text.encode("utf-16-le", "surrogatepass")
    places = [0, *sorted(2 * (cut % (len(units) // 2 + 1)) for cut in cuts), len(units)]
    pieces = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in pairwise(places)]
    stream = [event(json.dumps(say(piece)).encode("ascii")) for piece in pieces]
    assert decode(ChatDecoder(), [*stream, END]).text == units.decode("utf-16-le", "replace")


def test_half_a_character_is_not_lost_when_the_stream_is() -> None:
    """If the other half never arrives, a replacement character ends the text, whatever else went wrong."""
    half = b'{"choices":[{"delta":{"content":"a\\ud83c","reasoning":"b\\ud83c"}}]}'
    heard = decode(ChatDecoder(), [event(half)])
    assert (heard.text, heard.reasoning) == ("a\ufffd", "b\ufffd")
    assert type(heard.error) is StreamTruncated


# Chat Completions


def test_a_whole_answer_is_read_like_a_stream() -> None:
    """One JSON object instead of events gives its text, calls, usage and finish reason."""
    message = {
        "role": "assistant",
        "content": "Hello",
        "reasoning": "hm",
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
        ],
    }
    answer = {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    heard = Heard(list(ChatDecoder().whole(msgspec.json.encode(answer))))
    assert (heard.model, heard.text, heard.reasoning, heard.finish) == ("m", "Hello", "hm", "tool_calls")
    assert heard.calls == [("a", "f", "{}"), ("b", "g", "[]")]
    assert heard.usage == Usage(input_tokens=1, output_tokens=2)


def test_a_whole_answer_without_an_end_is_no_success() -> None:
    """An answer without a finish reason is not taken for complete; its text is kept."""
    told = ChatDecoder().whole(b'{"choices":[{"message":{"content":"Hello"}}]}')
    assert isinstance(next(told), Notice)
    assert next(told) == TextDelta("Hello")
    with pytest.raises(StreamTruncated):
        next(told)


def test_a_too_long_context_is_its_own_error_before_the_answer() -> None:
    """An error event about the context's length is `ContextTooLong` before the first delta."""
    told = event({"error": {"message": "maximum context length is 4096", "code": "context_length_exceeded"}})
    assert type(decode(ChatDecoder(), [told]).error) is ContextTooLong
    assert type(decode(ChatDecoder(), [event(say("x")) + told]).error) is ProviderErrorEvent


def test_an_event_that_does_not_end_is_a_protocol_error() -> None:
    """Reading stops at an event that never ends, and the text before it is kept."""
    decoder = ChatDecoder(max_event_bytes=1000)
    heard = decode(decoder, [event(say("Hello")), *[b"data: " + b"x" * 100] * 20])
    assert type(heard.error) is ProtocolError
    assert heard.text == "Hello"


def test_an_error_after_the_finish_reason_is_a_notice() -> None:
    """A complete answer stays complete, whatever the server sends after the finish reason."""
    after = event(chunk([])) + event(b"{") * 5 + ERROR_EVENTS["object"] + b"data: {"
    heard = decode(ChatDecoder(), [ANSWER + event(chunk(None, "stop")) + after])
    assert heard.error is None
    assert heard.finish == "stop"
    assert len(heard.notices) == 8


# Responses


def test_a_response_is_read() -> None:
    """Typed events give text, reasoning, usage, model and finish reason."""
    heard = decode(ResponsesDecoder(), [RESPONSE])
    assert (heard.text, heard.reasoning, heard.finish) == ("Hello, wörld 🌍", "hm", "stop")
    assert heard.model == "answering-model"
    assert heard.usage == Usage(input_tokens=3, output_tokens=9, reasoning_tokens=4, cached_tokens=1)
    assert heard.error is None


def test_a_response_calls_tools() -> None:
    """Parallel function calls are yielded with their call ids."""
    stream = b"".join(
        [
            typed("response.created", 0, response=a_response()),
            *(
                typed(
                    "response.output_item.added",
                    number,
                    item={
                        "type": "function_call",
                        "id": f"fc_{number}",
                        "call_id": f"c{number}",
                        "name": "f",
                    },
                )
                for number in (1, 2)
            ),
            typed("response.function_call_arguments.delta", 3, item_id="fc_1", delta="{"),
            typed("response.function_call_arguments.delta", 4, item_id="fc_2", delta="[]"),
            typed("response.function_call_arguments.delta", 5, item_id="fc_1", delta="}"),
            typed("response.completed", 6, response=a_response(status="completed")),
        ]
    )
    heard = decode(ResponsesDecoder(), [stream])
    assert heard.calls == [("c1", "f", "{}"), ("c2", "f", "[]")]
    assert heard.finish == "tool_calls"


@pytest.mark.parametrize(
    ("end", "finish", "error"),
    [
        (("completed", {}), "stop", None),
        (("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}), "length", None),
        (("incomplete", {"incomplete_details": {"reason": "content_filter"}}), "content_filter", None),
        (("incomplete", {"incomplete_details": None}), "length", None),
        (("failed", {"error": {"code": "server_error", "message": "no"}}), None, ProviderErrorEvent),
        (("cancelled", {}), None, StreamTruncated),
    ],
)
def test_a_response_ends(
    end: tuple[str, dict[str, Any]], finish: str | None, error: type[ProviderError] | None
) -> None:
    """The server's end event alone decides whether a response is complete."""
    status, fields = end
    begin = typed("response.created", 0, response=a_response()) + typed(
        "response.output_text.delta", 1, delta="x"
    )
    last = typed(f"response.{status}", 2, response=a_response(status=status, **fields))
    heard = decode(ResponsesDecoder(), [begin + last])
    assert heard.finish == finish
    assert (type(heard.error) if heard.error else None) is error
    assert heard.text == "x"


def test_a_response_without_an_end_is_truncated() -> None:
    """A stream that stops without an end event is not complete."""
    assert type(decode(ResponsesDecoder(), [RESPONSE[:-30]]).error) is StreamTruncated
    assert type(decode(ResponsesDecoder(), [b""]).error) is EmptyResponse


def test_a_resumable_response_reports_its_position() -> None:
    """The deltas of each event are followed by that event's number."""
    decoder = ResponsesDecoder(resumable=True)
    events = RESPONSE.split(b"\n\n")
    first = list(decoder.feed(b"\n\n".join(events[:5]) + b"\n\n"))
    assert first[0] == Answering("answering-model", "resp_1", 0)
    assert first[-2:] == [TextDelta("Hello, "), Answering(None, "resp_1", 4)]
    rest = list(decoder.feed(b"\n\n".join(events[5:])))
    assert isinstance(rest[-1], Finish)


@pytest.mark.parametrize("background", [False, None, "true"])
def test_a_server_that_keeps_nothing_names_nothing_to_read_on(background: object) -> None:
    """A server that ignores `background` is treated according to the flag in its response."""
    begin = typed("response.created", 0, response=a_response(background=background))
    _, end, rest = RESPONSE.partition(b"\n\n")
    deltas = list(ResponsesDecoder(resumable=True).feed(begin.removesuffix(end) + end + rest))
    assert [(d.response_id, d.sequence) for d in deltas if isinstance(d, Answering)] == [(None, 0)]


@pytest.mark.parametrize("read", range(8))
@pytest.mark.parametrize("again", [0, 3])
def test_the_rest_of_a_response_is_added_once(read: int, again: int) -> None:
    """Whatever was read before, and even if the server repeats events, the text is whole and not repeated."""
    events = [data + b"\n\n" for data in RESPONSE.split(b"\n\n") if data]
    first = ResponsesDecoder(resumable=True)
    before = [delta for data in events[: read + 1] for delta in first.feed(data)]
    rest = ResponsesDecoder(resumable=True, response_id="resp_1", read=read)
    after = decode(rest, events[max(read + 1 - again, 0) :])
    assert Heard([*before, *after.deltas]).text == "Hello, wörld 🌍"
    assert (after.finish == "stop") is (read < 7)


def test_a_rest_that_begins_too_late_is_no_rest() -> None:
    """If the server skips events when it resumes, the later text is not joined to the earlier text."""
    events = [data + b"\n\n" for data in RESPONSE.split(b"\n\n") if data]
    rest = decode(ResponsesDecoder(resumable=True, response_id="resp_1", read=2), events[4:])
    assert (rest.text, rest.finish) == ("", None)
    assert isinstance(rest.error, ProtocolError)
    assert "left out events 3 to 3" in str(rest.error)


def test_a_response_without_deltas_is_read_from_its_end() -> None:
    """A response that is only in its end event is read from there."""
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}]
    end = typed("response.completed", 1, response=a_response(status="completed", output=output))
    begin = typed("response.created", 0, response=a_response())
    assert gist(decode(ResponsesDecoder(), [begin, end]))[:1] == ("Hello",)
    spoken = typed("response.output_text.delta", 1, delta="Hel") + typed(
        "response.completed", 2, response=a_response(status="completed", output=output)
    )
    assert decode(ResponsesDecoder(), [begin, spoken]).text == "Hel"
    done = typed("response.output_text.done", 1, text="Hello")
    bare = typed("response.completed", 2, response=a_response(status="completed"))
    assert decode(ResponsesDecoder(), [begin, done, bare]).text == "Hello"
    parts = [begin, done, typed("response.output_text.done", 2, text=", world"), bare]
    assert decode(ResponsesDecoder(), [*parts]).text == "Hello, world"
    thought = typed("response.reasoning_text.delta", 1, delta="hm")
    heard = decode(ResponsesDecoder(), [begin, thought, end])
    assert (heard.reasoning, heard.text) == ("hm", "Hello")


def test_arguments_without_deltas_are_read_from_their_end() -> None:
    """Arguments that come at once, or only with the whole response, are yielded once."""
    begin = typed("response.created", 0, response=a_response())
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f"}
    added = typed("response.output_item.added", 1, item={**item, "arguments": ""})
    done = typed("response.function_call_arguments.done", 2, item_id="fc", arguments="{}")
    whole = a_response(status="completed", output=[{**item, "arguments": "{}"}])
    end = typed("response.completed", 3, response=whole)
    for stream in ([begin, added, done, end], [begin, added, end], [begin, end]):
        assert decode(ResponsesDecoder(), stream).calls == [("c", "f", "{}")]


def test_a_whole_response_that_is_not_over_is_no_success() -> None:
    """A response without streaming that is still in progress is not complete; its text is kept."""
    summary = [{"type": "summary_text", "text": text} for text in ("Plan.", "Check.")]
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hel"}]}
    output = [{"type": "reasoning", "summary": summary}, message]
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "{}"}
    for status in ("queued", "in_progress", "cancelled", "failed"):
        deltas: list[Delta] = []
        whole = msgspec.json.encode(a_response(status=status, output=[*output, call]))
        with pytest.raises(ProviderErrorEvent if status == "failed" else StreamTruncated):
            deltas.extend(ResponsesDecoder().whole(whole))
        heard = Heard(deltas)
        assert (heard.text, heard.reasoning, heard.calls) == ("Hel", "Plan.\n\nCheck.", [("c", "f", "{}")])


@pytest.mark.parametrize("output", [None, [], [{"type": "message", "id": "m", "content": None}]])
def test_a_whole_response_without_content_is_complete(output: object) -> None:
    """A response without streaming and without content is complete, with its usage, because it was billed."""
    usage = {"input_tokens": 3, "output_tokens": 5}
    whole = msgspec.json.encode(a_response(status="completed", output=output, usage=usage))
    heard = Heard(list(ResponsesDecoder().whole(whole)))
    assert (heard.finish, heard.shown) == ("stop", [EMPTY])
    assert heard.usage == Usage(input_tokens=3, output_tokens=5)


def test_a_stream_of_whole_messages_is_read() -> None:
    """Events in the shape of whole answers give the text once."""
    told = {"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}
    heard = decode(ChatDecoder(), [event(told), END])
    assert (heard.text, heard.finish, heard.error) == ("Hello", "stop", None)
    heard = decode(ChatDecoder(), [event(say("Hello")), event(told), END])
    assert (heard.text, heard.finish) == ("Hello", "stop")


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_an_invalid_number_loses_no_text(constant: str) -> None:
    """Text is read beside log probabilities such as `NaN`, which Python servers write."""
    odd = event(json.dumps(say("Hello", logprob=float(constant.lower()))).encode())
    assert f'"logprob": {constant}'.encode() in odd
    heard = decode(ChatDecoder(), [odd, event(say(", world")), END])
    assert (heard.text, heard.finish, heard.error) == ("Hello, world", "stop", None)


@pytest.mark.parametrize(("total", "output"), [(160, 60), (110, 10), (None, 10)])
def test_reasoning_that_a_server_counts_apart_is_output(total: int | None, output: int) -> None:
    """If the total shows that reasoning is not in the completion tokens, it is added to the output."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    if total is not None:
        usage["total_tokens"] = total
    assert read_usage(usage) == Usage(input_tokens=100, output_tokens=output, reasoning_tokens=50)

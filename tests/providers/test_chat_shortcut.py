"""The shortcut for chunks of text alone gives the same deltas as the decoder, or none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.providers.base import TextDelta
from nbchat.providers.chat import ChatDecoder, plain_text
from tests.providers.fault_server import chunk, event, say


def payload(value: dict[str, object]) -> bytes:
    """Return the JSON of an event."""
    return event(value)[6:-2]


@pytest.mark.parametrize(
    "text",
    ["", " river", 'a "quoted" \\ one', "\n\u2028\0", "wörld 🌍", '"}}', "data: x", "[DONE]", "content"],
)
def test_a_chunk_of_text_is_read_by_the_shortcut(text: str) -> None:
    """The shortcut reads any text, whatever the other fields of the chunk are."""
    assert plain_text(payload(say(text))) == text
    assert plain_text(payload(say(text, extra={"content": "else"}, usage=None))) == text


def test_a_pair_of_escapes_is_one_character() -> None:
    """A surrogate pair written as two escapes is read as one character."""
    assert plain_text(payload(say("x")).replace(b'"x"', b'"\\ud83d\\ude00"')) == "😀"


@pytest.mark.parametrize(
    "other",
    [
        payload(chunk(None, "stop")),
        payload({"error": {"message": "x"}}),
        payload(say("x", error={"message": "x"})),
        payload(say("x", usage={"prompt_tokens": 1})),
        payload(say("x", citations=["https://example.org"])),
        payload(say("x", search_results=[{"url": "https://example.org"}])),
        payload(chunk({"content": "x", "role": "assistant"})),
        payload(chunk({"content": "x", "reasoning": "y"})),
        payload(chunk({"content": None})),
        payload(chunk({"content": 1})),
        payload(chunk({"content": [{"type": "text", "text": "x"}]})),
        payload({"choices": []}),
        payload({"choices": [{"index": 1, "delta": {"content": "x"}}]}),
        payload({"choices": [{"index": False, "delta": {"content": "x"}}]}),
        payload({"choices": [{"index": 0, "delta": {"content": "x"}}] * 2}),
        payload(say("x"))[:-1],
        payload(say("x")) * 2,
        payload(say("x")).replace(b'"x"', b'"\\ud800"'),
        payload(say("x")).replace(b'"x"', b'"\xff"'),
        payload(say("x", extra="y")).replace(b'"y"', b'"\xff"'),
        payload(say("x", extra="y")).replace(b'"y"', b"[" * 100_000 + b"]" * 100_000),
        b"[DONE]",
        b"[]",
        b"",
    ],
)
def test_every_other_event_is_left_to_the_decoder(other: bytes) -> None:
    """An end, an error, usage, sources, more fields, broken JSON or text are left to the decoder."""
    assert plain_text(other) is None


@given(st.lists(st.text(), max_size=6), st.sampled_from(["same", "counter", "padding"]))
def test_the_shortcut_changes_nothing(texts: list[str], kind: str) -> None:
    """A decoder with the shortcut and one without it give the same deltas."""
    events = [
        event(say(text, **{"same": {}, "counter": {"n": number}, "padding": {"p": "x" * number}}[kind]))
        for number, text in enumerate(texts)
    ]
    quick, long = ChatDecoder(), ChatDecoder()
    by_event = [delta for one in events for delta in quick.feed(one)]
    assert by_event == list(long.feed(b"".join(events)))


@pytest.mark.parametrize("before", [0, 3])
def test_a_pair_that_is_split_over_two_chunks_is_one_character(before: int) -> None:
    """The halves of a surrogate pair in two events are joined, also after chunks that took the shortcut."""
    high, low = (json.dumps(say("x")).replace('"x"', half).encode() for half in (r'"a\ud83d"', r'"\ude00b"'))
    decoder = ChatDecoder()
    events = [event(say("."))] * before + [b"data: " + one + b"\n\n" for one in (high, low)]
    deltas = [delta for one in events for delta in decoder.feed(one)]

    text = "".join([delta.text for delta in deltas if isinstance(delta, TextDelta)])
    assert text == "." * before + "a😀b"

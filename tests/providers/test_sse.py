"""The rules of event streams (HTML Standard, section 9.2.6), for bytes cut anywhere."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nbchat.providers.sse import Event, EventTooLarge, SSEDecoder

BOM = b"\xef\xbb\xbf"

CASES: dict[str, tuple[bytes, list[Event]]] = {
    "usual": (b"data: {}\n\n", [Event(b"{}")]),
    "no-space": (b"data:x\n\n", [Event(b"x")]),
    "two-spaces": (b"data:  x\n\n", [Event(b" x")]),
    "tab-is-content": (b"data:\tx\n\n", [Event(b"\tx")]),
    "colon-in-value": (b"data: a: b\n\n", [Event(b"a: b")]),
    "field-without-colon": (b"data\n\n", [Event(b"")]),
    "several-lines": (b"data: a\ndata: b\ndata:\n\n", [Event(b"a\nb\n")]),
    "comment": (b": data: no\ndata: x\n:\n\n", [Event(b"x")]),
    "only-comments": (b": a\n\n: b\n\n", []),
    "type-and-id": (b"event: error\nid: 7\ndata: x\n\n", [Event(b"x", "error", "7")]),
    "type-is-for-one-event": (b"event: a\ndata: x\n\ndata: y\n\n", [Event(b"x", "a"), Event(b"y")]),
    "no-data-no-event": (b"event: a\nid: 1\n\ndata: x\n\n", [Event(b"x")]),
    "id-with-nul": (b"id: 1\0\ndata: x\n\n", [Event(b"x")]),
    "unknown-fields": (b"retry: 5\nDATA: no\n data: no\ndata: x\n\n", [Event(b"x")]),
    "cr": (b"data: a\rdata: b\r\rdata: c\r\r", [Event(b"a\nb"), Event(b"c")]),
    "crlf": (b"data: a\r\ndata: b\r\n\r\n", [Event(b"a\nb")]),
    "mixed": (b"data: a\r\n\ndata: b\n\rdata: c\r\r\n", [Event(b"a"), Event(b"b"), Event(b"c")]),
    "empty-lines": (b"\n\n\ndata: x\n\n\n\n\ndata: y\n\n", [Event(b"x"), Event(b"y")]),
    "bom": (BOM + b"data: x\n\n", [Event(b"x")]),
    "one-bom": (BOM + BOM + b"data: x\n\ndata: y\n\n", [Event(b"y")]),
    "bom-later": (b"data: x\n\n" + BOM + b"data: y\n\n", [Event(b"x")]),
    "bytes-of-any-kind": (b"data: \xff\xfe\n\n", [Event(b"\xff\xfe")]),
    "cut-off": (b"data: x\n\ndata: y\n", [Event(b"x")]),
}
"""Streams and their events."""


def decode(pieces: Iterable[bytes], **options: int) -> tuple[list[Event], bytes]:
    """Return all events, and the incomplete rest."""
    decoder = SSEDecoder(**options)
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events, decoder.close()


def feed(decoder: SSEDecoder, pieces: Iterable[bytes], events: list[Event]) -> None:
    """Feed all pieces; events completed before an error stay in `events`."""
    for piece in pieces:
        events += decoder.feed(piece)


@pytest.mark.parametrize("name", CASES)
def test_streams_are_parsed_as_in_the_standard(name: str) -> None:
    """A stream gives the events of the standard, as a whole and byte by byte."""
    stream, events = CASES[name]
    assert decode([stream])[0] == events
    assert decode(bytes([byte]) for byte in stream)[0] == events


PIECES = [
    b"data: ",
    b"data:",
    b"data",
    b": c",
    b"event: e",
    b"id: 1",
    b"x",
    b"\n",
    b"\n\n",
    b"\r",
    b"\r\n",
    BOM,
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.data())
@example([b"data: ", b"x", b"\r", b"\n", b"\r\n"], None)
def test_cuts_change_nothing(parts: list[bytes], data: st.DataObject | None) -> None:
    """However a stream is cut, it gives the same events and the same end."""
    stream = b"".join(parts)
    whole = decode([stream])
    assert decode(bytes([byte]) for byte in stream) == whole
    assert decode(parts) == whole
    if data is not None:
        cut = data.draw(st.integers(0, len(stream)))
        assert decode([stream[:cut], b"", stream[cut:]]) == whole


@pytest.mark.parametrize(
    ("stream", "cut"),
    [
        (b"", False),
        (b"data: x\n\n", False),
        (b"data: x\n\n\n: ping\n", False),
        (b"data: x\n", True),
        (b"data: x", True),
        (b"da", True),
    ],
)
def test_an_event_that_the_end_cuts_off_is_reported(stream: bytes, cut: bool) -> None:
    """An event without its final empty line is dropped and reported; a comment is not."""
    assert bool(decode([stream])[1]) is cut


def test_an_event_comes_as_soon_as_its_line_ends() -> None:
    """A CR ends a line at once, without waiting for an LF."""
    decoder = SSEDecoder()
    assert decoder.feed(b"data: x\r\r") == [Event(b"x")]
    assert decoder.feed(b"\ndata: y\n") == []
    assert decoder.feed(b"\n") == [Event(b"y")]


def test_an_event_has_a_largest_size() -> None:
    """An event beyond the limit is an error, wherever it is cut, after the events before it are yielded."""
    stream = b"data: ok\n\n" + b"data: " + b"x" * 95 + b"\n\n"
    for pieces in ([stream], [bytes([byte]) for byte in stream], [stream[:60], stream[60:]]):
        events: list[Event] = []
        with pytest.raises(EventTooLarge):
            feed(SSEDecoder(max_event_bytes=100), [*pieces, b""], events)
        assert events == [Event(b"ok")]
    events, _ = decode([stream], max_event_bytes=101)
    assert len(events) == 2


def test_an_endless_event_is_not_kept() -> None:
    """The memory for an event that does not end is bounded."""
    fed: list[Event] = []
    with pytest.raises(EventTooLarge):
        feed(SSEDecoder(max_event_bytes=1000), [b"data: xxxxxxxx\n"] * 1000, fed)
    assert fed == []

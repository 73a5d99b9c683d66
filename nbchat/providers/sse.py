"""`SSEDecoder` parses server-sent events from bytes, without I/O.

The rules are those of the HTML Standard, section 9.2.6 ("Interpreting an event stream"): a line ends
with CR, LF or CRLF; a line that starts with a colon is a comment; one space after a field's colon
belongs to the syntax; several `data` lines are joined with line feeds; an event without an empty line
after it at the end of the stream is dropped.

Two kinds of lines that the standard ignores are parsed as errors, since some servers send them:
`error: {…}`, and a line `{"error": …}` without a field name.

Data stay bytes: the caller decodes them, and JSON is always UTF-8.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""Size limit of an event; `EventTooLarge` is raised without waiting for the end of a larger one."""

_BOM: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One dispatched event."""

    data: bytes
    event: str = ""
    """The type of the event; empty if not set."""
    id: str | None = None
    """The id sent with this event; `None` if it has no id."""


class EventTooLarge(ValueError):
    """Raised when an event exceeds the size limit."""


class SSEDecoder:
    """Parses the bytes of one stream to events, however the bytes are split.

    Parameters
    ----------
    max_event_bytes
        Size limit of an event, measured from the end of the previous one.
    """

    __slots__ = ("_cr", "_held", "_held_bytes", "_limit", "_starting", "_too_large")

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._limit = max_event_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._starting = True
        self._cr = False
        self._too_large = False

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes, oldest first.

        Raises
        ------
        EventTooLarge
            If the event after the last returned one exceeds the limit.
        """
        if self._too_large:
            raise EventTooLarge(f"an event of more than {self._limit:,} bytes")
        if self._starting:
            data = self._start(data)
        if b"\r" in data or self._cr:
            data = self._lines(data)
        held = self._held
        if held:
            # An event in many pieces is joined once, at its end. Otherwise a megabyte that arrives byte by
            # byte would be copied a million times.
            if b"\n\n" not in data and not (data[:1] == b"\n" and held[-1][-1:] == b"\n"):
                self._hold(data)
                return []
            data = b"".join((*held, data))
            held.clear()
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        self._held_bytes = 0
        events: list[Event] = []
        for block in blocks:
            if len(block) > self._limit:
                self._too_large = True
                return events
            if block[:6] == b"data: " and b"\n" not in block:
                events.append(Event(block[6:]))
            else:
                event = read_event(block)
                if event is not None:
                    events.append(event)
        self._hold(rest)
        return events

    @property
    def is_between_events(self) -> bool:
        """`True` if no data is buffered, so that the next data starts an event."""
        return not (self._held or self._starting or self._cr)

    def one(self, data: bytes) -> bytes | None:
        """Return the value of `data` if it is exactly one complete event of one line.

        Servers nearly always send such events, one per network chunk. Otherwise return `None` without
        changing any state; the caller then passes `data` to `feed`.
        """
        # The first line feed must be the first of the two that end the event.
        if data[:6] != b"data: " or data[-1:] != b"\n" or data.find(b"\n") != len(data) - 2:
            return None
        if b"\r" in data or len(data) - 2 > self._limit or not self.is_between_events:
            return None
        return data[6:-2]

    def close(self) -> bytes:
        """Handle the end of the stream. Return the incomplete event that is dropped, or empty bytes.

        Raises
        ------
        EventTooLarge
            As for `feed`.
        """
        if self._too_large:
            raise EventTooLarge(f"an event of more than {self._limit:,} bytes")
        rest = b"".join(self._held)
        self._held.clear()
        return rest if any(line[:1] not in {b"", b":"} for line in rest.split(b"\n")) else b""

    def _hold(self, data: bytes) -> None:
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
            # The first of the two line feeds that end an event may be included.
            self._too_large = self._held_bytes > self._limit + 1

    def _start(self, data: bytes) -> bytes:
        """Drop a byte order mark; buffer data while it may still be one."""
        data = b"".join((*self._held, data))
        self._held.clear()
        self._held_bytes = 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            # The data may be the start of the mark, and never complete an event.
            self._hold(data)
            return b""
        self._starting = False
        return data.removeprefix(_BOM)

    def _lines(self, data: bytes) -> bytes:
        """Return `data` with all line endings as LF; CR LF may be split between two calls."""
        if self._cr and data[:1] == b"\n":
            data = data[1:]
        elif not data:
            return data
        # A CR ends its line immediately: waiting for an LF would delay a complete event.
        self._cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_event(block: bytes) -> Event | None:
    """Return the event in a block of lines; `None` if it has only comments and unknown fields."""
    data: list[bytes] = []
    kind = b""
    number: bytes | None = None
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value
        elif name == b"id" and b"\0" not in value:
            number = value
        elif name == b"error":  # llama.cpp
            data, kind = [value], b"error"
        elif name == b'{"error"':  # Ollama
            data, kind = [line], b"error"
    if not data:
        return None
    return Event(
        b"\n".join(data),
        kind.decode("utf-8", "replace"),
        None if number is None else number.decode("utf-8", "replace"),
    )

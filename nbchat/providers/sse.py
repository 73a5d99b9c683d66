"""Server-sent events: bytes in, events out, without I/O.

The rules are those of the HTML Standard, section 9.2.6 ("Interpreting an event stream"): a line ends
with CR, LF or CRLF; a line that begins with a colon is a comment; one space after a field's colon
belongs to the syntax; several `data` lines are one value with line feeds between; an event that is not
followed by an empty line when the stream ends is not an event.

Two lines mean something here that the standard passes over, since servers report their errors so:
`error: {…}`, and a line that is `{"error": …}` without a field's name.

Bytes are decoded by whoever parses the value: JSON is, and is always, UTF-8.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""The largest event; a server that sends more without ending it is not waited for."""

_BOM: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event as it was dispatched."""

    data: bytes
    event: str = ""
    """The event's type; empty where the server named none."""
    id: str | None = None
    """The id that came with this very event; None where none did."""


class EventTooLarge(ValueError):
    """An event has grown beyond the limit."""


class SSEDecoder:
    """Turns the bytes of one stream into events, however the bytes are cut.

    Parameters
    ----------
    max_event_bytes
        The largest event, measured from the end of the one before it.
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
            The event after the last one that was returned is larger than the limit.
        """
        if self._too_large:
            raise EventTooLarge(f"an event of more than {self._limit:,} bytes")
        if self._starting:
            data = self._start(data)
        if b"\r" in data or self._cr:
            data = self._lines(data)
        held = self._held
        if held:
            # An event in many pieces is joined once, when its end is there; a megabyte that comes byte by
            # byte would otherwise be copied a million times.
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
        """Nothing is held: what is fed next begins an event."""
        return not (self._held or self._starting or self._cr)

    def one(self, data: bytes) -> bytes | None:
        """Return the value of the event that `data` is, where it is one event of one line, whole.

        That is what servers send nearly always, one network chunk each. None for everything else, which
        is then for `feed`; nothing has happened.
        """
        # Of the two line feeds that end an event the first is the first there is.
        if data[:6] != b"data: " or data[-1:] != b"\n" or data.find(b"\n") != len(data) - 2:
            return None
        if b"\r" in data or len(data) - 2 > self._limit or not self.is_between_events:
            return None
        return data[6:-2]

    def close(self) -> bytes:
        """Take the end of the stream; return the event that it cut off, which is dropped; empty for none.

        Raises
        ------
        EventTooLarge
            As `feed`.
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
            # One line feed of the two that end an event may be here already.
            self._too_large = self._held_bytes > self._limit + 1

    def _start(self, data: bytes) -> bytes:
        """Drop a byte order mark, and wait until it is known not to be one."""
        data = b"".join((*self._held, data))
        self._held.clear()
        self._held_bytes = 0
        if len(data) < len(_BOM) and _BOM.startswith(data):
            # What is held may be the beginning of the mark, and is never the end of anything.
            self._hold(data)
            return b""
        self._starting = False
        return data.removeprefix(_BOM)

    def _lines(self, data: bytes) -> bytes:
        """Return `data` with LF for every end of a line, where CR LF may be cut between two calls."""
        if self._cr and data[:1] == b"\n":
            data = data[1:]
        elif not data:
            return data
        # A CR ends its line at once; waiting for an LF would hold an event back that is complete.
        self._cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def read_event(block: bytes) -> Event | None:
    """Return the event that a block of lines is, or None for comments, unknown fields and nothing."""
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

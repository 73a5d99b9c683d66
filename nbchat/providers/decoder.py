"""`Decoder`, the base class of the decoders of both APIs: parses events and handles invalid ones.

1. An event without data is ignored. `[DONE]` ends the stream.
2. An event that is not JSON is skipped with a notice. After `MAX_BAD_EVENTS` of them the next one raises
   `ProtocolError`.
3. Bytes that are not UTF-8, and fields of a wrong type, raise `ProtocolError` immediately, since it is
   unknown what is missing.
4. An event with the same id and data as an earlier one is a duplicate and is dropped. Without an id, a
   duplicate cannot be distinguished from a model that repeats itself.
5. After the finish reason the answer is complete, so errors become notices.

Everything decoded before an error is yielded before the error is raised.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Final, Never

import msgspec

from nbchat.core.errors import EmptyResponse, ProtocolError, ProviderError, StreamTruncated
from nbchat.core.messages import BITMAP, Usage
from nbchat.core.text import clean
from nbchat.providers.base import (
    Delta,
    ImageDelta,
    Notice,
    ReasoningDelta,
    SourceDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from nbchat.providers.errors import Said, from_event, said, unwrapped, words
from nbchat.providers.event_fields import source_of
from nbchat.providers.sse import MAX_EVENT_BYTES, Event, EventTooLarge, SSEDecoder, read_event

MAX_BAD_EVENTS: Final = 3
"""Maximum number of events skipped in one stream because they are not JSON."""


_IDS_KEPT: Final = 1024
"""Number of event ids kept: a server that repeats events after a reconnect repeats recent ones."""

_PINGS: Final = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})
"""Types of keep-alive events; their data need not be JSON."""

_loads: Final = msgspec.json.Decoder().decode

_NOTHING: Final = object()
_BAD: Final = object()

Json = dict[str, Any]


class Decoder(ABC):
    """Decodes the bytes of one response to deltas.

    Parameters
    ----------
    quote
        Sanitizes text from the server for display.
    """

    def __init__(self, *, quote: Said = said, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._sse = SSEDecoder(max_event_bytes=max_event_bytes)
        self._quote = quote
        self._bad = 0
        self._ids: dict[str, int] | None = {}
        self._id_order: deque[str] = deque()
        self._halves: dict[object, str] = {}
        self._mended = False
        self._told: set[str] = set()
        self._usage: Usage | None = None
        self._plain_only = False
        self._foreign: Json | None = None
        self._cited: set[str] = set()
        self._unknown: Counter[str] = Counter()
        self.began: bool = False
        """`True` once content was yielded."""
        self.said: bool = False
        """`True` once text of the answer was yielded."""
        self.finished = False
        """`True` once the finish reason was yielded."""
        self.done: bool = False
        """`True` if the rest of the stream can be ignored."""

    def feed(self, data: bytes) -> Iterable[Delta]:
        """Return the deltas that `data` completes. Iterating may raise; exhaust it before the next call.

        Raises
        ------
        ProtocolError
            If the data are not events of this API.
        ProviderErrorEvent, ContextTooLong
            If the server reported an error.
        """
        if self._plain_only:
            # Fast path: nearly every event holds only a piece of text and arrives in its own network chunk.
            payload = self._sse.one(data)
            text = None if payload is None else self._plain_text(payload)
            if text:
                self.began = self.said = True
                return (TextDelta(text),)
        return self._feed(data)

    def _feed(self, data: bytes) -> Iterator[Delta]:
        try:
            events = self._sse.feed(data)
        except EventTooLarge as error:
            raise self._too_large() from error
        for event in events:
            try:
                value = _loads(event.data)
            except (ValueError, RecursionError):
                value = self._other(event)
                if value is _BAD:
                    yield Notice("an event that is not JSON was skipped")
            if self.done:
                return
            if value is _NOTHING or value is _BAD:
                continue
            if event.id is not None and self._is_repeated(event):
                yield from self._notice("an event was sent twice and taken once")
            elif self.finished:
                try:
                    yield from self._decode(value, event.event)
                except ProviderError as error:
                    yield Notice(f"after the finish reason {error.args[0]}")
            else:
                yield from self._decode(value, event.event)

    def _other(self, event: Event) -> object:
        """Parse data that msgspec rejects; return JSON, `_NOTHING` (no event) or `_BAD` (skip the event)."""
        payload = event.data
        stripped = payload.strip()
        if stripped == b"[DONE]":
            self.done = True
        if not stripped or self.done:
            return _NOTHING
        try:
            return self._mend(payload)
        except ValueError:
            if event.event == "error":
                return payload.decode("utf-8", "replace")  # plain text
            if event.event in _PINGS:
                return _NOTHING
            self._bad += 1
        if self._bad > MAX_BAD_EVENTS and not self.finished:
            begin = self._quote(payload[:60].decode("utf-8", "replace"))
            raise ProtocolError(
                f"the server sent {self._bad} events that are not JSON; the last one begins with {begin!r}."
            )
        return _BAD

    def end(self) -> Iterator[Delta]:
        """Handle the end of the stream.

        Raises
        ------
        StreamTruncated
            If the stream ended without an error before the answer was complete.
        EmptyResponse
            If it ended before the answer began.
        ProtocolError
            If it ended in the middle of a character, or contained only other JSON.
        ProviderErrorEvent, ContextTooLong
            If the last event is a complete error, even without the empty line after it.
        """
        cut = self._cut_off()
        yield from self._flush()
        if cut:
            yield Notice("the last event was cut off and dropped")
        if self.finished:
            return
        self._last_words(cut)
        if (reason := _not_utf8(cut)) is not None:
            raise ProtocolError(reason)
        if not self.began:
            if self._foreign is not None:
                self.no_answer(self._foreign)
            raise EmptyResponse("the server's stream ended without an answer.")
        raise StreamTruncated("the stream ended before the event that completes the answer.")

    def _cut_off(self) -> bytes:
        try:
            return self._sse.close()
        except EventTooLarge as error:
            if self.finished:
                return b""
            raise self._too_large() from error

    def _last_words(self, cut: bytes) -> None:
        """Raise the error in `cut`, a last event without the empty line after it, if it contains one."""
        event = read_event(cut.strip())
        if event is None:
            return
        try:
            value = _loads(event.data)
        except (ValueError, RecursionError):
            return
        if event.event == "error" or (isinstance(value, dict) and value.get("error")):
            self.error(value)

    def whole(self, body: bytes) -> Iterator[Delta]:
        """Decode an answer sent as one JSON object instead of a stream.

        Raises
        ------
        ProtocolError
            If `body` is not JSON or not an answer.
        ProviderErrorEvent, ContextTooLong
            If `body` is an error.
        """
        try:
            try:
                value = _loads(body)
            except (ValueError, RecursionError):
                value = self._mend(body)
        except ValueError:
            raise ProtocolError("the server answered with JSON that is broken or cut off.") from None
        value = unwrapped(value)
        if not isinstance(value, dict):
            self.wrong("the answer", value)
        yield Notice("the server does not stream: the whole answer came at once")
        yield from self._whole(value)
        yield from self._flush()
        if not self.finished:
            raise StreamTruncated("the server's JSON does not mark the answer as complete.")

    @staticmethod
    def _plain_text(payload: bytes) -> str | None:
        """Return the text of an event that contains only one piece of text; `None` for any other event.

        Called only while `_plain_only` is set; the result must not depend on earlier events.
        """
        del payload
        return None

    @abstractmethod
    def _decode(self, value: object, kind: str) -> Iterator[Delta]:
        """Yield the deltas of one event; `kind` is its type in the event stream."""

    @abstractmethod
    def _whole(self, value: Json) -> Iterator[Delta]:
        """Yield the deltas of a complete answer."""

    # Text

    def text(self, text: str) -> Iterator[Delta]:
        """Yield text of the answer."""
        if self._mended:
            text = self._join("text", text)
        if text:
            self.began = self.said = True
            yield TextDelta(text)

    def reasoning(self, text: str) -> Iterator[Delta]:
        """Yield reasoning."""
        if self._mended:
            text = self._join("reasoning", text)
        if text:
            self.began = True
            yield ReasoningDelta(text)

    def call(self, index: int, call_id: str, name: str, arguments: str) -> Iterator[Delta]:
        """Yield a piece of a tool call."""
        if self._mended:
            arguments = self._join(index, arguments)
        if call_id or name or arguments:
            self.began = True
            yield ToolCallDelta(index, clean(call_id), clean(name), arguments)

    def image(self, url: object) -> Iterator[Delta]:
        """Yield a complete image; count it as not shown if its type is not supported."""
        if isinstance(url, str) and BITMAP.match(url):
            self.began = True
            yield ImageDelta(url)
        else:
            self.unknown("image")

    def sources(self, value: object) -> Iterator[Delta]:
        """Yield the sources in a list of citations, each source once.

        An item is an annotation of either API, an entry of Perplexity's `search_results`, or a URL.
        """
        for item in value if isinstance(value, list) else ():
            source = source_of(item)
            if source is None or (source.url or source.title) in self._cited:
                continue
            self._cited.add(source.url or source.title)
            yield SourceDelta(source)

    def unknown(self, kind: object) -> None:
        """Count an item that is not shown, by the type that the server gave it."""
        name = (self._quote(kind)[:60] if isinstance(kind, str) else "") or "unknown"
        self._unknown[name] += 1

    def not_shown(self, but: Collection[str] = ()) -> Iterator[Delta]:
        """Yield a notice for each type of item that was not shown, except those in `but`."""
        for name, number in self._unknown.items():
            if name in but:
                continue
            what = "1 item" if number == 1 else f"{number} items"
            verb = "is" if number == 1 else "are"
            yield Notice(f"{what} of type {name} {verb} not shown.", shown=True)
        self._unknown.clear()

    def usage(self, usage: Usage | None) -> Iterator[Delta]:
        """Yield the token usage if it has changed."""
        if usage is not None and usage != self._usage:
            self._usage = usage
            yield UsageDelta(usage)

    def _join(self, channel: object, text: str) -> str:
        """Prepend the high surrogate held back by the last call, and hold back one at the end of `text`.

        A server that splits UTF-16 strings (as in JavaScript) sends a surrogate pair in two events.
        """
        half = self._halves.pop(channel, None)
        if half is not None:
            text = half + text
        last = text[-1:]
        if "\ud800" <= last <= "\udbff":
            self._halves[channel] = last
            text = text[:-1]
        return clean(text)

    def _flush(self) -> Iterator[Delta]:
        """Yield U+FFFD for each surrogate whose other half is missing."""
        for channel in list(self._halves):
            del self._halves[channel]
            self.began = True
            if channel == "text":
                yield TextDelta("\ufffd")
            elif channel == "reasoning":
                yield ReasoningDelta("\ufffd")
            elif isinstance(channel, int):
                yield ToolCallDelta(channel, arguments="\ufffd")

    # Errors and irregularities

    def no_answer(self, value: Json) -> Never:
        """Raise `ProtocolError` for an object that contains no answer."""
        first = next((v for v in value.values() if isinstance(v, str)), "")
        shown = self._quote(words(value) or first) or "no message"
        raise ProtocolError(f"the server answered with JSON that holds no answer: {shown}")

    def error(self, body: object) -> Never:
        """Raise the error that the server reported."""
        raise from_event(body, began=self.began, quote=self._quote)

    @staticmethod
    def wrong(what: str, value: object) -> Never:
        """Raise `ProtocolError` for a value of a wrong type."""
        raise ProtocolError(f"the server sent {what} as {_kind(value)}.")

    def _notice(self, text: str) -> Iterator[Delta]:
        """Yield a notice, at most once per stream."""
        if text not in self._told:
            self._told.add(text)
            yield Notice(text)

    def _is_repeated(self, event: Event) -> bool:
        ids, number = self._ids, event.id
        if ids is None or not number:
            return False
        mark = hash(event.data)
        if number in ids:
            if ids[number] == mark:
                return True
            # Different events with one id: the server uses it for something else (often the answer's id).
            self._ids = None
            return False
        ids[number] = mark
        self._id_order.append(number)
        if len(self._id_order) > _IDS_KEPT:
            del ids[self._id_order.popleft()]
        return False

    def _mend(self, payload: bytes) -> object:
        """Parse JSON that msgspec rejects: with lone surrogates, huge numbers, or `NaN`.

        `NaN` is not valid JSON, but Python's `json.dumps` emits it, so servers send it, for instance as a
        log probability. The text of such an event must not be lost.

        After this call, all text is checked for surrogates, which msgspec always rejects.

        Raises
        ------
        ProtocolError
            If it is not UTF-8.
        ValueError
            If it is not JSON.
        """
        try:
            text = payload.decode("utf-8")
        except UnicodeDecodeError:
            raise ProtocolError("the server sent bytes that are not UTF-8.") from None
        self._mended = True
        self._plain_only = False
        try:
            return json.loads(text, parse_constant=_nothing)
        except RecursionError:
            raise ValueError("nested too deeply") from None

    @staticmethod
    def _too_large() -> ProtocolError:
        return ProtocolError("the server sent an event that does not end; it was not waited for.")


def _not_utf8(data: bytes) -> str | None:
    """Return why `data` is not UTF-8; `None` if it is."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.end == len(data) and error.reason == "unexpected end of data":
            return "the stream ended in the middle of a character."
        return "the stream is not text in UTF-8. Its encoding is not declared; it may be compressed."
    return None


def _nothing(_constant: str) -> None:
    """Return `None` for `NaN` and `Infinity`."""


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")

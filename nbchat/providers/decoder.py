"""What the decoders of both APIs share: events to JSON, and what to do with events that are not right.

1. An event without data is nothing. `[DONE]` ends the stream.
2. An event that is not JSON is skipped with a notice, up to `MAX_BAD_EVENTS`; then the server is taken to
   speak something else.
3. Bytes that are not UTF-8, and fields of a type that the API does not give them, are a `ProtocolError` at
   once: there is no telling what is missing.
4. Where an event repeats the id and the data of an earlier one, it was sent twice, and is dropped.
   Nothing else tells a repetition from a model that repeats itself.
5. After the finish reason the answer is whole: what is wrong then is a notice.

Everything that was decoded before an error is yielded before the error is raised.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final, Never

import msgspec

from nbchat.core.errors import EmptyResponse, ProtocolError, ProviderError, StreamTruncated
from nbchat.core.messages import Source, Usage
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
from nbchat.providers.sse import MAX_EVENT_BYTES, Event, EventTooLarge, SSEDecoder, read_event

MAX_BAD_EVENTS: Final = 3
"""So many events that are not JSON are skipped in one stream."""

_MAX_COUNT: Final = 2**53 - 1
"""The largest number that JSON holds for everybody (RFC 8259, section 6)."""

_IDS_KEPT: Final = 1024
"""A server that repeats events after it reconnected repeats recent ones."""

_PINGS: Final = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})
"""Types of events that keep a connection open; what they hold need not be JSON."""

_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+\Z")
"""Images that can be shown: of types that cannot carry script."""

_loads: Final = msgspec.json.Decoder().decode

_NOTHING: Final = object()
_BAD: Final = object()

Json = dict[str, Any]


class Decoder(ABC):
    """Turns one response's bytes into deltas.

    Parameters
    ----------
    quote
        Makes the server's own words fit to be shown.
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
        """Content was yielded."""
        self.said: bool = False
        """Text of the answer was yielded."""
        self.finished = False
        """The finish reason was yielded."""
        self.done: bool = False
        """Nothing of interest follows."""

    def feed(self, data: bytes) -> Iterable[Delta]:
        """Give what `data` completes; to be read to its end before the next call, and it may raise.

        Raises
        ------
        ProtocolError
            The server sends something else than this API's events.
        ProviderErrorEvent, ContextTooLong
            The server reported an error.
        """
        if self._plain_only:
            # Nearly every event of an answer is a piece of text and nothing else, and comes by itself.
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
        """Return the JSON that msgspec refuses, `_NOTHING` for no event, `_BAD` for one that is skipped."""
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
                return payload.decode("utf-8", "replace")  # in words
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
        """Take the end of the stream.

        Raises
        ------
        StreamTruncated
            The stream ended, without an error, before the answer did.
        EmptyResponse
            It ended before the answer began.
        ProtocolError
            It ended in the middle of a character, or held JSON of another kind only.
        ProviderErrorEvent, ContextTooLong
            The last thing that the server said is an error, if only it was said to its end.
        """
        cut = self._cut_off()
        yield from self._flush()
        if cut:
            yield Notice("the last event was cut off and dropped")
        if self.finished:
            return
        self._last_words(cut)
        if not _is_utf8(cut):
            raise ProtocolError("the stream ended in the middle of a character.")
        if not self.began:
            if self._foreign is not None:
                self.no_answer(self._foreign)
            raise EmptyResponse("the server's stream ended without an answer.")
        raise StreamTruncated("the stream ended before the server said that the answer is complete.")

    def _cut_off(self) -> bytes:
        try:
            return self._sse.close()
        except EventTooLarge as error:
            if self.finished:
                return b""
            raise self._too_large() from error

    def _last_words(self, cut: bytes) -> None:
        """Raise the error that a server reported as its last words, without the empty line that ends them."""
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
        """Yield an answer that came as one JSON object instead of a stream.

        Raises
        ------
        ProtocolError
            It is not JSON, or not an answer.
        ProviderErrorEvent, ContextTooLong
            It is an error.
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
            raise StreamTruncated("the server's JSON does not say that the answer is complete.")

    @staticmethod
    def _plain_text(payload: bytes) -> str | None:
        """Return the text of an event that holds one piece of text and nothing else; None for any other.

        Called only while `_plain_only` is set: the result does not depend on earlier events.
        """
        del payload
        return None

    @abstractmethod
    def _decode(self, value: object, kind: str) -> Iterator[Delta]:
        """Yield what one event says; `kind` is the event's type as the stream gave it."""

    @abstractmethod
    def _whole(self, value: Json) -> Iterator[Delta]:
        """Yield what a whole answer says."""

    # Text

    def text(self, text: str) -> Iterator[Delta]:
        """Yield text of the answer."""
        if self._mended:
            text = self._join("text", text)
        if text:
            self.began = self.said = True
            yield TextDelta(text)

    def reasoning(self, text: str) -> Iterator[Delta]:
        """Yield what the model thinks aloud."""
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
        """Yield a whole image that the model made; one that cannot be shown is counted."""
        if isinstance(url, str) and _IMAGE.match(url):
            self.began = True
            yield ImageDelta(url)
        else:
            self.unknown("image")

    def sources(self, value: object) -> Iterator[Delta]:
        """Yield what a list of citations names, in any of the forms of servers; each source once.

        An annotation of either API, an entry of Perplexity's `search_results`, or a bare address.
        """
        for item in value if isinstance(value, list) else ():
            source = _source(item)
            if source is None or (source.url or source.title) in self._cited:
                continue
            self._cited.add(source.url or source.title)
            yield SourceDelta(source)

    def unknown(self, kind: object) -> None:
        """Count something that is not shown, by the server's name for its type."""
        name = (self._quote(kind)[:60] if isinstance(kind, str) else "") or "unknown"
        self._unknown[name] += 1

    def not_shown(self, but: Collection[str] = ()) -> Iterator[Delta]:
        """Yield a notice for each type of thing that was not shown, except those in `but`."""
        for name, number in self._unknown.items():
            if name in but:
                continue
            what = "1 item" if number == 1 else f"{number} items"
            verb = "is" if number == 1 else "are"
            yield Notice(f"{what} of type {name} {verb} not shown.", shown=True)
        self._unknown.clear()

    def usage(self, usage: Usage | None) -> Iterator[Delta]:
        """Yield what the answer took, when that is news."""
        if usage is not None and usage != self._usage:
            self._usage = usage
            yield UsageDelta(usage)

    def _join(self, channel: object, text: str) -> str:
        """Return `text` with a surrogate half from last time in front, and without one at its end.

        A server that cuts UTF-16 (JavaScript's strings) sends the halves of one character in two events.
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
        """Yield U+FFFD for each half whose other half never came."""
        for channel in list(self._halves):
            del self._halves[channel]
            self.began = True
            if channel == "text":
                yield TextDelta("\ufffd")
            elif channel == "reasoning":
                yield ReasoningDelta("\ufffd")
            elif isinstance(channel, int):
                yield ToolCallDelta(channel, arguments="\ufffd")

    # What is not right

    def no_answer(self, value: Json) -> Never:
        """Raise: the server answered with an object that is no answer."""
        first = next((v for v in value.values() if isinstance(v, str)), "")
        shown = self._quote(words(value) or first) or "no message"
        raise ProtocolError(f"the server answered with JSON that holds no answer: {shown}")

    def error(self, body: object) -> Never:
        """Raise the error that the server reported."""
        raise from_event(body, began=self.began, quote=self._quote)

    @staticmethod
    def wrong(what: str, value: object) -> Never:
        """Raise: a field has a type that the API does not give it."""
        raise ProtocolError(f"the server sent {what} as {_kind(value)}.")

    def _notice(self, text: str) -> Iterator[Delta]:
        """Yield a notice, once in a stream."""
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
            # One id for different events: this server means something else by it (often the answer's id).
            self._ids = None
            return False
        ids[number] = mark
        self._id_order.append(number)
        if len(self._id_order) > _IDS_KEPT:
            del ids[self._id_order.popleft()]
        return False

    def _mend(self, payload: bytes) -> object:
        """Return JSON that msgspec refuses: with lone surrogates, huge numbers, or `NaN`.

        The grammar does not allow the last; Python's `json.dumps` writes it all the same, so servers send
        it beside their text, as a log probability. The text must not be lost for it.

        From here on text is looked through for surrogates, which msgspec never lets through.

        Raises
        ------
        ProtocolError
            It is not UTF-8.
        ValueError
            It is not JSON.
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


def texts_in(parts: object) -> Iterator[str]:
    """Yield the texts of a list of parts, or the one text that stands in its place."""
    if isinstance(parts, str):
        yield parts
    for part in parts if isinstance(parts, list) else ():
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


def _source(item: object) -> Source | None:
    """Return the source that one citation names; None where it names nothing."""
    if isinstance(item, str):
        return Source(url=item) if item else None
    if not isinstance(item, dict):
        return None
    # Chat Completions puts what an annotation holds under the name of its type; Responses does not.
    inner = item.get(str(item.get("type")))
    held: Mapping[str, object] = inner if isinstance(inner, dict) else item

    def field(*names: str) -> str:
        return next((v for name in names if isinstance(v := held.get(name), str) and v), "")

    source = Source(title=field("title", "filename", "file_id"), url=field("url"))
    return source if source.title or source.url else None


def count(value: object) -> int | None:
    """Return a number of tokens, or None for what cannot be one.

    Raises
    ------
    ValueError
        The server gave something, and it makes no sense: none of its counts can be trusted.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise ValueError("not a number of tokens")
    return value


def usage_of(value: object, names: tuple[str, str]) -> Usage | None:
    """Return the usage in a server's object; None where it says nothing, or nonsense.

    Parameters
    ----------
    names
        Of the counts in this API: input, output. Details stand in `<name>_details`.
    """
    if not isinstance(value, Mapping):
        return None
    try:
        tokens_in, tokens_out = count(value.get(names[0])), count(value.get(names[1]))
    except ValueError:
        return None
    usage = Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        reasoning_tokens=_detail(value, names[1], "reasoning_tokens"),
        cached_tokens=_detail(value, names[0], "cached_tokens"),
    )
    return None if tokens_in is None and tokens_out is None else usage


def _detail(value: Mapping[str, object], name: str, what: str) -> int | None:
    details = value.get(f"{name}_details")
    try:
        return count(details.get(what)) if isinstance(details, Mapping) else None
    except ValueError:
        return None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _nothing(_constant: str) -> None:
    """Return what `NaN` and `Infinity` say: a number that there is none of."""


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    names = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), "something else")

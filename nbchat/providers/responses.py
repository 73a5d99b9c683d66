"""`ResponsesDecoder` converts the typed events of the Responses API to deltas.

Events have a `sequence_number`. If the server stores the response (in the background), the decoded deltas
are followed by an `Answering` with the last number decoded, so that a run can resume after a lost
connection. Text and number must be saved together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from nbchat.core.errors import ProtocolError, ProviderError, StreamTruncated
from nbchat.core.messages import Usage
from nbchat.core.text import clean
from nbchat.providers.base import EMPTY, Answering, Delta, Finish, Notice
from nbchat.providers.decoder import Decoder, Json
from nbchat.providers.errors import Said, said
from nbchat.providers.event_fields import usage_of
from nbchat.providers.sse import MAX_EVENT_BYTES

_TEXT: Final = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        # The transcript of audio, by its former and its current name.
        "response.audio.transcript.delta",
        "response.output_audio_transcript.delta",
    }
)
_REASONING: Final = frozenset({"response.reasoning_text.delta", "response.reasoning_summary_text.delta"})
_ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_CHAT_REASONS: Final[Mapping[str, str]] = {"max_output_tokens": "length"}
"""Reasons for an incomplete response, mapped to finish reasons of Chat Completions."""

_SHOWN: Final = frozenset({"message", "reasoning", "function_call"})
"""Types of items whose content is shown."""

_PARTS: Final = frozenset({"output_text", "refusal", "text"})
"""Types of message parts that are text, possibly empty."""

_STEPS: Final = frozenset({"web_search_call", "file_search_call", "mcp_list_tools"})
"""Types of items that are intermediate steps; they are not reported if there is text."""

_FORMATS: Final[Mapping[str, str]] = {"iVBOR": "png", "/9j/": "jpeg", "R0lGOD": "gif", "UklGR": "webp"}
"""Image formats by the first characters of their base64 encoding."""


class ResponsesDecoder(Decoder):
    """Decodes one response of `/responses`, or the rest of one.

    Parameters
    ----------
    resumable
        The server was asked to store the response. Its id and sequence numbers are yielded only if the
        server confirms that; some servers accept the field and ignore it.
    response_id
        Id of the response, if this is the rest of one.
    read
        Sequence number of the last event read before.
    """

    def __init__(
        self,
        *,
        quote: Said = said,
        max_event_bytes: int = MAX_EVENT_BYTES,
        resumable: bool = False,
        response_id: str | None = None,
        read: int = 0,
    ) -> None:
        super().__init__(quote=quote, max_event_bytes=max_event_bytes)
        self._resumable = resumable
        self._is_rest = response_id is not None
        self._sequence = read
        self._is_joined = response_id is None
        self._told_sequence = read
        self._response_id = response_id
        self._calls: dict[object, int] = {}
        self._handlers: dict[str, Callable[[Json], Iterator[Delta]]] = {
            "response.created": self._created,
            "response.queued": self._created,
            "response.in_progress": self._created,
            "response.output_item.added": self._item_added,
            "response.output_item.done": self._item_done,
            "response.output_text.annotation.added": self._annotation_added,
            "response.function_call_arguments.delta": self._arguments,
            "response.function_call_arguments.done": self._arguments_done,
            "response.output_text.done": self._text_done,
        }
        self._in_parts = False
        """`True` if the text so far came in complete parts instead of deltas."""
        self._argued: set[int] = set()
        """Indices of calls whose arguments are known."""
        self._items: set[object] = set()
        """Non-text items already read, by id or position."""

    @property
    def response_id(self) -> str | None:
        """Id of the response; `None` until the server has sent it."""
        return self._response_id

    def _feed(self, data: bytes) -> Iterator[Delta]:
        try:
            yield from super()._feed(data)
        except ProviderError:
            yield from self._how_far()  # the events before the error were read
            raise
        yield from self._how_far()

    def _how_far(self) -> Iterator[Delta]:
        sequence = self._sequence
        if self._resumable and not self.finished and sequence > self._told_sequence:
            self._told_sequence = sequence
            yield Answering(response_id=self._response_id, sequence=sequence)

    def _decode(self, value: object, kind: str) -> Iterator[Delta]:
        if type(value) is not dict:
            if kind == "error":
                self.error(value)
            self.wrong("an event", value)
        event: Json = value
        name = event.get("type", kind)
        if type(name) is not str:
            self.wrong("an event's 'type'", name)
        if "error" in {name, kind} or (event.get("error") and not name.startswith("response.")):
            self.error(event)
        if self._was_read(event.get("sequence_number")):
            return
        if name in _TEXT:
            yield from self.text(self._delta(event))
        elif name in _REASONING:
            yield from self.reasoning(self._delta(event))
        elif name in _ENDS:
            yield from self._end(name, event.get("response"))
        elif name in self._handlers:
            yield from self._handlers[name](event)

    def _was_read(self, number: object) -> bool:
        """Record an event's number; return `True` if it was read before the connection was lost.

        Raises
        ------
        ProtocolError
            If the rest does not start at the next event, so that text would be missing.
        """
        if type(number) is not int:
            return False
        if self._is_rest and number <= self._sequence:
            return True
        if not self._is_joined and number > self._sequence + 1:
            raise ProtocolError(
                f"the server left out events {self._sequence + 1} to {number - 1} of this response.",
                hint="What was there before is kept. Continue or regenerate.",
            )
        self._is_joined = True
        self._sequence = max(self._sequence, number)
        return False

    def _delta(self, event: Json) -> str:
        text = event.get("delta")
        if type(text) is not str:
            self.wrong("'delta'", text)
        return text

    def _created(self, event: Json) -> Iterator[Delta]:
        response = event.get("response")
        if type(response) is not dict:
            self.wrong("'response'", response)
        self._resumable = self._resumable and response.get("background") is True
        response_id, model = response.get("id"), response.get("model")
        if isinstance(response_id, str) and response_id and self._response_id is None:
            self._response_id = clean(response_id)
            self._told_sequence = self._sequence
            yield Answering(
                (self._quote(model) or None) if isinstance(model, str) else None,
                self._response_id if self._resumable else None,
                self._sequence if self._resumable else 0,
            )

    def _item_added(self, event: Json) -> Iterator[Delta]:
        item = event.get("item")
        if type(item) is not dict:
            self.wrong("'item'", item)
        if item.get("type") == "function_call":
            index = self._calls.setdefault(event.get("item_id") or item.get("id"), len(self._calls))
            yield from self.call(index, _string(item, "call_id"), _string(item, "name"), "")

    def _item_done(self, event: Json) -> Iterator[Delta]:
        item = event.get("item")
        if type(item) is dict:
            yield from self._item(item, event.get("output_index"))

    def _annotation_added(self, event: Json) -> Iterator[Delta]:
        yield from self.sources([event.get("annotation")])

    def _item(self, item: Json, position: object) -> Iterator[Delta]:
        """Yield the sources of a message item, or an image; count an item of any other type."""
        kind = _string(item, "type")
        key = _string(item, "id") or (position if type(position) is int else None)
        if kind == "message":
            parts = item.get("content")
            for number, part in enumerate(parts if isinstance(parts, list) else ()):
                if isinstance(part, dict):
                    yield from self.sources(part.get("annotations"))
                    self._count_part(part, (key, number))
        if kind in _SHOWN:
            return
        if key in self._items:
            return
        self._items.add(key)
        result = item.get("result")
        if kind == "image_generation_call" and isinstance(result, str):
            begin = next((name for start, name in _FORMATS.items() if result.startswith(start)), "unknown")
            yield from self.image(f"data:image/{begin};base64,{result}")
        else:
            self.unknown(kind)

    def _count_part(self, part: Json, key: object) -> None:
        """Count a message part that is not text, once."""
        kind = _string(part, "type")
        if kind not in _PARTS and key not in self._items and not any(_texts([part])):
            self._items.add(key)
            self.unknown(kind)

    def _arguments(self, event: Json) -> Iterator[Delta]:
        index = self._calls.setdefault(event.get("item_id"), len(self._calls))
        self._argued.add(index)
        yield from self.call(index, "", "", self._delta(event))

    def _arguments_done(self, event: Json) -> Iterator[Delta]:
        index = self._calls.setdefault(event.get("item_id"), len(self._calls))
        if index not in self._argued and not self._is_rest:  # a server or a proxy that sends no deltas
            self._argued.add(index)
            yield from self.call(index, "", "", _string(event, "arguments"))

    def _text_done(self, event: Json) -> Iterator[Delta]:
        if (self._in_parts or not self.said) and not self._is_rest:
            self._in_parts = True
            yield from self.text(_string(event, "text"))

    def _end(self, name: str, response: object) -> Iterator[Delta]:
        if type(response) is not dict:
            self.wrong("'response'", response)
        status = response.get("status")
        self.done = True
        yield from self._flush()
        yield from self.usage(read_usage(response.get("usage")))
        if name == "response.failed" or status == "failed":
            self.error(response.get("error") or response)
        if name == "response.cancelled" or status == "cancelled":
            raise StreamTruncated("the response was cancelled at the server.")
        output = response.get("output")
        if type(output) is list:
            if not self._is_rest:
                yield from self._output(output)  # a server or a proxy that sends no deltas
            for position, item in enumerate(output):
                if type(item) is dict:
                    yield from self._item(item, position)
        yield from self.not_shown(but=_STEPS if self.said else frozenset())
        if not (self.began or self._items or self._is_rest):
            yield Notice(EMPTY, shown=True)  # complete and billed, so not an error
        reason = "tool_calls" if self._calls else "stop"
        if name == "response.incomplete" or status == "incomplete":
            details = response.get("incomplete_details")
            cause = details.get("reason") if isinstance(details, dict) else None
            reason = clean(cause) if isinstance(cause, str) and cause else "length"
        self.finished = True
        yield Finish(_CHAT_REASONS.get(reason, reason))

    def _whole(self, value: Json) -> Iterator[Delta]:
        if value.get("error"):
            self.error(value)
        output = value.get("output")
        if output is None and value.get("status") == "completed":
            output = []
        if type(output) is not list:
            self.no_answer(value)
        yield from self._created({"response": value})
        yield from self._output(output)
        if value.get("status") in ("queued", "in_progress"):
            raise StreamTruncated("the server sent the response before it was over.")
        yield from self._end("", value)

    def _output(self, output: list[object]) -> Iterator[Delta]:
        """Yield the content of a response that no delta contained."""
        began, said, calls = self.began, self.said, bool(self._calls)
        for item in output:
            if type(item) is not dict:
                self.wrong("an item", item)
            kind = item.get("type")
            if kind == "function_call":
                yield from self._call_of(item, calls=calls)
            elif kind == "reasoning" and not began:
                yield from self.reasoning(
                    "\n\n".join(_texts(item.get("summary"))) or "".join(_texts(item.get("content")))
                )
            elif kind == "message" and not said:
                parts = item.get("content")
                if parts is not None and type(parts) not in (list, str):
                    self.wrong("'content'", parts)
                for text in _texts(parts):
                    yield from self.text(text)

    def _call_of(self, item: Json, *, calls: bool) -> Iterator[Delta]:
        known = item.get("id") in self._calls
        if calls and not known:
            return  # the same calls with other ids
        index = self._calls.setdefault(item.get("id"), len(self._calls))
        if index not in self._argued:
            self._argued.add(index)
            call_id, name = ("", "") if known else (_string(item, "call_id"), _string(item, "name"))
            yield from self.call(index, call_id, name, _string(item, "arguments"))


def _texts(parts: object) -> Iterator[str]:
    if isinstance(parts, str):
        yield parts
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            text = _string(part, "text") or _string(part, "refusal") or _string(part, "transcript")
            if text:
                yield text


def read_usage(value: object) -> Usage | None:
    """Return the counts of a Responses usage object; `None` if they are missing or invalid."""
    return usage_of(value, ("input_tokens", "output_tokens"))


def _string(value: Json, key: str) -> str:
    text = value.get(key)
    return text if isinstance(text, str) else ""

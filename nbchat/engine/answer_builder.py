"""`AnswerBuilder`: coalesces provider deltas into part events, at most one flush per tick.

1. Accepted text is in an event within a tick, in order, and in whole characters only.
2. Each part ends with its length and checksum, so that every view can verify that it is complete.
3. The sequence number of a kept response is recorded in the same step as the text it covers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from nbchat.core.clock import now
from nbchat.core.errors import LimitExceeded
from nbchat.core.events import Event, PartDelta, PartEnded, PartStarted, RunAnswering
from nbchat.core.ids import new_id
from nbchat.core.messages import ImagePart, Part, ReasoningPart, Source, TextPart, ToolCallPart
from nbchat.core.text import checksum, clean, cut, utf16_length
from nbchat.providers.base import Answering, ReasoningDelta, TextDelta, ToolCallDelta

TICK_S: Final = 0.04
"""Seconds for which text is collected before it becomes an event."""

MAX_DELTA: Final = 32_768
"""Maximum characters of one delta event; longer text is split."""

MAX_PARTS: Final = 1000
"""Maximum parts of one answer. Each takes space in every view, even if it is nearly empty."""

MAX_NAME: Final = 200
"""Maximum characters of a server's names and ids: model, response, call, tool, finish reason."""

MAX_TITLE: Final = 300
"""Maximum characters of a source's title."""

MAX_URL: Final = 4000
"""Maximum characters of a source's URL."""


class _OpenPart(Struct):
    """A part that is still receiving text."""

    index: int
    started: float
    call: ToolCallDelta | None = None
    pending: list[str] = field(default_factory=list)
    length: int = 0
    crc32: int = 0


class AnswerBuilder:
    """Collects the content of one run. Only for the engine's thread.

    Providers may be third-party code: a value of the wrong type in a delta raises `TypeError`.

    Parameters
    ----------
    run_id
        The run that the answer belongs to.
    first_part
        Number of parts that the answer already has.
    emit
        Appends an event to the session's log.
    loop
        The engine's loop.
    taken
        Ids of calls that are in use in the answer. A call whose id is missing or taken gets a new one.
        `None`: ids stay as they are.
    """

    def __init__(
        self,
        run_id: str,
        first_part: int,
        emit: Callable[[Event], object],
        loop: asyncio.AbstractEventLoop,
        taken: set[str] | None = None,
    ) -> None:
        self._run_id = run_id
        self._taken = taken
        self._emit = emit
        self._loop = loop
        self._parts: dict[object, _OpenPart] = {}
        self._next_part = first_part
        self._last_part = first_part + MAX_PARTS
        self._timer: asyncio.TimerHandle | None = None
        self.accepted: int = 0
        """Characters accepted."""
        self.deltas: int = 0
        """Pieces of content accepted."""
        self.image_chars: int = 0
        """Characters of images accepted; not counted in `accepted`."""
        self.response_id: str | None = None
        """The server's id of the response."""
        self._model: str | None = None
        self.server: str | None = None
        """Host of the server of the current attempt, if it can have published prices."""
        self.from_cache: bool = False
        """The current attempt reads the cache of answers."""
        self._sequence = self._said_sequence = 0
        self._is_counted = True
        self._owes_sequence = False

    def add(self, delta: TextDelta | ReasoningDelta | ToolCallDelta, room: int) -> int:
        """Accept a piece of content, up to `room` characters.

        Returns
        -------
        Characters that did not fit and were dropped.

        Raises
        ------
        LimitExceeded
            If the answer has `MAX_PARTS` parts.
        TypeError
            If the delta has a value of the wrong type.
        """
        if isinstance(delta, ToolCallDelta):
            text = as_text(delta.arguments)
            part = self._call(delta)
        else:
            text = as_text(delta.text)
            if not text:
                return 0
            part = (
                self._text("reasoning", ReasoningPart)
                if isinstance(delta, ReasoningDelta)
                else (self._text("text", TextPart))
            )
        fits = text[: max(room, 0)]
        self.deltas += 1
        self._is_counted = False
        self.accepted += len(fits)
        part.pending.append(fits)
        if self._timer is None:
            self._timer = self._loop.call_later(TICK_S, self.flush)
        return len(text) - len(fits)

    def add_image(self, url: str, name: str, room: int) -> bool:
        """Accept an image of at most `room` characters; return whether it was accepted."""
        if len(url) > room:
            return False
        for key in [k for k in self._parts if isinstance(k, str)]:
            self._close(key)
        url = clean(url)
        part = self._open("image", ImagePart(text=url, name=name))
        part.length, part.crc32 = utf16_length(url), checksum(url)
        self._close("image")
        self.deltas += 1
        self.image_chars += len(url)
        return True

    def answering(self, delta: Answering) -> None:
        """Record the answering model, the response id, and the sequence number of a kept response."""
        model = as_name(delta.model) if delta.model else None
        response_id = as_name(delta.response_id) if delta.response_id else None
        self._sequence, self._is_counted = int(delta.sequence), True
        if self._owes_sequence:
            self.flush()
        if (model, response_id) != (self._model, self.response_id):
            self._model, self.response_id = model, response_id
            self._emit(
                RunAnswering(
                    run_id=self._run_id,
                    model=model,
                    response_id=response_id,
                    server=self.server,
                    from_cache=self.from_cache,
                )
            )

    def flush(self, *, final: bool = False) -> None:
        """Emit the collected text as events."""
        self._end_timer()
        for part in self._parts.values():
            if not part.pending:
                continue
            text = "".join(part.pending)
            part.pending.clear()
            if not final and "\ud800" <= text[-1:] <= "\udbff":
                # Half a character: the other half may be in the next delta.
                part.pending.append(text[-1])
                text = text[:-1]
            text = clean(text)
            for start in range(0, len(text), MAX_DELTA):
                piece = text[start : start + MAX_DELTA]
                self._emit(
                    PartDelta(
                        run_id=self._run_id,
                        at=now(),
                        part_index=part.index,
                        offset=part.length,
                        text=piece,
                    )
                )
                part.length += utf16_length(piece)
                part.crc32 = checksum(piece, part.crc32)
        self._say_sequence()

    def close(self) -> None:
        """End all open parts and cancel the timer. Raises the errors of `emit`."""
        try:
            for key in list(self._parts):
                self._close(key)
        finally:
            self._end_timer()

    def _say_sequence(self) -> None:
        """Record the sequence number of the text that has become events.

        This happens in the same step of the loop as that text. A broken stream is resumed from this number,
        so text that is not covered by it would arrive twice.
        """
        pending = any(part.pending for part in self._parts.values())
        self._owes_sequence = not self._is_counted or pending
        if not self._owes_sequence and self._sequence != self._said_sequence and self._parts:
            self._said_sequence = self._sequence
            self._emit(RunAnswering(run_id=self._run_id, sequence=self._sequence))

    def _text(self, key: str, kind: type[Part]) -> _OpenPart:
        part = self._parts.get(key)
        if part is None:
            # Text after reasoning, or the reverse, is a separate part. Calls stay open, since their pieces
            # may be interleaved.
            for other in [k for k in self._parts if isinstance(k, str)]:
                self._close(other)
            part = self._open(key, kind())
        return part

    def _call(self, delta: ToolCallDelta) -> _OpenPart:
        key = ("call", delta.index)
        part = self._parts.get(key)
        call_id, name = as_name(delta.id), as_name(delta.name)
        if part is None:
            part = self._open(key, ToolCallPart(call_id=call_id, name=name))
            part.call = ToolCallDelta(delta.index, call_id, name)
        elif part.call is not None:
            part.call = replace(part.call, id=part.call.id or call_id, name=as_name(part.call.name + name))
        return part

    def _open(self, key: object, empty: Part) -> _OpenPart:
        if self._next_part >= self._last_part:
            raise LimitExceeded(
                f"the answer reached {MAX_PARTS:,} parts, the limit for it.", hint="What has arrived is kept."
            )
        part = self._parts[key] = _OpenPart(self._next_part, self._loop.time())
        self._next_part += 1
        self._emit(PartStarted(run_id=self._run_id, at=now(), part_index=part.index, part=empty))
        return part

    def _close(self, key: object) -> None:
        self.flush(final=True)
        part = self._parts.pop(key)
        if part.call is not None and self._taken is not None:
            unique = part.call.id if part.call.id and part.call.id not in self._taken else new_id("call-")
            part.call = replace(part.call, id=unique)
            self._taken.add(unique)
        self._emit(
            PartEnded(
                run_id=self._run_id,
                part_index=part.index,
                length=part.length,
                crc32=part.crc32,
                seconds=round(self._loop.time() - part.started, 3),
                call_id=part.call.id if part.call else None,
                name=part.call.name if part.call else None,
            )
        )

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def as_text(value: object) -> str:
    """Return a value of a delta as text.

    Raises
    ------
    TypeError
        If it is not a string.
    """
    if not isinstance(value, str):
        raise TypeError(f"the text of a delta is a string, not {type(value).__name__}")
    return value


def as_source(value: object) -> Source:
    """Return a source of a delta, cleaned and shortened for display.

    Raises
    ------
    TypeError
        If it is not a `Source` of strings.
    """
    if not isinstance(value, Source):
        raise TypeError(f"the source of a delta is a Source, not {type(value).__name__}")
    url = clean(as_text(value.url))
    title = cut(" ".join(clean(as_text(value.title)).split()), MAX_TITLE)
    # A truncated URL would lead elsewhere.
    return Source(title=title or cut(url, MAX_TITLE), url=url if len(url) <= MAX_URL else "")


def as_name(value: object) -> str:
    """Return a value of a delta as a name: clean text of at most `MAX_NAME` characters."""
    return cut(clean(as_text(value)), MAX_NAME)

"""`read_response` reads requests of the Responses API, `ResponseWriter` writes events and objects."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import msgspec

from nbchat.server.asking import Ask, read_ask, read_schema, read_turn
from nbchat.server.conversation import Call, Turn
from nbchat.server.errors import invalid
from nbchat.server.fields import Fields
from nbchat.server.generation import Generation
from nbchat.server.pace import Piece

Status = Literal["queued", "in_progress", "completed", "incomplete", "cancelled", "failed"]

_MAX_METADATA = 16
_SILENT_ITEMS = (
    "reasoning",
    "function_call",
    "custom_tool_call",
    "custom_tool_call_output",
    "item_reference",
)


@dataclass(frozen=True, slots=True)
class ResponseAsk:
    """A request to `/v1/responses`. The conversation in `ask` includes `instructions`."""

    ask: Ask
    instructions: str | None
    turns: tuple[Turn, ...]
    """The turns of the previous response and the input, without `instructions`."""
    previous_id: str | None
    stream: bool
    background: bool
    store: bool
    metadata: dict[str, str]


def read_response(
    body: bytes, headers: Mapping[str, str], previous: Callable[[str], tuple[Turn, ...]]
) -> ResponseAsk:
    """Return the validated request.

    Parameters
    ----------
    previous
        Function that returns the turns of the previous response by its id.

    Raises
    ------
    ApiError
        400 if a field is invalid, 404 if the model is unknown.
    """
    fields = Fields.parse(body)
    instructions = fields.text("instructions")
    previous_id = fields.text("previous_response_id")
    turns = (*(previous(previous_id) if previous_id else ()), *_read_input(fields))
    background = fields.flag("background")
    store = fields.get("store") is None or fields.flag("store")
    if background and not store:
        raise invalid(
            "background", "Invalid 'background': a response in the background has to be stored (store=true)."
        )
    text = fields.child("text")
    schema = read_schema(text and text.child("format"), None)
    spoken = (Turn("system", instructions), *turns) if instructions else turns
    return ResponseAsk(
        ask=read_ask(fields, headers, spoken, ("max_output_tokens",), schema),
        instructions=instructions,
        turns=turns,
        previous_id=previous_id,
        stream=fields.flag("stream"),
        background=background,
        store=store,
        metadata=_read_metadata(fields.child("metadata")),
    )


def _read_input(fields: Fields) -> tuple[Turn, ...]:
    value = fields.get("input")
    if isinstance(value, str):
        return (Turn("user", value),)
    if not isinstance(value, list):
        raise fields.refuse("input", "a string or a list of items")
    return tuple([turn for item in fields.children("input") if (turn := _read_item(item)) is not None])


def _read_item(item: Fields) -> Turn | None:
    """Return a message; `None` for items that demo models ignore."""
    kind = item.text("type")
    if kind in _SILENT_ITEMS:
        return None
    if kind == "function_call_output":
        output = item.get("output")
        if not isinstance(output, str):  # a list of parts
            output = "".join([part.text("text") or "" for part in item.children("output")])
        return Turn("tool", output)
    if kind not in (None, "message"):
        known = ", ".join(("message", "function_call_output", *_SILENT_ITEMS))
        raise invalid(item.name("type"), f"Invalid {item.name('type')!r}: {kind[:100]!r} is none of {known}.")
    return read_turn(item)


def _read_metadata(metadata: Fields | None) -> dict[str, str]:
    if metadata is None:
        return {}
    keys = metadata.keys()
    if len(keys) > _MAX_METADATA:
        raise invalid("metadata", f"Invalid 'metadata': there may be {_MAX_METADATA} keys at most.")
    return {key: metadata.text(key) or "" for key in keys}


class _Item:
    """One output item under construction: the message, or the reasoning before it."""

    def __init__(self, index: int, *, reasoning: bool) -> None:
        self.index = index
        self.reasoning = reasoning
        self.status: Literal["in_progress", "completed", "incomplete"] = "in_progress"
        self.part_type = "reasoning_text" if reasoning else "output_text"
        self._id = f"{'rs' if reasoning else 'msg'}_{uuid4().hex}"
        self._text: list[str] = []

    def append(self, text: str) -> None:
        self._text.append(text)

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self._id, "output_index": self.index, "content_index": 0}

    @property
    def part(self) -> dict[str, Any]:
        more: dict[str, Any] = {} if self.reasoning else {"annotations": [], "logprobs": []}
        return {"type": self.part_type, "text": self.text, **more}

    @property
    def json(self) -> dict[str, Any]:
        more = (
            {"type": "reasoning", "summary": []}
            if self.reasoning
            else {"type": "message", "role": "assistant"}
        )
        content = [self.part] if self._text else []
        return {"id": self._id, **more, "status": self.status, "content": content}


class ResponseWriter:
    """Writes one response as events, which are numbered from 0, without gaps.

    Call `begin`, then `piece` for each piece, then one of `end`, `cancel` and `fail`. Each returns encoded
    events.
    """

    def __init__(self, ask: ResponseAsk, generation: Generation) -> None:
        self.id: str = f"resp_{uuid4().hex}"
        self.status: Status = "queued" if ask.background else "in_progress"
        self._ask = ask
        self._generation = generation
        self._created_at = int(time.time())
        self._completed_at: int | None = None
        self._items: list[_Item] = []
        self._call_items: list[dict[str, Any]] = []
        self._sequence = 0
        self._delta_around = (b"", b"")

    @property
    def text(self) -> str:
        """The text so far, without reasoning."""
        return "".join([item.text for item in self._items if not item.reasoning])

    @property
    def json(self) -> dict[str, Any]:
        """The response object in its current state."""
        ask, generation = self._ask, self._generation
        is_over = self.status not in {"queued", "in_progress"}
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "completed_at": self._completed_at,
            "status": self.status,
            "background": ask.background,
            "error": {"code": "server_error", "message": "The demo server failed."}
            if self.status == "failed"
            else None,
            "incomplete_details": {"reason": "max_output_tokens"} if self.status == "incomplete" else None,
            "instructions": ask.instructions,
            "max_output_tokens": ask.ask.max_tokens,
            "metadata": ask.metadata,
            "model": generation.model.id,
            "output": [*[item.json for item in self._items], *self._call_items],
            "parallel_tool_calls": True,
            "previous_response_id": ask.previous_id,
            "reasoning": {"effort": None, "summary": None},
            "store": ask.store,
            "temperature": 1.0,
            "text": {"format": {"type": "text" if ask.ask.schema is None else "json_schema"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": self._usage() if is_over else None,
            "user": None,
        }

    def begin(self) -> list[bytes]:
        """Return the events before the first piece."""
        events = [self._response("response.created")]
        if self.status == "queued":
            events.append(self._response("response.queued"))
            self.status = "in_progress"
        return [*events, self._response("response.in_progress")]

    def piece(self, piece: Piece) -> list[bytes]:
        """Return the events of one piece."""
        events = []
        if not self._items or self._items[-1].reasoning != piece.reasoning:
            events += self._close("completed")
            events += self._open(reasoning=piece.reasoning)
        self._items[-1].append(piece.text)
        before, after = self._delta_around
        events.append(before + b"%d" % self._sequence + after + msgspec.json.encode(piece.text) + b"}\n\n")
        self._sequence += 1
        return events

    def end(self) -> list[bytes]:
        """Return the events after the last piece."""
        is_whole = self._generation.finish_reason != "length"
        events = self._close("completed" if is_whole else "incomplete")
        for call in self._generation.calls:
            events += self._call(call)
        self.status = "completed" if is_whole else "incomplete"
        self._completed_at = int(time.time()) if is_whole else None
        return [*events, self._response(f"response.{self.status}")]

    def cancel(self) -> list[bytes]:
        """Return the last event of a response cancelled by the client."""
        return self._break_off("cancelled")

    def fail(self) -> list[bytes]:
        """Return the last event of a response that failed in the server."""
        return self._break_off("failed")

    def _call(self, call: Call) -> list[bytes]:
        """Return the events of one tool call."""
        item = {
            "id": f"fc_{uuid4().hex}",
            "type": "function_call",
            "status": "in_progress",
            "call_id": f"call_{uuid4().hex[:24]}",
            "name": call.name,
            "arguments": "",
        }
        place = {"item_id": item["id"], "output_index": len(self._items) + len(self._call_items)}
        added = self._event("response.output_item.added", output_index=place["output_index"], item=item)
        delta = self._event("response.function_call_arguments.delta", **place, delta=call.arguments)
        done = self._event("response.function_call_arguments.done", **place, arguments=call.arguments)
        item = {**item, "status": "completed", "arguments": call.arguments}
        self._call_items.append(item)
        ended = self._event("response.output_item.done", output_index=place["output_index"], item=item)
        return [added, delta, done, ended]

    def _break_off(self, status: Status) -> list[bytes]:
        if self._items and self._items[-1].status == "in_progress":
            self._items[-1].status = "incomplete"
        self.status = status
        return [self._response(f"response.{status}")]

    def _open(self, *, reasoning: bool) -> list[bytes]:
        item = _Item(len(self._items), reasoning=reasoning)
        added = self._event("response.output_item.added", output_index=item.index, item=item.json)
        part = self._event("response.content_part.added", **item.place, part=item.part)
        self._items.append(item)
        # The deltas of an item differ only in number and text, so the rest is encoded once.
        kind = f"response.{item.part_type}.delta"
        more: dict[str, Any] = {} if reasoning else {"logprobs": []}
        rest = msgspec.json.encode({**item.place, **more})
        self._delta_around = (
            f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":'.encode(),
            b"," + rest[1:-1] + b',"delta":',
        )
        return [added, part]

    def _close(self, status: Literal["completed", "incomplete"]) -> list[bytes]:
        if not self._items:
            return []
        item = self._items[-1]
        item.status = status
        more: dict[str, Any] = {} if item.reasoning else {"logprobs": []}
        return [
            self._event(f"response.{item.part_type}.done", **item.place, text=item.text, **more),
            self._event("response.content_part.done", **item.place, part=item.part),
            self._event("response.output_item.done", output_index=item.index, item=item.json),
        ]

    def _response(self, kind: str) -> bytes:
        return self._event(kind, response=self.json)

    def _event(self, kind: str, **fields: object) -> bytes:
        data = msgspec.json.encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return f"event: {kind}\ndata: ".encode() + data + b"\n\n"

    def _usage(self) -> dict[str, Any]:
        generation = self._generation
        return {
            "input_tokens": generation.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": generation.output_tokens,
            "output_tokens_details": {"reasoning_tokens": generation.reasoning_tokens},
            "total_tokens": generation.input_tokens + generation.output_tokens,
        }

"""`read_chat` reads requests of Chat Completions, `ChatWriter` writes the answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import msgspec

from nbchat.server.asking import Ask, read_ask, read_schema, read_turn
from nbchat.server.conversation import Call
from nbchat.server.errors import invalid
from nbchat.server.fields import Fields
from nbchat.server.generation import Generation
from nbchat.server.pace import Piece

FINGERPRINT = "fp_nbchat_demo"
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class ChatAsk:
    """A request to `/v1/chat/completions`."""

    ask: Ask
    stream: bool
    include_usage: bool


def read_chat(body: bytes, headers: Mapping[str, str]) -> ChatAsk:
    """Return the validated request.

    Raises
    ------
    ApiError
        400 if a field is invalid, 404 if the model is unknown.
    """
    fields = Fields.parse(body)
    turns = tuple([read_turn(message) for message in fields.children("messages")])
    if not turns:
        raise invalid("messages", "Invalid 'messages': there must be one at least.")
    if (fields.integer("n", minimum=1) or 1) > 1:
        raise invalid("n", "Invalid 'n': the demo models give one answer at a time.")
    schema = read_schema(fields.child("response_format"), "json_schema")
    stream = fields.flag("stream")
    options = fields.child("stream_options")
    if options is not None and not stream:
        raise invalid("stream_options", "Invalid 'stream_options': it is only allowed with stream=true.")
    return ChatAsk(
        ask=read_ask(
            fields, headers, turns, ("max_completion_tokens", "max_tokens"), schema, tools_in="function"
        ),
        stream=stream,
        include_usage=options is not None and options.flag("include_usage"),
    )


class ChatWriter:
    """Writes one answer: `begin`, `chunk` and `end` for a stream, or `whole`."""

    def __init__(self, generation: Generation, *, include_usage: bool = False) -> None:
        self._generation = generation
        self._include_usage = include_usage
        self._common = {
            "id": f"chatcmpl-{uuid4().hex}",
            "created": int(time.time()),
            "model": generation.model.id,
            "system_fingerprint": FINGERPRINT,
        }
        # All chunks of an answer differ only in the text, so the rest is encoded once.
        mark = "\0"
        around = {
            key: self._chunk({key: mark}, None).split(msgspec.json.encode(mark))
            for key in ("content", "reasoning_content")
        }
        self._text_before, self._text_after = around["content"]
        self._thought_before, self._thought_after = around["reasoning_content"]

    def begin(self) -> bytes:
        """Return the first chunk, which contains the role."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def chunk(self, piece: Piece) -> bytes:
        """Return the chunk of one piece."""
        if piece.reasoning:
            return self._thought_before + msgspec.json.encode(piece.text) + self._thought_after
        return self._text_before + msgspec.json.encode(piece.text) + self._text_after

    def end(self) -> bytes:
        """Return the end of the stream: the finish reason, the usage if requested, and `[DONE]`."""
        calls = _calls(self._generation.calls)
        last = b"".join([self._chunk({"tool_calls": [call]}, None) for call in calls])
        last += self._chunk({}, self._generation.finish_reason)
        if not self._include_usage:
            return last + DONE
        usage = {**self._common, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()}
        return last + _event(usage) + DONE

    def whole(self, reasoning: str, text: str) -> dict[str, Any]:
        """Return the answer as one object, for a request without streaming."""
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
        if reasoning:
            message["reasoning_content"] = reasoning
        if self._generation.calls:
            message["tool_calls"] = _calls(self._generation.calls)
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._generation.finish_reason,
        }
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": self._usage()}

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return _event({**self._common, "object": "chat.completion.chunk", "choices": [choice], **usage})

    def _usage(self) -> dict[str, Any]:
        generation = self._generation
        return {
            "prompt_tokens": generation.input_tokens,
            "completion_tokens": generation.output_tokens,
            "total_tokens": generation.input_tokens + generation.output_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": generation.reasoning_tokens, "audio_tokens": 0},
        }


def _calls(calls: Sequence[Call]) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "id": f"call_{uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(calls)
    ]


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"

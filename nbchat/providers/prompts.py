"""`chat_body` and `responses_body` build the body of a request from a `Request`.

The system text comes first, then alternating turns that start with the user. Consecutive turns of one role
are joined, since many chat templates reject anything else. Reasoning is never sent back. Neither is
anything that a server would always reject: an answer without text, a tool call with truncated arguments,
a call without its result. A turn that ended badly must not block the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from nbchat.core.structured import schema_name, schema_text
from nbchat.core.text import clean
from nbchat.providers.base import Request

Body = dict[str, Any]

NOT_RUN: Final = "The call was not run."
"""Sent as the result of a call that has no result: both APIs reject calls without results."""

BEFORE: Final = "(The beginning of this conversation is not included.)"
"""User turn inserted before an answer that would be the first message."""

JSON_ONLY: Final = (
    "Answer with JSON only, without a code block and without comments. It must match this JSON schema:"
)
"""Instruction for servers that support no schema."""

_MAPS: Final = frozenset({"properties", "$defs", "definitions"})
"""Keywords of a schema whose value is a mapping of names to schemas."""

_VALUES: Final = frozenset({"default", "const", "enum", "examples", "required", "title", "description"})
"""Keywords of a schema whose value is not a schema."""

_OURS: Final = frozenset(
    {"model", "messages", "input", "stream", "extra_body", "extra_headers", "extra_query"}
)
"""Request parameters that are not copied to the body."""

_RESPONSES_NAMES: Final[Mapping[str, str]] = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
}
"""Parameters of Chat Completions, mapped to their names in Responses."""


@dataclass(slots=True)
class _Turn:
    """One turn to send: the content of one role, and for an answer its calls with their results."""

    role: str
    parts: list[Part] = field(default_factory=list)
    """Text, files and images."""
    calls: list[tuple[ToolCallPart, str]] = field(default_factory=list)
    """Each call with its result."""

    @property
    def has_images(self) -> bool:
        return any(isinstance(part, ImagePart) for part in self.parts)

    @property
    def text(self) -> str:
        message = Message(id="", role="user", parts=tuple(self.parts))
        return clean(message.text_with_files)

    def content(self, text_type: str, image_type: str) -> str | list[Body]:
        """Return the content in the format of an API: a string, or an ordered list if there are images."""
        if not self.has_images:
            return self.text
        content: list[Body] = []
        for part in self.parts:
            if isinstance(part, TextPart) and part.text.strip():  # some servers reject blank text
                content.append({"type": text_type, "text": clean(part.text)})
            elif isinstance(part, FilePart):
                content.append({"type": text_type, "text": clean(part.markdown)})
            elif isinstance(part, ImagePart):
                url = clean(part.text)
                image = {"url": url} if image_type == "image_url" else url
                content.append({"type": image_type, "image_url": image})
        return content

    def join(self, other: _Turn) -> None:
        """Append the next turn, which has the same role."""
        if self.has_images or other.has_images:
            self.parts += other.parts
        else:
            self.parts = [TextPart(text="\n\n".join(filter(None, (self.text, other.text))))]
        self.calls = other.calls


def chat_body(request: Request) -> Body:
    """Return the body for `/chat/completions`, without the model."""
    messages: list[Body] = []
    system = _system(request)
    if system:
        messages.append({"role": "system", "content": system})
    for turn in _turns(request):
        if turn.role == "user":
            messages.append({"role": "user", "content": turn.content("text", "image_url")})
            continue
        answer: Body = {"role": "assistant", "content": turn.text or None}
        if turn.calls:
            answer["tool_calls"] = [
                {
                    "id": call.call_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": clean(call.text) or "{}"},
                }
                for call, _ in turn.calls
            ]
        messages.append(answer)
        messages += [
            {"role": "tool", "tool_call_id": call.call_id, "content": result} for call, result in turn.calls
        ]
    body: Body = {"stream_options": {"include_usage": True}, **_params(request)}
    if request.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": _json_schema(request.schema)}
    if body["stream_options"] is None:
        del body["stream_options"]
    return {**body, "messages": messages, "stream": True}


def responses_body(request: Request) -> Body:
    """Return the body for `/responses`, without the model."""
    items: list[Body] = []
    for turn in _turns(request):
        if turn.role == "user":
            items.append({"role": "user", "content": turn.content("input_text", "input_image")})
            continue
        if turn.text:
            items.append({"role": "assistant", "content": turn.text})
        items += [
            {
                "type": "function_call",
                "call_id": call.call_id,
                "name": call.name,
                "arguments": clean(call.text) or "{}",
            }
            for call, _ in turn.calls
        ]
        items += [
            {"type": "function_call_output", "call_id": call.call_id, "output": result}
            for call, result in turn.calls
        ]
    body: Body = {"input": items, "stream": True}
    system = _system(request)
    if system:
        body["instructions"] = system
    params = {_RESPONSES_NAMES.get(name, name): value for name, value in _params(request).items()}
    effort = params.pop("reasoning_effort", None)
    if effort is not None:
        params.setdefault("reasoning", {"effort": effort})
    params.pop("stream_options", None)
    if request.schema is not None:
        given = params.get("text")
        form = {"type": "json_schema", **_json_schema(request.schema)}
        body["text"] = {**(given if isinstance(given, Mapping) else {}), "format": form}
    return {**params, **body}


def with_schema_in_instructions(request: Request) -> Request:
    """Return the request with its schema in the instructions, for a server that supports no schema."""
    if request.schema is None:
        return request
    rule = f"{JSON_ONLY}\n{schema_text(request.schema)}"
    instructions = "\n\n".join(filter(None, (request.instructions, rule)))
    return replace(request, schema=None, instructions=instructions)


def _json_schema(schema: Mapping[str, Any]) -> Body:
    """Return the name and the schema, in the strict form if it means the same there."""
    strict = _strict(schema)
    whole = dict(schema) if strict is None else strict
    return {"name": schema_name(schema), "schema": whole, "strict": strict is not None}


def _strict(schema: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a schema whose objects allow no other properties; `None` if not all properties are required.

    The strict form of OpenAI accepts only such schemas, and guarantees that the answer matches.
    """
    if isinstance(schema, list):
        items = [_strict(item) for item in schema]
        return None if None in items else items
    if not isinstance(schema, Mapping):
        return schema
    out: Body = {}
    for name, value in schema.items():
        if name in _MAPS and isinstance(value, Mapping):
            inner = {key: _strict(item) for key, item in value.items()}
            if None in inner.values():
                return None
            out[name] = inner
        elif name in _VALUES:
            out[name] = value
        elif value is not None and (out_value := _strict(value)) is not None:
            out[name] = out_value
        else:
            return None
    if "properties" in out or out.get("type") == "object":
        names, is_closed = set(out.get("properties", {})), out.get("additionalProperties", False) is False
        if not names or set(out.get("required", ())) != names or not is_closed:
            return None
        out["additionalProperties"] = False
    return out


def has_earlier_images(request: Request) -> bool:
    """Return `True` if a message before the last user message contains an image."""
    return any(isinstance(part, ImagePart) for message in _earlier(request) for part in message.parts)


def without_earlier_images(request: Request) -> Request:
    """Return the request with images before the last user message replaced by their names."""
    earlier = _earlier(request)
    named = tuple(replace(message, parts=tuple(map(_named, message.parts))) for message in earlier)
    return replace(request, messages=(*named, *request.messages[len(earlier) :]))


def _earlier(request: Request) -> Sequence[Message]:
    users = [at for at, message in enumerate(request.messages) if message.role == "user"]
    return request.messages[: users[-1]] if users else ()


def _is_address(part: Part) -> bool:
    return isinstance(part, ImagePart) and not part.is_bitmap


def _named(part: Part) -> Part:
    if not isinstance(part, ImagePart):
        return part
    return TextPart(text=f"\n[picture: {' '.join(part.name.split()) or 'without a name'}]\n")


def _params(request: Request) -> Body:
    params = {name: value for name, value in request.params.items() if name not in _OURS}
    extra = request.params.get("extra_body")
    if isinstance(extra, Mapping):
        # The openai client takes other fields in `extra_body`, so users expect it here too.
        params.update({name: value for name, value in extra.items() if name not in _OURS})
    return {name: value for name, value in params.items() if value is not None or name == "stream_options"}


def _system(request: Request) -> str:
    """Return the instructions and all system messages as one text: most servers accept only one message."""
    texts = [message.text_with_files for message in request.messages if message.role == "system"]
    return "\n\n".join([clean(text) for text in (request.instructions, *texts) if text])


def _turns(request: Request) -> list[_Turn]:
    """Return the conversation as turns that alternate between user and assistant, the user first.

    An answer with tool results in its middle becomes several assistant turns with the results between.
    """
    messages = list(request.messages)
    # The text of a prefill is sent unchanged, to its last character.
    last_whole = len(messages) - 1 if request.prefill else len(messages)
    messages[:last_whole] = [message.as_shown() for message in messages[:last_whole]]
    turns: list[_Turn] = []
    for turn in _pieces(messages):
        last = turns[-1] if turns else None
        if last is not None and last.role == turn.role and not last.calls:
            last.join(turn)
        else:
            turns.append(turn)
    if turns and turns[0].role == "assistant":
        turns.insert(0, _Turn("user", [TextPart(text=BEFORE)]))
    return turns


def _pieces(messages: Iterable[Message]) -> Iterator[_Turn]:
    """Yield the turns of each message, in order; a message without anything to send has no turn."""
    messages = list(messages)
    for message, results in zip(messages, _results(messages), strict=True):
        if message.role == "user":
            # Servers load the addresses of images; those in a stranger's file are not given to them.
            yield _Turn("user", [_named(part) if _is_address(part) else part for part in message.parts])
        elif message.role == "assistant":
            yield from _answer_turns(message, results)


def _answer_turns(message: Message, results: Mapping[int, str]) -> Iterator[_Turn]:
    turn, answered = _Turn("assistant"), False
    for index, part in enumerate(message.parts):
        if isinstance(part, ToolResultPart):
            answered = bool(turn.calls)
            continue
        call = part if isinstance(part, ToolCallPart) and _can_be_sent(part) else None
        text = _named(part) if isinstance(part, TextPart | ImagePart) else None
        if answered and (call or text):  # it was generated after the result
            yield turn
            turn, answered = _Turn("assistant"), False
        if call is not None:
            turn.calls.append((call, clean(results.get(index, NOT_RUN))))
        if text is not None:
            turn.parts.append(text)
    if turn.text or turn.calls:
        yield turn


def _results(messages: Sequence[Message]) -> list[dict[int, str]]:
    """Return for each message the results of its calls, by the index of the call's part.

    A result belongs to the nearest call before it with the same id, since some servers reuse ids.
    """
    found: list[dict[int, str]] = [{} for _ in messages]
    later: dict[str, str] = {}
    for message, results in zip(reversed(messages), reversed(found), strict=True):
        for index in range(len(message.parts) - 1, -1, -1):
            part = message.parts[index]
            if isinstance(part, ToolResultPart):
                later[part.call_id] = part.text
            elif isinstance(part, ToolCallPart) and part.call_id in later:
                results[index] = later.pop(part.call_id)
    return found


def _can_be_sent(call: ToolCallPart) -> bool:
    """Return `True` if a call has an id, a name and complete arguments."""
    return bool(call.call_id and call.name and _is_object(call.text))


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False

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
from nbchat.providers.base import Request, ToolSpec

Body = dict[str, Any]

NOT_RUN: Final = "The call was not run."
"""Sent as the result of a call that has no result: both APIs reject calls without results."""

UNKNOWN: Final = "The call was started, but its outcome is unknown. It may have had its effect."
"""Sent as the result of a call that was started and has no result."""

PICTURES: Final = "(Pictures that the tools returned.)"
"""Text of the user turn with the pictures of results."""

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
                    "function": {"name": call.name, "arguments": _arguments(call)},
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
    if request.tools:
        ours = [{"type": "function", "function": _spec(tool)} for tool in request.tools]
        body["tools"] = [*_given_tools(body), *ours]
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
                "arguments": _arguments(call),
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
    if request.tools:
        # Here the default of `strict` is true, which would require all arguments.
        ours = [{"type": "function", **_spec(tool), "strict": False} for tool in request.tools]
        body["tools"] = [*_given_tools(params), *ours]
    return {**params, **body}


def _spec(tool: ToolSpec) -> Body:
    return {"name": tool.name, "description": clean(tool.description), "parameters": dict(tool.parameters)}


def _given_tools(params: Body) -> list[Any]:
    """Return the tools in the user's own request fields."""
    given = params.get("tools")
    return list(given) if isinstance(given, list | tuple) else []


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
    """Return `True` if a message before the last user message, or the result of a tool, contains an image."""
    earlier = any(isinstance(part, ImagePart) for message in _earlier(request) for part in message.parts)
    return earlier or any(_has_images(part) for message in request.messages for part in message.parts)


def without_earlier_images(request: Request) -> Request:
    """Return the request with images before the last user message, and those of results, as names."""
    earlier = len(_earlier(request))
    messages = [
        replace(
            message,
            parts=tuple(_unseen(_named(part) if at < earlier else part) for part in message.parts),
        )
        for at, message in enumerate(request.messages)
    ]
    return replace(request, messages=tuple(messages))


def _has_images(part: Part) -> bool:
    return isinstance(part, ToolResultPart) and bool(part.images)


def _unseen(part: Part) -> Part:
    """Return a result without its pictures, and a note in their place."""
    if not isinstance(part, ToolResultPart) or not part.images:
        return part
    note = f"[{len(part.images)} picture{'s' * (len(part.images) > 1)}, shown to the user only]"
    return replace(part, images=(), text=f"{part.text}\n\n{note}".lstrip())


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
            # Servers fetch the addresses of images. Those in a file of another user are not sent.
            yield _Turn("user", [_named(part) if _is_address(part) else part for part in message.parts])
        elif message.role == "assistant":
            yield from _answer_turns(message, results)


def _answer_turns(message: Message, results: Mapping[int, ToolResultPart]) -> Iterator[_Turn]:
    """Yield the turns of an answer. Pictures of results follow them as a user turn, as both APIs accept."""
    turn, answered = _Turn("assistant"), False
    pictures: list[Part] = []
    for index, part in enumerate(message.parts):
        if isinstance(part, ToolResultPart):
            answered = bool(turn.calls)
            continue
        answer = results.get(index)
        call = part if isinstance(part, ToolCallPart) and _can_be_sent(part, answer) else None
        text = _named(part) if isinstance(part, TextPart | ImagePart) else None
        if answered and (call or text):  # it was generated after the result
            yield turn
            yield from _picture_turn(pictures)
            turn, answered, pictures = _Turn("assistant"), False, []
        if call is not None:
            missing = NOT_RUN if call.started_at is None else UNKNOWN
            turn.calls.append((call, clean(missing if answer is None else answer.text)))
            found = [ImagePart(text=url) for url in (() if answer is None else answer.images)]
            # Servers fetch the addresses of images. Those in a file of another user are not sent.
            pictures += [picture for picture in found if picture.is_bitmap]
        if text is not None:
            turn.parts.append(text)
    if turn.text or turn.calls:
        yield turn
    yield from _picture_turn(pictures)


def _picture_turn(pictures: list[Part]) -> Iterator[_Turn]:
    if pictures:
        yield _Turn("user", [TextPart(text=PICTURES), *pictures])


def _results(messages: Sequence[Message]) -> list[dict[int, ToolResultPart]]:
    """Return for each message the results of its calls, by the index of the call's part.

    A result belongs to the nearest call before it with the same id, since some servers reuse ids.
    """
    found: list[dict[int, ToolResultPart]] = [{} for _ in messages]
    later: dict[str, ToolResultPart] = {}
    for message, results in zip(reversed(messages), reversed(found), strict=True):
        for index in range(len(message.parts) - 1, -1, -1):
            part = message.parts[index]
            if isinstance(part, ToolResultPart):
                later[part.call_id] = part
            elif isinstance(part, ToolCallPart) and part.call_id in later:
                results[index] = later.pop(part.call_id)
    return found


def _can_be_sent(call: ToolCallPart, result: ToolResultPart | None) -> bool:
    """Return `True` if a call has an id, a name, and complete arguments or a result."""
    return bool(call.call_id and call.name and (result is not None or _is_object(call.text)))


def _arguments(call: ToolCallPart) -> str:
    """Return the JSON of a call's arguments. Servers reject anything but an object."""
    return (clean(call.text) if _is_object(call.text) else "") or "{}"


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False

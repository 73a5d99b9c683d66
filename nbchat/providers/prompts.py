"""What is asked: a `Request` as the body of either API.

Reasoning is never sent back, and neither is anything that a server would refuse for good: an answer
without text, a tool call whose arguments were cut off, a call without its result. A conversation must not
get stuck on how one of its turns ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from nbchat.core.messages import FilePart, ImagePart, Message, TextPart, ToolCallPart, ToolResultPart
from nbchat.core.text import clean
from nbchat.providers.base import Request

Body = dict[str, Any]

NOT_RUN: Final = "The call was not run."
"""Stands for the result of a call that has none: both APIs refuse calls without results."""

_OURS: Final = frozenset({"model", "messages", "input", "stream", "extra_body"})
"""Fields that a request's parameters do not set."""

_RESPONSES_NAMES: Final[Mapping[str, str]] = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
}
"""Parameters of Chat Completions by their names in Responses."""


def chat_body(request: Request) -> Body:
    """Return the body for `/chat/completions`, without the model."""
    messages: list[Body] = []
    if request.instructions:
        messages.append({"role": "system", "content": clean(request.instructions)})
    answered = _answered(request.messages)
    for message in request.messages:
        messages.extend(_chat_messages(message, answered))
    body: Body = {"stream_options": {"include_usage": True}, **_params(request)}
    if body["stream_options"] is None:
        del body["stream_options"]
    return {**body, "messages": messages, "stream": True}


def responses_body(request: Request) -> Body:
    """Return the body for `/responses`, without the model."""
    answered = _answered(request.messages)
    body: Body = {
        "input": [item for message in request.messages for item in _response_items(message, answered)],
        "stream": True,
    }
    if request.instructions:
        body["instructions"] = clean(request.instructions)
    params = {_RESPONSES_NAMES.get(name, name): value for name, value in _params(request).items()}
    effort = params.pop("reasoning_effort", None)
    if effort is not None:
        params.setdefault("reasoning", {"effort": effort})
    params.pop("stream_options", None)
    return {**params, **body}


def _params(request: Request) -> Body:
    params = {name: value for name, value in request.params.items() if name not in _OURS}
    extra = request.params.get("extra_body")
    if isinstance(extra, Mapping):
        # Where the openai client puts what it has no name for, so that is where people look for it.
        params.update({name: value for name, value in extra.items() if name not in _OURS})
    return {name: value for name, value in params.items() if value is not None or name == "stream_options"}


def _chat_messages(message: Message, answered: frozenset[str]) -> Iterator[Body]:
    calls = list(_calls(message))
    text = clean(message.text)
    if message.role == "tool":
        yield from _results(message, answered)
    elif message.role == "assistant":
        if text or calls:
            body: Body = {"role": "assistant", "content": text or None}
            if calls:
                body["tool_calls"] = [
                    {
                        "id": call.call_id,
                        "type": "function",
                        "function": {"name": call.name, "arguments": clean(call.text) or "{}"},
                    }
                    for call in calls
                ]
            yield body
            for call in calls:
                if call.call_id not in answered:
                    yield {"role": "tool", "tool_call_id": call.call_id, "content": NOT_RUN}
        yield from _results(message, answered)
    else:
        yield {"role": message.role, "content": _content(message, "text", "image_url")}


def _results(message: Message, answered: frozenset[str]) -> Iterator[Body]:
    for part in message.parts:
        if isinstance(part, ToolResultPart) and part.call_id in answered:
            yield {"role": "tool", "tool_call_id": part.call_id, "content": clean(part.text)}


def _content(message: Message, text_type: str, image_type: str) -> str | list[Body]:
    if not any(isinstance(part, ImagePart) for part in message.parts):
        return clean(message.text_with_files)
    content: list[Body] = []
    for part in message.parts:
        if isinstance(part, TextPart) and part.text:
            content.append({"type": text_type, "text": clean(part.text)})
        elif isinstance(part, FilePart):
            content.append({"type": text_type, "text": clean(part.markdown)})
        elif isinstance(part, ImagePart):
            url = clean(part.text)
            image = {"url": url} if image_type == "image_url" else url
            content.append({"type": image_type, "image_url": image})
    return content


def _response_items(message: Message, answered: frozenset[str]) -> Iterator[Body]:
    if message.role in {"assistant", "tool"}:
        text = clean(message.text)
        if text and message.role == "assistant":
            yield {"role": "assistant", "content": text}
        for call in _calls(message):
            yield {
                "type": "function_call",
                "call_id": call.call_id,
                "name": call.name,
                "arguments": clean(call.text) or "{}",
            }
            if call.call_id not in answered:
                yield {"type": "function_call_output", "call_id": call.call_id, "output": NOT_RUN}
        for part in message.parts:
            if isinstance(part, ToolResultPart) and part.call_id in answered:
                yield {"type": "function_call_output", "call_id": part.call_id, "output": clean(part.text)}
    else:
        yield {"role": message.role, "content": _content(message, "input_text", "input_image")}


def _calls(message: Message) -> Iterator[ToolCallPart]:
    """Yield the calls that can be sent: named, identified, and with arguments that are whole."""
    for part in message.parts:
        if isinstance(part, ToolCallPart) and part.call_id and part.name and _is_object(part.text):
            yield part


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        return False


def _answered(messages: Iterable[Message]) -> frozenset[str]:
    """Return the ids of the calls that have a result, where both can be sent."""
    sent = {call.call_id for message in messages for call in _calls(message)}
    return frozenset(
        part.call_id
        for message in messages
        for part in message.parts
        if isinstance(part, ToolResultPart) and part.call_id in sent
    )

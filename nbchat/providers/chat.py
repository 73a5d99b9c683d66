"""`ChatDecoder` converts `chat.completion.chunk` events of Chat Completions to deltas.

Every field is type-checked before use, whatever the server. Undefined fields are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import msgspec
from msgspec import Struct

from nbchat.core.messages import Usage
from nbchat.core.text import clean
from nbchat.providers.base import Answering, Delta, Finish
from nbchat.providers.decoder import Decoder, Json
from nbchat.providers.errors import Said, said
from nbchat.providers.event_fields import texts_in, usage_of
from nbchat.providers.sse import MAX_EVENT_BYTES


@dataclass(slots=True)
class _Call:
    """A tool call, as received so far."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class _PlainDelta(Struct, forbid_unknown_fields=True):
    content: str


class _PlainChoice(Struct):
    index: Literal[0]
    delta: _PlainDelta
    finish_reason: None = None


class _PlainChunk(Struct):
    """A chunk whose only relevant content is one piece of text, as in nearly all chunks."""

    choices: tuple[_PlainChoice]
    usage: None = None
    error: None = None
    citations: None = None
    search_results: None = None


def plain_text(payload: bytes) -> str | None:
    """Return the text of a chunk that contains only one piece of text; `None` for any other chunk.

    `ChatDecoder` decodes the others and reports errors in them.
    """
    try:
        chunk = _plain_chunks().decode(payload)
        payload.decode()  # skipped fields are not checked for UTF-8 otherwise
    except (ValueError, RecursionError):
        return None
    return chunk.choices[0].delta.content


@cache
def _plain_chunks() -> msgspec.json.Decoder[_PlainChunk]:
    return msgspec.json.Decoder(_PlainChunk)


class ChatDecoder(Decoder):
    """Decodes one response of `/chat/completions`."""

    def __init__(self, *, quote: Said = said, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        super().__init__(quote=quote, max_event_bytes=max_event_bytes)
        self._answering = False
        self._spoke = False
        """Audio was received, with or without its transcript."""
        self._calls: list[_Call] = []
        self._by_wire_index: dict[int, _Call] = {}

    _plain_text = staticmethod(plain_text)

    def _decode(self, value: object, kind: str) -> Iterator[Delta]:
        if isinstance(value, dict):
            # First, so that usage is reported even if the rest of the chunk is invalid.
            yield from self.usage(read_usage(value.get("usage")))
        if kind == "error" or (isinstance(value, dict) and _is_error(value)):
            self.error(value)
        if type(value) is not dict:
            self.wrong("a chunk", value)
        if not self._answering:
            yield from self._first(value)
        choices = value.get("choices")
        if choices is not None and type(choices) is not list:
            self.wrong("'choices'", choices)
        for choice in choices or ():
            yield from self._choice(choice)
        yield from self.sources(value.get("search_results"))
        yield from self.sources(value.get("citations"))

    def _first(self, value: Json) -> Iterator[Delta]:
        """Yield `Answering` once; the model is not always in the first chunk."""
        if value and "choices" not in value and self._foreign is None:
            self._foreign = value
        model = value.get("model")
        if isinstance(model, str) and model:
            yield Answering(self._quote(model) or None)
        elif not value.get("choices"):
            return  # Azure starts with the filter results of the prompt
        self._answering = True
        self._plain_only = not self._mended

    def _choice(self, choice: object) -> Iterator[Delta]:
        if type(choice) is not dict:
            self.wrong("a choice", choice)
        index = choice.get("index")
        if index is not None and type(index) is not int:
            self.wrong("a choice's 'index'", index)
        if index:
            yield from self._notice("choices other than the first were ignored")
            return
        delta = choice.get("delta")
        if delta is None and not self.began:
            delta = choice.get("message")  # a server that streams non-streaming objects
        if type(delta) is dict:
            yield from self._delta(delta)
        elif delta is not None:
            self.wrong("'delta'", delta)
        yield from self._finish(choice.get("finish_reason"))

    def _delta(self, delta: Json) -> Iterator[Delta]:
        # Two names of one field: DeepSeek and llama.cpp, vLLM and Ollama. Gateways send both.
        reasoning = delta.get("reasoning_content")
        if reasoning is None or reasoning == "":
            reasoning = delta.get("reasoning")
        if isinstance(reasoning, str):
            yield from self.reasoning(reasoning)
        elif reasoning is not None:
            yield from self._notice("reasoning of an unknown form was ignored")
        yield from self._content(delta.get("content"))
        yield from self._beside(delta)
        refusal = delta.get("refusal")
        if isinstance(refusal, str):
            yield from self.text(refusal)
        elif refusal is not None:
            yield from self._notice("a refusal of an unknown form was ignored")
        calls = delta.get("tool_calls")
        if type(calls) is list:
            for call in calls:
                yield from self._tool_call(call)
        elif calls is not None:
            self.wrong("'tool_calls'", calls)
        if isinstance(delta.get("function_call"), dict):  # the predecessor of `tool_calls`
            yield from self._tool_call({"index": 0, "function": delta["function_call"]})

    def _beside(self, delta: Json) -> Iterator[Delta]:
        """Yield the data next to the content: sources, images, and the transcript of audio."""
        yield from self.sources(delta.get("annotations"))
        images, audio = delta.get("images"), delta.get("audio")
        for image in images if type(images) is list else ():
            yield from self._part(image)
        if isinstance(audio, dict):
            if isinstance(words := audio.get("transcript"), str):
                yield from self.text(words)
            self._spoke = self._spoke or bool(audio.get("data"))

    def _content(self, content: object) -> Iterator[Delta]:
        """Yield content of any form: a string, a list of parts, or an object, whose JSON becomes the text."""
        if content is None:
            return
        if type(content) is str:
            yield from self.text(content)
        elif type(content) is list:
            for part in content:
                yield from self._part(part)
        elif type(content) is dict:
            yield from self.text(_json(content))
        else:
            self.wrong("'content'", content)

    def _part(self, part: object) -> Iterator[Delta]:
        if type(part) is str:
            yield from self.text(part)
            return
        if type(part) is not dict:
            self.wrong("a part of 'content'", part)
        kind = part.get("type")
        text = part.get("text")
        if kind in ("thinking", "reasoning"):
            thought = next((part[name] for name in ("thinking", "summary", "text") if part.get(name)), "")
            yield from self.reasoning("".join(texts_in(thought)))
        elif kind == "refusal" and type(part.get("refusal")) is str:
            yield from self.text(part["refusal"])
        elif kind == "image_url":
            image = part.get("image_url")
            yield from self.image(image.get("url") if isinstance(image, dict) else image)
        elif type(text) is str:
            yield from self.text(text)
            yield from self.sources(part.get("annotations"))
        else:
            self.unknown(kind)

    def _tool_call(self, value: object) -> Iterator[Delta]:
        if type(value) is not dict:
            self.wrong("a tool call", value)
        function = value.get("function")
        if function is None:
            function = {}
        elif type(function) is not dict:
            self.wrong("a tool call's 'function'", function)
        call_id = self._string(value, "id", "a tool call's 'id'")
        name = self._string(function, "name", "a tool call's 'name'")
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # some servers send them parsed
            arguments = _json(arguments)
        else:
            arguments = self._string(function, "arguments", "a tool call's 'arguments'")
        call = self._find_call(value.get("index"), call_id, name)
        # Some servers repeat id and name in every piece, others send a name in pieces.
        if call_id == call.id:
            call_id = ""
        if name == call.name:
            name = ""
        call.id += call_id
        call.name += name
        call.arguments += arguments
        yield from self.call(call.index, call_id, name, arguments)

    def _find_call(self, index: object, call_id: str, name: str) -> _Call:
        """Return the call that a piece belongs to, by index, else by id, else the last call."""
        if index is not None and (type(index) is not int or index < 0):
            self.wrong("a tool call's 'index'", index)
        if isinstance(index, int):
            known = self._by_wire_index.get(index)
            # Some servers give all calls the index 0: a new id with a name starts a new call. Without ids, so
            # does a name after complete arguments.
            if (
                known is None
                or (call_id and name and known.id and call_id != known.id)
                or (name and not call_id and not known.id and _is_whole(known.arguments))
            ):
                known = self._by_wire_index[index] = self._new_call()
            return known
        if call_id:
            known = next((call for call in self._calls if call.id == call_id), None)
            if known is not None:
                return known
            # A late id belongs to the last call if that has no id.
            if self._calls and not self._calls[-1].id and not name:
                return self._calls[-1]
            return self._new_call()
        # Without index and id, a name after arguments starts the next call.
        if not self._calls or (name and self._calls[-1].arguments):
            return self._new_call()
        return self._calls[-1]

    def _new_call(self) -> _Call:
        call = _Call(len(self._calls))
        self._calls.append(call)
        return call

    def _string(self, value: Json, key: str, what: str) -> str:
        text = value.get(key)
        if text is None:
            return ""
        if type(text) is not str:
            self.wrong(what, text)
        return text

    def _finish(self, reason: object) -> Iterator[Delta]:
        if reason is not None and type(reason) is not str:
            self.wrong("'finish_reason'", reason)
        if not reason or self.finished:
            return
        yield from self._flush()
        if self._spoke and not self.said:
            self.unknown("audio")
        yield from self.not_shown()
        self.finished = True
        yield Finish(clean(reason))

    def _whole(self, value: Json) -> Iterator[Delta]:
        choices = value.get("choices")
        if isinstance(choices, list):
            # A completion differs from a chunk in that its deltas are named `message`.
            value = {
                **value,
                "choices": [
                    {**choice, "delta": choice.get("message")} if isinstance(choice, dict) else choice
                    for choice in choices
                ],
            }
        elif not _is_error(value):
            self.no_answer(value)
        yield from self._decode(value, "")


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _is_whole(arguments: str) -> bool:
    """Return `True` if the arguments of a call are a complete JSON object."""
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def read_usage(value: object) -> Usage | None:
    """Return the counts of a Chat Completions usage object; `None` if they are missing or invalid."""
    return usage_of(value, ("prompt_tokens", "completion_tokens"))


def _is_error(chunk: Json) -> bool:
    return bool(chunk.get("error")) or chunk.get("object") == "error" or chunk.get("type") == "error"

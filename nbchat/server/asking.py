"""`read_ask` reads the request fields that both APIs share."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nbchat.server.conversation import Conversation, Role, Turn
from nbchat.server.errors import invalid, model_not_found
from nbchat.server.fields import Fields
from nbchat.server.generation import Generation
from nbchat.server.models import MODELS, DemoModel
from nbchat.server.pace import parse_pace

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PACE_HEADER = "x-nbchat-pace"
PACE_FIELD = "nbchat_pace"
_MAX_STOPS = 4
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_KINDS = ("text", "input_text", "output_text", "refusal")
_OTHER_KINDS = (
    "image_url",
    "input_audio",
    "file",
    "input_image",
    "input_file",
    "reasoning_text",
    "summary_text",
)


@dataclass(frozen=True, slots=True)
class Ask:
    """A validated request for an answer."""

    model: DemoModel
    conversation: Conversation
    seed: int | None
    max_tokens: int | None
    stop: tuple[str, ...]
    pace: float | None
    """Factor on every delay; `None` if the request does not set it."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer has to match."""
    tools: tuple[str, ...] = ()
    """Names of the tools that the model may call."""

    def generation(self) -> Generation:
        """Return a new generation for this request."""
        return Generation(
            self.model,
            self.conversation,
            seed=self.seed,
            max_tokens=self.max_tokens,
            stop=self.stop,
            schema=self.schema,
            tools=self.tools,
        )


def read_ask(
    fields: Fields,
    headers: Mapping[str, str],
    turns: tuple[Turn, ...],
    max_tokens_names: tuple[str, ...],
    schema: Mapping[str, Any] | None,
    *,
    tools_in: str | None = None,
) -> Ask:
    """Return the validated request.

    Parameters
    ----------
    max_tokens_names
        The fields that limit the length of the answer; the first one present is used.
    schema
        JSON schema that the answer has to match, if there is one.
    tools_in
        Name of the object in a tool that contains its name; `None` if the tool itself does.

    Raises
    ------
    ApiError
        400 if a field is invalid, 404 if the model is unknown.
    """
    limits = [fields.integer(name, minimum=1) for name in max_tokens_names]
    fields.number("temperature", 0, 2)
    fields.number("top_p", 0, 1)
    return Ask(
        model=read_model(fields),
        conversation=Conversation.of(turns),
        seed=fields.integer("seed"),
        max_tokens=next((limit for limit in limits if limit is not None), None),
        stop=_stops(fields),
        pace=_pace(fields, headers),
        schema=schema,
        tools=_read_tools(fields, tools_in),
    )


def _read_tools(fields: Fields, holder: str | None) -> tuple[str, ...]:
    """Return the names of the functions among the tools of a request. Other tools are ignored."""
    tools = fields.get("tools")
    names = []
    for tool in tools if isinstance(tools, list) else ():
        inner = tool.get(holder) if isinstance(tool, dict) and holder is not None else tool
        if isinstance(inner, dict) and isinstance(name := inner.get("name"), str):
            names.append(name)
    return tuple(names)


def read_schema(response_format: Fields | None, holder: str | None) -> Mapping[str, Any] | None:
    """Return the JSON schema of a response format; `None` for text.

    Parameters
    ----------
    holder
        Name of the object that contains `name` and `schema`; `None` if the format itself does.

    Raises
    ------
    ApiError
        400 for any other format, and without a valid name and schema.
    """
    if response_format is None or (kind := response_format.required_text("type")) == "text":
        return None
    if kind != "json_schema":
        name = response_format.name("type")
        raise invalid(name, f"Invalid {name!r}: the demo models answer in text or with a json_schema.")
    inner = response_format if holder is None else response_format.child(holder)
    if inner is None:
        raise response_format.refuse(holder or "", "an object")
    if _NAME.fullmatch(inner.required_text("name")) is None:
        raise invalid(inner.name("name"), f"Invalid {inner.name('name')!r}: 1 to 64 of a-z, A-Z, 0-9, _, -.")
    schema = inner.child("schema")
    if schema is None or schema.get("type") != "object":
        raise inner.refuse("schema", "a JSON schema of an object")
    values = {key: schema.get(key) for key in schema.keys()}  # noqa: SIM118 - `Fields` is no mapping
    if (problem := _schema_problem(values)) is not None:
        name = inner.name("schema")
        raise invalid(name, f"Invalid {name!r}: it is not a valid JSON schema: {problem[:200]}")
    return values


def _schema_problem(schema: Mapping[str, Any]) -> str | None:
    """Return the reason why a mapping is not a JSON schema; `None` if it is one."""
    # Imported at the first schema: it takes a tenth of a second.
    jsonschema = importlib.import_module("jsonschema")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return str(error.message)
    except RecursionError:
        return "it is nested too deeply."
    return None


def read_model(fields: Fields) -> DemoModel:
    """Return the requested model."""
    name = fields.required_text("model")
    model = MODELS.get(name)
    if model is None:
        raise model_not_found(name, tuple(MODELS))
    return model


def read_turn(message: Fields) -> Turn:
    """Return the turn of a message in the format of either API."""
    name = message.choice("role", tuple(_ROLES))
    if name is None:
        raise message.refuse("role", f"one of {', '.join(_ROLES)}")
    role = _ROLES[name]
    content = message.get("content")
    if isinstance(content, str):
        return Turn(role, content)
    if content is None and role == "assistant":  # tool calls without text
        return Turn("assistant", "")
    if not isinstance(content, list):
        raise message.refuse("content", "a string or a list of parts")
    return Turn(role, "".join([_part(part) for part in message.children("content")]))


def _part(part: Fields) -> str:
    kind = part.required_text("type")
    if kind in _TEXT_KINDS:
        key = "refusal" if kind == "refusal" else "text"
        text = part.text(key)
        if text is None:
            raise part.refuse(key, "a string")
        return text
    if kind not in _OTHER_KINDS:
        known = ", ".join((*_TEXT_KINDS, *_OTHER_KINDS))
        raise invalid(part.name("type"), f"Invalid {part.name('type')!r}: {kind[:100]!r} is none of {known}.")
    return ""  # the demo models read text only


def _stops(fields: Fields) -> tuple[str, ...]:
    value = fields.get("stop")
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if (
        not isinstance(stops, list)
        or len(stops) > _MAX_STOPS
        or not all(isinstance(stop, str) for stop in stops)
    ):
        raise fields.refuse("stop", f"a string or a list of at most {_MAX_STOPS} strings")
    return tuple([stop for stop in stops if stop])


def _pace(fields: Fields, headers: Mapping[str, str]) -> float | None:
    header = headers.get(PACE_HEADER)
    value = fields.get(PACE_FIELD) if header is None else header
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise fields.refuse(PACE_FIELD, "a number")
    source = PACE_FIELD if header is None else PACE_HEADER
    try:
        return parse_pace(value, source)
    except ValueError as error:
        raise invalid(source, str(error)) from None

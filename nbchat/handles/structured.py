"""`Structure`: the type that an answer has to have, as a JSON schema and as a Python type."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import Any, is_typeddict

import msgspec
from msgspec import Struct

from nbchat.core.errors import AnswerInvalid
from nbchat.core.messages import Message, json_of
from nbchat.engine.structured import problem_of, validator_of

ACCEPTED = "a pydantic model, a dataclass, a TypedDict, a msgspec.Struct or a JSON schema (a mapping)"


class Structure:
    """The schema of an answer.

    Parameters
    ----------
    given
        A pydantic model, a dataclass, a `TypedDict`, a `msgspec.Struct`, or a JSON schema of an object.

    Raises
    ------
    TypeError, ValueError
        If it is none of these, or cannot be expressed as a JSON schema.
    """

    def __init__(self, given: object) -> None:
        schema, convert = _read(given)
        self.schema: dict[str, Any] = schema
        """The JSON schema that is sent."""
        self._convert = convert

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(self.schema.get("properties", {}))

    def data_of(self, text: str) -> Any:  # noqa: ANN401 - of the given type
        """Return the object that the text of an answer describes.

        Raises
        ------
        AnswerInvalid
            If the text is not JSON of this schema.
        """
        try:
            return self._convert(json_of(text))
        except AnswerInvalid:
            raise
        except Exception as error:
            raise AnswerInvalid(f"the answer does not match the schema: {_problem(error)[:500]}") from error

    def values_of(self, data: Any) -> dict[str, Any]:  # noqa: ANN401 - of the given type
        """Return the fields of an object of this structure as plain values, including those with defaults."""
        if isinstance(data, Mapping):
            return dict(data)
        if isinstance(data, Struct):
            data = {field.encode_name: getattr(data, field.name) for field in msgspec.structs.fields(data)}
        else:
            is_model = hasattr(data, "model_dump")
            data = data.model_dump(by_alias=True) if is_model else dataclasses.asdict(data)
        values: dict[str, Any] = msgspec.to_builtins(data, str_keys=True, enc_hook=str)
        return values

    def message(self, message: Message) -> StructuredMessage:
        """Return a message whose `data` is an object of this structure."""
        fields = {name: getattr(message, name) for name in Message.__struct_fields__}
        return StructuredMessage(**fields, structure=self)


class StructuredMessage(Message, frozen=True, kw_only=True, eq=False):
    """An answer to a question with a `schema`. Saved and restored, it is a plain `Message`."""

    structure: Structure

    @property
    def data(self) -> Any:  # noqa: ANN401 - of the type that was given
        """The answer as an object of the schema, made from its text.

        Raises
        ------
        AnswerInvalid
            If the text does not match the schema; `text` still has it.
        """
        return self.structure.data_of(self.final_text)

    def plain(self) -> Message:
        """Return the message as it is saved."""
        return Message(**{name: getattr(self, name) for name in Message.__struct_fields__})

    def __eq__(self, other: object) -> bool:
        """Compare as a plain message."""
        return self.plain() == (other.plain() if isinstance(other, StructuredMessage) else other)

    def __hash__(self) -> int:
        """Return the hash of the id."""
        return hash(self.id)

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle as a plain message: the type may not exist elsewhere."""
        return self.plain().__reduce__()


def _read(given: object) -> tuple[dict[str, Any], Callable[[Any], Any]]:
    if isinstance(given, Mapping):
        schema = deepcopy(dict(given))
        validator_of(schema)
        return _object(schema), partial(_checked, schema)
    if isinstance(given, type):
        if hasattr(given, "__pydantic_core_schema__") and "pydantic" in sys.modules:
            adapter = sys.modules["pydantic"].TypeAdapter(given)
            return _object(_inlined(adapter.json_schema())), partial(_validated, adapter)
        if dataclasses.is_dataclass(given) or is_typeddict(given) or issubclass(given, Struct):
            try:
                schema = msgspec.json.schema(given)
            except TypeError as error:
                raise TypeError(f"{given.__name__} cannot be expressed as a JSON schema: {error}") from error
            return _object(_inlined(schema)), partial(msgspec.convert, type=given)
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    raise TypeError(f"schema must be {ACCEPTED}, not {name}.")


def _problem(error: Exception) -> str:
    """Return the first problem on one line. pydantic reports all of them, with links."""
    errors = getattr(error, "errors", None)
    if callable(errors) and (found := errors()):
        path = "".join(f".{name}" for name in found[0]["loc"])
        return f"${path}: {found[0]['msg']}"
    return " ".join(str(error).split())


def _validated(adapter: Any, value: Any) -> Any:  # noqa: ANN401 - pydantic is not imported here
    return adapter.validate_json(json.dumps(value))


def _checked(schema: Mapping[str, Any], value: Any) -> Any:  # noqa: ANN401 - any JSON value
    problem = problem_of(schema, value)
    if problem is not None:
        raise AnswerInvalid(f"the answer does not match the schema: {problem}")
    return value


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with an object at its root: servers accept no reference there."""
    reference = schema.get("$ref")
    if not isinstance(reference, str):
        return schema
    name = reference.rpartition("/")[2]
    definitions = schema["$defs"]
    root = definitions[name]
    others = {key: value for key, value in definitions.items() if key != name}
    if f'{reference}"' in msgspec.json.encode(definitions).decode():  # it contains itself
        others = definitions
    return {**root, **({"$defs": others} if others else {})}


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") != "object":
        raise ValueError("the schema must describe an object; put other values into a field of one.")
    return schema

"""Dataclasses to and from JSON values, driven by their annotations.

One decoder serves the wire, the journal and the snapshot. It is strict where a wrong value could do
harm (types, sizes, depth) and tolerant where a newer version may know more (unknown fields).
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from functools import cache
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

MAX_DEPTH: Final = 32
"""Nesting that free-form values (`params`) may have."""


class DecodeError(ValueError):
    """The value does not have the shape that was expected; `path` says where."""

    def __init__(self, path: str, expected: str, got: object) -> None:
        super().__init__(f"{path or 'value'}: expected {expected}, got {_short(got)}")
        self.path = path


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."  # noqa: PLR2004 - a line to read


def encode(value: object) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` (dataclasses, tuples, mappings, scalars) as plain JSON values."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, StrEnum):
        return str(value)
    return value


Decoder = Callable[[Any, str], Any]


def decode(kind: Any, data: object) -> Any:  # noqa: ANN401 - the type is the argument
    """Return `data` as a value of type `kind`.

    Parameters
    ----------
    kind
        A dataclass, a union of dataclasses told apart by their `type`, or a type made of scalars,
        `tuple[X, ...]`, `Mapping[str, X]`, `Literal` and `| None`.
    data
        What `json.loads` returns.

    Raises
    ------
    DecodeError
        The value does not fit; the message says where, what was expected and what was there.
    """
    return _decoder(kind)(data, "")


@cache
def _decoder(kind: Any) -> Decoder:  # noqa: ANN401, C901, PLR0911 - one branch for each kind of type
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return _free
    if kind is None or kind is type(None):
        return _scalar(type(None), "null")
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin is Literal:
        return _literal(args)
    if origin is tuple:
        return _sequence(_decoder(args[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(args[1]))
    if is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _enum(kind)
    if kind is float:
        return _float
    if kind is int:
        return _int
    if kind is str:
        return _scalar(str, "a string")
    if kind is bool:
        return _scalar(bool, "true or false")
    raise TypeError(f"no decoder for {kind!r}")


def _scalar(kind: type, name: str) -> Decoder:
    def read(data: Any, path: str) -> Any:  # noqa: ANN401
        if type(data) is not kind:
            raise DecodeError(path, name, data)
        return data

    return read


def _int(data: Any, path: str) -> int:  # noqa: ANN401
    if type(data) is not int or abs(data) >= 2**53:
        raise DecodeError(path, "a whole number below 2**53", data)
    return data


def _float(data: Any, path: str) -> float:  # noqa: ANN401
    if type(data) not in (int, float) or not math.isfinite(data):
        raise DecodeError(path, "a finite number", data)
    return float(data)


def _free(data: Any, path: str, depth: int = 0) -> Any:  # noqa: ANN401
    if depth > MAX_DEPTH:
        raise DecodeError(path, f"at most {MAX_DEPTH} levels", data)
    if data is None or type(data) in (str, bool):
        return data
    if type(data) in (int, float):
        return _int(data, path) if type(data) is int else _float(data, path)
    if isinstance(data, list):
        return [_free(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(data)]
    if isinstance(data, dict):
        return {str(key): _free(item, f"{path}.{key}", depth + 1) for key, item in data.items()}
    raise DecodeError(path, "a JSON value", data)


def _literal(values: tuple[Any, ...]) -> Decoder:
    def read(data: Any, path: str) -> Any:  # noqa: ANN401
        if type(data) not in (str, int, bool) or data not in values:
            raise DecodeError(path, " or ".join(map(repr, values)), data)
        return data

    return read


def _enum(kind: type[StrEnum]) -> Decoder:
    members = {str(member): member for member in kind}

    def read(data: Any, path: str) -> Any:  # noqa: ANN401
        if type(data) is not str or data not in members:
            raise DecodeError(path, " or ".join(map(repr, members)), data)
        return members[data]

    return read


def _sequence(item: Decoder) -> Decoder:
    def read(data: Any, path: str) -> tuple[Any, ...]:  # noqa: ANN401
        if not isinstance(data, list | tuple):
            raise DecodeError(path, "a list", data)
        return tuple([item(value, f"{path}[{i}]") for i, value in enumerate(data)])

    return read


def _mapping(item: Decoder) -> Decoder:
    def read(data: Any, path: str) -> dict[str, Any]:  # noqa: ANN401
        if not isinstance(data, dict) or not all(type(key) is str for key in data):
            raise DecodeError(path, "an object", data)
        return {key: item(value, f"{path}.{key}") for key, value in data.items()}

    return read


def _union(options: tuple[Any, ...]) -> Decoder:
    tagged: dict[str, Decoder] = {}
    plain: list[Decoder] = []
    optional = False
    for option in options:
        if option is type(None):
            optional = True
        elif isinstance(option, type) and is_dataclass(option) and "type" in option.__dataclass_fields__:
            tagged[get_args(get_type_hints(option)["type"])[0]] = _dataclass(option)
        else:
            plain.append(_decoder(option))

    def read(data: Any, path: str) -> Any:  # noqa: ANN401
        if data is None and optional:
            return None
        if tagged and isinstance(data, dict):
            tag = data.get("type")
            chosen = tagged.get(tag) if type(tag) is str else None
            if chosen is None:
                raise DecodeError(f"{path}.type".lstrip("."), "a known type", tag)
            return chosen(data, path)
        error: DecodeError | None = None
        for option in plain:
            try:
                return option(data, path)
            except DecodeError as caught:
                error = error or caught
        raise error or DecodeError(path, "an object with a type", data)

    return read


def _dataclass(kind: type[Any]) -> Decoder:
    hints = get_type_hints(kind)
    readers = [
        (f.name, _decoder(hints[f.name]), f.default is MISSING and f.default_factory is MISSING)
        for f in fields(kind)
    ]

    def read(data: Any, path: str) -> Any:  # noqa: ANN401
        if not isinstance(data, dict):
            raise DecodeError(path, f"an object ({kind.__name__})", data)
        values = {}
        for name, reader, required in readers:
            if name in data:
                values[name] = reader(data[name], f"{path}.{name}" if path else name)
            elif required:
                raise DecodeError(f"{path}.{name}" if path else name, "a value", None)
        return kind(**values)

    return read

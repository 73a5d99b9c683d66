"""Records: the JSON form in which values are saved, with checksums.

A record omits fields with default values, and has times as text. It is encoded once, as JSON with sorted
keys; the checksum of this text is appended to it. Text with NUL or halves of surrogate pairs is rare. It is
detected in the JSON or by an error of the encoder, and only then is a record cleaned value by value.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import NODEFAULT, UNSET, Struct

from nbchat.core.messages import TextPart
from nbchat.core.redact import is_reference, redact
from nbchat.core.rfc3339 import time_text
from nbchat.core.structured import SCHEMA
from nbchat.core.text import clean
from nbchat.core.values import (
    MAX_INTEGER,
    Value,
)

_SECRET_NAMES: Final = ("api_key", "apikey", "authorization", "password", "secret", "access_token", "cookie")
"""Names of parameters whose values are never saved."""


_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def with_checksum(record: dict[str, Any]) -> bytes:
    """Return a record as JSON, with its checksum."""
    try:
        text = _sorted(record)
    except (TypeError, ValueError, RecursionError):
        text = b""
    # NUL is written as an escape. A single character is found much faster than six.
    if not text or (b"\\" in text and b"\\u0000" in text):
        text = _sorted(_cleaned(record))
    return b"".join([memoryview(text)[:-1], b',"crc32":%d}' % zlib.crc32(text)])


def is_time(name: str) -> bool:
    """Return whether a field with this name is a time."""
    return name.endswith("_at")


class _Form(NamedTuple):
    """The record format of a class of values."""

    struct: Callable[..., Struct]
    """Takes all fields in order, and omits those that are `UNSET` or have their default."""
    fields: Callable[[Any], tuple[Any, ...]]
    """Returns all fields of a value."""
    integers: tuple[int, ...]
    """Positions of integers."""
    times: tuple[tuple[int, Any], ...]
    """Positions and defaults of times."""
    others: tuple[tuple[int, Any], ...]
    """Positions and defaults of all other fields that need conversion."""


@cache
def _form(kind: type[Value]) -> _Form:
    from msgspec import inspect as inspection  # noqa: PLC0415 - only when something is saved

    as_it_is = {inspection.StrType, inspection.BoolType, inspection.LiteralType, inspection.EnumType}
    integers, times, others, fields = [], [], [], []
    for at, f in enumerate(inspection.type_info(kind).fields):  # type: ignore[attr-defined]  # of a struct
        default = f.default_factory() if f.default_factory is not NODEFAULT else f.default
        default = UNSET if default is NODEFAULT else default
        types = set(map(type, getattr(f.type, "types", (f.type,)))) - {inspection.NoneType}
        if types == {inspection.IntType}:
            integers.append(at)
        elif is_time(f.name):
            times.append((at, default))
            default = UNSET
        elif not types <= as_it_is or default not in (UNSET, None, "", True, False):
            others.append((at, default))
            default = UNSET
        # msgspec compares defaults by identity; each remaining default is a single object.
        fields.append((f.encode_name, Any, default))
    tag = kind.__struct_config__.tag
    struct = msgspec.defstruct(kind.__name__, fields, omit_defaults=True, tag=tag, frozen=True, gc=False)
    return _Form(struct, _getter(kind.__struct_fields__), tuple(integers), tuple(times), tuple(others))


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


def record_of(value: Value) -> Struct:
    """Return the record of a value: times as text, canonical numbers, no defaults."""
    form = _form(type(value))
    fields = list(form.fields(value))
    for at in form.integers:
        number = fields[at]
        if number and not -MAX_INTEGER <= number <= MAX_INTEGER:
            fields[at] = None
    for at, default in form.times:
        seconds = fields[at]
        fields[at] = UNSET if seconds == default else time_text(seconds)
    for at, default in form.others:
        item = fields[at]
        fields[at] = UNSET if item is default or item == default else _other(item)
    return form.struct(*fields)


def _other(value: Any) -> Any:  # noqa: ANN401 - the value of a field
    if isinstance(value, tuple):
        # A string, or a part with text and no other field, is its own record.
        return [
            one if type(one) is str or (type(one) is TextPart and one.text) else record_of(one)
            for one in value
        ]
    if isinstance(value, Value):
        return record_of(value)
    return _canonical_numbers(safe_params(value) if isinstance(value, Mapping) else value)


def _canonical_numbers(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` with numbers that msgspec writes as `checksum` does; `None` for non-JSON numbers."""
    if isinstance(value, dict):
        return {key: _canonical_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical_numbers(item) for item in value]
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= MAX_INTEGER:
            return int(value)
        return msgspec.Raw(repr(float(value)).encode()) if math.isfinite(value) else None
    return None if isinstance(value, int) and abs(value) > MAX_INTEGER else value


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a record without NUL, halves of surrogate pairs and values that are not JSON."""
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        tag = value.__struct_config__.tag
        written = {name: _cleaned(item) for name, item in fields.items() if item is not UNSET}
        return written if tag is None else {"type": tag, **written}
    return value if value is None or isinstance(value, bool | int | float | msgspec.Raw) else None


def safe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as clean JSON values, without credentials, which are recognised by name or shape."""
    safe = _without_secrets(params)
    return safe if isinstance(safe, dict) else {}


def _without_secrets(value: Any, *, in_schema: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return {
            # Within a schema, keys such as `password` are names of fields and not of credentials.
            clean(str(key)): _without_secrets(item, in_schema=in_schema or key == SCHEMA)
            for key, item in value.items()
            if in_schema
            or is_reference(item)
            or not any(name in str(key).lower().replace("-", "_") for name in _SECRET_NAMES)
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item, in_schema=in_schema) for item in value]
    if isinstance(value, str):
        return redact(clean(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def checksum(record: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a record's canonical JSON: keys sorted, no spaces, without `crc32` itself.

    Whole numbers are written without a fraction, as JavaScript does, and other numbers as in Python
    (`1e-07`).
    """
    text = json.dumps(
        _canonical({key: value for key, value in record.items() if key != "crc32"}),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _canonical(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        return int(value)
    return value


def matches(record: Mapping[str, Any]) -> bool:
    """Return whether a record that was read matches its checksum."""
    written = record.get("crc32")
    if type(written) is not int:
        return False
    try:
        # The two encoders write most records identically.
        if zlib.crc32(_sorted({key: value for key, value in record.items() if key != "crc32"})) == written:
            return True
    except (RecursionError, TypeError, ValueError):
        pass
    try:
        return written == checksum(record)
    except (RecursionError, TypeError, ValueError):
        return False

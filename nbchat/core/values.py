"""`Value` and `Tagged`, the base classes of immutable values, and conversion to JSON and back.

Decoding is strict about types, sizes and depth. It ignores unknown fields, which a newer version may send.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from nbchat.core.text import clean

MAX_DEPTH: Final = 32
"""Maximum nesting depth of lists and objects in free-form values (`params`)."""

MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that JavaScript represents exactly."""

SafeInt = Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
"""An integer that JavaScript represents exactly. Decoding rejects others."""

FiniteFloat = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""A number that JSON can represent. Decoding rejects NaN and infinities."""


class Value(Struct, frozen=True, kw_only=True, weakref=True):
    """An immutable value. `msgspec.structs.replace` returns a changed copy."""


class Tagged(Value, frozen=True, kw_only=True):
    """A member of a union; `type` distinguishes it from the other members in JSON."""

    @property
    def type(self) -> str:
        """The tag, as in JSON."""
        return str(self.__struct_config__.tag)


class DecodeError(ValueError):
    """A JSON value does not have the expected shape. The message names the position."""


# Encoding


def _builtin(value: object) -> object:
    """Convert values that msgspec rejects but JSON can represent: subclasses, other mappings."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, str):
        return str.__str__(value)  # for subclasses such as `numpy.str_`
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} is not a JSON value")


def _builtin_or_description(value: object) -> object:
    try:
        return _builtin(value)
    except TypeError:
        return repr(value)[:200]


_encode: Final = msgspec.json.Encoder(enc_hook=_builtin).encode


def encode_json(value: object) -> bytes:
    """Return `value` as JSON in UTF-8.

    Values that JSON or JavaScript cannot represent are replaced, so that one of them does not prevent
    encoding the rest: halves of surrogate pairs by U+FFFD, large integers by their digits as text, objects by
    their `repr`.
    """
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_builtin_or_description)
        return _encode(_encodable(plain))


def encode_sorted(value: object) -> bytes:
    """Return `value` as JSON with sorted keys, from which a hash can be computed."""
    return msgspec.json.encode(value, enc_hook=_builtin, order="sorted")


def _encodable(value: object, depth: int = 0) -> object:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict) and depth < 2 * MAX_DEPTH:
        return {clean(str(key)): _encodable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < 2 * MAX_DEPTH:
        return [_encodable(item, depth + 1) for item in value]
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return clean(repr(value))[:200]


# Decoding


def decode(kind: Any, data: object) -> Any:  # noqa: ANN401 - the type is the argument
    """Return plain JSON values as a value of type `kind`.

    Parameters
    ----------
    kind
        A type, or a union of tagged structs.
    data
        The result of `json.loads`, from an untrusted source. It may have at most `MAX_DEPTH` levels more than
        the messages themselves, and only numbers that JavaScript can represent.

    Raises
    ------
    DecodeError
        If the value does not match `kind`; the message names the position and the expected value.
    """
    check(data, levels=MAX_DEPTH + 4)
    return convert(kind, data)


def convert(kind: Any, data: object) -> Any:  # noqa: ANN401 - as above
    """Return plain JSON values as a value of type `kind`, without checks of free-form values.

    Raises
    ------
    DecodeError
        If the value does not match `kind`.
    """
    try:
        return msgspec.convert(data, kind)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise DecodeError(str(error)) from None


MAX_VALUES: Final = 1_000_000
"""Maximum of `count_values` in JSON of others: a value can take 100 times its bytes in memory."""


_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""The strings of a JSON text. Possessive, and without a required end, so that it takes linear time."""


def count_values(text: bytes) -> int:
    """Return the number of arrays, objects and members of a JSON text, without decoding it.

    A number up to `MAX_VALUES` may be too high.
    """
    found = _marks_in(text)
    return found if found <= MAX_VALUES else _marks_in(_STRINGS.sub(b"", text))


def _marks_in(text: bytes) -> int:
    return sum(map(text.count, (b"[", b"{", b":")))


def decode_json(kind: Any, text: bytes | str) -> Any:  # noqa: ANN401 - as above
    """Return a JSON text as a value of type `kind`.

    Raises
    ------
    DecodeError
        If the text is not JSON or does not match `kind`.
    """
    try:
        return _decoder(kind).decode(text)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise DecodeError(str(error)) from None


@cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - as above
    return msgspec.json.Decoder(kind)


def check(value: object, path: str = "$", levels: int = MAX_DEPTH) -> None:
    """Check that `value` consists of JSON values with finite numbers and integers below 2**53.

    Raises
    ------
    DecodeError
        If it does not, or has more than `levels` levels of lists and objects.
    """
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise DecodeError(f"Expected an integer below 2**53 - at `{path}`")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise DecodeError(f"Expected a finite number - at `{path}`")
    elif not isinstance(value, dict | list):
        raise DecodeError(f"Expected a JSON value, got `{type(value).__name__}` - at `{path}`")
    elif levels < 1:
        raise DecodeError(f"Expected fewer levels of lists and objects - at `{path[:200]}`")
    else:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            check(item, f"{path}[{key}]" if isinstance(value, list) else f"{path}.{key}", levels - 1)

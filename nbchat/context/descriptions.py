"""`describe` converts a value to the text that is sent to a model, using a registry of types."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from nbchat.context import deadline
from nbchat.context.data_frames import describe_data_frame, is_data_frame
from nbchat.context.levels import MAX_CHARS, Level, checked_level
from nbchat.context.text import qualified, root, shortened
from nbchat.context.values import (
    describe_array,
    describe_axes,
    describe_figure,
    describe_function,
    describe_mapping,
    describe_model,
    describe_module,
    describe_scalar,
    describe_sequence,
    describe_tensor,
    describe_text,
    is_array,
    is_axes,
    is_figure,
    is_model,
    is_tensor,
)
from nbchat.core.redact import redact

ATTEMPTS: Final = 3
"""Maximum attempts to read a value that changes while it is read."""

REPR: Final = 2000
"""Maximum characters of the `repr` of a value whose type has no description."""


class Describe:
    r"""Describe a value as text, exactly as it is sent to a model with `context=` or `@name`.

    Lazy data frames are not evaluated, tensors stay on their device, and large values are sampled. Text
    that looks like a key or a password is replaced by `[redacted]`.

    Parameters
    ----------
    value
        A data frame or series of any library that narwhals supports, a NumPy array, a tensor, a
        mapping, a sequence, a model, a Matplotlib figure, a function, text, or any other object. A type
        can define `_repr_llm_()`; use `describe.register` for types that you cannot change.
    level
        `"schema"`: names, types and sizes. `"summary"`: also shares of missing values, extremes of
        numbers and dates, the most common categories if there are few, and the form of other text.
        `"rows"`: also the first three rows.

    Returns
    -------
    At most 6,000 characters, about 1,500 tokens.

    Raises
    ------
    ValueError
        If `level` is not one of the levels above.

    Examples
    --------
    >>> nbchat.describe({"a": 1})
    'dict, 1 item\n- a: 1'
    """

    def __init__(self) -> None:
        self._registry = functools.singledispatch(_describe_unregistered)

    def __call__(self, value: object, level: Level = "summary") -> str:
        """Return the description of `value`."""
        return bounded(self._describe(value, checked_level(level)))

    def __repr__(self) -> str:
        return "nbchat.describe(value, level='summary')"

    def register(self, kind: Any, function: Any = None) -> Any:  # noqa: ANN401 - as functools.singledispatch
        """Register a description for a type, as `functools.singledispatch` does.

        The function receives the value, and the level if it has a second parameter. It must return text
        within two seconds. It is called on a separate thread.

        Examples
        --------
        >>> class Grid: ...
        >>> @nbchat.describe.register
        ... def _(value: Grid, level: str) -> str:
        ...     return "a grid"
        >>> nbchat.describe(Grid())
        'a grid'
        """
        return self._registry.register(kind) if function is None else self._registry.register(kind, function)

    def _describe(self, value: object, level: Level) -> str:
        function = self._registry.dispatch(type(value))
        if function is not _describe_unregistered:
            return _foreign(value, lambda: _call(function, value, level))
        own = getattr(type(value), "_repr_llm_", None)
        if own is not None:
            return _foreign(value, lambda: _own(own, value, level))
        return _describe_unregistered(value, level)


def _call(function: Callable[..., Any], value: object, level: Level) -> object:
    try:
        takes_level = len(inspect.signature(function).parameters) > 1
    except (TypeError, ValueError):
        takes_level = False
    return function(value, level) if takes_level else function(value)


def _own(function: Callable[..., Any], value: object, level: Level) -> object:
    text = _call(function, value, level)
    return _describe_unregistered(value, level) if text is None else text


def _foreign(value: object, work: Callable[[], object]) -> str:
    """Return the text from code outside nbchat. If that fails, return the value's type and the reason."""
    name = qualified(type(value))
    try:
        text = deadline.within(work, deadline.DEADLINE_S)
    except TimeoutError:
        return f"{name} (its description took longer than {deadline.DEADLINE_S:g} seconds)"
    except Exception as error:  # noqa: BLE001 - that code may raise any error
        return f"{name} (its description raised {type(error).__name__})"
    return text if isinstance(text, str) else f"{name} (its description is not text)"


_NUMBERS: Final = (type(None), int, float, complex, decimal.Decimal, bytes, bytearray)
_TIMES: Final = (dt.date, dt.time, dt.timedelta)
_ROUTINES: Final = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    functools.partial,
)
_CONTAINERS: Final = (list, tuple, set, frozenset, collections.deque)

# The rules test types only: `isinstance` would call a `__class__` that the value defines.
_RULES: Final[tuple[tuple[Callable[[type], bool], Callable[[Any, Level], str]], ...]] = (
    (lambda kind: issubclass(kind, str), describe_text),
    (lambda kind: issubclass(kind, (*_NUMBERS, *_TIMES)), describe_scalar),
    (is_data_frame, describe_data_frame),
    (is_array, describe_array),
    (is_figure, describe_figure),
    (is_axes, describe_axes),
    (is_tensor, describe_tensor),
    (is_model, describe_model),
    (lambda kind: issubclass(kind, types.ModuleType), describe_module),
    (lambda kind: issubclass(kind, (type, *_ROUTINES)), describe_function),
    (lambda kind: issubclass(kind, Mapping), describe_mapping),
    (lambda kind: issubclass(kind, _CONTAINERS), describe_sequence),
)
_TRUSTED: Final = frozenset(
    {
        *("builtins", "collections", "datetime", "decimal", "functools", "types", "typing", "abc"),
        *("pandas", "polars", "pyarrow", "narwhals", "geopandas", "numpy", "sklearn", "matplotlib", "torch"),
    }
)
"""Packages whose types are read in the calling thread. Other code has a deadline."""


def _describe_unregistered(value: object, level: Level = "summary") -> str:
    kind = type(value)
    describe_kind = next((describe_kind for matches, describe_kind in _RULES if matches(kind)), None)
    if describe_kind is None:
        if level == "schema":
            return qualified(kind)
        text = _foreign(value, lambda: shortened(repr(value), REPR))
        return text if text.startswith(qualified(kind)) else f"{qualified(kind)}\n{text}"
    read = functools.partial(_read, describe_kind, value, level)
    return read() if all(root(base) in _TRUSTED for base in kind.__mro__) else _foreign(value, read)


def _read(describe_kind: Callable[[Any, Level], str], value: object, level: Level) -> str:
    """Describe a value that may be changing: retry, then describe its schema, then only its type."""
    for attempt in (*[level] * ATTEMPTS, "schema"):
        try:
            text = describe_kind(value, checked_level(attempt))
        except Exception:  # noqa: BLE001, S112 - a half-changed value may raise any error
            continue
        return text if attempt == level else f"{text}\n(its values could not be read)"
    return f"{qualified(type(value))} (could not be read)"


def bounded(text: str) -> str:
    """Return a description truncated to its limit, without keys or passwords, and encodable as JSON."""
    encoded = text.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace")
    return shortened(redact(encoded.decode()), MAX_CHARS)


describe: Final = Describe()

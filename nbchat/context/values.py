"""Descriptions of values that are not data frames: arrays, tensors, containers, models, functions."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from nbchat.context.data_frames import evenly, is_data_frame, outline
from nbchat.context.levels import MAX_CHARS, Level
from nbchat.context.text import form, label, number, qualified, root, share, shortened

ITEMS: Final = 20
"""Maximum items of a container that are described."""

DEPTH: Final = 3
"""Maximum nesting of containers that is described."""

ATTRIBUTES: Final = 40
"""Maximum parameters, and fitted attributes, of a model that are described."""

_NUMBERS: Final = frozenset({bool, int, float, complex})
_SIMPLE: Final = frozenset({"int", "float", "bool", "str"})


def describe_text(value: str, level: Level) -> str:
    """Return the length of a text, and the text itself except at the level `schema`."""
    head = f"str, {len(value):,} characters"
    if level == "schema":
        return head
    room = MAX_CHARS - 200
    if len(value) <= room:
        return f"{head}:\n{value}"
    half = room // 2
    return f"{head}; the first and last {half:,}:\n{value[:half]}\n…\n{value[-half:]}"


def describe_scalar(value: object, level: Level) -> str:
    """Return the type of a number, date or `None`, and its value except at the level `schema`."""
    name = qualified(type(value))
    if isinstance(value, bytes | bytearray):
        return f"{name}, {len(value):,} bytes"
    if level == "schema" or value is None:
        return name
    return f"{name}: {number(value) if isinstance(value, int) else shortened(str(value), 200)}"


def is_array(kind: type) -> bool:
    """Return whether values of this type are NumPy arrays."""
    return _is_of(kind, "numpy", "ndarray")


def is_tensor(kind: type) -> bool:
    """Return whether a type has the attributes of a tensor: shape, type and device."""
    return root(kind) != "numpy" and all(hasattr(kind, name) for name in ("shape", "dtype", "device"))


def is_model(kind: type) -> bool:
    """Return whether a type has the interface of a scikit-learn estimator."""
    return callable(getattr(kind, "get_params", None)) and callable(getattr(kind, "fit", None))


def is_figure(kind: type) -> bool:
    """Return whether values of this type are Matplotlib figures."""
    return _is_of(kind, "matplotlib", "Figure")


def is_axes(kind: type) -> bool:
    """Return whether values of this type are Matplotlib axes, which belong to a figure."""
    return _is_of(kind, "matplotlib", "Axes")


def _is_of(kind: type, package: str, *names: str) -> bool:
    return any(base.__name__ in names and root(base) == package for base in kind.__mro__)


def describe_array(value: Any, level: Level) -> str:  # noqa: ANN401 - NumPy is not imported here
    """Return type, shape and dtype of an array, and statistics of a sample except at the level `schema`."""
    head = f"{root(type(value))} {type(value).__name__}, shape {_shape(value)}, {_dtype(value)}"
    if level == "schema" or value.size == 0 or value.dtype.kind not in "biuf":
        return head
    # `flat` copies only the chosen elements; ravelling a non-contiguous array copies all of them.
    sample = value.flat[evenly(value.size)].tolist()
    present = sorted(item for item in sample if item is not None and item == item)  # noqa: PLR0124 - NaN
    lines = [head]
    if len(sample) < value.size:
        lines.append(f"Statistics are from {len(sample):,} evenly spread elements.")
    if not present:
        return "\n".join([*lines, "all missing"])
    if value.dtype.kind == "b":
        text = f"{share(sum(present), len(present))} true"
    else:
        low, middle, high = present[0], present[len(present) // 2], present[-1]
        text = f"min {number(low)}, median {number(middle)}, max {number(high)}"
    if len(present) < len(sample):
        text += f", {share(len(sample) - len(present), len(sample))} missing"
    lines.append(text)
    if level == "rows":
        first = value.flat[list(range(min(10, value.size)))].tolist()
        lines.append(f"first: {', '.join(number(item) for item in first)}")
    return "\n".join(lines)


def describe_tensor(value: Any, level: Level) -> str:  # noqa: ANN401 - of any library
    """Return type, shape, dtype and device of a tensor; values stay on their device."""
    del level
    device = shortened(str(value.device), 60)
    return f"{qualified(type(value))}, shape {_shape(value)}, {_dtype(value)}, device {device}"


def _dtype(value: Any) -> str:  # noqa: ANN401 - an array or a tensor
    return shortened(str(value.dtype), 200)


def _shape(value: Any) -> str:  # noqa: ANN401 - of any library
    return " × ".join(f"{size:,}" for size in tuple(value.shape)) or "()"  # noqa: RUF001 - as users read it


def describe_mapping(value: Mapping[Any, Any], level: Level) -> str:
    """Return the keys of a mapping and a description of each value."""
    return "\n".join(_container(value, level, 0, frozenset()))


def describe_sequence(value: Sequence[Any] | set[Any] | frozenset[Any], level: Level) -> str:
    """Return the length of a sequence or set and descriptions of its items."""
    return "\n".join(_container(value, level, 0, frozenset()))


def _container(value: Any, level: Level, depth: int, above: frozenset[int]) -> list[str]:  # noqa: ANN401
    head = f"{qualified(type(value))}, {len(value):,} item{'s' if len(value) != 1 else ''}"
    if depth >= DEPTH or id(value) in above:
        return [head]
    inside = above | {id(value)}
    shown: list[tuple[str, Any]]
    if isinstance(value, Mapping):
        shown = [(f"{label(key)}: ", item) for key, item in islice(value.items(), ITEMS)]
    else:
        items = list(islice(value, ITEMS))
        kinds = {type(item).__name__ for item in items}
        if not items:
            return [head]
        if level == "schema" or (level == "summary" and len(kinds) == 1 and kinds <= _SIMPLE):
            return [f"{head} of type {', '.join(sorted(kinds))}"]
        shown = [("", item) for item in items]
    lines = [head]
    for prefix, item in shown:
        first, *rest = _item(item, level, depth + 1, inside)
        lines += [f"- {prefix}{first}", *(f"  {line}" for line in rest)]
    if len(value) > len(shown):
        lines.append(f"… {len(value) - len(shown):,} more")
    return lines


def _item(value: Any, level: Level, depth: int, above: frozenset[int]) -> list[str]:  # noqa: ANN401
    """Return the lines of an item of a container, without calling code of unknown types."""
    kind = type(value)
    if issubclass(kind, str):
        return [_text_item(value, level)]
    if value is None or kind in _NUMBERS or _is_of(kind, "numpy", "number", "bool"):
        return [qualified(kind) if level == "schema" else _number(value)]
    if kind in {dict, list, tuple, set, frozenset}:
        return _container(value, level, depth, above)
    if is_data_frame(kind):
        return [f"{qualified(kind)}, {outline(value).shape}"]
    if is_array(kind) or is_tensor(kind):
        return [f"{qualified(kind)}, shape {_shape(value)}"]
    return [qualified(kind)]


def _number(value: Any) -> str:  # noqa: ANN401 - of Python or NumPy
    return number(value if value is None or type(value) in _NUMBERS else value.item())


def _text_item(value: str, level: Level) -> str:
    if level == "rows":
        return shortened(repr(value), 80)
    length = f"str, {len(value):,} characters"
    return f"{length}, like {form(value)}" if level == "summary" and value else length


def describe_model(value: Any, level: Level) -> str:  # noqa: ANN401 - of any library
    """Return the class, the parameters and the fitted attributes of an estimator."""
    attributes = vars(value)
    fitted = [name for name in attributes if name.endswith("_") and not name.startswith("_")]
    # A pipeline has no fitted attributes of its own.
    check = getattr(type(value), "__sklearn_is_fitted__", None)
    is_fitted = bool(fitted) if check is None else bool(check(value))
    parameters = value.get_params(deep=False)
    if any(_has_model(item) for item in parameters.values()):
        parameters = {**parameters, **value.get_params(deep=True)}
    return "\n".join(
        [
            f"{qualified(type(value))}, {'fitted' if is_fitted else 'not fitted'}",
            "parameters:",
            *_attributes(parameters.items(), level if level == "schema" else "rows"),
            *(["fitted attributes:"] if fitted else []),
            *_attributes(((name, attributes[name]) for name in fitted), level),
        ]
    )


def _has_model(value: object) -> bool:
    """Return whether a parameter is an estimator or, as the steps of a pipeline, a list with estimators."""
    if type(value) in {list, tuple}:
        return any(_has_model(item) for item in value)  # type: ignore[attr-defined]
    return is_model(type(value))


def _attributes(items: Iterable[tuple[str, Any]], level: Level) -> list[str]:
    named = list(items)
    lines = [
        f"- {label(name)}: {_item(item, level, DEPTH, frozenset())[0]}" for name, item in named[:ATTRIBUTES]
    ]
    return [*lines, f"… {len(named) - ATTRIBUTES:,} more"] if len(named) > ATTRIBUTES else lines


def describe_axes(value: Any, level: Level) -> str:  # noqa: ANN401 - Matplotlib is not imported here
    """Return the description of the figure that axes belong to."""
    return describe_figure(value.figure, level)


def describe_figure(value: Any, level: Level) -> str:  # noqa: ANN401 - Matplotlib is not imported here
    """Return the size of a figure, and the title, labels and contents of its axes."""
    del level
    width, height = value.get_size_inches()
    size = f"{width:g} × {height:g} inches"  # noqa: RUF001 - the sign that users read
    lines = [f"matplotlib Figure, {size}, {len(value.axes)} axes"]
    for place, axes in enumerate(value.axes[:ITEMS]):
        title = shortened(axes.get_title() or f"axes {place + 1}", 100)
        labels = [shortened(text, 60) for text in (axes.get_xlabel(), axes.get_ylabel()) if text]
        legend = axes.get_legend()
        series = [shortened(text.get_text(), 40) for text in legend.get_texts()[:ITEMS]] if legend else []
        parts = [
            *([f"labels {' and '.join(labels)}"] if labels else []),
            *([f"legend {', '.join(series)}"] if series else []),
            f"{len(axes.lines)} lines, {len(axes.patches)} patches, {len(axes.collections)} collections",
        ]
        lines.append(f"- {title}: {'; '.join(parts)}")
    return "\n".join(lines)


def describe_function(value: Any, level: Level) -> str:  # noqa: ANN401 - any callable
    """Return the signature and the docstring of a function or class."""
    del level
    kind, function = "class" if isinstance(value, type) else "def", value
    if isinstance(value, functools.partial):
        kind, function = "partial of", value.func
    name = getattr(function, "__qualname__", type(function).__name__)
    doc = inspect.getdoc(function) or ""
    return f"{kind} {name}{shortened(_signature(value), 1000)}\n{shortened(doc, 2000)}".rstrip()


def _signature(value: Any) -> str:  # noqa: ANN401 - any callable
    """Return the signature of a callable without complex defaults, which may contain data."""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return "(…)"
    return str(
        signature.replace(
            parameters=[
                parameter
                if parameter.default is parameter.empty
                or parameter.default is None
                or type(parameter.default).__name__ in _SIMPLE
                else parameter.replace(default=_Elided())
                for parameter in signature.parameters.values()
            ]
        )
    )


class _Elided:
    """Placeholder for a default in a signature."""

    def __repr__(self) -> str:
        return "…"


def describe_module(value: types.ModuleType, level: Level) -> str:
    """Return the name and version of a module, and the first paragraph of its docstring."""
    del level
    # Computed attributes (`__getattr__` of a module) may import other modules.
    name, version, doc = (vars(value).get(key) for key in ("__name__", "__version__", "__doc__"))
    head = f"module {name}{f' {version}' if isinstance(version, str) else ''}"
    first = doc.strip().partition("\n\n")[0] if isinstance(doc, str) else ""
    return f"{head}\n{shortened(first, 500)}".rstrip()

"""`prompts_of`: makes the prompts of a batch from strings, items, templates and data frames."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from nbchat.core.errors import NbchatError, RequestRejected
from nbchat.core.interpolation import field_names, interpolate
from nbchat.core.text import suggestion
from nbchat.handles.data_frames import is_frame, rows_of


class Row(dict[Any, Any]):
    """Row of a data frame: values by column, also as attributes if the name is an identifier."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a value of the frame
        try:
            return self[name]
        except KeyError:
            columns = [str(column) for column in self]
            raise AttributeError(
                f"the frame has no column {name!r}{suggestion(name, columns)}. It has {', '.join(columns)}."
            ) from None


def prompts_of(given: Iterable[Any], template: str | Callable[[Any], str] | None) -> list[str | NbchatError]:
    """Return the prompts; an item without one has an error in its place."""
    if template is not None and not callable(template) and not isinstance(template, str):
        raise TypeError(f"the template must be a string or a function, not {type(template).__name__}.")
    if isinstance(given, str | bytes | Mapping) or not (isinstance(given, Iterable) or is_frame(given)):
        raise TypeError(f"prompts must be a list of prompts, not one {type(given).__name__}.")
    items: list[Any]
    if is_frame(given):
        columns, rows = rows_of(given)
        if template is None:
            column = _only_column(columns)
            return [_of_column(at, column, row[column]) for at, row in enumerate(rows)]
        if isinstance(template, str):
            _check_fields(template, [str(column) for column in columns], "the frame")
        items = [Row(row) for row in rows]
    else:
        items = list(given)
    return [_prompt(at, item, template) for at, item in enumerate(items)]


def _only_column(columns: Sequence[Any]) -> Any:  # noqa: ANN401 - a column's name
    if "prompt" in columns:
        return "prompt"
    if len(columns) != 1:
        raise ValueError(
            "the frame has several columns and none is called 'prompt'; give a template such as "
            f"'{{{columns[0]}}}'."
            if columns
            else "the frame has no columns."
        )
    return columns[0]


def _of_column(at: int, column: object, value: object) -> str | NbchatError:
    if _is_missing(value):
        return _nothing(at, f"has no value for {column!r}")
    return _prompt(at, str(value), None)


def _check_fields(template: str, names: Sequence[str], where: str) -> None:
    fields = field_names(template)
    if not fields:
        example = names[0] if names else "prompt"
        raise ValueError(f"the template has no field; name a value in it, as {{{example}}}.")
    for name in fields:
        if name not in names and name != "row":
            raise ValueError(
                f"the template names {name!r}, which {where} does not have{suggestion(name, names)}. "
                f"It has {', '.join(names)}. Braces that are meant as text are written twice: {{{{{name}}}}}."
            )


def _prompt(at: int, item: object, template: str | Callable[[Any], str] | None) -> str | NbchatError:
    if template is None:
        if _is_missing(item) or (isinstance(item, str) and not item.strip()):
            return _nothing(at, "is empty")
        if not isinstance(item, str):
            raise TypeError(
                f"prompt {at} is of type {type(item).__name__}; give strings, or a template to make them."
            )
        return item
    if callable(template):
        made = template(item)
        if not isinstance(made, str):
            raise TypeError(f"the template made {type(made).__name__} of item {at}, not a string.")
        return made if made.strip() else _nothing(at, "is empty")
    fields = {"prompt": item}
    if isinstance(item, Mapping):
        fields = {str(key): value for key, value in item.items()}
    _check_fields(template, list(fields), f"item {at}")
    for name in field_names(template):
        if name in fields and _is_missing(fields[name]):
            return _nothing(at, f"has no value for {name!r}")
    filled = interpolate(template, {"row": item, **fields})
    return filled if filled.strip() else _nothing(at, "is empty")


def _nothing(at: int, why: str) -> NbchatError:
    return RequestRejected(f"prompt {at} {why}; it was skipped.", stage="command", hint="")


def _is_missing(value: object) -> bool:
    """Return whether a cell of a data frame has no value: `None`, NaN, or a library's own marker."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Number) and bool(value != value)  # noqa: PLR0124

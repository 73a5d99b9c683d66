"""`read_context`: converts variables passed with `context=` into parts of a message."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nbchat.context.descriptions import bounded, describe
from nbchat.context.levels import Level
from nbchat.context.text import shortened
from nbchat.context.values import is_axes, is_figure
from nbchat.core.messages import MAX_VARIABLE_CHARS, Attachment, FilePart, ImagePart, variable_chars

LEAST_CHARS: Final = 200
"""Characters of a description below which it is not sent."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Text that is sent at every level: the last error, or a cell."""

    text: str


class ContextFull(ValueError):
    """The descriptions of a message have no room for another one."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the context has more than {MAX_VARIABLE_CHARS:,} characters, and {name!r} does not fit; "
            "name fewer values."
        )


def read_context(
    given: object, level: Level, attached: tuple[Attachment, ...] = ()
) -> tuple[Attachment, ...]:
    """Return the parts for `context=`: one value, a list or tuple of values, or a mapping of names to values.

    Values without a name get that of the caller's variable, else `value 1`, `value 2` and so on. They are
    described here, in the calling thread; later changes of the values change nothing. Descriptions among the
    parts that are `attached` already count towards the limit of the message.

    Raises
    ------
    ContextFull
        If the descriptions do not fit into `MAX_VARIABLE_CHARS` characters.
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        named = {str(name): value for name, value in given.items()}
    else:
        values = given if isinstance(given, list | tuple) else (given,)
        named = {}
        for place, value in enumerate(values, 1):
            name = _name_of(value)
            named[f"value {place}" if name is None or name in named else name] = value
    return tuple(described(named, level, variable_chars(attached)))


def described(values: Mapping[str, object], level: Level, used: int = 0) -> Iterator[Attachment]:
    """Yield the parts that describe values: a text for each, and also a picture for a figure.

    If the texts of a message become too long, later values are described at the level `schema`.

    Parameters
    ----------
    values
        The values by name; an `Excerpt` is sent as it is.
    level
        Level of detail.
    used
        Characters of the descriptions that the message has already.

    Raises
    ------
    ContextFull
        As `read_context`.
    """
    room = MAX_VARIABLE_CHARS - used
    for name, value in values.items():
        text = bounded(value.text) if isinstance(value, Excerpt) else describe(value, level)
        if len(text) > room and not isinstance(value, Excerpt):
            text = describe(value, "schema")
        if len(text) > room and room < LEAST_CHARS:
            raise ContextFull(name)
        text = shortened(text, room)
        room -= len(text)
        yield FilePart(name=name, text=text, kind="variable")
        if level != "schema" and (is_figure(type(value)) or is_axes(type(value))):
            yield ImagePart(name=f"{name}.png", text=_picture(value))


def _picture(value: Any) -> str:  # noqa: ANN401 - Matplotlib is not imported here
    figure = value if is_figure(type(value)) else value.get_figure(root=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _name_of(value: object) -> str | None:
    """Return the name of the caller's variable that holds this object.

    Numbers and other values that Python shares between variables have a name only if one variable holds
    them.
    """
    frame = sys._getframe(1)  # noqa: SLF001 - as `warnings` does itself
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "nbchat":
        frame = frame.f_back
    names = [
        name
        for scope in (frame.f_locals, frame.f_globals)
        for name, held in list(scope.items())
        if held is value and not name.startswith("_")
    ]
    shared = value is None or isinstance(value, bool | int | float | str | bytes)
    if not names or (shared and len(set(names)) > 1):
        return None
    return names[0]

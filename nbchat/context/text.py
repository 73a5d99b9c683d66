"""Text of descriptions: short labels and numbers, and the form of text whose value stays private."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

LABEL: Final = 60
"""Maximum characters of a column's label or a dictionary's key."""

FORM: Final = 24
"""Maximum characters of a form."""

_LONG_INTEGER: Final = 10**20
_RUNS: Final = re.compile(
    r"(?P<upper>[A-Z]+)|(?P<digit>\d+)|(?P<letter>[^\W\d_]+)|(?P<space>\s+)|(?P<mark>.)", re.DOTALL
)
_KEPT: Final = frozenset("@.-_/:,")
_PLAIN: Final = (bool, float, complex, decimal.Decimal, dt.date, dt.datetime, dt.time, dt.timedelta, bytes)


def root(kind: type) -> str:
    """Return the name of the package that defines a type."""
    return str(kind.__module__).partition(".")[0]


def qualified(kind: type) -> str:
    """Return a type's name with its module, except for built-in types."""
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return shortened(name, 200)


def label(value: object) -> str:
    """Return a column's label or a key on one line, without calling code of unknown types."""
    kind = type(value)
    if issubclass(kind, str):
        text = str.__str__(value)
    elif isinstance(value, tuple):
        text = " / ".join(label(item) for item in value)
    elif kind is int:
        text = number(value)
    elif value is None or kind in _PLAIN or root(kind) in {"numpy", "pandas"}:
        text = str(value)  # a pandas Timestamp, Period or Interval
    else:
        text = f"<{kind.__name__}>"
    return shortened(" ".join(text.split()) or repr(text), LABEL)


def shortened(text: str, limit: int) -> str:
    """Return `text`, or its first characters and an ellipsis, with at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def number(value: object) -> str:
    """Return a number with at most six significant digits, or a date in ISO form."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        # Python does not print integers of more than 4,300 digits.
        return str(int(value)) if abs(value) < _LONG_INTEGER else f"an integer of {value.bit_length():,} bits"
    if isinstance(value, dt.datetime) and not (
        value.hour or value.minute or value.second or value.microsecond
    ):
        return value.date().isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return shortened(str(value), 30)


def share(part: int, whole: int) -> str:
    """Return a percentage. Only shares of exactly 0 or 1 are shown as 0% or 100%."""
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1%"
    if 99 < percent < 100:  # noqa: PLR2004 - percent
        return ">99%"
    return f"{percent:.0f}%"


def form(text: str) -> str:
    """Return the form of a text without its content: `Ada9@mail.org` becomes `Aa9@a.a`.

    Runs of upper-case letters become `A`, other letters `a`, digits `9`, white space one space. The
    marks `@ . - _ / : ,` are kept, others become `?`.
    """
    out: list[str] = []
    for match in _RUNS.finditer(text[:200]):
        kind = match.lastgroup
        piece = {"upper": "A", "digit": "9", "letter": "a", "space": " "}.get(kind or "")
        if piece is None:
            piece = match[0] if match[0] in _KEPT else "?"
        if not out or out[-1] != piece:
            out.append(piece)
        if len(out) > FORM:
            break
    return shortened("".join(out), FORM)


def forms(texts: Iterable[str]) -> list[tuple[str, int]]:
    """Return the forms of texts and their counts, most common first."""
    counts = Counter(form(text) for text in texts)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))

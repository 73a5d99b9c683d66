"""Descriptions of data frames and series of any library that narwhals supports.

Lazy frames are never evaluated, data is never copied from a device, and a column is never read completely.
Statistics come from at most `SAMPLE` evenly spread rows, and the text states this.
"""

from __future__ import annotations

import datetime as dt
import decimal
import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nbchat.context.levels import MAX_CHARS, Level
from nbchat.context.text import forms, label, number, root, share, shortened

SAMPLE: Final = 2000
"""Maximum rows that statistics are computed from."""

COLUMNS: Final = 120
"""Maximum columns with statistics; the others are listed with names and types."""

CATEGORIES: Final = 50
"""Maximum distinct values of text that counts as categories."""

REPEATS: Final = 2
"""Minimum average repetitions of categories. Text that repeats less often may be identifying."""

FORMS: Final = 200
"""Maximum texts of a column whose forms are counted."""

SHOWN: Final = 5
"""Maximum categories shown."""

ROWS: Final = 3
"""Maximum rows that the level `rows` adds."""

_PANDAS: Final = frozenset({"pandas", "modin", "geopandas"})
_DEVICE: Final = frozenset({"cudf"})
_LIBRARIES: Final = (
    _PANDAS
    | _DEVICE
    | {"polars", "pyarrow", "dask", "duckdb", "_duckdb", "ibis", "pyspark", "sqlframe", "narwhals"}
)
_KINDS: Final = frozenset(
    {
        *("DataFrame", "Series", "Index", "LazyFrame", "Table", "ChunkedArray", "Array", "RecordBatch"),
        *("ExtensionArray", "DuckDBPyRelation"),
    }
)
_WORDS: Final = {"string": "text", "boolean": "bool", "unknown": "unknown type"}
_LISTED: Final = 1200
"""Characters reserved for the names of columns without statistics, if not all columns fit."""


def is_data_frame(kind: type) -> bool:
    """Return whether values of this type are data frames or series that this module describes."""
    return any(base.__name__ in _KINDS and root(base) in _LIBRARIES for base in kind.__mro__)


@dataclass(frozen=True, slots=True)
class Outline:
    """The size of a data frame and the labels and types of its columns."""

    title: str
    rows: int | None
    """`None` for a lazy frame, whose rows are not counted."""
    labels: Sequence[object]
    types: Sequence[str]
    index: str = ""
    read: Callable[[list[int]], list[list[Any]]] | None = field(default=None, repr=False)
    """Reads the given rows of the first `COLUMNS` columns; `None` if no values are read."""

    @property
    def shape(self) -> str:
        """The shape, such as `1,000,000 × 40`."""  # noqa: RUF002 - the sign that users read
        rows = "unknown" if self.rows is None else f"{self.rows:,}"
        return f"{rows} × {len(self.labels):,}"  # noqa: RUF001 - the sign that users read


def describe_data_frame(value: Any, level: Level) -> str:  # noqa: ANN401 - of any library
    """Return the description of a data frame or series."""
    found = outline(value)
    head = [f"{found.title}, {_size(found)}", *([f"index: {found.index}"] if found.index else [])]
    lines: list[str] = []
    if level != "schema" and found.read is not None and found.rows is not None:
        spread = evenly(found.rows)
        columns = found.read(spread)
        if len(spread) < found.rows:
            head.append(f"Statistics are from {len(spread):,} evenly spread rows.")
        lines = [
            f"- {label(found.labels[place])} ({found.types[place]}): {_column(column)}"
            for place, column in enumerate(columns)
        ]
        if level == "rows" and found.rows and lines:
            first = found.read(list(range(min(ROWS, found.rows))))
            head[0] += f", with the values of the first {_rows(len(first[0]))}"
            lines = [
                f"{line}; first: {', '.join(_cell(cell) for cell in cells)}"
                for line, cells in zip(lines, first, strict=True)
            ]
    return "\n".join(_within_limit(head, lines, found))


def _size(outline: Outline) -> str:
    columns = f"{len(outline.labels):,} column{'s' if len(outline.labels) != 1 else ''}"
    if outline.rows is None:
        return f"{columns}, rows not counted (lazy)"
    return f"{_rows(outline.rows)}, {columns}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"


def outline(value: Any) -> Outline:  # noqa: ANN401 - of any library
    """Return the size and columns of a data frame without reading its cells."""
    kind = type(value)
    title = f"{root(kind)} {kind.__name__}"
    if root(kind) in _PANDAS or any(root(base) in _PANDAS for base in kind.__mro__):
        return _outline_pandas(value, title)
    import narwhals as nw  # noqa: PLC0415 - imported when a data frame is described

    frame = nw.from_native(_for_narwhals(value), allow_series=True)
    if isinstance(frame, nw.Series):
        frame = frame.alias(frame.name or "value").to_frame()
    schema = frame.collect_schema()
    labels, types = list(schema), [_type_name(kind) for kind in schema.values()]
    if isinstance(frame, nw.LazyFrame):
        return Outline(title, None, labels, types)
    names = labels[:COLUMNS]

    def read(rows: list[int]) -> list[list[Any]]:
        part = frame.select(names)[rows]
        return [part[name].to_list() for name in names]

    return Outline(title, len(frame), labels, types, read=None if root(kind) in _DEVICE else read)


def _outline_pandas(value: Any, title: str) -> Outline:  # noqa: ANN401 - of pandas and its relatives
    """Return the outline of a pandas object, whose labels may repeat and need not be strings."""
    frame = value
    if not hasattr(value, "to_frame") and not hasattr(value, "columns"):  # a pandas array
        frame = importlib.import_module("pandas").Series(value, copy=False)
    if not hasattr(frame, "columns"):
        frame = frame.to_frame()
    index = frame.index
    names = [label(name) for name in index.names if name is not None]
    plain = type(index).__name__ == "RangeIndex" and not names
    described = "" if plain else f"{', '.join(names) or 'no name'} ({type(index).__name__})"

    def read(rows: list[int]) -> list[list[Any]]:
        part = frame.iloc[rows, :COLUMNS]
        return [part.iloc[:, place].tolist() for place in range(part.shape[1])]

    types = [shortened(str(kind), 40) for kind in frame.dtypes]
    return Outline(title, len(frame), list(frame.columns), types, described, read)


def _for_narwhals(value: Any) -> Any:  # noqa: ANN401 - of any library
    """Return a PyArrow object as narwhals accepts it: a table with unique names, or a chunked array."""
    kind = type(value)
    if root(kind) != "pyarrow":
        return value
    pa = importlib.import_module("pyarrow")  # already imported by the user
    if isinstance(value, pa.Array):
        return pa.chunked_array([value])
    table = pa.Table.from_batches([value]) if isinstance(value, pa.RecordBatch) else value
    names = getattr(table, "column_names", ())
    if len(set(names)) == len(names):
        return table
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return table.rename_columns(unique)


def _type_name(kind: Any) -> str:  # noqa: ANN401 - a narwhals data type
    name = str(kind).partition("(")[0].lower()
    return _WORDS.get(name, name)


def evenly(count: int, most: int = SAMPLE) -> list[int]:
    """Return at most `most` evenly spread positions of `count`, including the first and the last."""
    if count <= most:
        return list(range(count))
    return [place * (count - 1) // (most - 1) for place in range(most)]


def _is_missing(value: object) -> bool:
    """Return whether a cell is empty, without calling code of unknown types."""
    if isinstance(value, float):
        return value != value  # noqa: PLR0124 - NaN differs from itself
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    return value is None or type(value).__name__ in {"NAType", "NaTType"}


def _column(values: Sequence[Any]) -> str:
    """Return the statistics of one column's sample."""
    if not values:
        return "no rows"
    present = [value for value in values if not _is_missing(value)]
    missing = len(values) - len(present)
    if not present:
        return "all missing"
    text = _statistics(present)
    return f"{text}, {share(missing, len(values))} missing" if missing else text


def _statistics(values: Sequence[Any]) -> str:
    for kinds, describe in _STATISTICS:
        if all(isinstance(value, kinds) for value in values):
            return describe(values)
    counts = Counter(type(value).__name__ for value in values)
    if len(counts) == 1:
        sizes = [len(value) for value in values if type(value) in {list, tuple, dict, set}]
        length = f" of {min(sizes)} to {max(sizes)} items" if sizes else ""
        return f"{next(iter(counts))}{length}"
    return "mixed: " + ", ".join(f"{name} {share(n, len(values))}" for name, n in counts.most_common(4))


def _bool_column(values: Sequence[bool]) -> str:
    return f"{share(sum(values), len(values))} true"


def _number_column(values: Sequence[Any]) -> str:
    ranked = sorted(values)
    return f"min {number(ranked[0])}, median {number(ranked[len(ranked) // 2])}, max {number(ranked[-1])}"


def _time_column(values: Sequence[Any]) -> str:
    try:
        return f"{number(min(values))} to {number(max(values))}"
    except TypeError:  # dates and times, or time zones, in one column
        return "dates of several kinds"


def _text_column(values: Sequence[str]) -> str:
    counts = Counter(values)
    if len(counts) <= CATEGORIES and len(values) >= REPEATS * len(counts):
        # A value that occurs once is not common: it may be a person's name among placeholders.
        common = [(text, n) for text, n in counts.most_common(SHOWN) if n > 1]
        shown = ", ".join(f"{shortened(repr(text), 40)} {share(n, len(values))}" for text, n in common)
        more = len(counts) - len(common)
        return f"{len(counts)} categor{'y' if len(counts) == 1 else 'ies'}: {shown}" + (
            f", … {more} more" if more else ""
        )
    length = [len(text) for text in values]
    some = values[:: max(1, len(values) // FORMS)]
    shapes = ", ".join(f"{shape} {share(n, len(some))}" for shape, n in forms(some)[:2])
    distinct = "all distinct" if len(counts) == len(values) else f"{len(counts):,} distinct"
    sizes = f"{min(length)}" if min(length) == max(length) else f"{min(length)} to {max(length)}"
    return f"{distinct}, {sizes} characters, like {shapes}"


_STATISTICS: Final[Sequence[tuple[Any, Callable[[Sequence[Any]], str]]]] = (
    (bool, _bool_column),
    (str, _text_column),
    (int | float | decimal.Decimal, _number_column),
    (dt.date | dt.time | dt.timedelta, _time_column),
)


def _cell(value: object) -> str:
    if _is_missing(value):
        return "missing"
    if isinstance(value, str):
        return shortened(repr(value), 80)
    if isinstance(value, int | float | decimal.Decimal | dt.date | dt.time | dt.timedelta):
        return number(value)
    return f"<{type(value).__name__}>"


def _within_limit(head: list[str], lines: list[str], outline: Outline) -> list[str]:
    """Return the lines that fit, and the names and types of the columns without a line."""
    size = sum(len(line) + 1 for line in head)
    room = MAX_CHARS - size
    if len(lines) < len(outline.labels) or sum(len(line) + 1 for line in lines) > room:
        room -= _LISTED if lines else 0
    kept: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    size += sum(len(line) + 1 for line in kept)
    rest = _names_by_type(outline, len(kept), MAX_CHARS - size)
    if kept and rest:
        rest.insert(0, "Other columns:")
    return [*head, *kept, *rest]


def _names_by_type(outline: Outline, start: int, room: int) -> list[str]:
    """Return a line per type with the labels of the columns from `start`, within `room` characters."""
    groups: dict[str, list[str]] = {}
    for name, kind in list(zip(outline.labels, outline.types, strict=True))[start:]:
        groups.setdefault(kind, []).append(label(name))
    room -= 60 + 20 * min(len(groups), 20)  # for "… and 4,000 more" and for the last line
    lines: list[str] = []
    for place, (kind, names) in enumerate(groups.items()):
        line, shown = f"{kind}:", 0
        for name in names:
            if len(line) + len(name) + 2 > room:
                break
            line += f"{',' if shown else ''} {name}"
            shown += 1
        if not shown:
            left = sum(len(others) for others in list(groups.values())[place:])
            lines.append(f"… and {left:,} more columns")
            break
        room -= len(line)
        lines.append(line + (f" … and {len(names) - shown:,} more" if shown < len(names) else ""))
    return lines

"""`Table`: a small table with a text representation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


class Table:
    """Rows with column names. `repr` aligns the columns, and a notebook shows a table.

    Attributes
    ----------
    columns
        Names of the columns.
    rows
        Tuples, as long as `columns`. `None` is shown as a dash, a float with three digits.
    """

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        self.columns: tuple[str, ...] = tuple(columns)
        self.rows: list[tuple[Any, ...]] = [tuple(row) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """The rows as displayed text."""
        return [tuple(_cell(value) for value in row) for row in self.rows]

    def __repr__(self) -> str:
        """Return the rows with aligned columns."""
        lines = [self.columns, *self.texts]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        return "\n".join(
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )


def _cell(value: object) -> str:
    if value is None or value == "":
        return "—"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 - three digits
    return " ".join(str(value).split())

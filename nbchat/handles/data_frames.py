"""Conversion of data frames through narwhals: pandas, polars, PyArrow and others, none imported here.

A frame is returned as the same kind as the one passed in. A new frame is made with a library that is already
loaded, else with one that is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.errors import CommandError
from nbchat.engine import prices

if TYPE_CHECKING:
    from types import ModuleType

    from nbchat.core.run import RunRecord
    from nbchat.core.transcript import SessionState

LIBRARIES: Final = ("pandas", "polars", "pyarrow")
"""Libraries for new frames, in order of preference."""

_FRAMES: Final = (*LIBRARIES, "cudf", "modin", "dask", "duckdb", "ibis", "pyspark", "sqlframe", "narwhals")


def is_frame(value: object) -> bool:
    """Return whether `value` is a data frame or series of a library that narwhals supports."""
    return type(value).__module__.partition(".")[0] in _FRAMES


def narwhals() -> ModuleType:
    """Return narwhals, imported at the first use of a data frame."""
    return importlib.import_module("narwhals")


def rows_of(frame: object) -> tuple[list[Any], list[dict[Any, Any]]]:
    """Return the columns and rows (by column) of a frame; a series has one column."""
    nw = narwhals()
    given = nw.from_native(frame, allow_series=True)
    if isinstance(given, nw.Series):
        name = str(given.name or "prompt")
        return [name], [{name: value} for value in given.to_list()]
    if isinstance(given, nw.LazyFrame):
        given = given.collect()
    columns: list[Any] = list(given.columns)  # those of pandas need not be strings
    return columns, [dict(zip(columns, row, strict=True)) for row in given.iter_rows()]


def csv_of(frame: object, limit: int) -> tuple[str, int | None]:
    """Return the first `limit` rows as CSV, and the number of rows; `None` for a longer lazy frame."""
    nw = narwhals()
    given = nw.from_native(frame, allow_series=True)
    if isinstance(given, nw.LazyFrame):
        head = given.head(limit + 1).collect()
        return str(head.head(limit).write_csv()), len(head) if len(head) <= limit else None
    if isinstance(given, nw.Series):
        given = given.alias(str(given.name or "value")).to_frame()
    return str(given.head(limit).write_csv()), len(given)


def with_columns(frame: object, columns: Mapping[str, Sequence[Any]]) -> Any:  # noqa: ANN401 - of its kind
    """Return a frame of the same kind with more columns; a series becomes a frame."""
    nw = narwhals()
    given = nw.from_native(frame, allow_series=True)
    if isinstance(given, nw.Series):
        given = given.alias(str(given.name or "prompt")).to_frame()
    elif isinstance(given, nw.LazyFrame):
        given = given.collect()
    backend = given.implementation
    # An existing column belongs to the user: the new one gets another name.
    new = {f"nbchat_{name}" if name in given.columns else name: values for name, values in columns.items()}
    series = [
        nw.new_series(name, list(values), _dtype(nw, values), backend=backend) for name, values in new.items()
    ]
    return given.with_columns(*series).to_native()


def make_frame(columns: Mapping[str, Sequence[Any]], library: str | None = None) -> Any:  # noqa: ANN401
    """Return a new frame.

    Parameters
    ----------
    library
        `pandas`, `polars` or `pyarrow`. `None` selects one that is loaded, else one that is installed.

    Raises
    ------
    ValueError
        If the library is not one of these.
    CommandError
        If no such library is installed.
    """
    if library is not None and library not in LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(LIBRARIES)}, not {library!r}.")
    chosen = library or next((name for name in LIBRARIES if name in sys.modules), None)
    chosen = chosen or next((name for name in LIBRARIES if importlib.util.find_spec(name)), None)
    if chosen is None:
        raise CommandError("no library for data frames is installed.", hint="pip install pandas, or polars.")
    nw = narwhals()
    schema = {name: _dtype(nw, values) for name, values in columns.items()}
    data = {name: list(values) for name, values in columns.items()}
    return nw.from_dict(data, schema, backend=chosen).to_native()


def _dtype(nw: ModuleType, values: Sequence[Any]) -> Any:  # noqa: ANN401 - a narwhals type
    """Return the type of a column, which may be empty or contain only `None`."""
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {bool}:
        return nw.Boolean()
    if kinds and kinds <= {int} and None not in values:
        return nw.Int64()
    if kinds and kinds <= {int, float}:
        return nw.Float64()
    return nw.String()


RUN_COLUMNS: Final = (
    *("session_id", "session", "run_id", "kind", "state", "model", "finish_reason", "error"),
    *("queued_at", "started_at", "first_delta_at", "ended_at"),
    *("queued_s", "waiting_s", "streaming_s", "duration_s", "time_to_first_token_s"),
    *("characters", "characters_per_s", "input_tokens", "output_tokens", "tokens_per_s", "retries"),
    "cost_usd",
)
"""Columns of `Session.to_frame` and `SessionRegistry.to_frame`: times in seconds, `_at` since 1970 UTC."""


def runs_frame(sessions: Sequence[SessionState], library: str | None) -> Any:  # noqa: ANN401 - a frame
    """Return a frame with a row for each run, oldest first in each session."""
    rows = [_run_row(session, run) for session in sessions for run in session.runs]
    columns = {name: [row[name] for row in rows] for name in RUN_COLUMNS}
    return make_frame(columns, library)


def _run_row(session: SessionState, run: RunRecord) -> dict[str, Any]:
    streaming_s = _between(run.first_delta_at, run.ended_at or run.last_delta_at)
    usage = run.usage
    output_tokens = usage.output_tokens if usage is not None else None
    return {
        "session_id": session.id,
        "session": session.title,
        "run_id": run.id,
        "kind": str(run.kind),
        "state": str(run.state),
        "model": run.model,
        "finish_reason": run.finish_reason,
        "error": run.error.code if run.error is not None else None,
        "queued_at": run.queued_at,
        "started_at": run.started_at,
        "first_delta_at": run.first_delta_at,
        "ended_at": run.ended_at,
        "queued_s": _between(run.queued_at, run.started_at or run.ended_at),
        "waiting_s": _between(run.started_at, run.first_delta_at or run.ended_at),
        "streaming_s": streaming_s,
        "duration_s": _between(run.started_at, run.ended_at),
        "time_to_first_token_s": _between(run.started_at, run.first_delta_at),
        "characters": run.characters,
        "characters_per_s": rate(run.characters, streaming_s),
        "input_tokens": usage.input_tokens if usage is not None else None,
        "output_tokens": output_tokens,
        "tokens_per_s": rate(output_tokens, streaming_s),
        "retries": run.attempt,
        "cost_usd": None if (cost := prices.run_cost(session, run)) is None else float(cost),
    }


def _between(start: float | None, end: float | None) -> float | None:
    return max(end - start, 0.0) if start is not None and end is not None else None


def rate(count: int | None, seconds: float | None) -> float | None:
    """Return a count per second, or `None` if it is unknown."""
    return count / seconds if count is not None and seconds else None

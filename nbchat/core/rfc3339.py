"""Conversion of times to text in UTC and back, exact to the nanosecond (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import floor

from nbchat.core.values import DecodeError


def to_rfc3339(seconds: float) -> str:
    """Return a time as in RFC 3339, in UTC, exact to the nanosecond."""
    whole = floor(seconds)
    nanos = round((seconds - whole) * 1e9)
    if nanos == 1_000_000_000:  # noqa: PLR2004 - rounded up
        whole, nanos = whole + 1, 0
    minute = _minute(whole // 60)
    if nanos:
        return f"{minute}{whole % 60:02d}.{nanos:09d}".rstrip("0") + "Z"
    return f"{minute}{whole % 60:02d}Z"


@lru_cache(maxsize=4096)
def _minute(number: int) -> str:
    return datetime.fromtimestamp(number * 60, UTC).strftime("%Y-%m-%dT%H:%M:")


def from_rfc3339(text: object, path: str = "") -> float:
    """Return seconds since 1970-01-01 UTC.

    Raises
    ------
    DecodeError
        If the text is not a time in UTC in the years 1 to 9999.
    """
    if not isinstance(text, str) or not text.endswith("Z") or len(text) > 40:  # noqa: PLR2004 - a time
        raise DecodeError(f"Expected a time such as 2026-01-31T12:00:00Z - at `{path}`")
    whole, _, fraction = text[:-1].partition(".")
    try:
        seconds = _seconds(whole)
        nanos = int(fraction.ljust(9, "0")[:9]) if fraction else 0
    except ValueError:
        raise DecodeError(f"Expected a time such as 2026-01-31T12:00:00Z - at `{path}`") from None
    return float(seconds + nanos / 1e9) if nanos else float(seconds)


@lru_cache(maxsize=4096)
def _seconds(date: str) -> int:
    if len(date) != 19 or (date[4], date[7], date[10], date[13], date[16]) != ("-", "-", "T", ":", ":"):  # noqa: PLR2004 - see above
        raise ValueError(date)  # another format that `fromisoformat` accepts
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())


# A session that streams is saved every few seconds, and most of its times are those of the last save.
@lru_cache(maxsize=16_384)
def time_text(seconds: float) -> str:
    """Return a time as text; 1970 if it is not in the years 1 to 9999."""
    try:
        return to_rfc3339(seconds)
    except (ValueError, OverflowError, OSError):
        return to_rfc3339(0.0)

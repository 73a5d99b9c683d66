"""`Level`, the level of detail of a description, and the limit of a description."""

from __future__ import annotations

from typing import Final, Literal, get_args

Level = Literal["schema", "summary", "rows"]
"""Detail of a description: names and types; also statistics; also the first rows."""

LEVELS: Final[tuple[Level, ...]] = get_args(Level)
"""All levels, least first."""

MAX_CHARS: Final = 6000
"""Maximum characters of one description, about 1,500 tokens."""


def checked_level(level: object) -> Level:
    """Return `level`.

    Raises
    ------
    ValueError
        If `level` is not one of `LEVELS`.
    """
    for known in LEVELS:
        if level == known:
            return known
    raise ValueError(f"unknown level {level!r}; expected one of: {', '.join(LEVELS)}.")


def lower(one: Level, other: Level) -> Level:
    """Return the level that sends less."""
    return LEVELS[min(LEVELS.index(one), LEVELS.index(other))]

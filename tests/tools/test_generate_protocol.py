"""Structs are converted to the TypeScript that describes their JSON."""

import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import pytest
from msgspec import Struct, field, inspect

from tools.generate_protocol import Generator, UnknownType, alias, comment

LIMIT: Final = 3
"""How many there may be."""


class Colour(StrEnum):
    """What it looks like."""

    RED = "red"
    BLUE = "blue"


class Dot(Struct, frozen=True, tag="dot"):
    """A point."""

    at: tuple[float, float]
    colour: Colour = Colour.RED


class Row(Struct, frozen=True, array_like=True):
    """A row."""

    number: int
    """Of the row."""
    text: str


class Group(Struct, frozen=True, tag="group"):
    """Several shapes.

    They may be groups.
    """

    members: "tuple[Shape, ...]"
    """From the back to the front."""
    names: Mapping[str, int] = field(default_factory=dict)
    parent: "Shape | None" = None
    free: Any = None
    choices: tuple[int | None, ...] = ()
    rows: tuple[Row, ...] = ()


Shape = Dot | Group
"""Whatever can be drawn."""

EXPECTED = """\
// Generated from nbchat/protocol.py by `make build`. Do not edit.

/** How many there may be. */
export const LIMIT = 3;

/** What it looks like. */
export type Colour = "red" | "blue";

/** A point. */
export interface Dot {
  readonly at: readonly [number, number];
  readonly colour: Colour;
  readonly type: "dot";
}

/** A row. */
export type Row = readonly [
  /** Of the row. */
  number: number,
  text: string,
];

/**
 * Several shapes.
 *
 * They may be groups.
 */
export interface Group {
  /** From the back to the front. */
  readonly members: readonly Shape[];
  readonly names: Readonly<Record<string, number>>;
  readonly parent: Shape | null;
  readonly free: unknown;
  readonly choices: readonly (number | null)[];
  readonly rows: readonly Row[];
  readonly type: "group";
}

/** Whatever can be drawn. */
export type Shape = Dot | Group;
"""


def test_every_kind_of_type_has_a_counterpart() -> None:
    """Unions, enums, arrays, tuples, mappings, None and Any are written as TypeScript, with docstrings."""
    assert Generator(sys.modules[__name__]).text() == EXPECTED


def test_an_unknown_type_is_refused() -> None:
    """A field that JSON cannot represent is an error when generating, not later on the wire."""
    with pytest.raises(UnknownType, match="BytesType"):
        Generator(sys.modules[__name__]).typescript(inspect.type_info(bytes))


def test_long_lines_are_broken() -> None:
    """Long unions have one line for each member; long comments are wrapped."""
    assert alias("T", ["A" * 50, "B" * 50]) == f"export type T =\n  | {'A' * 50}\n  | {'B' * 50};\n"
    assert comment("word " * 30).splitlines()[1] == " * " + " ".join(["word"] * 19)

"""Print the versions of an environment with the oldest releases that `pyproject.toml` allows.

::

    python -m tools.oldest >constraints.txt

What nbchat itself needs is at the lower end of its range, everything else as in `requirements/dev.txt`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent

RANGE: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)>=(?P<oldest>[0-9.]+)(,<[0-9.]+)?")
FOLLOW: Final = frozenset({"httpcore2"})
"""Packages whose version another one names (httpx2), so that no pin may."""

PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==\S+")


def constraints(ranges: Iterable[str], pins: Iterable[str]) -> Iterator[str]:
    """Yield a line for each package that either names; a range wins.

    Raises
    ------
    ValueError
        A range has no lower end, or is written in a way that is not read here.
    """
    oldest = {}
    for text in ranges:
        found = RANGE.fullmatch(text)
        if found is None:
            raise ValueError(f"not of the form name>=version,<version: {text!r}")
        oldest[_plain(found["name"])] = f"{found['name']}=={found['oldest']}"
    yield from oldest.values()
    for text in pins:
        found = PIN.fullmatch(text.strip())
        if found is not None and _plain(found["name"]) not in {*oldest, *FOLLOW}:
            yield text.strip()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Print the constraints."""
    # JupyterLab's range is left to the browser tests: these constraints are for the Python tests.
    ranges = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in constraints(ranges, (ROOT / "requirements" / "dev.txt").read_text().splitlines()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

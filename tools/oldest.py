"""Print the versions of an environment with the oldest releases that `pyproject.toml` allows.

::

    python -m tools.oldest >constraints.txt

nbchat's dependencies are at the lower bound of their range, all others as in `requirements/dev.txt`.
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
FOLLOW: Final = frozenset({"httpcore2", "pydantic-core"})
"""Packages that must not be pinned, because another package (httpx2, pydantic) pins their version."""

PIN: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==\S+")


def constraints(ranges: Iterable[str], pins: Iterable[str]) -> Iterator[str]:
    """Yield a line for each package in either argument; a range takes precedence over a pin.

    Raises
    ------
    ValueError
        If a range has no lower bound, or its syntax is not supported.
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
    # JupyterLab's range is tested by the browser tests: these constraints are for the Python tests.
    ranges = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for line in constraints(ranges, (ROOT / "requirements" / "dev.txt").read_text().splitlines()):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())

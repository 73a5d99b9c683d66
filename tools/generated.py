"""`write_or_check`: the command line of the scripts that write generated files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def write_or_check(
    wanted: Mapping[Path, str],
    arguments: Sequence[str] | None = None,
    *,
    command: str = "make build",
    obsolete: Iterable[Path] = (),
) -> int:
    """Write files, or with `--check` compare them with what would be written; return the exit status.

    Parameters
    ----------
    wanted
        Text of each file.
    arguments
        Arguments of the command line.
    command
        The command that writes the files, for the message.
    obsolete
        Files that are deleted, and that do not exist if all is up to date.
    """
    parser = argparse.ArgumentParser(description=f"Write {', '.join(path.name for path in wanted)}.")
    parser.add_argument("--check", action="store_true", help="fail if a file is stale; write nothing")
    if not parser.parse_args(arguments).check:
        for path in obsolete:
            path.unlink()
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path
        for path, text in wanted.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in [*stale, *obsolete]:
        print(f"{path.name} is stale. Run `{command}` and commit it.", file=sys.stderr)
    return 1 if [*stale, *obsolete] else 0

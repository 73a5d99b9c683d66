"""Check the type completeness of nbchat's public symbols with `pyright --verifytypes`.

::

    python -m tools.type_completeness
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
PYRIGHT: Final = ROOT / "js" / "node_modules" / ".bin" / "pyright"

LEAST: Final = 0.95
"""Minimum share of exported symbols with known types. The rest come from traitlets and ipywidgets."""


def measure() -> Mapping[str, Any]:
    """Return pyright's report about the installed package.

    Raises
    ------
    subprocess.CalledProcessError
        If pyright fails.
    """
    # pyright finds the package through the first Python in PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [str(PYRIGHT), "--verifytypes", "nbchat", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PATH": path}
    )
    if done.returncode not in (0, 1):  # 1: some types are unknown
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    report: Mapping[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    return report


def main() -> int:
    """Print the share of known types and, if it is too low, the unknown ones."""
    report = measure()
    exported = [symbol for symbol in report["symbols"] if symbol["isExported"]]
    unknown = [symbol for symbol in exported if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]]
    score: float = report["completenessScore"]
    print(f"types known of {score:.1%} of {len(exported):,} exported symbols")
    if exported and score >= LEAST:
        return 0
    for symbol in unknown:
        for diagnostic in symbol["diagnostics"]:
            print(f"{symbol['name']}: {diagnostic['message']}")
    print(f"at least {LEAST:.0%} is wanted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

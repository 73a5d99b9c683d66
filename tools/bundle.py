"""`script` bundles TypeScript for a blank page, as `js/build.mjs` does for a notebook."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]


def script(entry: str) -> str:
    """Return a file under `js/` and its imports, bundled as one self-contained script."""
    aliases = json.loads((ROOT / "js/aliases.json").read_text())
    return subprocess.run(
        [
            ROOT / "js/node_modules/.bin/esbuild",
            ROOT / "js" / entry,
            "--bundle",
            "--format=iife",
            "--target=es2022",
            "--charset=utf8",
            "--log-level=error",
            "--loader:.css=text",
            "--loader:.woff2=dataurl",
            *(f"--alias:{name}={ROOT / 'js' / path}" for name, path in aliases.items()),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

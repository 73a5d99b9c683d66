"""Open JupyterLab on the first demo notebook.

::

    python -m tools.demo                 open it in the browser
    python -m tools.demo --no-browser    print the address and serve
    python -m tools.demo --watch         rebuild the page's half at every change of its sources, too

More arguments go to `jupyter lab`. Everything that JupyterLab writes down goes into a folder of the
virtual environment, so the user's own settings are neither read nor changed. The settings of a provider
are taken away for this one process: the demo talks to the embedded server, without key and network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.jupyter_home import environment

ROOT: Final = Path(__file__).parent.parent
NOTEBOOK: Final = "notebooks/01-first-chat.ipynb"


def command(arguments: Sequence[str]) -> list[str]:
    """Return how JupyterLab is started on the notebook."""
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{NOTEBOOK}",
        # JupyterLab refuses to run as root unless told; containers often have nobody else.
        *(["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
        *arguments,
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; return the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    watch = "--watch" in arguments
    if watch:
        arguments.remove("--watch")
    variables = environment(Path(sys.prefix) / "share" / "nbchat-demo", os.environ)
    # `make demo` installs modules that are not compiled yet: keep what the first start compiles.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    watcher = None
    if watch:
        npm = shutil.which("npm")
        if npm is None:
            print("make dev needs npm; `make` puts one in place.", file=sys.stderr)
            return 1
        watcher = subprocess.Popen([npm, "--prefix", "js", "run", "watch"], cwd=ROOT)
    try:
        return subprocess.run(command(arguments), cwd=ROOT, env=variables, check=False).returncode
    except KeyboardInterrupt:
        return 0
    finally:
        if watcher is not None:
            watcher.terminate()
            watcher.wait()


if __name__ == "__main__":
    sys.exit(main())

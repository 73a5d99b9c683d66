"""Open JupyterLab on the first demo notebook.

::

    python -m tools.demo                 open it in the browser
    python -m tools.demo --no-browser    print the address and serve
    python -m tools.demo --watch         also rebuild the page's code when its sources change

Further arguments are passed to `jupyter lab`. JupyterLab writes all its files to a folder of the virtual
environment, so the user's settings are neither read nor changed. Provider settings are removed from this
process: the demo uses the embedded server, without a key or a network.
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
    """Return the command that starts JupyterLab with the notebook."""
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={ROOT}",
        f"--LabApp.default_url=/lab/tree/{NOTEBOOK}",
        # JupyterLab does not run as root without this option; root is often the only user of a container.
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
    # `make demo` installs modules without bytecode: keep the bytecode that the first start compiles.
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

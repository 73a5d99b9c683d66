"""Find a Chromium for the browser tests, or install one.

::

    python -m tools.chromium             print its path
    python -m tools.chromium --install   install one first if necessary

`NBCHAT_CHROMIUM` sets the path and overrides the search.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PLACES: Final = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
PACKAGE_MANAGERS: Final = (
    (("apt-get", "update"), ("apt-get", "install", "--yes", "--no-install-recommends", "chromium")),
    (("dnf", "install", "--assumeyes", "chromium"),),
    (("apk", "add", "chromium"),),
    (("pacman", "--sync", "--refresh", "--noconfirm", "chromium"),),
)
HINT: Final = """\
The browser tests need Chromium or Chrome. Install one, for example with

    apt-get install chromium               (Debian; as root)
    python -m playwright install chromium  (any system)

or set NBCHAT_CHROMIUM to the path of one that is installed."""


class ChromiumNotFound(RuntimeError):
    """No Chromium is installed, or the one in `NBCHAT_CHROMIUM` does not run."""


def candidates() -> Iterator[str]:
    """Yield possible paths of a Chromium, best first."""
    yield from filter(None, map(shutil.which, NAMES))
    yield from PLACES
    # Imported here, because Debian's Chromium is found without it.
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        yield playwright.chromium.executable_path


def works(path: str) -> bool:
    """Return whether the file is a browser that starts; Ubuntu's `chromium-browser` may be a placeholder."""
    if not Path(path).is_file():
        return False
    try:
        done = subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"Chrom" in done.stdout


def find() -> str:
    """Return the path of a Chromium that starts.

    Raises
    ------
    ChromiumNotFound
        If no Chromium starts; the message lists what to install.
    """
    named = os.environ.get("NBCHAT_CHROMIUM")
    if named is not None:
        if works(named):
            return named
        raise ChromiumNotFound(f"NBCHAT_CHROMIUM is {named!r}, and that is no browser that starts.")
    for path in candidates():
        if works(path):
            return path
    raise ChromiumNotFound(HINT)


def superuser() -> Sequence[str] | None:
    """Return the prefix that runs a command as root without a password prompt; `None` if impossible."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    allowed = subprocess.run([sudo, "--non-interactive", "true"], capture_output=True, check=False)
    return None if allowed.returncode else (sudo, "--non-interactive")


def install() -> None:
    """Install a Chromium with the first method that this machine allows, if any."""
    prefix = superuser()
    for commands in PACKAGE_MANAGERS if prefix is not None else ():
        if shutil.which(commands[0][0]):
            environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
            for command in commands:
                subprocess.run([*(prefix or ()), *command], check=False, env=environment)
            return
    # Playwright's download needs no root rights, and runs if the system's libraries are installed.
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the path; return the exit status."""
    parser = argparse.ArgumentParser(prog="chromium", description="Find a Chromium for the browser tests.")
    parser.add_argument("--install", action="store_true", help="install one where there is none")
    wanted = parser.parse_args(arguments)
    try:
        print(find())
    except ChromiumNotFound as error:
        if not wanted.install or "NBCHAT_CHROMIUM" in os.environ:
            print(error, file=sys.stderr)
            return 1
    else:
        return 0
    install()
    return main([])


if __name__ == "__main__":
    sys.exit(main())

"""The commands `nbchat runner list`, `stop` and `doctor`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

from nbchat.core.errors import NbchatError
from nbchat.core.version import VERSION
from nbchat.runner.link import Link, greet
from nbchat.runner.places import addresses, folder
from nbchat.runner.spawn import environment_of_runner

CALL_S = 5.0
"""Longest wait for a runner's answer."""


def _links() -> Iterator[Link]:
    """Yield a link to each runner of this user that answers."""
    for address in addresses(folder()):
        try:
            link = Link(*greet(address, is_kernel=False), lambda *_: None, lambda _link: None)
        except (OSError, ValueError, NbchatError):
            continue  # its process was killed, or is stopped
        link.start()
        yield link


def described() -> str:
    """Return a line for each runner."""
    lines = []
    for link in _links():
        try:
            stats = link.call("stats", CALL_S)
            batches = link.call("batches", CALL_S)
        except (OSError, NbchatError):
            continue
        finally:
            link.close()
        found = link.greeting
        lines.append(
            f"{found.pid:>8}  {stats['sessions']} sessions, {stats['live']} live, {stats['queued']} queued"
            f"{''.join(f', a batch with {done:,} of {total:,} answers' for done, total in batches)}"
            f"  nbchat {found.version}  {found.notebook}\n"
        )
    return "".join(lines) or "no runner\n"


def stop(notebooks: Sequence[str]) -> str:
    """Ask runners to finish and to end; return a line for each."""
    wanted = {os.path.realpath(path) for path in notebooks}
    lines = []
    for link in _links():
        if not wanted or os.path.realpath(link.greeting.notebook) in wanted:
            with suppress(OSError, NbchatError):
                link.call("drain", CALL_S)
                lines.append(f"{link.greeting.pid:>8}  {link.greeting.notebook} ends\n")
        link.close()
    return "".join(lines) or "no such runner\n"


def doctor() -> str:
    """Return where runners are, and the environment that they get."""
    place = folder()
    given = environment_of_runner()
    left_out = sorted(set(os.environ) - set(given))
    return "".join(
        [
            f"nbchat {VERSION}, Python {sys.version.split()[0]} ({sys.executable})\n",
            f"folder: {place} (mode {place.stat().st_mode & 0o777:o})\n",
            f"NBCHAT_RUNNER: {os.environ.get('NBCHAT_RUNNER', 'not set')}\n",
            "environment of a runner:\n",
            *(f"  {name}={value}\n" for name, value in sorted(given.items())),
            f"not passed to a runner: {', '.join(left_out) or 'nothing'}\n",
            "runners:\n",
            described(),
        ]
    )

"""`this_process` and `has_ended`: names of processes, by which a store detects that a holder was killed."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def this_process() -> str:
    """Return the name of this process: its host and its id."""
    return f"{platform.node()} {os.getpid()}"


def is_of_this_host(owner: str) -> bool:
    """Return whether the process runs on this host."""
    host = owner.rpartition(" ")[0]
    return host != "" and host == platform.node()


def has_ended(owner: str) -> bool:
    """Return True if the process is known to have ended; False for a process on another host.

    A wrong answer does no harm: at worst a lease is taken over early, and its holder's writes are refused.
    """
    pid = owner.rpartition(" ")[2]
    if not is_of_this_host(owner) or os.name == "nt":  # Windows: `kill` would end the process
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False
    return _is_zombie(pid)


def _is_zombie(pid: str) -> bool:
    """Return whether a process has ended and its parent has not noticed; Linux only."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[:1] == ["Z"]

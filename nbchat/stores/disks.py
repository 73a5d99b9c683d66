"""`is_local` checks that a folder is on a disk of this machine, as SQLite's shared memory requires."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Final

_LOCAL: Final = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0xF2F52010,  # F2FS
        0x2FC12FC1,  # ZFS
        0x01021994,  # tmpfs
        0x794C7630,  # overlay, as in containers
    }
)
"""Values of `f_type` in `statfs` of file systems that only one machine uses at a time."""


def is_local(folder: Path) -> bool:
    """Return whether a folder is known to be on a local disk; False on systems other than Linux."""
    if sys.platform != "linux":
        return False
    found = (ctypes.c_ulong * 64)()  # larger than `struct statfs`, which begins with `f_type`
    try:
        failed = ctypes.CDLL(None).statfs(os.fsencode(folder), found)
    except (OSError, AttributeError):
        return False
    return failed == 0 and found[0] in _LOCAL

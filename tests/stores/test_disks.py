"""`is_local` recognizes folders on local disks."""

import sys
from pathlib import Path

import pytest

from nbchat.stores.disks import is_local


def test_unknown_file_systems_and_missing_folders_are_not_local(tmp_path: Path) -> None:
    """Only a folder whose file system is known to be local counts as local."""
    assert not is_local(Path("/proc"))
    assert not is_local(tmp_path / "missing")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, no folder is known to be local")
def test_a_file_system_in_memory_is_local() -> None:
    """A folder in memory belongs to this machine."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    if ["/dev/shm", "tmpfs"] not in mounts:
        pytest.skip("/dev/shm is no file system in memory here")
    assert is_local(Path("/dev/shm"))

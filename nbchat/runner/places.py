"""Sockets of runners: `<Jupyter runtime folder>/nbchat/<hash of the notebook's path>.sock`.

The folder is only accessible to its user. A socket's path may have about 100 bytes; where it would be longer,
and where there are no Unix sockets, a file holds a port on loopback and a token.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from nbchat.core.errors import CommandError
from nbchat.stores.places import digest

MAX_PATH: Final = 90
"""Bytes of a socket's path, with room for the temporary name under which it is made."""

_SO_PEERCRED: Final = 17
_LOCAL_PEERCRED: Final = 1

SOCKET: Final = ".sock"
PORT: Final = ".port"


def folder() -> Path:
    """Return the folder of sockets, locks and logs; it is created if necessary.

    Raises
    ------
    CommandError
        If another user could write to it, or Jupyter is not installed.
    """
    own = os.environ.get("NBCHAT_RUNNER_DIR")
    if own:
        place = Path(own)
    else:
        try:
            from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415 - imported with a runner only
        except ImportError as error:
            raise CommandError(
                "runners need Jupyter, which is not installed in this environment.",
                hint="Use the environment of the notebook's kernel.",
            ) from error
        place = Path(jupyter_runtime_dir()) / "nbchat"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.name == "posix":
        found = place.stat()
        if found.st_uid != os.getuid():
            raise CommandError(
                f"{place} belongs to another user.", hint="Remove it, or set JUPYTER_RUNTIME_DIR."
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            place.chmod(0o700)
    return place


class Place:
    """The files of the runner of one notebook."""

    def __init__(self, notebook: str, in_folder: Path | None = None) -> None:
        self.notebook = notebook
        self.elsewhere: Callable[[], Place | None] = lambda: None
        """Returns the place of a runner that serves the notebook under an earlier path."""
        self.explain_wait: Callable[[], Callable[[], None]] = lambda: lambda: None
        """Shows that the start of a runner takes long; returns a function that removes the text."""
        self.name: str = digest(notebook)[:16]
        self.folder: Path = folder() if in_folder is None else in_folder
        self.lock: Path = self.folder / f"{self.name}.lock"
        self.log: Path = self.folder / f"{self.name}.log"
        self.socket: Path = self.folder / f"{self.name}{SOCKET}"
        self.port: Path = self.folder / f"{self.name}{PORT}"

    def __repr__(self) -> str:
        """Return the socket's path."""
        return f"<Place {self.address}>"

    @property
    def has_socket(self) -> bool:
        """True if this system has Unix sockets, and the path is short enough."""
        return hasattr(socket, "AF_UNIX") and len(os.fsencode(self.socket)) <= MAX_PATH

    @property
    def address(self) -> Path:
        """The file that exists while the runner listens."""
        return self.socket if self.has_socket else self.port


def addresses(in_folder: Path) -> Iterator[Path]:
    """Yield the addresses of all runners of the user; some may be left over from killed ones."""
    for path in sorted(in_folder.iterdir()):
        if path.suffix in (SOCKET, PORT):
            yield path


def is_same_user(peer: socket.socket) -> bool:
    """Return whether the process at the other end of a Unix socket belongs to this user."""
    if sys.platform == "linux":
        found = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, struct.calcsize("3i"))
        return bool(struct.unpack("3i", found)[1] == os.getuid())
    if sys.platform == "darwin":
        found = peer.getsockopt(0, _LOCAL_PEERCRED, 76)
        return bool(struct.unpack_from("2I", found)[1] == os.getuid())
    return True  # the folder is closed to others


def is_suspended(peer: socket.socket) -> bool:
    """Return whether the process that listens at a Unix socket is known to be suspended, as by SIGSTOP."""
    if sys.platform != "linux":
        return False
    found = peer.getsockopt(socket.SOL_SOCKET, _SO_PEERCRED, struct.calcsize("3i"))
    with suppress(OSError):
        state = Path(f"/proc/{struct.unpack('3i', found)[0]}/stat").read_text("utf-8").rpartition(") ")[2]
        return state.startswith("T")
    return False

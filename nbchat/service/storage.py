"""`SqliteFolder`: the stores of a service, one SQLite file for each namespace.

`storage_at` chooses a storage by its URL.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from nbchat.core.errors import CommandError, ConfigError
from nbchat.stores.base import FencedStore
from nbchat.stores.sqlite import SqliteStore

_BATCH: Final = re.compile(r"b-[0-9a-f]{32}")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")

BUSY_S: Final = 5.0
"""Longest wait for another process that has locked a file."""


class Storage(Protocol):
    """The stores of all namespaces."""

    def open(self, namespace: str) -> FencedStore:
        """Open the store of a namespace. Blocks.

        Raises
        ------
        NbchatError
            If it cannot be opened.
        """
        ...

    def batch(self, namespace: str, batch_id: str) -> Path | None:
        """Return the path of the answers of a batch; `None` if they stay in memory. Blocks."""
        ...

    def cache(self, namespace: str) -> Path:
        """Return the path of the cache of answers of a namespace."""
        ...


class SqliteFolder:
    """Stores in a folder, for one process. Implements `Storage`.

    Parameters
    ----------
    folder
        The folder; it is created if necessary, and only its user can read it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def __repr__(self) -> str:
        """Return the folder."""
        return f"<SqliteFolder {self._folder}>"

    def open(self, namespace: str) -> FencedStore:
        """Open the store of a namespace."""
        return SqliteStore(self._folder / f"{file_name(namespace)}.sqlite", busy_s=BUSY_S, shared=True)

    def batch(self, namespace: str, batch_id: str) -> Path | None:
        """Return the path of the answers of a batch."""
        if _BATCH.fullmatch(batch_id) is None:
            raise CommandError(f"{batch_id!r} is not the id of a batch.")
        folder = self._folder / "batches"
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder / f"{file_name(namespace)}-{batch_id}.jsonl"

    def cache(self, namespace: str) -> Path:
        """Return the path of the cache of answers of a namespace."""
        return self._folder / "cache" / f"{file_name(namespace)}-1.sqlite"


def file_name(namespace: str) -> str:
    """Return a part of a file's name that no other namespace has, also where case does not count."""
    return "".join(
        character if character in _PLAIN else "".join(f"%{byte:02x}" for byte in character.encode("utf-8"))
        for character in namespace
    )


def storage_at(url: str) -> Storage:
    """Return the storage at a URL such as `sqlite:///var/lib/nbchat`, or in a folder.

    Raises
    ------
    ConfigError
        If there is no storage of this kind.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        return SqliteFolder(Path(url))
    if parts.scheme == "sqlite" and not parts.netloc and parts.path not in ("", "/"):
        return SqliteFolder(Path(unquote(parts.path)))
    raise ConfigError(f"the store {parts.scheme}: is not known; use sqlite:/// and the path of a folder.")

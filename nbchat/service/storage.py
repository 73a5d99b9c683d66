"""`SqliteFolder` and `RedisStorage`: the stores of a service, one for each namespace.

`storage_at` chooses a storage by its URL.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlsplit

from nbchat.batch_engine.answer_file import FilePlace
from nbchat.core.errors import CommandError, ConfigError
from nbchat.stores import places
from nbchat.stores.base import FencedStore
from nbchat.stores.sqlite import SqliteStore

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import Place
    from nbchat.stores.redis_replicas import RedisReplicas

_BATCH: Final = re.compile(r"b-[0-9a-f]{32}")
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._-")

MAX_STORED: Final = 200
"""Maximum characters of a stored name: that of a batch's file, which has 40 more, must be valid."""

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

    def batch(self, namespace: str, batch_id: str, *, joins: bool = False) -> Place:
        """Return the place of the answers of a batch. Blocks.

        Parameters
        ----------
        joins
            Another process began the batch, and decides which failed prompts are sent again.
        """
        ...

    def batch_bytes(self, namespace: str) -> int:
        """Return the bytes of the answers of all batches of a namespace. Blocks.

        Raises
        ------
        StoreError
            If they cannot be read.
        """
        ...

    def cache(self, namespace: str) -> Path:
        """Return the path of the cache of answers of a namespace."""
        ...

    def join(self, address: str) -> Directory | None:
        """Write an address into the stores that are opened, and return a directory of the others.

        `None` if only one process can use the stores.
        """
        ...


class Directory(Protocol):
    """The replicas of a service, and the namespaces that they hold. Methods block."""

    def announce(self, address: str, seconds: float) -> str:
        """Announce a replica for some time; return the secret that all replicas share."""
        ...

    def announced(self) -> Sequence[str]:
        """Return the addresses of all replicas that are announced."""
        ...

    def leave(self, address: str) -> None:
        """Announce a replica no longer."""
        ...

    def holder(self, namespace: str) -> str | None:
        """Return the address of the replica that holds a namespace; `None` if it was released."""
        ...

    def close(self) -> None:
        """Close the connections."""
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
        """Open the store of a namespace, and delete answers of batches that were not used for a week."""
        places.remove_old_batches(self._batches(namespace))
        return SqliteStore(self._folder / f"{stored_name(namespace)}.sqlite", busy_s=BUSY_S, shared=True)

    def batch(self, namespace: str, batch_id: str, *, joins: bool = False) -> Place:  # noqa: ARG002 - one process
        """Return the place of the answers of a batch."""
        _check_batch(batch_id)
        folder = self._folder / "batches"
        folder.mkdir(exist_ok=True, mode=0o700)
        return FilePlace(folder / f"{stored_name(namespace)}-{batch_id}.jsonl")

    def _batches(self, namespace: str) -> Iterator[Path]:
        return (self._folder / "batches").glob(f"{stored_name(namespace)}-b-{'?' * 32}.jsonl")

    def batch_bytes(self, namespace: str) -> int:
        """Return the size of the files with the answers of batches."""
        found = 0
        for path in self._batches(namespace):
            with suppress(FileNotFoundError):
                found += path.stat().st_size
        return found

    def cache(self, namespace: str) -> Path:
        """Return the path of the cache of answers of a namespace."""
        return self._folder / "cache" / f"{stored_name(namespace)}-1.sqlite"

    def join(self, address: str) -> None:
        """Return `None`: the folder has one process."""


def _check_batch(batch_id: str) -> None:
    if _BATCH.fullmatch(batch_id) is None:
        raise CommandError(f"{batch_id!r} is not the id of a batch.")


def stored_name(namespace: str) -> str:
    """Return the name of a namespace in files and keys. No other one has it, also where case does not count.

    Characters other than `a` to `z`, digits and `._-` are written as `%` and two hexadecimal digits for each
    byte in UTF-8, so that `urllib.parse.unquote` returns the namespace. A name of more than `MAX_STORED`
    characters is cut, and ends with `%%` and its SHA-256.
    """
    name = "".join(
        character if character in _PLAIN else "".join(f"%{byte:02x}" for byte in character.encode("utf-8"))
        for character in namespace
    )
    if len(name) <= MAX_STORED:
        return name
    end = f"%%{hashlib.sha256(namespace.encode('utf-8')).hexdigest()}"
    return name[: MAX_STORED - len(end)] + end


class RedisStorage:
    """Stores on a server of Redis or Valkey, for any number of processes. Implements `Storage`.

    The cache of answers of a process is on its own disk.

    Parameters
    ----------
    url
        Address of the server.

    Raises
    ------
    ConfigError
        If the extra `redis` is not installed, or the URL is not valid.
    StoreError
        If the server cannot be reached or cannot keep sessions. The hint has the remedy.
    """

    def __init__(self, url: str) -> None:
        from nbchat.batch_engine.shared_answers import SharedPlace  # noqa: PLC0415 - only where it is used
        from nbchat.stores import redis, redis_batch, redis_replicas  # noqa: PLC0415 - as above

        self._shared = SharedPlace
        self._store, self._replicas = redis.RedisStore, redis_replicas.RedisReplicas
        self._batch_bytes = redis_batch.memory_of
        self._url = url
        self._address = ""
        self.open("start").close()  # checks the server

    def __repr__(self) -> str:
        """Return the class only: the URL may have a password."""
        return "<RedisStorage>"

    def open(self, namespace: str) -> FencedStore:
        """Open the store of a namespace."""
        return self._store(self._url, stored_name(namespace), address=self._address)

    def batch(self, namespace: str, batch_id: str, *, joins: bool = False) -> Place:
        """Return the place of the answers of a batch."""
        _check_batch(batch_id)
        return self._shared(self._url, stored_name(namespace), batch_id, joins=joins)

    def batch_bytes(self, namespace: str) -> int:
        """Return the memory that the server uses for the answers of batches."""
        return self._batch_bytes(self._url, stored_name(namespace))

    def cache(self, namespace: str) -> Path:
        """Return the path of the cache of answers of a namespace, on the disk of this process."""
        return places.answer_cache().with_name(f"{stored_name(namespace)}-1.sqlite")

    def join(self, address: str) -> Directory:
        """Write an address into the stores that are opened, and return a directory of the others."""
        self._address = address
        return _RedisDirectory(self._replicas(self._url))


class _RedisDirectory:
    """A directory with the names of namespaces as in `RedisStorage`. Implements `Directory`."""

    def __init__(self, replicas: RedisReplicas) -> None:
        self.announce = replicas.announce
        self.announced = replicas.announced
        self.leave = replicas.leave
        self.close = replicas.close
        self._replicas = replicas

    def __repr__(self) -> str:
        """Return the replicas."""
        return f"<Directory of {self._replicas!r}>"

    def holder(self, namespace: str) -> str | None:
        """Return the address of the replica that holds a namespace; `None` if it was released."""
        return self._replicas.holder(stored_name(namespace))


def storage_at(url: str) -> Storage:
    """Return the storage at a URL such as `sqlite:///var/lib/nbchat` or `redis://host:6379`, or in a folder.

    Raises
    ------
    ConfigError
        If there is no storage of this kind.
    StoreError
        If it cannot be used.
    """
    parts = urlsplit(url)
    if not parts.scheme:
        return SqliteFolder(Path(url))
    if parts.scheme == "sqlite" and not parts.netloc and parts.path not in ("", "/"):
        return SqliteFolder(Path(unquote(parts.path)))
    if parts.scheme in ("redis", "rediss", "unix"):
        return RedisStorage(url)
    raise ConfigError(
        f"the store {parts.scheme}: is not known.",
        hint="Use sqlite:/// and the path of a folder, or redis:// and the address of a server.",
    )

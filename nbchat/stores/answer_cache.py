"""`AnswerCache`: complete answers in one SQLite file, by the hash of the request.

Several processes can use the file at the same time. It is opened for each access, so that no process holds
it. A cache may lose its answers at any time: writes do not wait for the disk, a damaged file is removed, and
a row with a wrong checksum counts as missing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nbchat.core.cached import CachedAnswer
from nbchat.core.errors import StoreError
from nbchat.core.values import DecodeError, decode_json, encode_json
from nbchat.stores.sqlite_tables import DAMAGED, code_of, transaction

logger = logging.getLogger("nbchat")

BUSY_S: Final = 1.0
"""Maximum seconds to wait for another process that reads or writes the file."""

KEPT: Final = 0.9
"""Fraction of the size limit that answers fill after some were removed to make room."""

LARGEST: Final = 0.1
"""Fraction of the size limit above which a single answer is not stored."""

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY,
        tokens INTEGER NOT NULL,
        uses INTEGER NOT NULL,
        used_at REAL NOT NULL,
        size INTEGER NOT NULL,
        crc32 INTEGER NOT NULL,
        body BLOB NOT NULL
    )
"""

_LEAST_VALUABLE: Final = """
    SELECT key FROM answers WHERE key != ?
    ORDER BY (1 + uses) * (1 + tokens) / ((1000.0 + size) * (1 + max(? - used_at, 0) / 86400.0))
"""
"""Answers that are rarely used, cost few tokens, are large, or were last used long ago come first."""

_lock: Final = threading.Lock()
"""Held during each access: threads of one process would otherwise wait in SQLite, which polls."""


class AnswerCache:
    """Reads and writes the answers in a file. For use from any thread; each method may block.

    Parameters
    ----------
    path
        The file. `put` creates it and its folder, readable only by the user.
    clock
        Returns the time in seconds since 1970-01-01 UTC.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self._clock = clock

    def __repr__(self) -> str:
        """Return the file's name."""
        return f"<AnswerCache {self.path.name}>"

    def get(self, key: str) -> CachedAnswer | None:
        """Return the answer with this key; `None` if there is none, or the file cannot be read."""
        try:
            if not self.path.exists():
                return None
            with self._open() as connection:
                return self._read(connection, key)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return None

    def _read(self, connection: sqlite3.Connection, key: str) -> CachedAnswer | None:
        row = connection.execute("SELECT crc32, body FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        answer = _decoded(key, *row)
        if answer is None:
            logger.warning("an answer in %s is damaged and is not used", self.path)
            return None
        with contextlib.suppress(sqlite3.OperationalError):  # it may be locked, or on a read-only disk
            connection.execute(
                "UPDATE answers SET uses = uses + 1, used_at = ? WHERE key = ?", (self._clock(), key)
            )
        return answer

    def put(self, key: str, answer: CachedAnswer, max_bytes: int) -> bool:
        """Store an answer, and remove others if the file becomes larger than `max_bytes`.

        Returns
        -------
        False if the answer is too large, or the file cannot be written.
        """
        body = encode_json(answer)
        if len(body) > max_bytes * LARGEST:
            return False
        now = self._clock()
        row = (key, answer.tokens, 0, now, len(body), _checksum(key, body), body)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Created here, so that it is never readable by other users.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            with self._open() as connection:
                connection.execute("PRAGMA auto_vacuum = FULL")  # the file shrinks with its contents
                with transaction(connection):
                    connection.execute(_TABLE)
                    connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                    if _size(connection) > max_bytes:
                        _make_room(connection, key, now, max_bytes * KEPT)
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return False
        return True

    def clear(self) -> int:
        """Remove all answers and return their number.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        try:
            if not self.path.exists():
                return 0
            with self._open() as connection, transaction(connection):
                connection.execute(_TABLE)
                return connection.execute("DELETE FROM answers").rowcount
        except (sqlite3.Error, OSError) as error:
            if self._failed(error):
                return 0
            raise StoreError(f"the cache {str(self.path)!r} could not be cleared: {error}.") from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        where = f"{self.path.absolute().as_uri()}?mode=rw"  # without this, SQLite would create the file
        with (
            _lock,
            contextlib.closing(
                sqlite3.connect(where, timeout=BUSY_S, isolation_level=None, uri=True)
            ) as connection,
        ):
            connection.execute("PRAGMA synchronous = OFF")
            yield connection

    def _failed(self, error: sqlite3.Error | OSError) -> bool:
        """Remove the file if it is damaged; return whether it was."""
        if not isinstance(error, sqlite3.Error) or code_of(error) not in DAMAGED:
            logger.debug("the cache of answers cannot be used: %s", error)
            return False
        logger.warning("the cache of answers is damaged and is removed: %s (%s)", self.path, error)
        with contextlib.suppress(OSError):
            for name in (f"{self.path}-journal", str(self.path)):
                Path(name).unlink(missing_ok=True)
        return True


def _decoded(key: str, crc32: object, body: object) -> CachedAnswer | None:
    """Return the answer of a row; `None` if the row is damaged."""
    if not isinstance(body, bytes) or crc32 != _checksum(key, body):
        return None
    with contextlib.suppress(DecodeError):
        answer: CachedAnswer = decode_json(CachedAnswer, body)
        return answer
    return None


def _checksum(key: str, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(key.encode()))


def _size(connection: sqlite3.Connection) -> int:
    """Return the bytes of the file that are in use, with the changes of this transaction."""
    pages, free, of = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * of


def _make_room(connection: sqlite3.Connection, but: str, now: float, max_bytes: float) -> None:
    """Remove the least valuable answers other than `but`, until at most `max_bytes` are in use."""
    for (key,) in connection.execute(_LEAST_VALUABLE, (but, now)).fetchall():
        connection.execute("DELETE FROM answers WHERE key = ?", (key,))
        if _size(connection) <= max_bytes:
            return

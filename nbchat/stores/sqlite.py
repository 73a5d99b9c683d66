"""`SqliteStore`: a store in one SQLite file.

The file is locked while it is open (`locking_mode=EXCLUSIVE`), so the write-ahead log needs no shared memory
and also works on network file systems, on which JupyterHubs often have home folders. A second kernel gets
`StoreBusy` and changes nothing. Committed entries survive the end of the process at once, since the file
system has them. They survive a crash of the machine up to the last checkpoint, because writes do not wait for
the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from nbchat.core.errors import SnapshotTooNew, StoreBusy, StoreError, StoreFull, StoreReadOnly
from nbchat.stores.base import Base, Contents, Entry, Gone, Kept, Stretch, arrange, crc

LAYOUT: Final = 1
"""Version of the tables. It increases when an older nbchat could misread them."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bases (
    session_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS stretches (
    session_id TEXT NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL, epoch TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL, UNIQUE (session_id, first_seq));
CREATE TABLE IF NOT EXISTS gone (session_id TEXT PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL);
"""

_LEAST: Final = 512
"""Size in bytes of the smallest database."""

_UNTIL: Final = "Everything is kept in memory until it can."

_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})

_open_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


class SqliteStore:
    """Stores entries in a file.

    Parameters
    ----------
    path
        The file. It and its folder are created if necessary, readable only by the user.
    busy_s
        Maximum time in seconds to wait for another process that has locked the file.

    Raises
    ------
    StoreBusy
        If another process has locked the file.
    StoreReadOnly, StoreFull, StoreError
        If the file cannot be opened for writing.
    SnapshotTooNew
        If a newer nbchat created the file.

    Notes
    -----
    A damaged database is renamed to `<name>.damaged-1` and so on, never deleted. Its readable entries are
    copied to a new file. Damaged rows are detected by their checksum.
    """

    def __init__(self, path: Path, busy_s: float = 1.0) -> None:
        self.path = path
        self.where: str = str(path)
        self.damage: tuple[str, ...] = ()
        """Descriptions of the entries that could not be read when the file was opened."""
        self._busy_s = busy_s
        self._pid = os.getpid()
        self._lock = threading.RLock()
        with _translated(self.where):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._connection: sqlite3.Connection | None = self._open_or_set_aside()
        _open_stores.add(self)

    def __repr__(self) -> str:
        """Return the file's name and whether it is open."""
        return f"<SqliteStore {self.path.name}{'' if self._connection else ', closed'}>"

    def _open_or_set_aside(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = None
        with contextlib.suppress(FileNotFoundError):
            if 0 < self.path.stat().st_size < _LEAST:
                # SQLite would treat it as an empty database.
                return self._start_again(
                    None, Contents(sessions={}, damage=(f"{self.path.name} is cut off",))
                )
        try:
            connection = self._connect()
            contents = _contents(connection)
            if not contents.damage and _is_sound(connection):
                return connection
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGED:
                if connection is not None:
                    connection.close()
                raise
            contents = Contents(sessions={}, damage=(f"{self.path.name} is not a sound database: {error}",))
        except BaseException:
            if connection is not None:
                connection.close()
            raise
        return self._start_again(connection, contents)

    def _start_again(self, connection: sqlite3.Connection | None, contents: Contents) -> sqlite3.Connection:
        """Rename the damaged file and create a new one with its readable entries."""
        facts: list[tuple[str, str]] = []
        if connection is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                facts = connection.execute("SELECT name, value FROM facts").fetchall()
            with contextlib.suppress(sqlite3.DatabaseError):
                connection.close()
        aside = _aside(self.path)
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{self.path}{suffix}")
            if part.exists():
                part.replace(Path(f"{aside}{suffix}"))
        self.damage = (
            *(contents.damage or ("the database is damaged",)),
            f"the damaged file is {aside.name}",
        )
        fresh = self._connect()
        with _transaction(fresh):
            fresh.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", facts)
            for kept in contents.sessions.values():
                for entry in (kept.base, *kept.stretches, kept.gone):
                    if entry is not None:
                        _write_entry(fresh, entry)
        return fresh

    def _connect(self) -> sqlite3.Connection:
        new = not self.path.exists()
        if new:
            # Created here, so that it is never readable by other users.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        elif not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, "the file cannot be written")
        connection = sqlite3.connect(
            self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            with _transaction(connection):  # acquires the lock, which is then kept
                self._make_tables(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if layout > LAYOUT:
            raise SnapshotTooNew(f"{self.path.name} was written by a newer nbchat (layout {layout}).")
        if layout == 0:
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={LAYOUT}")

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            raise StoreError(f"{self.path.name} is closed.")
        return self._connection

    def read(self) -> Contents:
        """Return all undamaged entries."""
        with self._lock, _translated(self.where):
            return _contents(self._connected())

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        with self._lock, _translated(self.where):
            contents = _contents(self._connected(), session_id)
        return contents.sessions.get(session_id, Kept())

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in one transaction."""
        with self._lock, _translated(self.where):
            connection = self._connected()
            with _transaction(connection):
                for entry in entries:
                    _write_entry(connection, entry)

    def recall(self, name: str) -> str:
        """Return a property of the store."""
        with self._lock, _translated(self.where):
            found = self._connected().execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return "" if found is None else str(found[0])

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        with self._lock, _translated(self.where):
            self._connected().execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Close the file and release its lock."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._pid == os.getpid():
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def keep_open_for_ever(self) -> None:
        """Prevent a forked child from closing the connection, which would affect the parent's file."""
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))


def _after_fork() -> None:
    for store in list(_open_stores):
        store.keep_open_for_ever()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _write_entry(connection: sqlite3.Connection, entry: Entry) -> None:
    key = entry.session_id
    if isinstance(entry, Base):
        connection.execute(
            "INSERT OR REPLACE INTO bases VALUES (?, ?, ?, ?)", (key, entry.seq, entry.body, crc(entry))
        )
        connection.execute(
            "DELETE FROM stretches WHERE session_id = ? AND first_seq + count - 1 <= ?", (key, entry.seq)
        )
        connection.execute("DELETE FROM gone WHERE session_id = ?", (key,))
    elif isinstance(entry, Stretch):
        connection.execute(
            "INSERT OR REPLACE INTO stretches VALUES (?, ?, ?, ?, ?, ?)",
            (key, entry.first_seq, entry.count, entry.epoch, entry.body, crc(entry)),
        )
    else:
        connection.execute("DELETE FROM bases WHERE session_id = ?", (key,))
        connection.execute("DELETE FROM stretches WHERE session_id = ?", (key,))
        connection.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (key, entry.body, crc(entry)))


def _contents(  # noqa: C901 - three tables, read in one way
    connection: sqlite3.Connection, session_id: str | None = None
) -> Contents:
    damage: list[str] = []
    where, values = ("", ()) if session_id is None else (" WHERE session_id = ?", (session_id,))

    def rows(query: str, table: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from connection.execute(query + where, values)
        except sqlite3.DatabaseError as error:
            if _code(error) not in _DAMAGED:
                raise
            damage.append(f"{table}: {error}")

    def sound(entry: Entry, checksum: object) -> bool:
        if _is_intact(entry, checksum):
            return True
        damage.append(f"session {str(entry.session_id)[:80]}: a record is damaged")
        return False

    bases: dict[str, Base] = {}
    gone: dict[str, Gone] = {}
    stretches: list[Stretch] = []
    for key, seq, body, checksum in rows("SELECT session_id, seq, body, crc FROM bases", "bases"):
        base = Base(session_id=key, seq=seq, body=body)
        if sound(base, checksum):
            bases[base.session_id] = base
    query = "SELECT session_id, first_seq, count, epoch, body, crc FROM stretches"
    for key, first, count, epoch, body, checksum in rows(query, "stretches"):
        stretch = Stretch(session_id=key, first_seq=first, count=count, epoch=epoch, body=body)
        if sound(stretch, checksum):
            stretches.append(stretch)
    for key, body, checksum in rows("SELECT session_id, body, crc FROM gone", "gone"):
        stone = Gone(session_id=key, body=body)
        if sound(stone, checksum):
            gone[stone.session_id] = stone
    return arrange(bases, stretches, gone, damage)


def _is_intact(entry: Entry, checksum: object) -> bool:
    try:
        return crc(entry) == checksum
    except (AttributeError, TypeError):  # a damaged row may hold values of any type
        return False


def _is_sound(connection: sqlite3.Connection) -> bool:
    # The checksums cover single rows; this checks the structure of the database.
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    return found is not None and found[0] == "ok"


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has already rolled back.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Convert errors of SQLite and the operating system to nbchat's errors, chained to the original."""
    try:
        yield
    except sqlite3.Error as error:
        raise _error(_code(error), str(error), where) from error
    except OSError as error:
        raise _system_error(error, where) from error


def _error(code: int, text: str, where: str) -> StoreError:
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"another kernel holds {where}.",
            hint="Shut one of the two kernels of this notebook down; this one keeps everything in memory.",
        )
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(
            f"no space is left for {where}.", hint="Free some space; nothing is lost until then."
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return StoreReadOnly(f"{where} cannot be written: {text}.", hint="Everything is kept in memory only.")
    return StoreError(
        f"{where} could not be written: {text}.", hint="Everything is kept in memory until it can."
    )


def _system_error(error: OSError, where: str) -> StoreError:
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(
            f"no space is left for {where}.", hint="Free some space; nothing is lost until then."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return StoreReadOnly(f"{where} cannot be written: {text}.", hint="Everything is kept in memory only.")
    return StoreError(
        f"{where} could not be written: {text}.", hint="Everything is kept in memory until it can."
    )

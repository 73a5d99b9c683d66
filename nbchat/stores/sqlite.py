"""`SqliteStore`: a store in one SQLite file.

By default the file is locked while it is open (`locking_mode=EXCLUSIVE`), so the write-ahead log needs no
shared memory and also works on network file systems, on which JupyterHubs often have home folders. A second
kernel gets `StoreBusy` and changes nothing. Committed entries survive the end of the process at once, since
the file system has them. They survive a crash of the machine up to the last checkpoint, because writes do not
wait for the disk.

A shared store (`shared=True`) locks the file only while it reads or writes, so that another process with a
lease can take over from one that is suspended. The lease decides who may write, and writes wait for the disk.
On a local disk there is a write-ahead log with shared memory, and a write waits for the disk once. Elsewhere
there is a rollback journal, which needs no shared memory, and a write waits up to four times.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, overload

from msgspec.structs import replace

from nbchat.core.errors import SnapshotTooNew, StoreBusy, StoreError, StoreFull, StoreReadOnly
from nbchat.stores.base import (
    MAX_ACKNOWLEDGED,
    MAX_WRITE_IDS,
    Acknowledged,
    Contents,
    Entry,
    Kept,
    Record,
)
from nbchat.stores.bodies import Tails
from nbchat.stores.disks import is_local
from nbchat.stores.fence import admits, check_holder, may_claim, renewed, without_a_lease
from nbchat.stores.owner import is_of_this_host, this_process
from nbchat.stores.sqlite_tables import (
    DAMAGED,
    LAYOUT,
    OTHERS,
    TABLES,
    SqliteLog,
    code_of,
    contents_of,
    decoded,
    is_sound,
    last_lease,
    put_lease,
    transaction,
    trim,
    write_entry,
)

_LEAST: Final = 512
"""Size in bytes of the smallest database."""

_POLL_S: Final = 0.01

_open_stores: weakref.WeakSet[SqliteStore] = weakref.WeakSet()


class SqliteStore:
    """Stores entries in a file. Implements `FencedStore`.

    Parameters
    ----------
    path
        The file. It and its folder are created if necessary, readable only by the user.
    busy_s
        Maximum time in seconds to wait for another process that has locked the file.
    shared
        Other processes may open the file at the same time, and the lease decides which of them writes.
    clock
        Returns the time in seconds since 1970-01-01 UTC.

    Raises
    ------
    StoreBusy
        If another process has locked the file, or holds the lease of a file that is opened alone.
    StoreReadOnly, StoreFull, StoreError
        If the file cannot be opened for writing.
    SnapshotTooNew
        If a newer nbchat created the file.

    Notes
    -----
    A damaged database is renamed to `<name>.damaged-1` and so on, never deleted. Its readable entries are
    copied to a new file. Damaged rows are detected by their checksum.
    """

    def __init__(
        self,
        path: Path,
        busy_s: float = 1.0,
        *,
        shared: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.shared = shared
        self._clock = clock
        self.where: str = str(path)
        self.damage: tuple[str, ...] = ()
        """Descriptions of the entries that could not be read when the file was opened."""
        self._busy_s = busy_s
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._tails = Tails()
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
            contents = contents_of(connection)
            if not contents.damage and is_sound(connection):
                return connection
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # `sqlite3` cannot decode its own message about a schema that is damaged.
            if isinstance(error, sqlite3.Error) and code_of(error) not in DAMAGED:
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
        others: dict[str, list[tuple[Any, ...]]] = {}
        if connection is not None:
            for table in OTHERS:
                with contextlib.suppress(sqlite3.DatabaseError, UnicodeDecodeError):
                    others[table] = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - constants
            with contextlib.suppress(sqlite3.DatabaseError):
                connection.close()
        aside = _aside(self.path)
        for suffix in ("", "-wal", "-shm", "-journal"):
            part = Path(f"{self.path}{suffix}")
            if part.exists():
                part.replace(Path(f"{aside}{suffix}"))
        self.damage = (
            *(contents.damage or ("the database is damaged",)),
            f"the damaged file is {aside.name}",
        )
        fresh, tails = self._connect(), Tails()
        with transaction(fresh):
            for table, rows in others.items():
                for row in rows:
                    marks = ", ".join("?" * len(row))
                    fresh.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - as above
            for kept in contents.sessions.values():
                for entry in (kept.base, *kept.stretches, kept.gone):
                    if entry is not None:
                        write_entry(fresh, entry, tails)
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
        connection.text_factory = decoded
        try:
            if self.shared:
                self._choose_journal(connection)
            else:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                self._refuse_a_lease(connection)
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
            with transaction(connection):  # acquires the lock; in exclusive mode it is then kept
                self._make_tables(connection)
                if not self.shared:
                    self._claim_alone(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _choose_journal(self, connection: sqlite3.Connection) -> None:
        """Use the write-ahead log if all processes that may have the file open share memory."""
        if is_local(self.path.parent) and (
            _mode_of(connection) == "wal"
            or (_was_held_here(connection) and self._set_mode(connection, "WAL") == "wal")
        ):
            connection.execute("PRAGMA synchronous=FULL")  # with the log, NORMAL does not wait for the disk
        else:
            self._set_mode(connection, "PERSIST")
            connection.execute("PRAGMA synchronous=NORMAL")

    def _set_mode(self, connection: sqlite3.Connection, mode: str) -> str:
        """Set the kind of journal, and return the one in use; SQLite does not wait for others by itself."""
        until = time.monotonic() + self._busy_s
        while True:
            try:
                return str(connection.execute(f"PRAGMA journal_mode={mode}").fetchone()[0])
            except sqlite3.OperationalError as error:
                if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise
            time.sleep(_POLL_S)

    def _make_tables(self, connection: sqlite3.Connection) -> None:
        layout = connection.execute("PRAGMA user_version").fetchone()[0]
        if layout > LAYOUT:
            raise SnapshotTooNew(f"{self.path.name} was written by a newer nbchat (layout {layout}).")
        if layout < LAYOUT:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={LAYOUT}")

    def _refuse_a_lease(self, connection: sqlite3.Connection) -> None:
        """Raise `StoreBusy` if the lease is held, before anything in the file is changed."""
        if _mode_of(connection) == "wal":
            return  # no other process has the file open, or this one could not have read it
        with transaction(connection):
            if _has_leases(connection):
                without_a_lease(last_lease(connection), self._clock())

    def _claim_alone(self, connection: sqlite3.Connection) -> None:
        """End an earlier claim, so that its holder cannot write again. Raises `StoreBusy` if it is held."""
        claim = without_a_lease(last_lease(connection), self._clock())
        if claim is not None:
            put_lease(connection, claim)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or self._pid != os.getpid():
            raise StoreError(f"{self.path.name} is closed.")
        return self._connection

    def read(self) -> Contents:
        """Return all undamaged entries."""
        with self._lock, _translated(self.where):
            return contents_of(self._connected())

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        with self._lock, _translated(self.where):
            contents = contents_of(self._connected(), session_id)
        return contents.sessions.get(session_id, Kept())

    # The lease

    def claim(self, token: str, lease_s: float, *, after: str | None = None) -> bool:
        """Claim the lease; return whether the token holds it now."""
        with self._lock, _translated(self.where):
            connection = self._connected()
            with transaction(connection):
                query = "SELECT 1 FROM leases WHERE token = ?"
                used = connection.execute(query, (token,)).fetchone() is not None
                now = self._clock()
                claimed = may_claim(token, last_lease(connection), now, after, used=used)
                if claimed:
                    put_lease(connection, renewed(token, lease_s, now, this_process()))
        return claimed

    def renew(self, token: str, lease_s: float) -> bool:
        """Extend the lease of the token; return False if it does not hold it."""
        with self._lock, _translated(self.where):
            connection = self._connected()
            with transaction(connection):
                last = last_lease(connection)
                held = last is not None and last.token == token and not last.is_released
                if held:
                    put_lease(connection, renewed(token, lease_s, self._clock(), this_process()))
        return held

    def release(self, token: str) -> None:
        """End the lease of the token."""
        with self._lock, _translated(self.where):
            connection = self._connected()
            with transaction(connection):
                last = last_lease(connection)
                if last is not None and last.token == token:
                    put_lease(connection, replace(last, expires_at=0.0))

    def holder(self) -> str | None:
        """Return the token that claimed last, unless it released the lease."""
        with self._lock, _translated(self.where):
            last = last_lease(self._connected())
        return None if last is None or last.is_released else last.token

    # Writing

    @overload
    def write(self, entries: Sequence[Entry], /) -> None: ...

    @overload
    def write(self, token: str, write_id: str, entries: Sequence[Record], /) -> None: ...

    def write(
        self, first: str | Sequence[Entry], write_id: str = "", records: Sequence[Record] = (), /
    ) -> None:
        """Write records in one transaction; see `FencedStore`."""
        with self._lock, _translated(self.where):
            connection = self._connected()
            tails, self._tails = self._tails, Tails()
            with transaction(connection):
                if isinstance(first, str):
                    self._write_fenced(connection, first, write_id, records, tails)
                else:
                    self._claim_alone(connection)
                    for entry in first:
                        write_entry(connection, entry, tails)
            self._tails = tails

    def _write_fenced(
        self,
        connection: sqlite3.Connection,
        token: str,
        write_id: str,
        records: Sequence[Record],
        tails: Tails,
    ) -> None:
        last = last_lease(connection)
        check_holder(token, last)
        query = "INSERT OR IGNORE INTO write_ids (write_id) VALUES (?)"
        if last is None or connection.execute(query, (write_id,)).rowcount == 0:
            return
        log = SqliteLog(connection)
        for record in records:
            if isinstance(record, Acknowledged):
                connection.execute(
                    "INSERT OR IGNORE INTO acknowledged (command_id, body) VALUES (?, ?)",
                    (record.command_id, record.body),
                )
            elif admits(log, record):
                write_entry(connection, record, tails)
            else:
                tails.drop(record.session_id)
        trim(connection, "write_ids", MAX_WRITE_IDS)
        trim(connection, "acknowledged", MAX_ACKNOWLEDGED)
        put_lease(connection, renewed(token, last.lease_s, self._clock(), this_process()))

    def acknowledged(self) -> Mapping[str, bytes]:
        """Return the bodies of the last acknowledgements, oldest first."""
        query = "SELECT command_id, body FROM acknowledged ORDER BY number"
        with self._lock, _translated(self.where):
            return dict(self._connected().execute(query).fetchall())

    # The store itself

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


def _mode_of(connection: sqlite3.Connection) -> str:
    """Return the kind of journal that the file has."""
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def _has_leases(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE name = 'leases'"
    return connection.execute(query).fetchone() is not None


def _was_held_here(connection: sqlite3.Connection) -> bool:
    """Return whether no process of another host may still have the file open, as over NFS."""
    last = last_lease(connection) if _has_leases(connection) else None
    return last is None or last.is_released or is_of_this_host(last.owner)


def _aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return aside


@contextlib.contextmanager
def _translated(where: str) -> Iterator[None]:
    """Convert errors of SQLite and the operating system to nbchat's errors, chained to the original."""
    try:
        yield
    except sqlite3.Error as error:
        raise _error(code_of(error), str(error), where) from error
    except OSError as error:
        raise _system_error(error, where) from error


def _error(code: int, text: str, where: str) -> StoreError:
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"another process holds {where}.",
            hint="Shut the other kernel of this notebook down, or end its runner with `nbchat runner stop`; "
            "this kernel keeps everything in memory until then.",
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

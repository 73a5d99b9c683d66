"""Tables of `SqliteStore`: their layout, and functions that read and write their rows.

The functions take a connection and, if they write, run within a transaction of the caller.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from nbchat.stores.base import MAX_TOKENS, Base, Contents, Entry, Gone, Stretch, arrange, crc
from nbchat.stores.bodies import (
    StoredStretch,
    Tails,
    compressed,
    compressed_after,
    is_dependent,
    maybe_decompressed,
    read_log,
)
from nbchat.stores.fence import Lease

LAYOUT: Final = 3
"""Version of the tables. It increases when an older nbchat could misread them."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bases (
    session_id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS stretches (
    session_id TEXT NOT NULL, first_seq INTEGER NOT NULL, count INTEGER NOT NULL, epoch TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (session_id, first_seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gone (session_id TEXT PRIMARY KEY, body BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS leases (
    number INTEGER PRIMARY KEY AUTOINCREMENT, token TEXT NOT NULL UNIQUE, lease_s REAL NOT NULL,
    expires_at REAL NOT NULL, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS write_ids (
    number INTEGER PRIMARY KEY AUTOINCREMENT, write_id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS ends (
    session_id TEXT NOT NULL, run_id TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (session_id, run_id)
    ) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acknowledged (
    number INTEGER PRIMARY KEY AUTOINCREMENT, command_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
"""

_STRETCHES: Final = "SELECT session_id, first_seq, count, epoch, body, crc FROM stretches"

OTHERS: Final = ("facts", "leases", "write_ids", "ends", "acknowledged")
"""Tables without checksums."""

DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


def write_entry(connection: sqlite3.Connection, entry: Entry, tails: Tails) -> None:
    """Write an entry in place of those that it supersedes."""
    key = entry.session_id
    top, top_crc = 0, None
    if not isinstance(entry, Gone):
        query = "SELECT first_seq + count - 1, crc FROM stretches WHERE session_id = ? "
        row = connection.execute(f"{query}ORDER BY first_seq DESC LIMIT 1", (key,)).fetchone()
        top, top_crc = row or (0, None)
        last = entry.seq if isinstance(entry, Base) else entry.last_seq
        if top > last:
            _make_independent(connection, key, last)
    if isinstance(entry, Base):
        connection.execute(
            "INSERT OR REPLACE INTO bases VALUES (?, ?, ?, ?)",
            (key, entry.seq, compressed(entry.body), crc(entry)),
        )
        connection.execute(
            "DELETE FROM stretches WHERE session_id = ? AND first_seq + count - 1 <= ?", (key, entry.seq)
        )
        connection.execute("DELETE FROM gone WHERE session_id = ?", (key,))
        _write_ends(connection, entry)
    elif isinstance(entry, Stretch):
        connection.execute(
            "DELETE FROM stretches WHERE session_id = ?1 AND first_seq > ?2 AND first_seq <= ?3 "
            "AND first_seq + count - 1 <= ?3",  # the bound of the key makes it independent of the length
            (key, entry.first_seq, entry.last_seq),
        )
        tail = tails.before(entry)
        if tail is not None and (tail.last_seq, tail.checksum) != (top, top_crc):
            tail = None
            tails.drop(key)
        body = compressed(entry.body) if tail is None else compressed_after(tail.text, entry.body)
        epoch = "" if is_dependent(body) else entry.epoch
        connection.execute(
            "INSERT OR REPLACE INTO stretches VALUES (?, ?, ?, ?, ?, ?)",
            (key, entry.first_seq, entry.count, epoch, body, crc(entry)),
        )
        _write_ends(connection, entry)
    else:
        for table in ("bases", "stretches", "ends"):
            connection.execute(f"DELETE FROM {table} WHERE session_id = ?", (key,))  # noqa: S608 - constants
        connection.execute("INSERT OR REPLACE INTO gone VALUES (?, ?, ?)", (key, entry.body, crc(entry)))
    tails.add(entry)


def _make_independent(connection: sqlite3.Connection, session_id: str, seq: int) -> None:
    """Compress the stretches of a session alone if one after `seq` needs others, which may be replaced."""
    query = "SELECT 1 FROM stretches WHERE session_id = ? AND first_seq > ? AND epoch = '' LIMIT 1"
    if connection.execute(query, (session_id, seq)).fetchone() is None:
        return
    rows = connection.execute(f"{_STRETCHES} WHERE session_id = ?", (session_id,)).fetchall()
    for stretch in read_log(_stored(rows), []):
        connection.execute(
            "UPDATE stretches SET epoch = ?, body = ? WHERE session_id = ? AND first_seq = ?",
            (stretch.epoch, compressed(stretch.body), session_id, stretch.first_seq),
        )


def _write_ends(connection: sqlite3.Connection, entry: Base | Stretch) -> None:
    ended = [(entry.session_id, run.run_id, run.seq) for run in entry.runs if run.over]
    if ended:  # a statement without rows costs as much as one with a row
        connection.executemany("INSERT OR IGNORE INTO ends VALUES (?, ?, ?)", ended)


def last_lease(connection: sqlite3.Connection) -> Lease | None:
    """Return the last claim."""
    query = "SELECT token, lease_s, expires_at, owner FROM leases ORDER BY number DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    return None if row is None else Lease(*row)


def put_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    """Write a claim; the number of a token, and with it the order of claims, never changes."""
    connection.execute(
        "INSERT INTO leases (token, lease_s, expires_at, owner) VALUES (?1, ?2, ?3, ?4) "
        "ON CONFLICT (token) DO UPDATE SET lease_s = ?2, expires_at = ?3, owner = ?4",
        (lease.token, lease.lease_s, lease.expires_at, lease.owner),
    )
    trim(connection, "leases", MAX_TOKENS)


def trim(connection: sqlite3.Connection, table: str, size: int) -> None:
    """Keep the newest `size` rows of a table."""
    connection.execute(
        f"DELETE FROM {table} WHERE number <= (SELECT MAX(number) FROM {table}) - ?",  # noqa: S608 - constants
        (size,),
    )


class SqliteLog:
    """The state of the sessions in a file, for the rules of the lease. Implements `Log`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def _value(self, query: str, *values: object) -> Any:  # noqa: ANN401 - a column
        row = self._connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    def head(self, session_id: str) -> int:
        """Return the number of the last event of a session."""
        query = (
            "SELECT first_seq + count - 1 FROM stretches WHERE session_id = ? ORDER BY first_seq DESC LIMIT 1"
        )
        return max(self._value(query, session_id) or 0, self.base_seq(session_id))

    def base_seq(self, session_id: str) -> int:
        """Return the last event that is included in the base of a session."""
        return self._value("SELECT seq FROM bases WHERE session_id = ?", session_id) or 0

    def writer_of(self, session_id: str, seq: int) -> str | None:
        """Return the epoch of the stretch that contains an event."""
        before = "FROM stretches WHERE session_id = ? AND first_seq <= ?"
        last = f"SELECT first_seq + count - 1 {before} ORDER BY first_seq DESC LIMIT 1"
        if seq > (self._value(last, session_id, seq) or 0):
            return None
        # A stretch that needs the bodies before it has the epoch of the stretch before it.
        query = f"SELECT epoch {before} AND epoch != '' ORDER BY first_seq DESC LIMIT 1"
        epoch: str | None = self._value(query, session_id, seq)
        return epoch

    def is_gone(self, session_id: str) -> bool:
        """Return whether the session is deleted."""
        return self._value("SELECT 1 FROM gone WHERE session_id = ?", session_id) is not None

    def end_of(self, session_id: str, run_id: str) -> int | None:
        """Return the number of the event that ended a run."""
        query = "SELECT seq FROM ends WHERE session_id = ? AND run_id = ?"
        seq: int | None = self._value(query, session_id, run_id)
        return seq


def contents_of(connection: sqlite3.Connection, session_id: str | None = None) -> Contents:
    """Return the undamaged entries of all sessions, or of one, as they are at one moment."""
    # Without a transaction another process could write between two tables, which would look like damage.
    connection.execute("BEGIN")
    try:
        return _contents_of(connection, session_id)
    finally:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _contents_of(connection: sqlite3.Connection, session_id: str | None) -> Contents:
    damage: list[str] = []
    where, values = ("", ()) if session_id is None else (" WHERE session_id = ?", (session_id,))

    def rows(query: str, table: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from connection.execute(query + where, values)
        except sqlite3.DatabaseError as error:
            if code_of(error) not in DAMAGED:
                raise
            damage.append(f"{table}: {error}")

    def sound(entry: Entry, checksum: object) -> bool:
        if _is_intact(entry, checksum):
            return True
        damage.append(f"session {str(entry.session_id)[:80]}: a record is damaged")
        return False

    bases: dict[str, Base] = {}
    gone: dict[str, Gone] = {}
    for key, seq, body, checksum in rows("SELECT session_id, seq, body, crc FROM bases", "bases"):
        base = Base(session_id=key, seq=seq, body=_decompressed(body))
        if sound(base, checksum):
            bases[base.session_id] = base
    stretches = list(read_log(_stored(rows(_STRETCHES, "stretches")), damage))
    for key, body, checksum in rows("SELECT session_id, body, crc FROM gone", "gone"):
        stone = Gone(session_id=key, body=body)
        if sound(stone, checksum):
            gone[stone.session_id] = stone
    return arrange(bases, stretches, gone, damage)


def _stored(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, StoredStretch | None]]:
    """Yield rows of `_STRETCHES` in order. Values of damaged rows may have any type."""
    in_order = sorted(rows, key=lambda row: (str(row[0]), row[1] if isinstance(row[1], int) else 0))
    for key, first, count, epoch, body, checksum in in_order:
        head = Stretch(session_id=key, first_seq=first, count=count, epoch=epoch, body=b"")
        yield key, StoredStretch(head, body, checksum) if isinstance(body, bytes) else None


def _decompressed(body: bytes) -> bytes:
    """Return the body of a base; that of a damaged one differs, which its checksum shows."""
    try:
        return maybe_decompressed(body)
    except (TypeError, zlib.error):
        return body


def decoded(value: bytes) -> str:
    """Decode text of the database; damaged text differs from every id, which its checksum shows."""
    return value.decode("utf-8", "replace")


def _is_intact(entry: Entry, checksum: object) -> bool:
    try:
        return crc(entry) == checksum
    except (AttributeError, TypeError):  # a damaged row may hold values of any type
        return False


def is_sound(connection: sqlite3.Connection) -> bool:
    """Return whether the structure of the database is undamaged; checksums cover single rows only."""
    found = connection.execute("PRAGMA quick_check(1)").fetchone()
    return found is not None and found[0] == "ok"


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Lock the file for writing, and commit at the end or roll back after an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some errors SQLite has already rolled back.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def code_of(error: sqlite3.Error) -> int:
    """Return the primary result code of an error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF

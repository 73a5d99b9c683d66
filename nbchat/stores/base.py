"""`Store`: the protocol of stores and its values. `tests/stores/test_contract.py` tests all of them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class Base(Struct, frozen=True, kw_only=True):
    """A session's state after event `seq`. It supersedes all earlier entries of the session in the store."""

    session_id: str
    seq: int
    body: bytes
    """JSON of the session, from `snapshot.encode_session`."""


class Stretch(Struct, frozen=True, kw_only=True):
    """Consecutive events of one session, all appended by one kernel."""

    session_id: str
    first_seq: int
    count: int
    epoch: str
    body: bytes
    """JSON list of the events."""

    @property
    def last_seq(self) -> int:
        """Number of the last event."""
        return self.first_seq + self.count - 1


class Gone(Struct, frozen=True, kw_only=True):
    """The deletion of a session. It removes the session's other entries from the store."""

    session_id: str
    body: bytes
    """JSON of its tombstone."""


Entry = Base | Stretch | Gone


class Kept(Struct, frozen=True, kw_only=True):
    """The entries of one session in a store."""

    base: Base | None = None
    stretches: tuple[Stretch, ...] = ()
    """In order; each follows the base or the previous stretch."""
    gone: Gone | None = None


class Contents(Struct, frozen=True, kw_only=True):
    """The complete contents of a store."""

    sessions: Mapping[str, Kept]
    damage: tuple[str, ...] = ()
    """Descriptions of the entries that could not be read, for display."""


class Store(Protocol):
    """Stores entries. Its methods block; they are called from any thread, one at a time."""

    where: str
    """Location of the store, for display: its file, or a description."""

    def read(self) -> Contents:
        """Return all entries.

        Damaged entries, and those that depend on them, are omitted and described in `damage`.
        """
        ...

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session; an empty value if there is no such session."""
        ...

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in order and atomically.

        When this returns, they outlive the process.

        Raises
        ------
        StoreFull, StoreReadOnly, StoreBusy, StoreError
            If the entries cannot be written; the store is unchanged.
        """
        ...

    def recall(self, name: str) -> str:
        """Return a property of the store itself; empty if it was never set."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store itself. Raises the errors of `write`."""
        ...

    def close(self) -> None:
        """Close the store, so that another kernel can open it. Closing it again has no effect."""
        ...


def crc(entry: Entry) -> int:
    """Return a checksum of everything in an entry."""
    head = [entry.session_id]
    if isinstance(entry, Base):
        head.append(str(entry.seq))
    elif isinstance(entry, Stretch):
        head += [str(entry.first_seq), str(entry.count), entry.epoch]
    return zlib.crc32(entry.body, zlib.crc32("|".join(head).encode("utf-8", "surrogatepass")))


def arrange(
    bases: Mapping[str, Base], stretches: Sequence[Stretch], gone: Mapping[str, Gone], damage: Sequence[str]
) -> Contents:
    """Group entries by session. Stretches after a gap cannot be used and are reported as damage."""
    found = list(damage)
    sessions: dict[str, Kept] = {
        key: Kept(base=bases.get(key), gone=gone.get(key)) for key in {**bases, **gone}
    }
    logs: dict[str, list[Stretch]] = {}
    for stretch in stretches:
        logs.setdefault(stretch.session_id, []).append(stretch)
    for session_id, log in logs.items():
        kept = sessions.get(session_id, Kept())
        at = kept.base.seq if kept.base is not None else 0
        taken: list[Stretch] = []
        for stretch in sorted(log, key=lambda one: one.first_seq):
            if stretch.last_seq <= at:
                continue
            if stretch.first_seq > at + 1:
                found.append(f"session {session_id}: events {at + 1} to {stretch.first_seq - 1} are missing")
                break
            taken.append(stretch)
            at = stretch.last_seq
        sessions[session_id] = Kept(base=kept.base, stretches=tuple(taken), gone=kept.gone)
    return Contents(sessions=sessions, damage=tuple(found))

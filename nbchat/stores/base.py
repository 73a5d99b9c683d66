"""What a store promises; `tests/stores/test_contract.py` holds all of them to it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct


class Base(Struct, frozen=True, kw_only=True):
    """A session's state after event `seq`: what stood before it in the store is not needed any more."""

    session_id: str
    seq: int
    body: bytes
    """JSON of `snapshot.dump_session`."""


class Stretch(Struct, frozen=True, kw_only=True):
    """Events of one session that follow each other, all appended by one kernel."""

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
    """A session was deleted; what the store has of it goes away."""

    session_id: str
    body: bytes
    """JSON of its tombstone."""


Entry = Base | Stretch | Gone


class Kept(Struct, frozen=True, kw_only=True):
    """What a store has of one session."""

    base: Base | None = None
    stretches: tuple[Stretch, ...] = ()
    """In order, each beginning after the base or the one before it."""
    gone: Gone | None = None


class Contents(Struct, frozen=True, kw_only=True):
    """All that a store has."""

    sessions: Mapping[str, Kept]
    damage: tuple[str, ...] = ()
    """What could not be read, for people; empty when everything was."""


class Store(Protocol):
    """Keeps entries. Its methods block; they are called from any thread, one at a time."""

    where: str
    """For people: the file, or what else it is."""

    def read(self) -> Contents:
        """Return everything.

        Damaged entries are left out, with all that depends on them, and named in `damage`.
        """
        ...

    def read_session(self, session_id: str) -> Kept:
        """Return one session; nothing in it where there is none."""
        ...

    def write(self, entries: Sequence[Entry]) -> None:
        """Write entries in their order: all of them or none.

        When this returns, they outlive the process.

        Raises
        ------
        StoreFull, StoreReadOnly, StoreBusy, StoreError
            Nothing of it was written, and what was there is as it was.
        """
        ...

    def recall(self, name: str) -> str:
        """Return a fact about the store itself; empty where it was never set."""
        ...

    def remember(self, name: str, value: str) -> None:
        """Set a fact about the store itself. Raises what `write` raises."""
        ...

    def close(self) -> None:
        """Let go of it; another kernel may take it. Twice does no harm."""
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
    """Put together what belongs together; stretches after a gap cannot be used and are damage."""
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

"""`Store` and `FencedStore`: the protocols of stores and their values.

`tests/stores/test_contract.py` tests every store, `tests/stores/test_fence.py` every store with a lease, and
`tests/stores/test_fence_model.py` checks the rules of the lease over all interleavings of three writers.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Protocol, overload

from msgspec import Struct


class RunEvents(Struct, frozen=True, kw_only=True):
    """The last event of one run within an entry, by which a store refuses events after a run's end."""

    run_id: str
    seq: int
    """Number of that event."""
    over: bool = False
    """That event ends the run."""


class Base(Struct, frozen=True, kw_only=True):
    """A session's state after event `seq`. It supersedes all earlier entries of the session in the store."""

    session_id: str
    seq: int
    body: bytes
    """JSON of the session, from `snapshot.encode_session`."""
    runs: tuple[RunEvents, ...] = ()
    """The runs of the session, for a fenced write only. Reading returns none."""


class Stretch(Struct, frozen=True, kw_only=True):
    """Consecutive events of one session, all appended by one kernel."""

    session_id: str
    first_seq: int
    count: int
    epoch: str
    body: bytes
    """JSON list of the events."""
    runs: tuple[RunEvents, ...] = ()
    """The runs of the events, for a fenced write only. Reading returns none."""

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


class Acknowledged(Struct, frozen=True, kw_only=True):
    """The acknowledgement of a command that was executed."""

    command_id: str
    body: bytes


Record = Entry | Acknowledged
"""All that a fenced write can contain."""

MAX_ACKNOWLEDGED = 2000
"""Acknowledgements that a store keeps; the oldest are dropped first."""

MAX_WRITE_IDS = 1000
"""Ids of accepted writes that a store keeps; the oldest are dropped first."""

MAX_TOKENS = 1000
"""Tokens that a store keeps; the oldest are dropped first."""


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
    """Stores the entries of a single writer.

    Its methods block. They are called from any thread, one at a time.

    A store of this kind has no lease, so it must prevent a second writer by itself, for example by a lock on
    its file. Such stores serve engines that live in a kernel. An engine in a process of its own requires a
    `FencedStore`.
    """

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

    def write(self, entries: Sequence[Entry], /) -> None:
        """Write entries in order and atomically.

        When this returns, they outlive the process. Entries are not checked.

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


class FencedStore(Store, Protocol):
    """A store that several processes can open, of which one at a time may write: the holder of the lease.

    A token is a name that is used once (`new_id("l-")`), never a counter. It is also the epoch of the engine
    that writes. The order of claims decides who may write; times decide only how early another token can
    claim. Therefore clocks that differ or jump cause an early or late change of holder, never two holders.

    All methods may be called from several threads and processes at the same time.
    """

    def claim(self, token: str, lease_s: float, *, after: str | None = None) -> bool:
        """Claim the lease; return whether the token holds it now.

        It fails while another token holds a lease that has neither expired nor been released, and for a token
        after which another one has claimed. Claiming again as the holder renews the lease. A store may also
        pass on the lease of a process that it knows to have ended.

        Parameters
        ----------
        token
            A name that was never used before.
        lease_s
            Seconds until another token may claim, unless the lease is renewed.
        after
            Token of a holder that is known to have ended. Its lease is taken over before it expires.

        Raises
        ------
        StoreError
            If the store cannot be written. The claim may have succeeded; repeat it.
        """
        ...

    def renew(self, token: str, lease_s: float) -> bool:
        """Extend the lease of the token; return False if another token has claimed or it was released.

        A lease that has expired can be renewed until another token claims. Every accepted write renews too.

        Raises
        ------
        StoreRolledBack
            If the store has gone back to an older state. The token holds the lease.
        StoreError
            If the store cannot be written.
        """
        ...

    def release(self, token: str) -> None:
        """End the lease of the token. No effect if it does not hold the lease.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        ...

    def holder(self) -> str | None:
        """Return the token that claimed last; `None` if it released the lease, or there is none.

        It holds the lease even after that has expired, until another token claims.
        """
        ...

    @overload
    def write(self, entries: Sequence[Entry], /) -> None: ...

    @overload
    def write(self, token: str, write_id: str, entries: Sequence[Record], /) -> None: ...

    def write(
        self, first: str | Sequence[Entry], write_id: str = "", records: Sequence[Record] = (), /
    ) -> None:
        """Write records in order and atomically, as the holder of the lease.

        When this returns, they outlive the process. A write can be repeated if its answer was lost:

        - A `write_id` that was accepted before changes nothing.
        - Under another `write_id`, records that are stored already are skipped: events up to the last stored
          one, acknowledgements, and bases that are older than the last stored event.

        Without a token this is `Store.write`. It ends an earlier claim whose lease has expired.

        Raises
        ------
        StoreBusy
            Without a token: if another writer holds the lease.
        LeaseLost
            If the token does not hold the lease; the store is unchanged.
        StoreConflict
            If records do not continue what is stored: events after a gap, other events in place of stored
            ones, events of a deleted session, or events of a run after its end. The store is unchanged.
        StoreRolledBack
            If the store has gone back to an older state, once. It is unchanged, and accepts sessions' bases.
        StoreFull, StoreReadOnly, StoreBusy, StoreError
            If the records cannot be written; the store is unchanged.
        """
        ...

    def acknowledged(self) -> Mapping[str, bytes]:
        """Return the bodies of the last acknowledgements by command, oldest first."""
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

"""`Fence`: the rules by which a store accepts claims and records, independent of how it keeps them.

Three rules ensure that a log has no gap, no event twice and one end per run, whatever answers are lost and
whichever writer is suspended: the writer's token is the last one that claimed, events continue at the next
number, and a run accepts nothing after its end. `tests/stores/test_fence_model.py` shows that each of them is
necessary.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct

from nbchat.core.errors import LeaseLost, StoreBusy, StoreConflict
from nbchat.core.ids import new_id
from nbchat.stores.base import Base, Gone, Stretch
from nbchat.stores.owner import has_ended

CLOCK_S: Final = 1.0
"""Seconds by which the clocks of two processes may differ before a lease counts as expired."""


class Lease(Struct, frozen=True):
    """The last claim of a store."""

    token: str
    lease_s: float
    expires_at: float
    """Seconds since 1970-01-01 UTC; 0 after a release."""
    owner: str = ""
    """The process that claimed, from `this_process`; empty if it is not recorded."""

    @property
    def is_released(self) -> bool:
        """True if its holder has released it."""
        return self.expires_at == 0.0

    def may_pass(self, now: float, after: str | None) -> bool:
        """Return whether another token may claim now."""
        # More time left than the lease lasts: the clock was set back.
        set_back = self.expires_at - now > self.lease_s + CLOCK_S
        passed = self.is_released or self.token == after or now >= self.expires_at or set_back
        return passed or has_ended(self.owner)


def renewed(token: str, lease_s: float, now: float, owner: str = "") -> Lease:
    """Return a lease that begins now."""
    return Lease(token, lease_s, now + lease_s, owner)


def may_claim(token: str, last: Lease | None, now: float, after: str | None, *, used: bool) -> bool:
    """Return whether a token may claim.

    Parameters
    ----------
    last
        The last claim.
    used
        The token has claimed before. If another one has claimed since, it must not write again: its engine
        does not have the events of that one.
    """
    if last is None or last.token == token:
        return True
    return not used and last.may_pass(now, after)


def without_a_lease(last: Lease | None, now: float) -> Lease | None:
    """Return the claim that a write without a token makes, or `None` if the last claim is one of these.

    Raises
    ------
    StoreBusy
        If the lease is held.
    """
    if last is None or last.lease_s == 0.0:
        return None
    if not last.may_pass(now, None):
        raise StoreBusy(
            f"{last.token!r} holds the lease of the store.",
            hint="A process that runs these sessions has it; everything is kept in memory here.",
        )
    return Lease(new_id("l-"), 0.0, 0.0)


def check_holder(token: str, last: Lease | None) -> None:
    """Raise `LeaseLost` if the token does not hold the lease."""
    if last is None or last.token != token or last.is_released:
        raise LeaseLost(
            f"{token!r} does not hold the lease of the store.",
            hint="Another process has taken over these sessions.",
        )


class Log(Protocol):
    """The parts of a store's state that the rules depend on."""

    def head(self, session_id: str) -> int:
        """Return the number of the last event of a session; 0 if there is none."""
        ...

    def base_seq(self, session_id: str) -> int:
        """Return the last event that is included in the base of a session; 0 without a base."""
        ...

    def writer_of(self, session_id: str, seq: int) -> str | None:
        """Return the epoch of the stretch that contains an event; `None` if no stretch does."""
        ...

    def is_gone(self, session_id: str) -> bool:
        """Return whether the session is deleted."""
        ...

    def end_of(self, session_id: str, run_id: str) -> int | None:
        """Return the number of the event that ended a run; `None` if it is not over."""
        ...


def admits(log: Log, entry: Base | Stretch | Gone) -> bool:
    """Return whether an entry of the lease's holder is new; False if all of it is stored already.

    Raises
    ------
    StoreConflict
        If it does not continue what is stored.
    """
    if isinstance(entry, Gone):
        return True
    session_id, head = entry.session_id, log.head(entry.session_id)
    if isinstance(entry, Base):
        if entry.seq < head:
            return False
    else:
        if log.is_gone(session_id):
            raise StoreConflict(f"session {session_id!r} is deleted.", hint="")
        if entry.first_seq > head + 1:
            raise StoreConflict(
                f"session {session_id!r}: events {head + 1} to {entry.first_seq - 1} are missing.", hint=""
            )
        _check_writer(log, entry, head)
        if entry.last_seq <= head:
            return False
    for run in entry.runs:
        end = log.end_of(session_id, run.run_id)
        if end is None or (isinstance(entry, Base) and run.over):
            continue
        if run.seq > end:
            raise StoreConflict(
                f"run {run.run_id!r} ended at event {end}; event {run.seq} is too late.", hint=""
            )
    return True


def _check_writer(log: Log, entry: Stretch, head: int) -> None:
    """Raise `StoreConflict` if the stretch repeats events that another epoch wrote."""
    first = max(entry.first_seq, log.base_seq(entry.session_id) + 1)
    for seq in {first, min(entry.last_seq, head)}:
        writer = log.writer_of(entry.session_id, seq) if first <= seq <= head else None
        if writer is not None and writer != entry.epoch:
            raise StoreConflict(
                f"session {entry.session_id!r}: event {seq} was written by {writer!r}, not {entry.epoch!r}.",
                hint="",
            )

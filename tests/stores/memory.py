"""`MemoryStore`: a store for tests that lasts as long as the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from msgspec import Struct, field
from msgspec.structs import replace

from nbchat.core.errors import StoreFull
from nbchat.stores.base import (
    MAX_ACKNOWLEDGED,
    MAX_TOKENS,
    MAX_WRITE_IDS,
    Acknowledged,
    Base,
    Contents,
    Entry,
    Gone,
    Kept,
    Record,
    Stretch,
    arrange,
)
from nbchat.stores.fence import Lease, admits, check_holder, may_claim, renewed, without_a_lease


class _Session(Struct):
    """The entries of one session."""

    base: Base | None = None
    log: dict[int, Stretch] = field(default_factory=dict)
    """Stretches by their first event."""
    gone: Gone | None = None
    ends: dict[str, int] = field(default_factory=dict)
    """The event that ended each run."""

    def copy(self) -> _Session:
        return _Session(self.base, dict(self.log), self.gone, dict(self.ends))

    @property
    def bytes(self) -> int:
        entries = (self.base, *self.log.values(), self.gone)
        return sum(len(entry.body) for entry in entries if entry is not None)


class MemoryStore:
    """Stores entries in memory; otherwise equivalent to the other stores. Implements `FencedStore`.

    Parameters
    ----------
    max_bytes
        Size beyond which writes are refused.
    clock
        Returns the time in seconds since 1970-01-01 UTC.
    """

    where = "memory"

    def __init__(self, max_bytes: int | None = None, clock: Callable[[], float] = time.time) -> None:
        self.max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.RLock()
        self._sessions: dict[str, _Session] = {}
        self._facts: dict[str, str] = {}
        self._leases: dict[str, Lease] = {}
        """Claims by token, in order."""
        self._write_ids: dict[str, None] = {}
        self._acknowledged: dict[str, bytes] = {}

    def __repr__(self) -> str:
        """Return the number of sessions."""
        return f"<MemoryStore {sum(s.gone is None for s in self._sessions.values())} sessions>"

    def read(self) -> Contents:
        """Return all entries."""
        with self._lock:
            return self._contents(self._sessions)

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        with self._lock:
            chosen = {key: self._sessions[key] for key in (session_id,) if key in self._sessions}
            return self._contents(chosen).sessions.get(session_id, Kept())

    @staticmethod
    def _contents(sessions: Mapping[str, _Session]) -> Contents:
        return arrange(
            {key: held.base for key, held in sessions.items() if held.base is not None},
            [stretch for held in sessions.values() for stretch in held.log.values()],
            {key: held.gone for key, held in sessions.items() if held.gone is not None},
            (),
        )

    # The lease

    @property
    def _last(self) -> Lease | None:
        return next(reversed(self._leases.values()), None)

    def claim(self, token: str, lease_s: float, *, after: str | None = None) -> bool:
        """Claim the lease; return whether the token holds it now."""
        with self._lock:
            now = self._clock()
            if not may_claim(token, self._last, now, after, used=token in self._leases):
                return False
            self._leases[token] = renewed(token, lease_s, now)
            _trim(self._leases, MAX_TOKENS)
            return True

    def renew(self, token: str, lease_s: float) -> bool:
        """Extend the lease of the token; return False if it does not hold it."""
        with self._lock:
            last = self._last
            if last is None or last.token != token or last.is_released:
                return False
            self._leases[token] = renewed(token, lease_s, self._clock())
            return True

    def release(self, token: str) -> None:
        """End the lease of the token."""
        with self._lock:
            last = self._last
            if last is not None and last.token == token:
                self._leases[token] = replace(last, expires_at=0.0)

    def holder(self) -> str | None:
        """Return the token that claimed last, unless it released the lease."""
        with self._lock:
            last = self._last
            return None if last is None or last.is_released else last.token

    # Writing

    @overload
    def write(self, entries: Sequence[Entry], /) -> None: ...

    @overload
    def write(self, token: str, write_id: str, entries: Sequence[Record], /) -> None: ...

    def write(
        self, first: str | Sequence[Entry], write_id: str = "", records: Sequence[Record] = (), /
    ) -> None:
        """Store records in one step; see `FencedStore`."""
        with self._lock:
            if isinstance(first, str):
                self._write_fenced(first, write_id, records)
            else:
                self._write_unfenced(first)

    def _write_unfenced(self, entries: Sequence[Entry]) -> None:
        claim = without_a_lease(self._last, self._clock())
        staged = _Staged(self._sessions)
        for entry in entries:
            staged.put(entry)
        self._commit(staged.sessions)
        if claim is not None:
            self._leases[claim.token] = claim

    def _write_fenced(self, token: str, write_id: str, records: Sequence[Record]) -> None:
        last = self._last
        check_holder(token, last)
        if last is None or write_id in self._write_ids:
            return
        staged = _Staged(self._sessions)
        acknowledged = [record for record in records if isinstance(record, Acknowledged)]
        for record in records:
            if not isinstance(record, Acknowledged) and admits(staged, record):
                staged.put(record)
        self._commit(staged.sessions)
        for one in acknowledged:
            self._acknowledged.setdefault(one.command_id, one.body)
        _trim(self._acknowledged, MAX_ACKNOWLEDGED)
        self._write_ids[write_id] = None
        _trim(self._write_ids, MAX_WRITE_IDS)
        self._leases[token] = renewed(token, last.lease_s, self._clock())

    def _commit(self, staged: Mapping[str, _Session]) -> None:
        if self.max_bytes is not None:
            size = sum(held.bytes for held in {**self._sessions, **staged}.values())
            if size > self.max_bytes:
                raise StoreFull(f"{size:,} bytes exceed the store's limit of {self.max_bytes:,}.")
        self._sessions.update(staged)

    def acknowledged(self) -> Mapping[str, bytes]:
        """Return the bodies of the last acknowledgements, oldest first."""
        with self._lock:
            return dict(self._acknowledged)

    # The store itself

    def recall(self, name: str) -> str:
        """Return a property of the store."""
        return self._facts.get(name, "")

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        self._facts[name] = value

    def close(self) -> None:
        """Do nothing: entries last as long as the object."""


class _Staged:
    """Copies of the sessions that a write changes, so that a refused write changes nothing."""

    def __init__(self, sessions: Mapping[str, _Session]) -> None:
        self._stored = sessions
        self.sessions: dict[str, _Session] = {}

    def _session(self, session_id: str) -> _Session:
        return self.sessions.get(session_id) or self._stored.get(session_id) or _Session()

    def head(self, session_id: str) -> int:
        log = self._session(session_id).log
        last = max((stretch.last_seq for stretch in log.values()), default=0)
        return max(last, self.base_seq(session_id))

    def base_seq(self, session_id: str) -> int:
        base = self._session(session_id).base
        return 0 if base is None else base.seq

    def writer_of(self, session_id: str, seq: int) -> str | None:
        log = self._session(session_id).log.values()
        return next((one.epoch for one in log if one.first_seq <= seq <= one.last_seq), None)

    def is_gone(self, session_id: str) -> bool:
        return self._session(session_id).gone is not None

    def end_of(self, session_id: str, run_id: str) -> int | None:
        return self._session(session_id).ends.get(run_id)

    def put(self, entry: Entry) -> None:
        """Store an entry in the copy."""
        key = entry.session_id
        session = self.sessions[key] = self.sessions.get(key) or self._session(key).copy()
        if isinstance(entry, Gone):
            self.sessions[key] = _Session(gone=entry)
            return
        for run in entry.runs:
            if run.over:
                session.ends.setdefault(run.run_id, run.seq)
        if isinstance(entry, Base):
            session.base, session.gone = replace(entry, runs=()), None
            session.log = {at: one for at, one in session.log.items() if one.last_seq > entry.seq}
        else:
            session.log = {
                at: one
                for at, one in session.log.items()
                if not entry.first_seq < at <= one.last_seq <= entry.last_seq
            }
            session.log[entry.first_seq] = replace(entry, runs=())


def _trim(ordered: dict[str, Any], size: int) -> None:
    while len(ordered) > size:
        del ordered[next(iter(ordered))]

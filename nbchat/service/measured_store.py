"""`MeasuredStore`: counts the bytes of a store's sessions, and measures its writes and its lease."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from nbchat.core.errors import LeaseLost, NbchatError
from nbchat.stores.base import Acknowledged, Base, Gone

if TYPE_CHECKING:
    from nbchat.stores.base import Contents, Entry, FencedStore, Kept, Record


class StoreMetrics(Protocol):
    """Receives the measurements of stores. Methods may be called from any thread."""

    def opened(self, store: MeasuredStore) -> None:
        """Measure the lease of a store from now on."""
        ...

    def closed(self, store: MeasuredStore) -> None:
        """Forget a store."""
        ...

    def written(self, seconds: float, length: int) -> None:
        """Count a write, its time and its bytes."""
        ...

    def failed(self) -> None:
        """Count a write that the store did not accept."""
        ...

    def fenced(self) -> None:
        """Count a write or a renewal that was refused since another process took over."""
        ...

    def took_over(self) -> None:
        """Count the claim of a lease that was not released."""
        ...


class MeasuredStore:
    """Measures a store. Implements `FencedStore`.

    Parameters
    ----------
    store
        The store.
    metrics
        Receives the measurements; `None`: only the bytes of the sessions are counted.
    """

    def __init__(self, store: FencedStore, metrics: StoreMetrics | None = None) -> None:
        self.where: str = store.where
        self._store = store
        self._metrics = metrics
        self._sizes: dict[str, int] = {}
        """Bytes of each session, since the store was read."""
        self.stored_bytes: int = 0
        """Bytes of all sessions, as they were given to the store."""
        self._lease_s = 0.0
        self._until: float | None = None
        """End of the lease, by the monotonic clock; `None` without a lease."""
        if metrics is not None:
            metrics.opened(self)

    def __repr__(self) -> str:
        """Return the store."""
        return f"<MeasuredStore {self._store!r}>"

    @property
    def margin_s(self) -> float | None:
        """Time until the lease expires; `None` without a lease."""
        return None if self._until is None else self._until - time.monotonic()

    def claim(self, token: str, lease_s: float, *, after: str | None = None) -> bool:
        """Claim the lease."""
        began = time.monotonic()
        other = self._store.holder()
        held = self._store.claim(token, lease_s, after=after)
        if held:
            self._until, self._lease_s = began + lease_s, lease_s
            if self._metrics is not None and other not in (None, token):
                self._metrics.took_over()
        return held

    def renew(self, token: str, lease_s: float) -> bool:
        """Extend the lease."""
        began = time.monotonic()
        renewed = self._store.renew(token, lease_s)
        if renewed:
            self._until, self._lease_s = began + lease_s, lease_s
        else:
            self._fenced()
        return renewed

    def release(self, token: str) -> None:
        """End the lease."""
        self._until = None
        self._store.release(token)

    def holder(self) -> str | None:
        """Return the token that claimed last."""
        return self._store.holder()

    def read(self) -> Contents:
        """Return all entries."""
        contents = self._store.read()
        self._sizes = {session_id: _size(kept) for session_id, kept in contents.sessions.items()}
        self.stored_bytes = sum(self._sizes.values())
        return contents

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        return self._store.read_session(session_id)

    def write(
        self, first: str | Sequence[Entry], write_id: str = "", records: Sequence[Record] = (), /
    ) -> None:
        """Write records."""
        began = time.monotonic()
        try:
            if isinstance(first, str):
                self._store.write(first, write_id, records)
            else:
                self._store.write(first)
        except LeaseLost:
            self._fenced()
            raise
        except NbchatError:
            if self._metrics is not None:
                self._metrics.failed()
            raise
        if self._until is not None:
            self._until = began + self._lease_s
        written = records if isinstance(first, str) else first
        for record in written:
            self._count(record)
        if self._metrics is not None:
            length = sum(len(record.body) for record in written)
            self._metrics.written(time.monotonic() - began, length)

    def _count(self, record: Record) -> None:
        if isinstance(record, Acknowledged):
            return
        before = self._sizes.pop(record.session_id, 0)
        now = 0 if isinstance(record, Gone) else len(record.body)
        if not isinstance(record, Gone | Base):
            now += before
        if now:
            self._sizes[record.session_id] = now
        self.stored_bytes += now - before

    def _fenced(self) -> None:
        self._until = None
        if self._metrics is not None:
            self._metrics.fenced()

    def acknowledged(self) -> Mapping[str, bytes]:
        """Return the last acknowledgements."""
        return self._store.acknowledged()

    def recall(self, name: str) -> str:
        """Return a property of the store."""
        return self._store.recall(name)

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        self._store.remember(name, value)

    def close(self) -> None:
        """Close the store."""
        if self._metrics is not None:
            self._metrics.closed(self)
        self._store.close()


def _size(kept: Kept) -> int:
    base = 0 if kept.base is None else len(kept.base.body)
    return base + sum(len(stretch.body) for stretch in kept.stretches)

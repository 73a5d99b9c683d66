"""`LeasedStore`: a store whose lease this engine holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Final

from nbchat.core.errors import LeaseLost, StoreBusy, StoreError
from nbchat.core.ids import new_id
from nbchat.stores.base import Contents, FencedStore, Kept, Record

LEASE_S: Final = 6.0
"""Seconds after which another engine can take over from one that does not renew its lease."""

POLL_S: Final = 0.1
"""Interval of the attempts to claim a lease that is held."""


class LeasedStore:
    """Writes with the token of the lease. Implements `Store`.

    Parameters
    ----------
    store
        The store. It is closed with this object, also if the lease is not obtained.
    token
        Epoch of the engine.
    timeout_s
        Longest wait for a holder that is still at work. Blocks the thread.

    Raises
    ------
    StoreBusy
        If another engine holds the lease for that long.
    StoreError
        If the store cannot be written.
    """

    def __init__(self, store: FencedStore, token: str, timeout_s: float = 0.0) -> None:
        self.where: str = store.where
        self.acknowledged: Mapping[str, bytes] = {}
        """Acknowledgements of earlier engines, by command."""
        self._store = store
        self._token = token
        try:
            self._claim(timeout_s)
            self.acknowledged = store.acknowledged()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        """Return the store and the token."""
        return f"<LeasedStore {self._store!r}, {self._token}>"

    def _claim(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not self._store.claim(self._token, LEASE_S):
            if time.monotonic() >= until:
                raise StoreBusy(
                    f"another process runs the sessions in {self.where}.",
                    hint="Everything is kept in memory until it ends.",
                )
            time.sleep(POLL_S)

    def renew(self) -> None:
        """Extend the lease.

        Raises
        ------
        LeaseLost
            If another engine has taken over.
        StoreError
            If the store cannot be written.
        """
        if not self._store.renew(self._token, LEASE_S):
            raise LeaseLost(f"another engine has taken over {self.where}.", hint="")

    def read(self) -> Contents:
        """Return all entries."""
        return self._store.read()

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        return self._store.read_session(session_id)

    def write(self, records: Sequence[Record], /) -> None:
        """Write records as the holder of the lease; a new attempt is a new write, which skips repeats."""
        self._store.write(self._token, new_id("w-"), records)

    def recall(self, name: str) -> str:
        """Return a property of the store."""
        return self._store.recall(name)

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        self._store.remember(name, value)

    def close(self) -> None:
        """Release the lease and close the store."""
        with contextlib.suppress(StoreError):
            self._store.release(self._token)
        self._store.close()

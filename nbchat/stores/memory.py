"""A store that lasts as long as the process: for tests, and for kernels without a place to write."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from nbchat.stores.base import Base, Contents, Entry, Gone, Kept, Stretch, arrange


class MemoryStore:
    """Keeps entries in memory; otherwise as good as any other store."""

    where = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bases: dict[str, Base] = {}
        self._log: dict[str, dict[int, Stretch]] = {}
        self._gone: dict[str, Gone] = {}
        self._facts: dict[str, str] = {}

    def __repr__(self) -> str:
        """Return how many sessions there are."""
        return f"<MemoryStore {len({*self._bases, *self._log})} sessions>"

    def read(self) -> Contents:
        """Return everything."""
        with self._lock:
            log = [stretch for stretches in self._log.values() for stretch in stretches.values()]
            return arrange(dict(self._bases), log, dict(self._gone), ())

    def read_session(self, session_id: str) -> Kept:
        """Return one session."""
        return self.read().sessions.get(session_id, Kept())

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep entries."""
        with self._lock:
            for entry in entries:
                if isinstance(entry, Base):
                    self._bases[entry.session_id] = entry
                    self._gone.pop(entry.session_id, None)
                    log = self._log.get(entry.session_id, {})
                    self._log[entry.session_id] = {
                        first: stretch for first, stretch in log.items() if stretch.last_seq > entry.seq
                    }
                elif isinstance(entry, Stretch):
                    self._log.setdefault(entry.session_id, {})[entry.first_seq] = entry
                else:
                    self._bases.pop(entry.session_id, None)
                    self._log.pop(entry.session_id, None)
                    self._gone[entry.session_id] = entry

    def recall(self, name: str) -> str:
        """Return a fact."""
        return self._facts.get(name, "")

    def remember(self, name: str, value: str) -> None:
        """Set a fact."""
        self._facts[name] = value

    def close(self) -> None:
        """Do nothing: what is kept lasts as long as the object."""

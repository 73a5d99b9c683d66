"""`MemoryStore`: a store that lasts as long as the process, for tests and kernels without a folder."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from nbchat.stores.base import Base, Contents, Entry, Gone, Kept, Stretch, arrange


class MemoryStore:
    """Stores entries in memory; otherwise equivalent to the other stores."""

    where = "memory"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bases: dict[str, Base] = {}
        self._log: dict[str, dict[int, Stretch]] = {}
        self._gone: dict[str, Gone] = {}
        self._facts: dict[str, str] = {}

    def __repr__(self) -> str:
        """Return the number of sessions."""
        return f"<MemoryStore {len({*self._bases, *self._log})} sessions>"

    def read(self) -> Contents:
        """Return all entries."""
        with self._lock:
            log = [stretch for stretches in self._log.values() for stretch in stretches.values()]
            return arrange(dict(self._bases), log, dict(self._gone), ())

    def read_session(self, session_id: str) -> Kept:
        """Return the entries of one session."""
        return self.read().sessions.get(session_id, Kept())

    def write(self, entries: Sequence[Entry]) -> None:
        """Store entries."""
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
        """Return a property of the store."""
        return self._facts.get(name, "")

    def remember(self, name: str, value: str) -> None:
        """Set a property of the store."""
        self._facts[name] = value

    def close(self) -> None:
        """Do nothing: entries last as long as the object."""

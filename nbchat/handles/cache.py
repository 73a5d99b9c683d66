"""`HandleCache`: one handle per key, for as long as it is in use."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class HandleCache(Generic[K, V]):
    """Makes handles, and returns the same one as long as a reference to it exists. From any thread."""

    def __init__(self, make: Callable[[K], V]) -> None:
        self._make = make
        self._handles: weakref.WeakValueDictionary[K, V] = weakref.WeakValueDictionary()
        self._lock = threading.Lock()

    def of(self, key: K) -> V:
        """Return the handle of this key."""
        with self._lock:
            handle = self._handles.get(key)
            if handle is None:
                handle = self._handles[key] = self._make(key)
            return handle

    def put(self, key: K, handle: V) -> V:
        """Use this handle for a key that has none yet, and return it."""
        with self._lock:
            return self._handles.setdefault(key, handle)

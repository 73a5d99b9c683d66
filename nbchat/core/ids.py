"""`new_id`: ids that are unique across machines and sort by creation time."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case, without letters that can be mistaken for digits."""

_lock = threading.Lock()
_last_ms = 0
_last_random = 0


def new_id(prefix: str = "") -> str:
    """Return a new id: `prefix` and 26 characters.

    The id encodes 48 bits of milliseconds and 80 random bits. Ids created by a process within a millisecond
    are consecutive, so sorting ids sorts by creation. Safe to call from any thread and after a fork.

    Notes
    -----
    The layout of a ULID (https://github.com/ulid/spec), written in lower case.

    Examples
    --------
    >>> nbchat.new_id() < nbchat.new_id()
    True
    """
    global _last_ms, _last_random  # noqa: PLW0603 - two numbers behind one lock
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms = now_ms
            # One bit stays free so that increments never overflow into the time.
            _last_random = int.from_bytes(os.urandom(10), "big") >> 1
        else:
            # The clock did not advance or was set back: keep the last time and increment.
            _last_random += 1
        value = (_last_ms << 80) | _last_random
    return prefix + "".join([_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)])


def _forget_after_fork() -> None:
    """Reset the state in a child process, so that it does not continue from its parent's number."""
    global _lock, _last_ms  # noqa: PLW0603 - the lock may have been held by a thread that is gone
    _lock = threading.Lock()
    _last_ms = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

"""Names that need no coordination: unique over machines, and sorted by the time they were made."""

from __future__ import annotations

import os
import threading
import time
from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32, in lower case: no letters that are mistaken for digits."""

_lock = threading.Lock()
_last_ms = 0
_last_random = 0


def new_id(prefix: str = "") -> str:
    """Return a new id of 26 characters, after `prefix`.

    48 bits of milliseconds, then 80 random bits; ids made in one process in the same millisecond
    count up, so sorting ids sorts by creation. Safe to call from any thread and after a fork.

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
            # One bit is left free so that counting up never overflows into the time.
            _last_random = int.from_bytes(os.urandom(10), "big") >> 1
        else:
            # The clock stood still or was set back: stay where we were and count up.
            _last_random += 1
        value = (_last_ms << 80) | _last_random
    return prefix + "".join([_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)])


def _forget_after_fork() -> None:
    """Draw new random bits in a child: it must not count up from the same number as its parent."""
    global _lock, _last_ms  # noqa: PLW0603 - the lock may have been held by a thread that is gone
    _lock = threading.Lock()
    _last_ms = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

"""`SavedSession` and `Snapshot`: values that are read from a notebook or a journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, field

from nbchat.core.transcript import SessionState
from nbchat.core.values import MAX_INTEGER, FiniteFloat, SafeInt, Value

VERSION: Final = 1
"""Version of the format. It increases when an older nbchat could misread the data."""

NumberOfEvents = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]

Clock = Mapping[str, NumberOfEvents]
"""Version vector of a state: maps each kernel's epoch to the last `seq` of that kernel in the session.

A kernel appends to a session sequentially, so `(epoch, seq)` identifies one event permanently. One state
includes another if and only if no entry of its clock is lower.
"""


class SavedSession(Value, frozen=True, kw_only=True):
    """One session, with the version vector of its events."""

    state: SessionState
    clock: Clock = field(default_factory=dict)
    omitted: SafeInt = 0
    """Number of messages that were omitted because of a size limit, oldest first."""


class Tombstone(Value, frozen=True, kw_only=True):
    """Record of a deleted session, so that an older copy does not restore it."""

    id: str
    clock: Clock = field(default_factory=dict)
    at: FiniteFloat = 0.0


class Snapshot(Value, frozen=True, kw_only=True):
    """Sessions at one moment, taken consistently in one step of the engine's loop."""

    notebook_id: str = ""
    """Id of the notebook; empty outside of a notebook."""
    epoch: str = ""
    """Epoch of the kernel that wrote it."""
    saved_at: FiniteFloat = 0.0
    """Seconds since 1970-01-01 UTC."""
    place: str = ""
    """Hash of the notebook's path, which distinguishes a copy from the original."""
    sessions: tuple[SavedSession, ...] = ()
    deleted: tuple[Tombstone, ...] = ()
    notes: tuple[str, ...] = ()
    """Descriptions of omissions and repairs, for display."""
    unreadable: tuple[Any, ...] = ()
    """Records that could not be read, unchanged."""
    version: SafeInt = VERSION

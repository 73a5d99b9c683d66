"""Sessions as they are saved: values that a snapshot and the journal give back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, field

from nbchat.core.transcript import SessionState
from nbchat.core.values import MAX_INTEGER, FiniteFloat, SafeInt, Value

VERSION: Final = 1
"""Of the format. It counts up when an older nbchat could misread what is written."""

NumberOfEvents = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]

Clock = Mapping[str, NumberOfEvents]
"""How far a state knows each kernel's events of its session: epoch to the last `seq` of that kernel.

A kernel appends to a session in one line, so `(epoch, seq)` names one event for ever, and one state
includes another exactly when its clock is nowhere behind: a version vector.
"""


class SavedSession(Value, frozen=True, kw_only=True):
    """One session, and whose events are in it."""

    state: SessionState
    clock: Clock = field(default_factory=dict)
    omitted: SafeInt = 0
    """Messages that were left out because of a size limit, oldest first."""


class Tombstone(Value, frozen=True, kw_only=True):
    """A session that was deleted, so that an older copy does not bring it back."""

    id: str
    clock: Clock = field(default_factory=dict)
    at: FiniteFloat = 0.0


class Snapshot(Value, frozen=True, kw_only=True):
    """Some sessions at one moment: a consistent cut, taken in one step of the engine's loop."""

    notebook_id: str = ""
    """The notebook that it belongs to; empty outside of one."""
    epoch: str = ""
    """The kernel that wrote it."""
    saved_at: FiniteFloat = 0.0
    """Seconds since 1970-01-01 UTC."""
    place: str = ""
    """A digest of the notebook's path, by which a copy is told from the original."""
    sessions: tuple[SavedSession, ...] = ()
    deleted: tuple[Tombstone, ...] = ()
    notes: tuple[str, ...] = ()
    """For people: what was left out or repaired."""
    unreadable: tuple[Any, ...] = ()
    """Records that could not be read, as they were."""
    version: SafeInt = VERSION

"""`read_back`: turns what a store holds into sessions."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from nbchat.core.errors import SnapshotError
from nbchat.core.rfc3339 import from_rfc3339
from nbchat.core.saved import SavedSession, Snapshot, Tombstone
from nbchat.core.snapshot import loads, parse_session
from nbchat.core.transcript import SessionState, apply_event
from nbchat.core.values import DecodeError, SafeInt, convert
from nbchat.engine.journal_events import decode_events
from nbchat.stores.base import Contents, Gone, Kept

logger = logging.getLogger("nbchat")


def read_back(contents: Contents) -> Snapshot:
    """Return the contents of a store as a snapshot. Unreadable records are left out and named in `notes`."""
    sessions: list[SavedSession] = []
    stones: list[Tombstone] = []
    notes = list(contents.damage)
    for session_id, kept in contents.sessions.items():
        try:
            if kept.gone is not None:
                stones.append(_tombstone(session_id, kept.gone))
            elif kept.base is not None or kept.stretches:
                sessions.append(fold(session_id, kept))
        except (DecodeError, SnapshotError, KeyError, TypeError) as error:
            notes.append(f"session {session_id}: {error}")
    return Snapshot(sessions=tuple(sessions), deleted=tuple(stones), notes=tuple(notes))


def _tombstone(session_id: str, gone: Gone) -> Tombstone:
    stone = loads(gone.body)
    clock = convert(Mapping[str, SafeInt], stone["clock"])
    return Tombstone(id=session_id, clock=clock, at=from_rfc3339(stone["at"]))


def fold(session_id: str, kept: Kept) -> SavedSession:
    """Return a session as its base and the events after it.

    Raises
    ------
    DecodeError, SnapshotError
        If the base cannot be read. Unreadable events end the session's log.
    """
    saved = SavedSession(state=SessionState(id=session_id))
    if kept.base is not None:
        saved = parse_session(loads(kept.base.body), "base")
    state, clock = saved.state, dict(saved.clock)
    for stretch in kept.stretches:
        try:
            events = decode_events(stretch.body)
        except DecodeError as error:
            logger.warning("session %s: its log ends at event %d: %s", session_id, state.seq, error)
            break
        for seq, event in enumerate(events, stretch.first_seq):
            if seq == state.seq + 1:
                state = apply_event(state, event)
        clock[stretch.epoch] = state.seq
    return replace(saved, state=state, clock=clock)


def restored_order(sessions: Iterable[SavedSession]) -> list[SavedSession]:
    """Return sessions in the order in which they were created."""
    return sorted(sessions, key=lambda saved: (saved.state.created_at, saved.state.id))

"""Size limit of snapshots: the oldest content that does not fit is left to the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from nbchat.core.merging import window
from nbchat.core.saved import SavedSession, Snapshot
from nbchat.core.snapshot import encode

ENVELOPE: Final = 1024
"""Bytes for the note and the commas that are added if something is left out."""


def fitted(snapshot: Snapshot, encoded: Callable[[SavedSession], bytes], max_bytes: int) -> Snapshot:
    """Leave out the oldest content; the most recently active sessions are fitted first.

    Parameters
    ----------
    encoded
        Returns a session's record as JSON; it is called several times for the same session.

    Returns
    -------
    The content that fits into `max_bytes`.
    """
    room = max_bytes - ENVELOPE - len(encode(replace(snapshot, sessions=())))
    sizes = [len(encoded(saved)) for saved in snapshot.sessions]
    if sum(sizes) <= room and not any(saved.omitted for saved in snapshot.sessions):
        return snapshot
    sessions = list(snapshot.sessions)
    least = [len(encoded(window(saved, 0))) for saved in sessions]
    room -= sum(least)
    order = sorted(range(len(sessions)), key=lambda i: last_touched(sessions[i]), reverse=True)
    kept: dict[int, SavedSession] = {}
    for index in order:
        if room + least[index] < 0:
            continue  # not even its title fits
        kept[index], size = _shortened(sessions[index], encoded, room + least[index])
        room -= size - least[index]
    note = (
        f"Not all of it is in this file, which may hold {max_bytes:,} bytes of chats: what is missing is in "
        "the journal of the machine where it was written."
    )
    return replace(
        snapshot, sessions=tuple(kept[index] for index in sorted(kept)), notes=(*snapshot.notes, note)
    )


def at_most(saved: SavedSession, characters: int) -> SavedSession:
    """Return a session, without its oldest content if it has more than `characters`."""
    return saved if saved.state.characters <= characters else window(saved, characters)


def _shortened(
    saved: SavedSession, encoded: Callable[[SavedSession], bytes], room: int
) -> tuple[SavedSession, int]:
    """Return as much of the end of a session as fits, and its size in bytes."""
    shorter, characters = saved, room
    while (size := len(encoded(shorter))) > room:
        if characters <= 0:
            shorter = window(saved, 0)
            return shorter, len(encoded(shorter))
        shorter = window(saved, characters)
        characters = min(characters // 2, characters * room // size)
    return shorter, size


def last_touched(saved: SavedSession) -> float:
    """Return the time of the last event of a session, in seconds since 1970-01-01 UTC."""
    state = saved.state
    times = [message.created_at for message in state.messages.values()]
    times += [run.ended_at or run.last_delta_at or run.queued_at for run in state.runs]
    return max([state.created_at, *times])

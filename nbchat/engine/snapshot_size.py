"""A snapshot within a limit: the oldest content, for which there is no room, is left to the journal."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import orjson

from nbchat.core.snapshot import SavedSession, Snapshot, dump, dump_session, window

ENVELOPE: Final = 1024
"""Bytes for the note and the commas that are added where something is left out."""


def fitted(snapshot: Snapshot, bodies: list[bytes], max_bytes: int) -> tuple[Snapshot, list[bytes]]:
    """Leave out the oldest content: the session where something happened last gets its room first.

    Parameters
    ----------
    bodies
        Each session's record as JSON.

    Returns
    -------
    What has room in `max_bytes`, and its records.
    """
    room = max_bytes - ENVELOPE - len(orjson.dumps(dump(replace(snapshot, sessions=()))))
    if sum(map(len, bodies)) <= room and not any(saved.omitted for saved in snapshot.sessions):
        return snapshot, bodies
    sessions = list(snapshot.sessions)
    least = [orjson.dumps(dump_session(window(saved, 0))) for saved in sessions]
    room -= sum(map(len, least))
    order = sorted(range(len(sessions)), key=lambda i: last_touched(sessions[i]), reverse=True)
    room_for: dict[int, tuple[SavedSession, bytes]] = {}
    for index in order:
        if room + len(least[index]) < 0:
            continue  # not even its name has room
        room_for[index] = _shortened(sessions[index], bodies[index], least[index], room + len(least[index]))
        room -= len(room_for[index][1]) - len(least[index])
    kept = [room_for[index] for index in sorted(room_for)]
    note = (
        f"Not all of it is in this file, which may hold {max_bytes:,} bytes of chats: what is missing is in "
        "the journal of the machine where it was written."
    )
    sessions = [saved for saved, _ in kept]
    return replace(snapshot, sessions=tuple(sessions), notes=(*snapshot.notes, note)), [b for _, b in kept]


def at_most(saved: SavedSession, characters: int) -> SavedSession:
    """Return a session, without its oldest content where it has more than `characters`."""
    return saved if saved.state.characters <= characters else window(saved, characters)


def _shortened(saved: SavedSession, body: bytes, least: bytes, room: int) -> tuple[SavedSession, bytes]:
    """Return as much of the end of a session as has room."""
    if len(body) <= room:
        return saved, body
    characters = room
    while characters > 0:
        shorter = window(saved, characters)
        body = orjson.dumps(dump_session(shorter))
        if len(body) <= room:
            return shorter, body
        characters = min(characters // 2, characters * room // len(body))
    return window(saved, 0), least


def last_touched(saved: SavedSession) -> float:
    """Return when something happened last in a session, in seconds since 1970-01-01 UTC."""
    state = saved.state
    times = [message.created_at for message in state.messages.values()]
    times += [run.ended_at or run.last_delta_at or run.queued_at for run in state.runs]
    return max([state.created_at, *times])

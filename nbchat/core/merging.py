"""`merge` and `window`: combine saved sessions, and shorten them to fit a limit."""

from __future__ import annotations

import json

from msgspec.structs import replace

from nbchat.core.messages import Message
from nbchat.core.saved import Clock, SavedSession, Snapshot, Tombstone
from nbchat.core.transcript import ROOT, SessionState
from nbchat.core.tree import sound_tree


def includes(clock: Clock, other: Clock) -> bool:
    """Return whether a state with `clock` contains all events of a state with `other`."""
    return all(clock.get(epoch, 0) >= seq for epoch, seq in other.items())


def merge(mine: SavedSession, other: SavedSession) -> SavedSession:
    """Return a session with the contents of both.

    If one includes the other, the result is the newer one, with older messages that it had omitted. If both
    changed independently (a copied notebook, two kernels), the result has all messages, as versions of their
    turns, and the transcript of the session with the latest activity. The order of the arguments matters only
    for equal clocks: `mine` wins.
    """
    if includes(mine.clock, other.clock):
        return _filled(mine, other)
    if includes(other.clock, mine.clock):
        return _filled(other, mine)
    first, second = sorted((mine, other), key=_rank, reverse=True)
    return _union(first, second)


def _filled(newer: SavedSession, older: SavedSession) -> SavedSession:
    """Return the newer session, with messages that it had omitted and the older one has."""
    if not newer.omitted or newer.omitted <= older.omitted:
        return newer
    have = newer.state.messages
    kept = {key: message for key, message in older.state.messages.items() if key not in have}
    runs = {run.id for run in newer.state.runs}
    state = replace(
        newer.state,
        messages={**kept, **have},
        selected={**older.state.selected, **_inner(newer.state)},
        runs=(*(run for run in older.state.runs if run.id not in runs), *newer.state.runs),
    )
    return replace(newer, state=sound_tree(state), omitted=older.omitted)


def _inner(state: SessionState) -> dict[str, str]:
    return {parent: child for parent, child in state.selected.items() if parent != ROOT}


def _rank(saved: SavedSession) -> tuple[float, int, str]:
    state = saved.state
    times = [message.created_at for message in state.messages.values()]
    times += [run.ended_at or run.last_delta_at or run.queued_at for run in state.runs]
    return max(times, default=state.created_at), state.seq, json.dumps(dict(saved.clock), sort_keys=True)


def _union(first: SavedSession, second: SavedSession) -> SavedSession:
    a, b = first.state, second.state
    messages = dict(a.messages)
    for key, message in b.messages.items():
        have = messages.get(key)
        if have is None or _size(message) > _size(have):
            messages[key] = message
    known = {run.id for run in a.runs}
    # Each log keeps its order. If both continued after the same run, the newer session's runs are last.
    runs = list(a.runs)
    place = 0
    for run in b.runs:
        if run.id in known:
            place = next(at for at, other in enumerate(runs) if other.id == run.id) + 1
        else:
            runs.insert(place, run)
            place += 1
    clock = dict(first.clock)
    for epoch, seq in second.clock.items():
        clock[epoch] = max(seq, clock.get(epoch, 0))
    state = replace(
        a,
        seq=max(a.seq, b.seq) + 1,
        messages=messages,
        selected={**b.selected, **a.selected},
        runs=tuple(runs),
        unread=a.unread or b.unread,
    )
    return SavedSession(state=sound_tree(state), clock=clock, omitted=min(first.omitted, second.omitted))


def _size(message: Message) -> int:
    return sum(len(part.text) for part in message.parts)


def merge_all(*snapshots: Snapshot) -> tuple[dict[str, SavedSession], dict[str, Tombstone]]:
    """Return the merged sessions and deletions of several snapshots; of equal ones the first wins.

    A deletion removes every state that its clock includes. A session that continued elsewhere is restored.
    """
    sessions: dict[str, SavedSession] = {}
    stones: dict[str, Tombstone] = {}
    for snapshot in snapshots:
        for stone in snapshot.deleted:
            have = stones.get(stone.id)
            if have is None or includes(stone.clock, have.clock):
                stones[stone.id] = stone
        for saved in snapshot.sessions:
            mine = sessions.get(saved.state.id)
            sessions[saved.state.id] = saved if mine is None else merge(mine, saved)
    for key, stone in stones.items():
        if key in sessions and includes(stone.clock, sessions[key].clock):
            del sessions[key]
    return sessions, {key: stone for key, stone in stones.items() if key not in sessions}


def window(saved: SavedSession, characters: int) -> SavedSession:
    """Return the session with the newest messages of its transcript, of at most `characters` in total.

    Versions that are not selected are omitted first.
    """
    path = saved.state.path
    kept: list[Message] = []
    for message in reversed(path):
        characters -= _size(message) + 400  # overhead of a message besides its text
        if characters < 0:
            break
        kept.append(message)
    kept.reverse()
    ids = {message.id for message in kept}
    selected = {
        parent: child for parent, child in saved.state.selected.items() if parent in ids and child in ids
    }
    if kept:
        selected[ROOT] = kept[0].id
    runs = tuple(run for run in saved.state.runs if run.state.is_live or not ids.isdisjoint(run.about))
    state = replace(saved.state, messages={m.id: m for m in kept}, selected=selected, runs=runs)
    left_out = len(saved.state.messages) - len(kept)
    return replace(saved, state=state, omitted=saved.omitted + left_out)

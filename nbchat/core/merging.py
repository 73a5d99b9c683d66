"""`merge` and `window`: combine saved sessions, and shorten them to fit a limit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from nbchat.core.messages import Message
from nbchat.core.run import RunRecord, RunState
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
    turns, and the transcript of the session with the latest activity. Its time is that of the machines, since
    nothing else orders changes that do not include each other; a wrong clock selects another version, and
    loses none. An answer that was continued in both becomes two versions. A run that both have is the one
    that received more: the copy of a notebook that was saved during an answer has it as interrupted. The
    order of the arguments matters only for equal clocks: `mine` wins.
    """
    if includes(mine.clock, other.clock):
        return _filled(mine, other)
    if includes(other.clock, mine.clock):
        return _filled(other, mine)
    first, second = sorted((mine, other), key=_rank, reverse=True)
    return _union(first, second)


def has_more(saved: SavedSession, mine: SavedSession) -> bool:
    """Return whether a version has messages, or text of them, that another one does not have."""
    have = mine.state.messages
    return any(key not in have or _extent(m) > _extent(have[key]) for key, m in saved.state.messages.items())


def _filled(newer: SavedSession, older: SavedSession) -> SavedSession:
    """Return the newer session, with what it had omitted and the older one has."""
    if not newer.omitted:
        return newer
    have = newer.state.messages
    kept = {key: message for key, message in older.state.messages.items() if key not in have}
    # A version that has omitted messages may have got an earlier form of them from elsewhere.
    both = {key: _fuller(message, older.state.messages.get(key)) for key, message in have.items()}
    state = replace(
        newer.state,
        messages={**kept, **both},
        selected={**older.state.selected, **_inner(newer.state)},
        runs=_runs_of_both(newer.state.runs, older.state.runs),
    )
    omitted = min(newer.omitted, older.omitted)
    if not includes(older.clock, newer.clock):
        omitted = _still_omitted(state, newer, older)
    return replace(newer, state=sound_tree(state), omitted=omitted)


def _still_omitted(state: SessionState, one: SavedSession, other: SavedSession) -> int:
    """Return the number of messages that are missing in the merged state, at least 1 if some may be."""
    shortened = [(a, b) for a, b in ((one, other), (other, one)) if a.omitted]
    if not shortened:
        return 0
    # The first message after omitted ones refers to the last of them; without a message nothing is known.
    parents = {message.parent_id for message in state.messages.values()} - {None}
    is_open = not parents <= state.messages.keys() or not all(a.state.messages for a, _ in shortened)
    missing = max(a.omitted - len(b.state.messages.keys() - a.state.messages.keys()) for a, b in shortened)
    return max(missing, int(is_open))


def _inner(state: SessionState) -> dict[str, str]:
    return {parent: child for parent, child in state.selected.items() if parent != ROOT}


def _rank(saved: SavedSession) -> tuple[float, int, str]:
    state = saved.state
    times = [message.created_at for message in state.messages.values()]
    times += [run.ended_at or run.last_delta_at or run.queued_at for run in state.runs]
    return max(times, default=state.created_at), state.seq, json.dumps(dict(saved.clock), sort_keys=True)


def _union(first: SavedSession, second: SavedSession) -> SavedSession:
    a, b = _apart(first.state, second.state)
    messages = {key: _fuller(message, b.messages.get(key)) for key, message in a.messages.items()}
    messages.update({key: message for key, message in b.messages.items() if key not in messages})
    clock = dict(first.clock)
    for epoch, seq in second.clock.items():
        clock[epoch] = max(seq, clock.get(epoch, 0))
    state = replace(
        a,
        seq=max(a.seq, b.seq) + 1,
        messages=messages,
        selected={**b.selected, **a.selected},
        runs=_runs_of_both(a.runs, b.runs),
        unread=a.unread or b.unread,
    )
    omitted = _still_omitted(state, first, second)
    return SavedSession(state=sound_tree(state), clock=clock, omitted=omitted)


def _runs_of_both(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """Return the runs of two logs in the order of each; the runs that only the first has are last."""
    runs = list(first)
    place = 0
    for run in second:
        at = next((at for at, other in enumerate(runs) if other.id == run.id), None)
        if at is None:
            runs.insert(place, run)
            place += 1
        else:
            runs[at] = max(runs[at], run, key=_received)
            place = at + 1
    return tuple(runs)


def _received(run: RunRecord) -> tuple[int, bool, bool]:
    return run.characters, run.state.is_over, run.state is not RunState.INTERRUPTED


def _apart(a: SessionState, b: SessionState) -> tuple[SessionState, SessionState]:
    """Return two states in which each id means one answer.

    An answer that was continued in both is renamed in the state that received less of their common runs.
    """
    ids_a, ids_b = ({run.id for run in state.runs} for state in (a, b))
    only_a = [run for run in a.runs if run.id not in ids_b]
    only_b = [run for run in b.runs if run.id not in ids_a]
    continued = {run.message_id for run in (*only_a, *only_b)}
    for key in [key for key in a.messages if key in continued and key in b.messages]:
        if _begins(b.messages[key], a.messages[key]) and not _adds(only_b, key):
            b = _moved_behind(b, key, a)
        elif _begins(a.messages[key], b.messages[key]) and not _adds(only_a, key):
            a = _moved_behind(a, key, b)
        elif _characters(a, key, ids_b) >= _characters(b, key, ids_a):
            b = _renamed(b, key, a)
        else:
            a = _renamed(a, key, b)
    return a, b


def _adds(runs: Iterable[RunRecord], key: str) -> bool:
    return any(run.message_id == key and run.characters for run in runs)


def _moved_behind(state: SessionState, key: str, other: SessionState) -> SessionState:
    """Let runs that added nothing to an answer begin at the end of its longer version."""
    end = len(other.messages[key].parts)
    runs = tuple(
        replace(run, first_part=end)
        if run.message_id == key and run.first_part < end and not run.characters and not other.run(run.id)
        else run
        for run in state.runs
    )
    return replace(state, runs=runs)


def _begins(message: Message, other: Message) -> bool:
    """Return whether the content of a message is the beginning of another's."""
    if len(message.parts) > len(other.parts):
        return False
    last = len(message.parts) - 1
    return all(
        type(part) is type(longer)
        and (longer.text.startswith(part.text) if at == last else longer.text == part.text)
        for at, (part, longer) in enumerate(zip(message.parts, other.parts, strict=False))
    )


def _characters(state: SessionState, message_id: str, run_ids: set[str]) -> int:
    return sum(run.characters for run in state.runs if run.message_id == message_id and run.id in run_ids)


def _renamed(state: SessionState, key: str, other: SessionState) -> SessionState:
    """Return a state in which an answer, and what only this state has of it, has an id of its own.

    The id derives from the answer's last run, so that it is the same wherever the states are merged.
    """
    message = state.messages[key]
    if message.run_id is None or other.run(message.run_id) is not None:
        return state
    new = f"m-{message.run_id.removeprefix('r-')}"

    def name(found: str | None) -> str | None:
        return new if found == key else found

    messages: dict[str, Message] = {}
    for one in state.messages.values():
        if one.id == key:
            messages[new] = replace(one, id=new)
        elif one.id in other.messages:
            messages[one.id] = one
        else:
            messages[one.id] = replace(one, parent_id=name(one.parent_id))
    runs = [
        run
        if other.run(run.id) is not None
        else replace(
            run,
            message_id=new if run.message_id == key else run.message_id,
            replaces=name(run.replaces),
            parent_id=name(run.parent_id),
            prompt=run.prompt and replace(run.prompt, parent_id=name(run.prompt.parent_id)),
        )
        for run in state.runs
    ]
    selected = {
        new if parent == key and child not in other.messages else parent: new if child == key else child
        for parent, child in state.selected.items()
    }
    return replace(state, messages=messages, runs=tuple(runs), selected=selected)


def _fuller(message: Message, other: Message | None) -> Message:
    """Return the form of a message with more content; `message` if they are equal."""
    if other is None:
        return message
    fuller = message if _extent(message) >= _extent(other) else other
    if fuller.written_by is not UNSET or message.parts != other.parts:
        return fuller
    # A copy from which the authors were removed does not remove them here; other content is not theirs.
    return replace(fuller, written_by=message.written_by or other.written_by)


def without_authors(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without names of people, for one from a sender who could have changed them."""
    return replace(snapshot, sessions=tuple(map(_without_authors, snapshot.sessions)))


def _without_authors(saved: SavedSession) -> SavedSession:
    state = saved.state
    runs = [
        run if run.prompt is None else replace(run, prompt=replace(run.prompt, written_by=UNSET))
        for run in state.runs
    ]
    state = replace(
        state,
        settings=replace(state.settings, changed_by=UNSET),
        messages={key: replace(message, written_by=UNSET) for key, message in state.messages.items()},
        runs=tuple(runs),
    )
    return replace(saved, state=state)


def _extent(message: Message) -> tuple[int, bool]:
    return message.size, message.finish_reason is not None


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
        characters -= message.size + 400  # overhead of a message besides its text
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

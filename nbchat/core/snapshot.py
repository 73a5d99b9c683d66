"""All that is known of some sessions, as one JSON value: what a notebook carries.

The format is described in `docs/snapshot.md`, with its JSON Schema. `dump` writes it, `parse` reads it;
both are pure, and what they do is the identity there and back.

Three rules keep a saved state from doing harm:

1. It is *checked*: sizes, types, depth, and a checksum for each session, so that a damaged session is
   told from a good one, and the good ones are used.
2. It is *clean*: no surrogate halves, no NUL, no NaN, no integer that JavaScript cannot hold, and
   nothing that looks like a credential.
3. It is *whole or says so*: what was left out because of a limit is counted in `omitted` and named in
   `notes`; a record that cannot be read is carried along as it is, in `unreadable`.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from nbchat.core.codec import MAX_DEPTH, DecodeError, decode
from nbchat.core.errors import SnapshotCorrupt, SnapshotTooLarge, SnapshotTooNew
from nbchat.core.events import Settings
from nbchat.core.messages import Message
from nbchat.core.redact import is_reference, redact
from nbchat.core.run import RunRecord
from nbchat.core.text import clean
from nbchat.core.transcript import ROOT, SessionState

FORMAT: Final = "nbchat-snapshot"
VERSION: Final = 1
"""Of the format. It counts up when an older nbchat could misread what is written."""

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of JSON that are read at most."""

KEY: Final = "nbchat"
"""The notebook's metadata key."""

_SECRET_NAMES: Final = ("api_key", "apikey", "authorization", "password", "secret", "access_token", "cookie")
"""Names of parameters whose values are never written down."""

Clock = Mapping[str, int]
"""How far a state knows each kernel's events of its session: epoch to the last `seq` of that kernel.

A kernel appends to a session in one line, so `(epoch, seq)` names one event for ever, and one state
includes another exactly when its clock is nowhere behind: a version vector.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSession:
    """One session, and whose events are in it."""

    state: SessionState
    clock: Clock = field(default_factory=dict)
    omitted: int = 0
    """Messages that were left out because of a size limit, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A session that was deleted, so that an older copy does not bring it back."""

    id: str
    clock: Clock = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Some sessions at one moment: a consistent cut, taken in one step of the engine's loop."""

    notebook_id: str = ""
    """The notebook that it belongs to; empty outside of one."""
    epoch: str = ""
    """The kernel that wrote it."""
    saved_at: float = 0.0
    """Seconds since 1970-01-01 UTC."""
    place: str = ""
    """A digest of the notebook's path, by which a copy is told from the original."""
    sessions: tuple[SavedSession, ...] = ()
    deleted: tuple[Tombstone, ...] = ()
    notes: tuple[str, ...] = ()
    """For people: what was left out or repaired."""
    unreadable: tuple[Any, ...] = ()
    """Records that could not be read, as they were."""
    version: int = VERSION


# Times


def to_rfc3339(seconds: float) -> str:
    """Return a time as in RFC 3339, in UTC, exact to the nanosecond."""
    whole = math.floor(seconds)
    carry, nanos = divmod(round((seconds - whole) * 1e9), 1_000_000_000)
    whole += carry
    text = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{nanos:09d}".rstrip("0") + "Z" if nanos else text + "Z"


def from_rfc3339(text: object, path: str = "") -> float:
    """Return seconds since 1970-01-01 UTC.

    Raises
    ------
    DecodeError
        It is not a time in UTC, or lies outside of the years 1 to 9999.
    """
    if not isinstance(text, str) or not text.endswith("Z") or len(text) > 40:  # noqa: PLR2004 - a time
        raise DecodeError(path, "a time such as 2026-01-31T12:00:00Z", text)
    whole, _, fraction = text[:-1].partition(".")
    try:
        seconds = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
        nanos = int(fraction.ljust(9, "0")[:9]) if fraction else 0
    except ValueError:
        raise DecodeError(path, "a time such as 2026-01-31T12:00:00Z", text) from None
    return float(int(seconds) + nanos / 1e9) if nanos else float(int(seconds))


def _is_time(name: str) -> bool:
    return name.endswith("_at")


# Writing


def plain(value: object) -> Any:  # noqa: ANN401, PLR0911 - any JSON value, one kind after the other
    """Return `value` as clean JSON values: fields that have their default are left out.

    Times become text. Text loses surrogate halves and NUL, numbers that JSON or JavaScript cannot hold
    become None.
    """
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str):
        return clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain_fields(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None


def _plain_fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a dataclass
    written: dict[str, Any] = {}
    for f in fields(value):
        item = getattr(value, f.name)
        if f.name == "type":
            written[f.name] = item
            continue
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if item is default or item == default:
            continue
        if _is_time(f.name) and isinstance(item, int | float):
            written[f.name] = _time(float(item))
        elif f.name == "params":
            written[f.name] = safe_params(item)
        else:
            written[f.name] = plain(item)
    return written


def _time(seconds: float) -> str | None:
    try:
        return to_rfc3339(seconds)
    except (ValueError, OverflowError, OSError):
        return to_rfc3339(0.0)


def safe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without what looks like a credential, by its name or by its shape."""
    safe = _without_secrets(plain(params))
    return safe if isinstance(safe, dict) else {}


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {
            key: _without_secrets(item)
            for key, item in value.items()
            if is_reference(item) or not any(name in key.lower().replace("-", "_") for name in _SECRET_NAMES)
        }
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def dump_session(saved: SavedSession) -> dict[str, Any]:
    """Return one session's record, with its checksum."""
    state = saved.state
    record: dict[str, Any] = {
        "id": state.id,
        "seq": state.seq,
        "created_at": _time(state.created_at),
        "clock": dict(saved.clock),
        "settings": plain(state.settings),
        "messages": [plain(message) for message in state.messages.values()],
        "selected": plain(state.selected),
        "runs": [plain(run) for run in state.runs],
    }
    if state.thread_id is not None:
        record["thread_id"] = plain(state.thread_id)
    if state.unread:
        record["unread"] = True
    if saved.omitted:
        record["omitted"] = saved.omitted
    record["crc32"] = checksum(record)
    return record


def dump(snapshot: Snapshot, records: Sequence[Any] | None = None) -> dict[str, Any]:
    """Return a snapshot as JSON values.

    Parameters
    ----------
    records
        What `dump_session` returned for each session, or the same as JSON text in whatever wrapping the
        caller's encoder takes, where it was kept from an earlier time. None: made now.
    """
    head = {
        "format": FORMAT,
        "version": VERSION,
        "notebook_id": plain(snapshot.notebook_id),
        "epoch": plain(snapshot.epoch),
        "saved_at": _time(snapshot.saved_at),
    }
    if snapshot.place:
        head["place"] = plain(snapshot.place)
    if snapshot.deleted:
        head["deleted"] = [
            {"id": stone.id, "clock": dict(stone.clock), "at": _time(stone.at)} for stone in snapshot.deleted
        ]
    if snapshot.notes:
        head["notes"] = plain(snapshot.notes)
    head["crc32"] = checksum(head)
    sessions = [dump_session(one) for one in snapshot.sessions] if records is None else list(records)
    whole: dict[str, Any] = {**head, "sessions": sessions}
    if snapshot.unreadable:
        whole["unreadable"] = list(snapshot.unreadable)
    return whole


def checksum(record: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a record's canonical JSON: keys sorted, no spaces, without `crc32` itself.

    Whole numbers are written without a fraction, since JavaScript has no other way.
    """
    text = json.dumps(
        _canonical({key: value for key, value in record.items() if key != "crc32"}),
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _canonical(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


# Reading


def parse(value: object, *, newer: bool = False) -> Snapshot:
    """Return the snapshot that a JSON value holds.

    A session that is damaged is left in `unreadable`, with a note; the others are used.

    Parameters
    ----------
    value
        What `dump` returned, or its JSON as text or bytes.
    newer
        Read what can be understood of a newer version, too. It must not be written back.

    Raises
    ------
    SnapshotCorrupt
        It is not a snapshot of nbchat, or its head is damaged.
    SnapshotTooNew
        A newer nbchat wrote it.
    SnapshotTooLarge
        It is larger, or nested more deeply, than is read.
    """
    data = loads(value) if isinstance(value, str | bytes | bytearray | memoryview) else value
    if isinstance(data, Snapshot):
        return data
    if not isinstance(data, dict):
        raise SnapshotCorrupt(f"a snapshot is a JSON object, not {_kind(data)}.")
    version = data.get("version")
    if data.get("format") != FORMAT or type(version) is not int or version < 1:
        raise SnapshotCorrupt(
            "this is not a snapshot of nbchat: its 'format' or 'version' is missing or wrong."
        )
    if version > VERSION and not newer:
        raise SnapshotTooNew(f"the saved state has version {version}, and this nbchat reads up to {VERSION}.")
    for older in range(version, VERSION):
        data = MIGRATIONS[older](data)
    try:
        return _parse(data)
    except DecodeError as error:
        raise SnapshotCorrupt(f"the saved state is damaged: {error}.") from error


MIGRATIONS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""From a version to the next; there has been one version so far."""


def loads(text: str | bytes | bytearray | memoryview) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a text.

    Raises
    ------
    SnapshotCorrupt
        It is not JSON (RFC 8259), or not UTF-8.
    SnapshotTooLarge
        It is longer than `MAX_BYTES`, or nested too deeply to be read.
    """
    if len(text) > MAX_BYTES:
        raise SnapshotTooLarge(f"the saved state has {len(text):,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        if not isinstance(text, str):
            text = bytes(text).decode("utf-8")
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise SnapshotTooLarge("the saved state is nested too deeply to be read.") from None
    except ValueError as error:
        raise SnapshotCorrupt(f"the saved state is not valid JSON: {str(error)[:120]}.") from None


def _no_constant(name: str) -> Any:  # noqa: ANN401 - raises
    raise ValueError(f"{name} is not a JSON number")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _parse(data: dict[str, Any]) -> Snapshot:
    head = {key: value for key, value in data.items() if key not in ("sessions", "unreadable")}
    records = data.get("sessions", [])
    if not isinstance(records, list):
        raise DecodeError("sessions", "a list", records)
    if not _matches(head):
        raise DecodeError("crc32", "the checksum of what was written", head.get("crc32"))
    sessions: dict[str, SavedSession] = {}
    unreadable = list(data.get("unreadable") or ()) if isinstance(data.get("unreadable"), list) else []
    notes = list(decode(tuple[str, ...], head.get("notes", [])))
    for index, record in enumerate(records):
        try:
            saved = parse_session(record, f"sessions[{index}]")
        except (DecodeError, RecursionError) as error:
            unreadable.append(record)
            notes.append(f"One session could not be read: {error}.")
            continue
        if saved.state.id in sessions:
            notes.append(f"The session {saved.state.id} was there twice; the newest was taken.")
            saved = merge(sessions[saved.state.id], saved)
        sessions[saved.state.id] = saved
    return Snapshot(
        notebook_id=decode(str, head.get("notebook_id", "")),
        epoch=decode(str, head.get("epoch", "")),
        place=decode(str, head.get("place", "")),
        saved_at=from_rfc3339(head.get("saved_at"), "saved_at"),
        sessions=tuple(sessions.values()),
        deleted=tuple(_tombstone(stone, i) for i, stone in enumerate(_list(head, "deleted"))),
        notes=tuple(notes),
        unreadable=tuple(unreadable),
    )


def _matches(record: Mapping[str, Any]) -> bool:
    try:
        return type(record.get("crc32")) is int and record["crc32"] == checksum(record)
    except (RecursionError, TypeError, ValueError):
        return False


def _list(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name, [])
    if not isinstance(value, list):
        raise DecodeError(name, "a list", value)
    return value


def _tombstone(data: object, index: int) -> Tombstone:
    path = f"deleted[{index}]"
    if not isinstance(data, dict):
        raise DecodeError(path, "an object", data)
    return Tombstone(
        id=_id(data.get("id"), f"{path}.id"),
        clock=_clock(data.get("clock", {}), f"{path}.clock"),
        at=from_rfc3339(data.get("at"), f"{path}.at"),
    )


def _id(value: object, path: str) -> str:
    if type(value) is not str or not 0 < len(value) <= 200:  # noqa: PLR2004 - an id of ours has 28
        raise DecodeError(path, "an id", value)
    return value


def _clock(value: object, path: str) -> Clock:
    clock: dict[str, int] = decode(Mapping[str, int], value)
    if len(clock) > 100_000 or any(seq < 0 for seq in clock.values()):  # noqa: PLR2004 - kernel starts
        raise DecodeError(path, "numbers of events", value)
    return clock


def parse_session(record: object, path: str = "session") -> SavedSession:
    """Return the session of one record.

    Raises
    ------
    DecodeError
        It is damaged; the message says where.
    """
    if not isinstance(record, dict):
        raise DecodeError(path, "an object", record)
    if not _matches(record):
        raise DecodeError(f"{path}.crc32", "the checksum of what was written", record.get("crc32"))
    seq = decode(int, record.get("seq"))
    omitted = decode(int, record.get("omitted", 0))
    if seq < 0 or omitted < 0:
        raise DecodeError(f"{path}.seq", "a number of events", seq)
    messages: tuple[Message, ...] = decode(
        tuple[Message, ...], [_with_seconds(one, f"{path}.messages") for one in _list(record, "messages")]
    )
    runs: tuple[RunRecord, ...] = decode(
        tuple[RunRecord, ...], [_with_seconds(one, f"{path}.runs") for one in _list(record, "runs")]
    )
    thread_id = record.get("thread_id")
    state = SessionState(
        id=_id(record.get("id"), f"{path}.id"),
        seq=seq,
        created_at=from_rfc3339(record.get("created_at"), f"{path}.created_at"),
        settings=decode(Settings, record.get("settings", {})),
        thread_id=None if thread_id is None else decode(str, thread_id),
        unread=decode(bool, record.get("unread", False)),
        messages={message.id: message for message in messages},
        selected=decode(Mapping[str, str], record.get("selected", {})),
        runs=_unique_runs(runs, path),
    )
    if len(state.messages) != len(messages):
        raise DecodeError(f"{path}.messages", "ids that are there once", None)
    return SavedSession(
        state=sound_tree(state), clock=_clock(record.get("clock", {}), f"{path}.clock"), omitted=omitted
    )


def _unique_runs(runs: tuple[RunRecord, ...], path: str) -> tuple[RunRecord, ...]:
    if len({run.id for run in runs}) != len(runs):
        raise DecodeError(f"{path}.runs", "ids that are there once", None)
    return runs


def _with_seconds(value: Any, path: str, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
    """Return a message's or run's record with its times as seconds."""
    if not isinstance(value, dict) or depth > MAX_DEPTH:
        return value
    read = dict(value)
    for key, item in value.items():
        if _is_time(key) and item is not None:
            read[key] = from_rfc3339(item, f"{path}.{key}")
        elif key == "prompt":
            read[key] = _with_seconds(item, f"{path}.{key}", depth + 1)
    return read


def sound_tree(state: SessionState) -> SessionState:
    """Return `state` with a tree that can be walked: parents before children, no cycle, a path that ends.

    A message whose parent is not there stands where the transcript begins. Of a cycle, the message that
    stands first is taken out of it, which depends on nothing but the record.
    """
    messages = state.messages
    placed = _placed(messages)
    selected = _selection(state.selected, placed)
    if list(placed) == list(messages) and placed == messages and selected == state.selected:
        return state
    return replace(state, messages=placed, selected=selected)


def _placed(messages: Mapping[str, Message]) -> dict[str, Message]:
    """Return messages with parents before their children, and cycles cut."""
    placed: dict[str, Message] = {}
    for first in messages.values():
        way: dict[str, Message] = {}
        here: Message | None = first
        while here is not None and here.id not in placed and here.id not in way:
            way[here.id] = here
            here = messages.get(here.parent_id) if here.parent_id is not None else None
        chain = list(way.values())
        if here is not None and here.id in way:
            at = list(way).index(here.id)
            chain = [*chain[:at], *chain[at + 1 :], replace(here, parent_id=None)]
        for message in reversed(chain):
            placed[message.id] = message
    return placed


def _selection(chosen: Mapping[str, str], placed: Mapping[str, Message]) -> dict[str, str]:
    """Return which child of each message is shown: the chosen one, else the newest."""
    selected: dict[str, str] = {}
    for parent, child in chosen.items():
        shown = placed.get(child)
        if shown is not None and _parent(shown, placed) == parent:
            selected[parent] = child
    for message in placed.values():
        parent = _parent(message, placed)
        if parent not in selected:
            selected[parent] = message.id
    return selected


def _parent(message: Message, placed: Mapping[str, Message]) -> str:
    parent = message.parent_id
    return parent if parent is not None and parent in placed else ROOT


# Comparing and merging


def includes(clock: Clock, other: Clock) -> bool:
    """Tell whether a state with `clock` knows everything that one with `other` knows."""
    return all(clock.get(epoch, 0) >= seq for epoch, seq in other.items())


def merge(mine: SavedSession, other: SavedSession) -> SavedSession:
    """Return a session that has everything of both.

    Where one includes the other, it is the newer one, with older messages that it had to leave out.
    Where both went on by themselves (a notebook that was copied, two kernels) all messages are there, as
    versions of their turns, and the transcript is that of the session where something happened last.
    The order of the arguments makes no difference, but for equal clocks, where `mine` wins.
    """
    if includes(mine.clock, other.clock):
        return _filled(mine, other)
    if includes(other.clock, mine.clock):
        return _filled(other, mine)
    first, second = sorted((mine, other), key=_rank, reverse=True)
    return _union(first, second)


def _filled(newer: SavedSession, older: SavedSession) -> SavedSession:
    """Put back what the newer one had to leave out, as far as the older one has it."""
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
    runs = sorted(
        (*a.runs, *(run for run in b.runs if run.id not in known)), key=lambda r: (r.queued_at, r.id)
    )
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
    """Return all sessions and all deletions of several snapshots, merged; the first wins where equal.

    A deletion holds against every state that it knew; a session that went on elsewhere comes back.
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


# Fitting into a limit


def window(saved: SavedSession, characters: int) -> SavedSession:
    """Return the session with the newest messages of its transcript that have `characters` together.

    Versions that are not shown go first.
    """
    path = saved.state.path
    kept: list[Message] = []
    for message in reversed(path):
        characters -= _size(message) + 400  # what a message costs besides its text
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

"""The JSON format in which sessions are saved in a notebook.

The format is described in `docs/snapshot.md`, with its JSON Schema. `dump` writes it and `parse` reads it.
Both are pure, and a round trip returns an equal value.

Three rules protect against harmful saved state:

1. It is *checked*: sizes, types, depth, and a checksum for each session, so that damaged sessions are
   detected and the others are used.
2. It is *clean*: no surrogate halves, no NUL, no NaN, no integer that JavaScript cannot represent, and
   no text that looks like a credential.
3. It is *complete or marked*: messages omitted because of a limit are counted in `omitted` and mentioned in
   `notes`. A record that cannot be read is kept unchanged in `unreadable`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from msgspec import field

from nbchat.core.errors import SnapshotCorrupt, SnapshotTooLarge, SnapshotTooNew
from nbchat.core.events import Settings
from nbchat.core.merging import merge
from nbchat.core.messages import Message
from nbchat.core.records import is_time, matches, record_of, with_checksum
from nbchat.core.rfc3339 import from_rfc3339, time_text
from nbchat.core.run import RunRecord
from nbchat.core.saved import VERSION, Clock, NumberOfEvents, SavedSession, Snapshot, Tombstone
from nbchat.core.transcript import SessionState
from nbchat.core.tree import sound_tree
from nbchat.core.values import (
    MAX_DEPTH,
    DecodeError,
    Value,
    check,
    convert,
)

FORMAT: Final = "nbchat-snapshot"

MAX_BYTES: Final = 64 * 1024 * 1024
"""Maximum size in bytes of JSON that is read."""

KEY: Final = "nbchat"
"""The notebook's metadata key."""

# Writing


def encode_session(saved: SavedSession) -> bytes:
    """Return one session's record as JSON, with its checksum."""
    state = saved.state
    record: dict[str, Any] = {
        "id": state.id,
        "seq": state.seq,
        "created_at": time_text(state.created_at),
        "clock": dict(saved.clock),
        "settings": record_of(state.settings),
        "messages": [record_of(message) for message in state.messages.values()],
        "selected": state.selected,
        "runs": [record_of(run) for run in state.runs],
    }
    if state.thread_id is not None:
        record["thread_id"] = state.thread_id
    if state.unread:
        record["unread"] = True
    if saved.omitted:
        record["omitted"] = saved.omitted
    return with_checksum(record)


def encode(snapshot: Snapshot, encoded: Callable[[SavedSession], bytes] = encode_session) -> bytes:
    """Return a snapshot as JSON.

    Parameters
    ----------
    encoded
        Function that returns the record of a session; it may cache the results of `encode_session`.
    """
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "notebook_id": snapshot.notebook_id,
        "epoch": snapshot.epoch,
        "saved_at": time_text(snapshot.saved_at),
    }
    if snapshot.place:
        head["place"] = snapshot.place
    if snapshot.deleted:
        head["deleted"] = [
            {"id": stone.id, "clock": dict(stone.clock), "at": time_text(stone.at)}
            for stone in snapshot.deleted
        ]
    if snapshot.notes:
        head["notes"] = snapshot.notes
    parts = [with_checksum(head)[:-1], b',"sessions":[']
    for number, saved in enumerate(snapshot.sessions):
        parts += [b"," if number else b"", encoded(saved)]
    parts.append(b"]")
    if snapshot.unreadable:
        parts += [b',"unreadable":', _as_it_was(snapshot.unreadable)]
    return b"".join([*parts, b"}"])


def dump(snapshot: Snapshot, encoded: Callable[[SavedSession], bytes] = encode_session) -> dict[str, Any]:
    """Return a snapshot as JSON values; the parameters are those of `encode`."""
    dumped: dict[str, Any] = _json(encode(snapshot, encoded))
    return dumped


def _as_it_was(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except ValueError:  # halves of surrogate pairs, which can only be written as escapes
        return json.dumps(value).encode()


# Reading


def parse(value: object, *, newer: bool = False) -> Snapshot:
    """Return the snapshot in a JSON value.

    A damaged session is kept in `unreadable`, with a note; the others are used.

    Parameters
    ----------
    value
        A result of `dump`, or its JSON as text or bytes.
    newer
        Also read a newer version, as far as possible. The result must not be written back.

    Raises
    ------
    SnapshotCorrupt
        If the value is not a snapshot of nbchat, or its head is damaged.
    SnapshotTooNew
        If a newer nbchat wrote it.
    SnapshotTooLarge
        If its size or its depth exceeds the limit.
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
"""Functions that convert a version to the next one. So far there is only one version."""


def loads(text: str | bytes | bytearray | memoryview) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON value of a text.

    Raises
    ------
    SnapshotCorrupt
        If the text is not JSON (RFC 8259) or not UTF-8.
    SnapshotTooLarge
        If the text is longer than `MAX_BYTES` or nested too deeply to be read.
    """
    if len(text) > MAX_BYTES:
        raise SnapshotTooLarge(f"the saved state has {len(text):,} bytes; at most {MAX_BYTES:,} are read.")
    try:
        return _json(text)
    except RecursionError:
        raise SnapshotTooLarge("the saved state is nested too deeply to be read.") from None
    except ValueError as error:
        raise SnapshotCorrupt(f"the saved state is not valid JSON: {str(error)[:120]}.") from None


def _json(text: str | bytes | bytearray | memoryview) -> Any:  # noqa: ANN401 - any JSON value
    with suppress(RecursionError, ValueError):
        return msgspec.json.decode(text)
    # The text is nested too deeply for msgspec, has halves of surrogate pairs, or is not JSON.
    if not isinstance(text, str):
        text = bytes(text).decode("utf-8")
    return json.loads(text, parse_constant=_no_constant)


def _no_constant(name: str) -> Any:  # noqa: ANN401 - raises
    raise ValueError(f"{name} is not a JSON number")


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _parse(data: dict[str, Any]) -> Snapshot:
    head = {key: value for key, value in data.items() if key not in ("sessions", "unreadable")}
    records = data.get("sessions", [])
    if not isinstance(records, list):
        raise DecodeError("Expected a list - at `sessions`")
    if not matches(head):
        raise DecodeError("Expected the checksum of what was written - at `crc32`")
    sessions: dict[str, SavedSession] = {}
    unreadable = list(data.get("unreadable") or ()) if isinstance(data.get("unreadable"), list) else []
    notes = list(_convert(tuple[str, ...], head.get("notes", []), "notes"))
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
        notebook_id=_convert(str, head.get("notebook_id", ""), "notebook_id"),
        epoch=_convert(str, head.get("epoch", ""), "epoch"),
        place=_convert(str, head.get("place", ""), "place"),
        saved_at=from_rfc3339(head.get("saved_at"), "saved_at"),
        sessions=tuple(sessions.values()),
        deleted=tuple(_tombstone(stone, i) for i, stone in enumerate(_list(head, "deleted"))),
        notes=tuple(notes),
        unreadable=tuple(unreadable),
    )


def _list(record: Mapping[str, Any], name: str) -> list[Any]:
    value = record.get(name, [])
    if not isinstance(value, list):
        raise DecodeError(f"Expected a list - at `{name}`")
    return value


def _tombstone(data: object, index: int) -> Tombstone:
    path = f"deleted[{index}]"
    if not isinstance(data, dict):
        raise DecodeError(f"Expected an object - at `{path}`")
    return Tombstone(
        id=_id(data.get("id"), f"{path}.id"),
        clock=_clock(data.get("clock", {}), f"{path}.clock"),
        at=from_rfc3339(data.get("at"), f"{path}.at"),
    )


def _id(value: object, path: str) -> str:
    if type(value) is not str or not 0 < len(value) <= 200:  # noqa: PLR2004 - an id of ours has 28
        raise DecodeError(f"Expected an id of at most 200 characters - at `{path}`")
    return value


def _clock(value: object, path: str) -> Clock:
    clock: dict[str, int] = _convert(Mapping[str, NumberOfEvents], value, path)
    if len(clock) > 100_000:  # noqa: PLR2004 - kernel starts
        raise DecodeError(f"Expected at most 100,000 kernels - at `{path}`")
    return clock


def parse_session(record: object, path: str = "session") -> SavedSession:
    """Return the session of one record.

    Raises
    ------
    DecodeError
        If the record is damaged; the message names the position.
    """
    if not isinstance(record, dict):
        raise DecodeError(f"Expected an object - at `{path}`")
    if not matches(record):
        raise DecodeError(f"Expected the checksum of what was written - at `{path}.crc32`")
    settings = record.get("settings", {})
    check(settings, f"{path}.settings", MAX_DEPTH + 2)
    messages = _messages(_list(record, "messages"), path)
    runs = _runs(_list(record, "runs"), path)
    rest = _convert(_Rest, {key: record[key] for key in _REST if key in record}, path)
    state = SessionState(
        id=_id(record.get("id"), f"{path}.id"),
        seq=rest.seq,
        created_at=from_rfc3339(record.get("created_at"), f"{path}.created_at"),
        settings=rest.settings,
        thread_id=rest.thread_id,
        unread=rest.unread,
        messages={message.id: message for message in messages},
        selected=rest.selected,
        runs=runs,
    )
    if len(state.messages) != len(messages):
        raise DecodeError(f"Expected each id once - at `{path}.messages`")
    if len({run.id for run in runs}) != len(runs):
        raise DecodeError(f"Expected each id once - at `{path}.runs`")
    return SavedSession(
        state=sound_tree(state), clock=_clock(record.get("clock", {}), f"{path}.clock"), omitted=rest.omitted
    )


class _Rest(Value, frozen=True, kw_only=True):
    """The fields of a session's record that need only type checks."""

    seq: NumberOfEvents
    settings: Settings = field(default_factory=Settings)
    thread_id: str | None = None
    unread: bool = False
    selected: Mapping[str, str] = field(default_factory=dict)
    omitted: NumberOfEvents = 0


_REST: Final = ("seq", "settings", "thread_id", "unread", "selected", "omitted")


def _convert(kind: Any, data: object, path: str) -> Any:  # noqa: ANN401 - the type is the argument
    try:
        return convert(kind, data)
    except DecodeError as error:
        raise DecodeError(f"{path}: {error}") from None


def _messages(records: list[Any], path: str) -> tuple[Message, ...]:
    path = f"{path}.messages"
    messages: tuple[Message, ...] = _convert(
        tuple[Message, ...], [_message(one, path) for one in records], path
    )
    return messages


def _message(record: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of a message's record with its times, and those of its tool calls, as seconds."""
    read = _with_seconds(record, ("created_at",), path)
    parts = read.get("parts") if isinstance(read, dict) else None
    if isinstance(parts, list) and any(isinstance(part, dict) and "started_at" in part for part in parts):
        read["parts"] = [_with_seconds(part, ("started_at",), f"{path}.parts") for part in parts]
    return read


def _runs(records: list[Any], path: str) -> tuple[RunRecord, ...]:
    path = f"{path}.runs"
    times = [name for name in RunRecord.__struct_fields__ if is_time(name)]
    with_seconds = [_with_seconds(one, times, path) for one in records]
    for one in with_seconds:
        if isinstance(one, dict):
            check(one.get("params"), f"{path}.params", MAX_DEPTH + 1)
            if "prompt" in one:
                one["prompt"] = _with_seconds(one["prompt"], ("created_at",), f"{path}.prompt")
    runs: tuple[RunRecord, ...] = _convert(tuple[RunRecord, ...], with_seconds, path)
    return runs


def _with_seconds(record: Any, times: Iterable[str], path: str) -> Any:  # noqa: ANN401 - any JSON value
    """Return a copy of a record with its times as seconds."""
    if not isinstance(record, dict):
        return record
    read = record.copy()
    for name in times:
        text = read.get(name)
        if text is not None:
            read[name] = from_rfc3339(text, f"{path}.{name}")
    return read

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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import NODEFAULT, UNSET, Struct, field
from msgspec import inspect as inspection

from nbchat.core.errors import SnapshotCorrupt, SnapshotTooLarge, SnapshotTooNew
from nbchat.core.events import Settings
from nbchat.core.merging import merge
from nbchat.core.messages import Message, TextPart
from nbchat.core.redact import is_reference, redact
from nbchat.core.run import RunRecord
from nbchat.core.saved import VERSION, Clock, NumberOfEvents, SavedSession, Snapshot, Tombstone
from nbchat.core.text import clean
from nbchat.core.transcript import SessionState
from nbchat.core.tree import sound_tree
from nbchat.core.values import (
    MAX_DEPTH,
    MAX_INTEGER,
    DecodeError,
    Value,
    check,
    convert,
)

FORMAT: Final = "nbchat-snapshot"

MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of JSON that are read at most."""

KEY: Final = "nbchat"
"""The notebook's metadata key."""

_SECRET_NAMES: Final = ("api_key", "apikey", "authorization", "password", "secret", "access_token", "cookie")
"""Names of parameters whose values are never written down."""

# Times


def to_rfc3339(seconds: float) -> str:
    """Return a time as in RFC 3339, in UTC, exact to the nanosecond."""
    minute = int(seconds // 60)
    rest = f"{seconds - 60 * minute:012.9f}"
    if rest.startswith("60"):
        minute, rest = minute + 1, "00."
    return f"{_minute(minute)}{rest.rstrip('0').rstrip('.')}Z"


@lru_cache(maxsize=4096)
def _minute(number: int) -> str:
    return datetime.fromtimestamp(number * 60, UTC).strftime("%Y-%m-%dT%H:%M:")


def from_rfc3339(text: object, path: str = "") -> float:
    """Return seconds since 1970-01-01 UTC.

    Raises
    ------
    DecodeError
        It is not a time in UTC, or lies outside of the years 1 to 9999.
    """
    if not isinstance(text, str) or not text.endswith("Z") or len(text) > 40:  # noqa: PLR2004 - a time
        raise DecodeError(f"Expected a time such as 2026-01-31T12:00:00Z - at `{path}`")
    whole, _, fraction = text[:-1].partition(".")
    try:
        seconds = _seconds(whole)
        nanos = int(fraction.ljust(9, "0")[:9]) if fraction else 0
    except ValueError:
        raise DecodeError(f"Expected a time such as 2026-01-31T12:00:00Z - at `{path}`") from None
    return float(seconds + nanos / 1e9) if nanos else float(seconds)


@lru_cache(maxsize=4096)
def _seconds(date: str) -> int:
    if len(date) != 19 or (date[4], date[7], date[10], date[13], date[16]) != ("-", "-", "T", ":", ":"):  # noqa: PLR2004 - see above
        raise ValueError(date)  # another of the forms that `fromisoformat` takes
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())


def _time(seconds: float) -> str:
    try:
        return to_rfc3339(seconds)
    except (ValueError, OverflowError, OSError):
        return to_rfc3339(0.0)


# Writing
#
# A record is encoded once: its JSON with sorted keys is the text that the checksum is taken of, and what
# is written is that text with the checksum appended. Text with NUL or halves of surrogate pairs is rare;
# it shows in the JSON or as an error of the encoder, and only then a record is cleaned value by value.


_sorted: Final = msgspec.json.Encoder(order="sorted").encode


def encode_session(saved: SavedSession) -> bytes:
    """Return one session's record as JSON, with its checksum."""
    state = saved.state
    record: dict[str, Any] = {
        "id": state.id,
        "seq": state.seq,
        "created_at": _time(state.created_at),
        "clock": dict(saved.clock),
        "settings": _record(state.settings),
        "messages": [_record(message) for message in state.messages.values()],
        "selected": state.selected,
        "runs": [_record(run) for run in state.runs],
    }
    if state.thread_id is not None:
        record["thread_id"] = state.thread_id
    if state.unread:
        record["unread"] = True
    if saved.omitted:
        record["omitted"] = saved.omitted
    return _with_checksum(record)


def encode(snapshot: Snapshot, encoded: Callable[[SavedSession], bytes] = encode_session) -> bytes:
    """Return a snapshot as JSON.

    Parameters
    ----------
    encoded
        Returns the record of a session: a function that may remember what `encode_session` returned.
    """
    head: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "notebook_id": snapshot.notebook_id,
        "epoch": snapshot.epoch,
        "saved_at": _time(snapshot.saved_at),
    }
    if snapshot.place:
        head["place"] = snapshot.place
    if snapshot.deleted:
        head["deleted"] = [
            {"id": stone.id, "clock": dict(stone.clock), "at": _time(stone.at)} for stone in snapshot.deleted
        ]
    if snapshot.notes:
        head["notes"] = snapshot.notes
    parts = [_with_checksum(head)[:-1], b',"sessions":[', b",".join(map(encoded, snapshot.sessions)), b"]"]
    if snapshot.unreadable:
        parts += [b',"unreadable":', _as_it_was(snapshot.unreadable)]
    return b"".join([*parts, b"}"])


def dump(snapshot: Snapshot, encoded: Callable[[SavedSession], bytes] = encode_session) -> dict[str, Any]:
    """Return a snapshot as JSON values; the parameters are those of `encode`."""
    dumped: dict[str, Any] = _json(encode(snapshot, encoded))
    return dumped


def _with_checksum(record: dict[str, Any]) -> bytes:
    try:
        text = _sorted(record)
    except (TypeError, ValueError, RecursionError):
        text = b""
    if not text or b"\\u0000" in text:
        text = _sorted(_cleaned(record))
    return b'%b,"crc32":%d}' % (text[:-1], zlib.crc32(text))


def _as_it_was(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except ValueError:  # halves of surrogate pairs, which only an escape can write
        return json.dumps(value).encode()


def _is_time(name: str) -> bool:
    return name.endswith("_at")


class _Form(NamedTuple):
    """How values of a class are written."""

    struct: Callable[..., Struct]
    """Has the fields of the class in the order of the groups below; it leaves out defaults and `UNSET`."""
    plain: Callable[[Any], tuple[Any, ...]]
    """Returns the fields that are written as they are."""
    integers: Callable[[Any], tuple[Any, ...]]
    times: Callable[[Any], tuple[Any, ...]]
    time: Callable[[float | None], Any]
    """Writes a time."""
    others: Callable[[Any], tuple[Any, ...]]
    defaults: tuple[Any, ...]
    """Of `others`."""


_PLAIN: Final = {inspection.StrType, inspection.BoolType, inspection.LiteralType, inspection.EnumType}


@cache
def _form(kind: type[Value]) -> _Form:
    groups: tuple[list[tuple[str, Any]], ...] = ([], [], [], [])
    for f in inspection.type_info(kind).fields:  # type: ignore[attr-defined]  # of a struct
        default = f.default_factory() if f.default_factory is not NODEFAULT else f.default
        default = UNSET if default is NODEFAULT else default
        types = set(map(type, getattr(f.type, "types", (f.type,)))) - {inspection.NoneType}
        # msgspec leaves a field out that is the same object as the default, as each of these is.
        as_is = types <= _PLAIN and (default is UNSET or default in (None, "", True, False))
        group = 0 if as_is else 1 if types == {inspection.IntType} else 2 if _is_time(f.name) else 3
        groups[group].append((f.name, default))
    fields = [(name, Any, default) for group in groups[:2] for name, default in group]
    fields += [(name, Any, UNSET) for group in groups[2:] for name, _ in group]
    struct = msgspec.defstruct(
        kind.__name__, fields, omit_defaults=True, tag=kind.__struct_config__.tag, frozen=True
    )
    plain, integers, times, others = (_getter([name for name, _ in group]) for group in groups)
    time = _later_time if 0.0 in [default for _, default in groups[2]] else _known_time
    return _Form(struct, plain, integers, times, time, others, tuple(default for _, default in groups[3]))


def _getter(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda value: tuple([getattr(value, name) for name in names])


def _known_time(seconds: float | None) -> Any:  # noqa: ANN401 - text or UNSET
    return UNSET if seconds is None else _time(seconds)


def _later_time(seconds: float | None) -> Any:  # noqa: ANN401 - as above
    return _time(seconds) if seconds else UNSET


def _record(value: Value) -> Struct:
    """Return a value as it is written: times as text, numbers canonical, defaults left out."""
    form = _form(type(value))
    integers = form.integers(value)
    if any(integers) and max(map(abs, filter(None, integers))) > MAX_INTEGER:
        integers = tuple([None if number and abs(number) > MAX_INTEGER else number for number in integers])
    others = [
        UNSET if item is default or item == default else _other(item)
        for item, default in zip(form.others(value), form.defaults, strict=True)
    ]
    return form.struct(*form.plain(value), *integers, *map(form.time, form.times(value)), *others)


def _other(value: Any) -> Any:  # noqa: ANN401 - the value of a field
    if isinstance(value, tuple):
        # A string, or a part with text and no other field, is its own record.
        return [
            one if type(one) is str or (type(one) is TextPart and one.text) else _record(one) for one in value
        ]
    if isinstance(value, Value):
        return _record(value)
    return _canonical_numbers(safe_params(value) if isinstance(value, Mapping) else value)


def _canonical_numbers(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return `value` with numbers that msgspec writes as `checksum` does; None for what JSON cannot hold."""
    if isinstance(value, dict):
        return {key: _canonical_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical_numbers(item) for item in value]
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= MAX_INTEGER:
            return int(value)
        return msgspec.Raw(repr(float(value)).encode()) if math.isfinite(value) else None
    return None if isinstance(value, int) and abs(value) > MAX_INTEGER else value


def _cleaned(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a record without NUL, halves of surrogate pairs and what is not JSON."""
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {clean(str(key)): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        tag = value.__struct_config__.tag
        written = {name: _cleaned(item) for name, item in fields.items() if item is not UNSET}
        return written if tag is None else {"type": tag, **written}
    return value if value is None or isinstance(value, bool | int | float | msgspec.Raw) else None


def safe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as clean JSON values without credentials, recognised by their name or shape."""
    safe = _without_secrets(params)
    return safe if isinstance(safe, dict) else {}


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return {
            clean(str(key)): _without_secrets(item)
            for key, item in value.items()
            if is_reference(item)
            or not any(name in str(key).lower().replace("-", "_") for name in _SECRET_NAMES)
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    if isinstance(value, str):
        return redact(clean(value))
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def checksum(record: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a record's canonical JSON: keys sorted, no spaces, without `crc32` itself.

    Whole numbers are written without a fraction, since JavaScript has no other way, and other numbers as
    Python writes them (`1e-07`).
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
    if isinstance(value, float) and value.is_integer() and abs(value) <= MAX_INTEGER:
        return int(value)
    return value


def _matches(record: Mapping[str, Any]) -> bool:
    written = record.get("crc32")
    if type(written) is not int:
        return False
    try:
        # Most records have no number that the two encoders write differently.
        if zlib.crc32(_sorted({key: value for key, value in record.items() if key != "crc32"})) == written:
            return True
    except (RecursionError, TypeError, ValueError):
        pass
    try:
        return written == checksum(record)
    except (RecursionError, TypeError, ValueError):
        return False


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
        return _json(text)
    except RecursionError:
        raise SnapshotTooLarge("the saved state is nested too deeply to be read.") from None
    except ValueError as error:
        raise SnapshotCorrupt(f"the saved state is not valid JSON: {str(error)[:120]}.") from None


def _json(text: str | bytes | bytearray | memoryview) -> Any:  # noqa: ANN401 - any JSON value
    with suppress(RecursionError, ValueError):
        return msgspec.json.decode(text)
    # It is nested more deeply than msgspec reads, has halves of surrogate pairs, or is not JSON.
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
    if not _matches(head):
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
        It is damaged; the message says where.
    """
    if not isinstance(record, dict):
        raise DecodeError(f"Expected an object - at `{path}`")
    if not _matches(record):
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
    """The fields of a session's record that need no work besides their types."""

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
        tuple[Message, ...], [_with_seconds(one, ("created_at",), path) for one in records], path
    )
    return messages


def _runs(records: list[Any], path: str) -> tuple[RunRecord, ...]:
    path = f"{path}.runs"
    times = [name for name in RunRecord.__struct_fields__ if _is_time(name)]
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

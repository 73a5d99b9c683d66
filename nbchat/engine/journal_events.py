"""`encode_events` and `decode_events`: the events of a stretch as JSON.

Consecutive deltas of one part of an answer are one record, `PartDeltas`, since ids and names of fields would
otherwise take more space than the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from msgspec.structs import replace

from nbchat.core.events import Event, OfRunAt, PartDelta, RunQueued, SessionCreated, SettingsChanged
from nbchat.core.records import safe_params
from nbchat.core.text import utf16_length
from nbchat.core.values import DecodeError, SafeInt, check, decode_json, encode_json


class PartDeltas(OfRunAt, frozen=True, kw_only=True, tag="part_deltas"):
    """Consecutive `PartDelta` events. `at` is the time of the last one, which the state of the run has."""

    part_index: SafeInt
    offset: SafeInt
    """Offset of the first one."""
    gaps_ms: tuple[SafeInt, ...]
    """Time between each one and the next, rounded to milliseconds."""
    lengths: tuple[SafeInt, ...]
    """Characters of the text of each."""
    text: str


def encode_events(events: Sequence[Event]) -> bytes:
    """Return events as JSON, without credentials in their parameters."""
    return encode_json([_record_of(group) for group in _groups(events)])


def _groups(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield the deltas that can be one record together, and every other event alone."""
    group: list[Event] = []
    for event in events:
        if group and not _continues(group[-1], event):
            yield group
            group = []
        group.append(event)
    if group:
        yield group


def _continues(last: Event, event: Event) -> bool:
    return (
        isinstance(last, PartDelta)
        and isinstance(event, PartDelta)
        and (last.run_id, last.part_index) == (event.run_id, event.part_index)
        and last.offset + utf16_length(last.text) == event.offset
    )


def _record_of(group: Sequence[Event]) -> Event | PartDeltas:
    first, last = group[0], group[-1]
    if not isinstance(first, PartDelta) or first is last:
        return _without_credentials(first)
    deltas = [event for event in group if isinstance(event, PartDelta)]
    return PartDeltas(
        run_id=first.run_id,
        at=deltas[-1].at,
        part_index=first.part_index,
        offset=first.offset,
        gaps_ms=tuple(round((after.at - before.at) * 1000) for before, after in pairwise(deltas)),
        lengths=tuple(len(delta.text) for delta in deltas),
        text="".join(delta.text for delta in deltas),
    )


def _without_credentials(event: Event) -> Event:
    if isinstance(event, RunQueued):
        return replace(event, params=safe_params(event.params)) if event.params else event
    settings = getattr(event, "settings", None)
    if settings is None or not settings.params:
        return event
    return replace(event, settings=replace(settings, params=safe_params(settings.params)))


def decode_events(body: bytes) -> tuple[Event, ...]:
    """Return the events of a stretch.

    Raises
    ------
    DecodeError
        If they cannot be read.
    """
    records: tuple[Event | PartDeltas, ...] = decode_json(tuple[Event | PartDeltas, ...], body)
    events: list[Event] = []
    for record in records:
        if isinstance(record, PartDeltas):
            events += _deltas_of(record)
            continue
        if isinstance(record, SessionCreated | SettingsChanged):
            check(record.settings.params, "params")
        elif isinstance(record, RunQueued):
            check(record.params, "params")
        events.append(record)
    return tuple(events)


def _deltas_of(record: PartDeltas) -> list[PartDelta]:
    lengths, gaps_ms = record.lengths, record.gaps_ms
    if min(lengths, default=0) < 0 or sum(lengths) != len(record.text) or len(gaps_ms) != len(lengths) - 1:
        raise DecodeError("the lengths of deltas do not match their text")
    deltas: list[PartDelta] = []
    before_ms, start, offset = sum(gaps_ms), 0, record.offset
    for length, gap_ms in zip(lengths, (*gaps_ms, 0), strict=True):
        text = record.text[start : start + length]
        deltas.append(
            PartDelta(
                run_id=record.run_id,
                at=round(record.at - before_ms / 1000, 6) if before_ms else record.at,
                part_index=record.part_index,
                offset=offset,
                text=text,
            )
        )
        before_ms, start, offset = before_ms - gap_ms, start + length, offset + utf16_length(text)
    return deltas

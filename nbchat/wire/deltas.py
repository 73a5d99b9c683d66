"""Compact encoding of text: `Deltas` instead of `Events`, `Progress` instead of `Heads`."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from nbchat.core.events import Event, PartDelta
from nbchat.core.run import RunRecord
from nbchat.protocol import Counts, Delta, Deltas, Head, KernelMessage, Progress

_PER_S = 1_000_000


def text_of(number: int, first_seq: int, events: Sequence[Event], live: RunRecord | None) -> list[Delta]:
    """Return the events as deltas with absolute times; an empty list if they have to be sent in full.

    Parameters
    ----------
    number
        `number` of the session's head.
    first_seq
        `seq` of the first event.
    events
        Consecutive events of the session.
    live
        The live run after the last event. A page takes a delta for text of its session's live run, so all
        events must be deltas of this run.
    """
    deltas = []
    for seq, event in enumerate(events, first_seq):
        if not isinstance(event, PartDelta) or live is None or event.run_id != live.id:
            return []
        at = round(event.at * _PER_S)
        if at / _PER_S != event.at:
            return []
        deltas.append(
            Delta(
                session=number,
                seq=seq,
                at=at,
                part_index=event.part_index,
                offset=event.offset,
                text=event.text,
            )
        )
    return deltas


def event_of(delta: Delta, since: int, run_id: str) -> PartDelta:
    """Return a delta of a message with `at` = `since` as the event of the live run."""
    return PartDelta(
        run_id=run_id,
        at=(since + delta.at) / _PER_S,
        part_index=delta.part_index,
        offset=delta.offset,
        text=delta.text,
    )


def in_one_message(deltas: Sequence[Delta]) -> Deltas:
    """Return deltas with absolute times as a message."""
    since = min(delta.at for delta in deltas)
    return Deltas(at=since, deltas=tuple(replace(delta, at=delta.at - since) for delta in deltas))


def counts_of(head: Head) -> Counts:
    """Return the counts of a head."""
    return Counts(session=head.number, seq=head.seq, active_at=head.active_at, characters=head.characters)


def messages_of(counts: Sequence[Counts], deltas: Sequence[Delta]) -> list[KernelMessage]:
    """Return the messages for counts and text; an empty list if there are neither."""
    messages: list[KernelMessage] = []
    if counts:
        messages.append(Progress(counts=tuple(counts)))
    if deltas:
        messages.append(in_one_message(deltas))
    return messages

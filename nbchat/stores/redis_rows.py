"""`packed` and `Rows`: entries as arguments of the scripts of `RedisStore`, and as results of them.

Bodies are compressed (`bodies.py`). Their checksum is that of the uncompressed entry.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from nbchat.stores.base import Acknowledged, Base, Entry, Gone, Record, Stretch, crc
from nbchat.stores.bodies import StoredStretch, Tails, compressed, compressed_after, decompressed, read_log

Argument = bytes | int


def encoded(text: str) -> bytes:
    """Return text as bytes; ids may be any text."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    """Return the text of `encoded`; damaged text differs from every id, which its checksum shows."""
    try:
        return data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def packed(records: Sequence[Record], tails: Tails | None = None) -> tuple[list[str], list[Argument]]:
    """Return the ids of the sessions in `records`, and the fields of all records as the script takes them.

    With `tails`, stretches are compressed with the bodies before them, and the script compares the checksum
    of the stretch before.
    """
    numbers: dict[str, int] = {}
    fields: list[Argument] = [len(records)]
    for record in records:
        if isinstance(record, Acknowledged):
            fields += [b"A", encoded(record.command_id), compressed(record.body)]
            continue
        number = numbers.setdefault(record.session_id, len(numbers) + 1)
        last = 0 if isinstance(record, Gone) else _last(record)
        tail = None
        if tails is not None:
            tail = tails.before(record) if isinstance(record, Stretch) else None
            tails.add(record)
        body = compressed(record.body) if tail is None else compressed_after(tail.text, record.body)
        fields += [_KIND[type(record)], number, last, crc(record), body]
        if isinstance(record, Stretch):
            fields += [record.first_seq, encoded(record.epoch), b"" if tail is None else tail.checksum]
        runs = () if isinstance(record, Gone) else record.runs
        fields.append(len(runs))
        for run in runs:
            fields += [encoded(run.run_id), run.seq, int(run.over)]
    return list(numbers), fields


_KIND: Final[dict[type[Entry], bytes]] = {Base: b"B", Stretch: b"S", Gone: b"G"}


def _last(entry: Base | Stretch) -> int:
    return entry.seq if isinstance(entry, Base) else entry.last_seq


class Rows:
    """Collects the undamaged entries that the server returns, and descriptions of the others."""

    def __init__(self) -> None:
        self.bases: dict[str, Base] = {}
        self.gone: dict[str, Gone] = {}
        self.stretches: list[Stretch] = []
        self.damage: list[str] = []

    def add(self, session_id: str, found: Sequence[Any]) -> None:
        """Add the base, or the deletion, and the log of a session."""
        (seq, checksum, body, gone), log = found

        def stone() -> Gone:
            return Gone(session_id=session_id, body=decompressed(gone))

        def base() -> Base:
            return Base(session_id=session_id, seq=int(seq), body=decompressed(body))

        if gone is not None or seq is not None or body is not None:
            entry = self._checked(session_id, checksum, base if gone is None else stone)
            if isinstance(entry, Gone):
                self.gone[session_id] = entry
            elif isinstance(entry, Base):
                self.bases[session_id] = entry
        rows = ((session_id, _stored(session_id, *entry)) for entry in log)
        self.stretches += read_log(rows, self.damage)

    def _checked(self, session_id: str, checksum: bytes | None, made: Callable[[], Entry]) -> Entry | None:
        try:
            entry = made()
            if checksum is not None and int(checksum) == crc(entry):
                return entry
        except (KeyError, TypeError, ValueError, zlib.error):
            pass
        self.damage.append(f"session {session_id[:80]}: a record is damaged")
        return None


def _stored(session_id: str, entry_id: bytes, fields: Iterable[bytes]) -> StoredStretch | None:
    """Return an entry of a log, or `None` if it is damaged."""
    values = iter(fields)
    found = dict(zip(values, values, strict=False))
    try:
        first, last = int(found[b"f"]), int(entry_id.partition(b"-")[0])
        epoch, data, checksum = decoded(found[b"e"]), found[b"b"], int(found[b"c"])
    except (KeyError, ValueError):
        return None
    head = Stretch(session_id=session_id, first_seq=first, count=last - first + 1, epoch=epoch, body=b"")
    return StoredStretch(head, data, checksum)

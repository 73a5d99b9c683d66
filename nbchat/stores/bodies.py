"""`compressed_after`, `Tails` and `read_log`: bodies as stores keep them.

A stretch of a streaming answer has about fifty characters, which zlib alone hardly compresses. It is
compressed with a dictionary: the last bytes of the bodies of the stretches before it. A store does so only if
the dictionary ends with the last stretch that is stored, by number and checksum, and it keeps the stretches
before at least as long as the new one. Such a stretch also has the epoch of the one before it. This costs no
robustness: events after a stretch that is lost or damaged cannot be used in any case.

=======================  ==========================================================================
first byte               contents
=======================  ==========================================================================
1                        a byte `n`, then raw deflate; the dictionary is the last `16 * n` bytes
                         of the bodies before
`x`                      zlib
others                   the body itself (SQLite up to layout 2); JSON begins with `[` or `{`
=======================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from nbchat.stores.base import Base, Gone, Record, Stretch, crc

MAX_TAIL: Final = 255 * 16
"""Bytes of the longest dictionary. Setting one takes time in proportion to its length."""

MAX_TAILS: Final = 200
"""Sessions whose last bodies a store keeps in memory: those that were written last."""

_LEVEL: Final = 1
"""Level of zlib: higher ones take several times as long for a tenth less."""

_LEVEL_WITH_DICTIONARY: Final = 6
"""Most of the time is that of the dictionary, at any level."""

_WINDOW_BITS: Final = -13
"""Raw deflate; twice `MAX_TAIL`."""

_MEMORY: Final = 5
"""Memory of the compressor: it is created for each stretch."""

_STEP: Final = 16
_MARK: Final = b"\x01"

_ZLIB: Final = b"x"
"""First byte of zlib with a window of 32 KB."""


def compressed(body: bytes) -> bytes:
    """Return a body compressed by itself."""
    return zlib.compress(body, _LEVEL)


def maybe_decompressed(data: bytes) -> bytes:
    """Return the body of `compressed`, or one that was not compressed. Raises `zlib.error`."""
    return decompressed(data) if data[:1] == _ZLIB else data


def decompressed(data: bytes) -> bytes:
    """Return the body of `compressed`. Raises `zlib.error`."""
    return zlib.decompress(data)


def compressed_after(tail: bytes, body: bytes) -> bytes:
    """Return a body compressed with the end of `tail`, the bodies before it."""
    steps = min(len(tail), MAX_TAIL) // _STEP
    if not steps:
        return compressed(body)
    dictionary = tail[-steps * _STEP :]
    work = zlib.compressobj(
        _LEVEL_WITH_DICTIONARY, zlib.DEFLATED, _WINDOW_BITS, _MEMORY, zlib.Z_DEFAULT_STRATEGY, dictionary
    )
    return b"".join((_MARK, bytes((steps,)), work.compress(body), work.flush()))


def is_dependent(data: bytes) -> bool:
    """Return whether a body was compressed with a dictionary."""
    return data[:1] == _MARK


def decompressed_after(tail: bytes, data: bytes) -> bytes:
    """Return the body of `compressed_after`.

    Raises
    ------
    zlib.error, ValueError
        If it cannot be decompressed with this tail.
    """
    if not is_dependent(data):
        return maybe_decompressed(data)
    size = data[1] * _STEP if len(data) > 1 else 0
    if not 0 < size <= len(tail):
        raise ValueError("the bodies before it are missing")
    work = zlib.decompressobj(_WINDOW_BITS, tail[-size:])
    body = work.decompress(data[2:])
    if not work.eof or work.unused_data:
        raise ValueError("it is incomplete")
    return body


class Tail(Struct, frozen=True):
    """The end of the bodies of consecutive stretches."""

    last_seq: int = 0
    """Last event of the last of them."""
    checksum: int = 0
    """Checksum of the last of them."""
    epoch: str = ""
    text: bytes = b""

    def before(self, first_seq: int) -> bytes:
        """Return the bodies that end just before an event."""
        return self.text if self.last_seq == first_seq - 1 else b""

    def followed_by(self, stretch: Stretch) -> Tail:
        """Return the tail with one more stretch."""
        text = self.before(stretch.first_seq) + stretch.body
        return Tail(stretch.last_seq, crc(stretch), stretch.epoch, text[-MAX_TAIL:])


class Tails:
    """The tails of the sessions that a store has written last.

    They may differ from what is stored, for example after a write that was refused. Therefore the store
    compares `last_seq` and `checksum` with the last stretch that it has, in the same step as it writes.
    """

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}

    def before(self, stretch: Stretch) -> Tail | None:
        """Return the tail that ends just before a stretch and has its epoch, if it is in memory."""
        tail = self._tails.get(stretch.session_id, Tail())
        is_before = tail.last_seq == stretch.first_seq - 1 and tail.epoch == stretch.epoch
        return tail if is_before and tail.text else None

    def add(self, record: Record) -> None:
        """Change the tail of a session as a record does that is written."""
        if isinstance(record, Base | Gone):
            self._tails.pop(record.session_id, None)
        elif isinstance(record, Stretch):
            tail = self._tails.pop(record.session_id, Tail())
            self._tails[record.session_id] = tail.followed_by(record)
            if len(self._tails) > MAX_TAILS:
                del self._tails[next(iter(self._tails))]

    def drop(self, session_id: str) -> None:
        """Forget the tail of a session."""
        self._tails.pop(session_id, None)


class StoredStretch(Struct, frozen=True):
    """A stretch as it is stored."""

    head: Stretch
    """Without its body, and perhaps without its epoch."""
    data: bytes
    checksum: int


def read_log(rows: Iterable[tuple[str, StoredStretch | None]], damage: list[str]) -> Iterator[Stretch]:
    """Yield the undamaged stretches, and add descriptions of the others to `damage`.

    Parameters
    ----------
    rows
        All stretches by session, each session's in order; `None` for one that cannot be read. Damaged values
        can have any type.
    """
    tail, damaged = Tail(), set[str]()
    for session_id, stored in rows:
        if stored is not None and session_id in damaged and is_dependent(stored.data):
            continue  # it needs a damaged one, and comes after the gap in any case
        stretch = None if stored is None else _restored(stored, tail)
        if stretch is None:
            tail = Tail()
            damaged.add(session_id)
            damage.append(f"session {str(session_id)[:80]}: a record is damaged")
        else:
            yield stretch
            tail = tail.followed_by(stretch)


def _restored(stored: StoredStretch, tail: Tail) -> Stretch | None:
    """Return a stretch with its body, or `None` if it is damaged."""
    head, data = stored.head, stored.data
    with contextlib.suppress(AttributeError, TypeError, ValueError, zlib.error):
        body = decompressed_after(tail.before(head.first_seq), data)
        stretch = replace(head, body=body, epoch=tail.epoch if is_dependent(data) else head.epoch)
        if crc(stretch) == stored.checksum:
            return stretch
    return None

"""Bodies that are compressed with the bodies before them: their size, and every way to lose one of those."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbchat.core.errors import StoreConflict
from nbchat.core.events import PartDelta
from nbchat.core.ids import new_id
from nbchat.engine.journal_events import encode_events
from nbchat.stores.base import Base, Contents, FencedStore, Gone, Kept, Record, Stretch, crc
from nbchat.stores.bodies import MAX_TAIL, compressed_after, decompressed_after, is_dependent
from nbchat.stores.redis import RedisStore
from nbchat.stores.sqlite import SqliteStore
from tests.redis_process import RedisProcess
from tests.stores.memory import MemoryStore

LEASE_S = 60.0
TEXT = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text("utf-8")
RUN = new_id("r-")
SESSION = new_id("s-")

Opener = Callable[[], FencedStore]


@pytest.fixture(params=["redis", "sqlite"])
def opened(request: pytest.FixtureRequest, namespace: str, tmp_path: Path) -> Iterator[Opener]:
    """Return a function that opens the same store once more."""
    stores: list[FencedStore] = []

    def open_again() -> FencedStore:
        if request.param == "redis":
            url = request.getfixturevalue("redis_server").url
            stores.append(RedisStore(url, namespace, timeout_s=60.0))
        else:
            stores.append(SqliteStore(tmp_path / "n-1.sqlite", shared=True, busy_s=60.0))
        return stores[-1]

    yield open_again
    for store in stores:
        store.close()


def stretch(first: int, count: int = 6, *, by: str, session: str = "s-1") -> Stretch:
    """Return a stretch of a streaming answer: deltas of eight characters."""
    events = [
        PartDelta(run_id=RUN, at=1.8e9 + n * 0.040123, part_index=0, offset=n * 8, text=TEXT[n * 8 :][:8])
        for n in range(first, first + count)
    ]
    body = encode_events(events)
    return Stretch(session_id=session, first_seq=first, count=count, epoch=by, body=body)


def claimed(store: FencedStore) -> str:
    """Claim the lease with a new token, and return the token."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S)
    return token


def write(store: FencedStore, token: str, *records: Record) -> None:
    """Write records under a new id."""
    store.write(token, new_id("w-"), records)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Execute a statement on a file, and return its rows."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        return connection.execute(query).fetchall()


def bodies(server: RedisProcess, store: RedisStore, session: str = "s-1") -> dict[bytes, bytes]:
    """Return the stored bodies of a session's log by the ids of their entries."""
    with server.client() as client:
        return {key: fields[b"b"] for key, fields in client.xrange(store._keys_of(session, "log")[0])}


# Compression


@pytest.mark.parametrize("length", [0, 15, 16, 1000, MAX_TAIL - 1, MAX_TAIL, 100_000])
def test_a_body_is_read_with_the_bodies_before_it(length: int) -> None:
    """A body is the same after it was compressed with bodies of any length, and read with longer ones."""
    dice = random.Random(length)
    before = bytes(dice.choices(b"abc ", k=length))
    for body in (b"", b"[]", before[:50], bytes(dice.choices(range(256), k=5000))):
        data = compressed_after(before, body)
        assert is_dependent(data) == (length >= 16)
        assert decompressed_after(b"earlier" + before, data) == body


def test_a_body_without_the_bodies_before_it_is_an_error() -> None:
    """A body is not read if bodies that it needs are missing, or if it is cut off or continued."""
    before = TEXT[:2000].encode()
    data = compressed_after(before, before[100:300])
    assert is_dependent(data)
    for tail, found in [
        (b"", data),
        (before[100:], data),
        (before, data[:1]),
        (before, data[:-1]),
        (before, data + b"\0"),
    ]:
        with pytest.raises((ValueError, zlib.error)):
            decompressed_after(tail, found)


# Stores


def test_a_streaming_answer_takes_at_most_three_bytes_of_memory_for_each_character(
    redis_server: RedisProcess,
) -> None:
    """The log of an answer takes no more than 3 bytes of a server's memory for each character of text."""
    store = RedisStore(redis_server.url, new_id("n-"), timeout_s=60.0)
    token = claimed(store)
    firsts = range(1, 1201, 6)
    for first in firsts:
        write(store, token, stretch(first, by=token))
    with redis_server.client() as client:
        size = client.memory_usage(store._keys_of("s-1", "log")[0], samples=0)
    store.close()
    assert size / (1200 * 8) <= 3.0


def test_a_streaming_answer_takes_at_most_three_bytes_of_a_file_for_each_character(tmp_path: Path) -> None:
    """The log of an answer takes no more than 3 bytes of a file for each character of text."""
    path = tmp_path / "n-1.sqlite"
    store = SqliteStore(path)
    store.close()
    empty = path.stat().st_size
    store = SqliteStore(path)
    for first in range(1, 1801, 6):
        store.write([stretch(first, by="k-1", session=SESSION)])
    store.close()
    assert (path.stat().st_size - empty) / (1800 * 8) <= 3.0


@pytest.mark.parametrize("seed", range(5))
def test_random_writes_are_read_as_they_were_written(opened: Opener, seed: int) -> None:
    """After repeats, merges, bases, deletions and takeovers a store has what one without compression has."""
    dice = random.Random(seed)
    plain = MemoryStore()
    stores: list[FencedStore] = [opened()]
    token = claimed(stores[0])
    assert plain.claim(token, LEASE_S)
    heads = dict.fromkeys(("s-1", "s-2"), 0)
    for _ in range(100):
        session, store, step = dice.choice(list(heads)), dice.choice(stores), dice.random()
        head = heads[session]
        records: list[Record] = []
        if step < 0.05:
            records = [Base(session_id=session, seq=head, body=b"{}")]
        elif step < 0.07:
            records = [Gone(session_id=session, body=b"{}"), Base(session_id=session, seq=head, body=b"{}")]
        elif step < 0.10:
            previous, token = token, new_id("l-")
            stores = [opened() for _ in range(2)]
            for one in (plain, stores[0]):
                assert one.claim(token, LEASE_S, after=previous)
        else:
            repeats_from = max(1, head + 1 - dice.choice([0, 0, 0, 0, 3, 6, 9]))
            if plain_writer(plain, session, repeats_from, head) in ("", token):
                last = head + dice.choice([0, 1, 6, 6, 6, 12])
                middle = (repeats_from + last) // 2
                parts = [(repeats_from, middle), (middle + 1, last)]
                records = [
                    stretch(first, upto - first + 1, by=token, session=session)
                    for first, upto in parts
                    if first <= upto
                ]
                heads[session] = last
        write_id = new_id("w-")
        for _ in range(dice.choice([1, 1, 2])):
            store.write(token, write_id, records)
            plain.write(token, write_id, records)
        if dice.random() < 0.2:
            assert dice.choice(stores).read() == plain.read()
    assert opened().read() == plain.read()


def plain_writer(store: MemoryStore, session: str, first: int, last: int) -> str:
    """Return the epochs of the stretches with some of the events `first` to `last`."""
    found = {
        one.epoch
        for one in store.read_session(session).stretches
        if one.first_seq <= last and one.last_seq >= first
    }
    return "|".join(sorted(found))


def test_a_writer_whose_memory_differs_from_the_store_writes_whole_bodies(
    redis_server: RedisProcess, namespace: str
) -> None:
    """A stretch that would need other bodies than those that are stored is written without them."""
    first, second = (RedisStore(redis_server.url, namespace, timeout_s=60.0) for _ in range(2))
    token = claimed(first)
    write(first, token, stretch(1, by=token))
    write(second, token, stretch(7, by=token))
    write(first, token, stretch(7, 12, by=token))
    assert not is_dependent(bodies(redis_server, first)[b"18-0"])
    write(first, token, stretch(19, by=token))
    write(first, token, stretch(25, by=token))
    stored = bodies(redis_server, first)
    assert [is_dependent(stored[key]) for key in (b"6-0", b"18-0", b"24-0", b"30-0")] == [
        False,
        False,
        False,
        True,
    ]
    expected = (
        stretch(1, by=token),
        stretch(7, 12, by=token),
        stretch(19, by=token),
        stretch(25, by=token),
    )
    assert second.read_session("s-1") == Kept(stretches=expected)
    first.close()
    second.close()


def test_a_damaged_body_ends_its_session_only(redis_server: RedisProcess, namespace: str) -> None:
    """Events before a damaged body, other sessions, and a state that is written later are read."""
    store = RedisStore(redis_server.url, namespace, timeout_s=60.0)
    token = claimed(store)
    for first in range(1, 61, 6):
        write(store, token, *(stretch(first, by=token, session=name) for name in ("s-1", "s-2")))
    log = store._keys_of("s-1", "log")[0]
    with redis_server.client() as client:
        entries = client.xrange(log)
        client.delete(log)
        for key, fields in entries:
            body = fields[b"b"]
            changed = body[:-9] + bytes(byte ^ 255 for byte in body[-9:])
            client.xadd(log, {**fields, b"b": changed if key == b"24-0" else body}, id=key)

    contents = store.read()
    assert contents.damage == ("session s-1: a record is damaged",)
    assert contents.sessions["s-1"].stretches == tuple(stretch(first, by=token) for first in (1, 7, 13))
    assert len(contents.sessions["s-2"].stretches) == 10

    base = Base(session_id="s-1", seq=60, body=b"{}")
    write(store, token, base)
    write(store, token, stretch(61, by=token))
    assert store.read_session("s-1") == Kept(base=base, stretches=(stretch(61, by=token),))
    store.close()


def test_a_log_of_the_first_layout_is_continued(redis_server: RedisProcess, namespace: str) -> None:
    """Stretches that an earlier release wrote are read, and the next ones follow them."""
    store = RedisStore(redis_server.url, namespace, timeout_s=60.0)
    old = [stretch(first, by="l-old") for first in (1, 7)]
    store.write(old)
    with redis_server.client() as client:
        log = store._keys_of("s-1", "log")[0]
        client.delete(log)
        for one in old:
            fields = {"f": one.first_seq, "e": one.epoch, "c": crc(one), "b": zlib.compress(one.body, 1)}
            client.xadd(log, fields, id=f"{one.last_seq}-0")
    token = claimed(store)
    new = [stretch(first, by=token) for first in (13, 19)]
    for one in new:
        write(store, token, one)
    assert store.read_session("s-1") == Kept(stretches=(*old, *new))
    store.close()


def test_without_a_lease_nothing_that_later_events_need_is_replaced(
    redis_server: RedisProcess, namespace: str
) -> None:
    """A write without a lease that would remove bodies which later ones need is refused."""
    store = RedisStore(redis_server.url, namespace, timeout_s=60.0)
    token = claimed(store)
    written = [stretch(first, by=token) for first in (1, 7, 13)]
    for one in written:
        write(store, token, one)
    store.release(token)
    for record in (Base(session_id="s-1", seq=6, body=b"{}"), stretch(1, 12, by="k-1")):
        with pytest.raises(StoreConflict, match="later events"):
            store.write([record])
    assert store.read_session("s-1") == Kept(stretches=tuple(written))
    store.write([stretch(13, by="k-1"), stretch(19, by="k-1"), Base(session_id="s-1", seq=18, body=b"{}")])
    assert store.read_session("s-1") == Kept(
        base=Base(session_id="s-1", seq=18, body=b"{}"), stretches=(stretch(19, by="k-1"),)
    )
    store.close()


def test_without_a_lease_the_middle_of_a_log_can_be_replaced(tmp_path: Path) -> None:
    """In a file, stretches that need replaced ones are written again, and nothing is lost."""
    store = SqliteStore(tmp_path / "n-1.sqlite")
    for first in range(1, 31, 6):
        store.write([stretch(first, by="k-1")])
    store.write([stretch(1, 12, by="k-1")])
    expected = tuple(stretch(*one, by="k-1") for one in ((1, 12), (13,), (19,), (25,)))
    assert store.read() == Contents(sessions={"s-1": Kept(stretches=expected)})

    base = Base(session_id="s-1", seq=12, body=b"{}")
    store.write([stretch(31, by="k-1"), base, stretch(37, by="k-1")])
    expected = tuple(stretch(first, by="k-1") for first in range(13, 43, 6))
    assert store.read() == Contents(sessions={"s-1": Kept(base=base, stretches=expected)})
    store.close()


def test_a_damaged_row_ends_its_session_only(tmp_path: Path) -> None:
    """Of a file with a damaged row, all else is read and copied to a new file, which is sound."""
    path = tmp_path / "n-1.sqlite"
    store = SqliteStore(path)
    for first in range(1, 61, 6):
        store.write([stretch(first, by="k-1", session=name) for name in ("s-1", "s-2")])
    store.close()
    assert rows(path, "SELECT COUNT(*) FROM stretches WHERE epoch = ''") == [(18,)]
    rows(path, "UPDATE stretches SET body = body || x'00' WHERE session_id = 's-1' AND first_seq = 19")

    for damage in (("session s-1: a record is damaged", "the damaged file is n-1.sqlite.damaged-1"), ()):
        store = SqliteStore(path)
        assert store.damage == damage
        contents = store.read()
        assert contents.damage == ()
        assert contents.sessions["s-1"].stretches == tuple(stretch(first, by="k-1") for first in (1, 7, 13))
        assert len(contents.sessions["s-2"].stretches) == 10
        store.close()


def test_a_file_of_the_second_layout_is_continued(tmp_path: Path) -> None:
    """A file with tables and bodies of an earlier release is read, and continued by this one."""
    path = tmp_path / "n-1.sqlite"
    store = SqliteStore(path, shared=True)
    store.close()
    rows(path, "DROP TABLE stretches")
    rows(
        path,
        "CREATE TABLE stretches (session_id TEXT NOT NULL, first_seq INTEGER NOT NULL, "
        "count INTEGER NOT NULL, epoch TEXT NOT NULL, body BLOB NOT NULL, crc INTEGER NOT NULL, "
        "UNIQUE (session_id, first_seq))",
    )
    old = [stretch(first, by="l-old") for first in (1, 7)]
    base = Base(session_id="s-2", seq=1, body=b"{}")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for one in old:
            values = (one.session_id, one.first_seq, one.count, one.epoch, one.body, crc(one))
            connection.execute("INSERT INTO stretches VALUES (?, ?, ?, ?, ?, ?)", values)
        connection.execute("INSERT INTO bases VALUES (?, ?, ?, ?)", ("s-2", 1, base.body, crc(base)))
        connection.execute("PRAGMA user_version=2")
    store = SqliteStore(path, shared=True)
    token = claimed(store)
    new = [stretch(first, by=token) for first in (13, 19)]
    for one in new:
        write(store, token, one)
    assert store.damage == ()
    assert store.read() == Contents(sessions={"s-1": Kept(stretches=(*old, *new)), "s-2": Kept(base=base)})
    store.close()

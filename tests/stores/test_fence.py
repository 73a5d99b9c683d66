"""The contract that every store with a lease meets."""

from __future__ import annotations

import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbchat.core.errors import LeaseLost, StoreBusy, StoreConflict, StoreFull
from nbchat.core.ids import new_id
from nbchat.stores.base import (
    MAX_ACKNOWLEDGED,
    Acknowledged,
    Base,
    FencedStore,
    Gone,
    Kept,
    RunEvents,
    Stretch,
)
from nbchat.stores.redis import RedisStore
from nbchat.stores.sqlite import SqliteStore
from tests.stores.memory import MemoryStore

LEASE_S = 10.0


class Clock:
    """A clock that only tests advance."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the clock of the store."""
    return Clock()


def put_on_disk(monkeypatch: pytest.MonkeyPatch, *, local: bool) -> None:
    """Let stores treat their folder as one on a local disk, or as one on a network disk."""
    monkeypatch.setattr("nbchat.stores.sqlite.is_local", lambda _folder: local)


@pytest.fixture(params=["memory", "sqlite", "shared sqlite", "shared sqlite on a network disk", "redis"])
def store(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    namespace: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[FencedStore]:
    """Return an empty store of each kind."""
    path = tmp_path / "n-1.sqlite"
    put_on_disk(monkeypatch, local=request.param == "shared sqlite")
    makers: dict[str, Callable[[], FencedStore]] = {
        "memory": lambda: MemoryStore(clock=clock),
        "sqlite": lambda: SqliteStore(path, clock=clock),
        "shared sqlite": lambda: SqliteStore(path, shared=True, clock=clock),
        "shared sqlite on a network disk": lambda: SqliteStore(path, shared=True, clock=clock),
        "redis": lambda: RedisStore(
            request.getfixturevalue("redis_server").url, namespace, timeout_s=60.0, clock=clock
        ),
    }
    made = makers[request.param]()
    yield made
    made.close()


@pytest.fixture(params=["local disk", "network disk"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for shared files, on each kind of disk."""
    put_on_disk(monkeypatch, local=request.param == "local disk")
    return tmp_path


def claimed(store: FencedStore) -> str:
    """Claim the lease with a new token, and return the token."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S)
    return token


def stretch(first: int, count: int = 1, *, by: str, session: str = "s-1", **runs: RunEvents) -> Stretch:
    """Return events `first` to `first + count - 1` of the engine `by`."""
    body = f"{first} {count} {by}".encode()
    return Stretch(
        session_id=session, first_seq=first, count=count, epoch=by, body=body, runs=tuple(runs.values())
    )


def kept(entry: Stretch) -> Stretch:
    """Return a stretch as a store reads it."""
    return Stretch(
        session_id=entry.session_id,
        first_seq=entry.first_seq,
        count=entry.count,
        epoch=entry.epoch,
        body=entry.body,
    )


def run(seq: int, *, over: bool = False) -> RunEvents:
    """Return the last event of the run `r-1`."""
    return RunEvents(run_id="r-1", seq=seq, over=over)


# The lease


def race(stores: list[FencedStore]) -> int:
    """Claim every store at once, each on its own thread, and return the number of successful claims."""
    start = threading.Barrier(len(stores))
    won: list[bool] = []

    def claim(store: FencedStore) -> None:
        token = new_id("l-")
        start.wait()
        won.append(store.claim(token, LEASE_S))

    threads = [threading.Thread(target=claim, args=(one,)) for one in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(stores)
    return sum(won)


def test_of_sixteen_threads_one_wins_the_lease(store: FencedStore) -> None:
    """If sixteen threads claim at the same moment, exactly one gets the lease."""
    assert race([store] * 16) == 1
    assert race([store] * 16) == 0
    holder = store.holder()
    assert holder is not None
    store.release(holder)
    assert race([store] * 16) == 1


def test_of_sixteen_connections_one_wins_the_lease(folder: Path, clock: Clock) -> None:
    """If sixteen connections to one file claim at the same moment, exactly one gets the lease."""
    path = folder / "n-1.sqlite"
    stores: list[FencedStore] = [SqliteStore(path, 60.0, shared=True, clock=clock) for _ in range(16)]
    for _ in range(5):
        assert race(stores) == 1
        clock.now += LEASE_S
    for store in stores:
        store.close()


def test_a_lease_lasts_until_it_expires_is_released_or_its_holder_has_ended(
    store: FencedStore, clock: Clock
) -> None:
    """Another token gets the lease only when it expires, is released, or its holder has ended."""
    first = claimed(store)
    assert not store.claim(new_id("l-"), LEASE_S)
    assert store.claim(first, LEASE_S)  # the answer may have been lost

    clock.now += LEASE_S - 1
    assert store.renew(first, LEASE_S)
    clock.now += LEASE_S - 1
    assert not store.claim(new_id("l-"), LEASE_S)
    clock.now += 1
    second = claimed(store)

    store.release(second)
    assert store.holder() is None
    third = claimed(store)

    assert not store.claim(new_id("l-"), LEASE_S, after=second)
    fourth = new_id("l-")
    assert store.claim(fourth, LEASE_S, after=third)
    assert store.holder() == fourth


def test_a_holder_keeps_an_expired_lease_until_another_token_claims(store: FencedStore, clock: Clock) -> None:
    """The holder of an expired lease can continue if no other process has claimed it."""
    token = claimed(store)
    clock.now += 100 * LEASE_S

    store.write(token, "w-1", [stretch(1, by=token)])
    assert not store.claim(new_id("l-"), LEASE_S)  # the write has renewed it


def test_a_clock_that_was_set_back_does_not_block_the_lease(store: FencedStore, clock: Clock) -> None:
    """A lease that expires later than its duration allows counts as expired."""
    claimed(store)
    clock.now -= 1_000
    claimed(store)


def test_a_stale_token_can_do_nothing(store: FencedStore, clock: Clock) -> None:
    """A replaced token can neither write, renew, release nor claim again."""
    old = claimed(store)
    store.write(old, "w-1", [stretch(1, by=old)])
    clock.now += LEASE_S
    new = claimed(store)

    with pytest.raises(LeaseLost):
        store.write(old, "w-2", [stretch(2, by=old), Acknowledged(command_id="c-1", body=b"1")])
    with pytest.raises(LeaseLost):
        store.write(old, "w-1", [stretch(1, by=old)])
    assert not store.renew(old, LEASE_S)
    store.release(old)
    assert store.holder() == new
    store.release(new)
    assert not store.claim(old, LEASE_S)

    assert store.read_session("s-1").stretches == (stretch(1, by=old),)
    assert store.acknowledged() == {}


def test_without_a_lease_no_token_can_write(store: FencedStore) -> None:
    """A token that has not claimed the lease, or has released it, cannot write."""
    with pytest.raises(LeaseLost):
        store.write("l-1", "w-1", [stretch(1, by="l-1")])
    token = claimed(store)
    store.release(token)
    with pytest.raises(LeaseLost):
        store.write(token, "w-1", [stretch(1, by=token)])
    assert not store.renew(token, LEASE_S)
    assert store.read().sessions == {}


def test_a_write_without_a_token_respects_the_lease(store: FencedStore, clock: Clock) -> None:
    """An engine without a lease cannot write while another holds it, and ends an expired claim."""
    token = claimed(store)
    with pytest.raises(StoreBusy):
        store.write([stretch(1, by="k-1")])
    assert store.read().sessions == {}

    clock.now += LEASE_S
    store.write([stretch(1, by="k-1")])
    store.write([stretch(2, by="k-1")])
    with pytest.raises(LeaseLost):
        store.write(token, "w-1", [stretch(1, by=token)])
    assert not store.claim(token, LEASE_S)
    claimed(store)


# Writing


def test_a_write_with_the_same_id_changes_nothing(store: FencedStore) -> None:
    """A write with an earlier write's id is ignored, because the answer may have been lost."""
    token = claimed(store)
    store.write(token, "w-1", [Base(session_id="s-1", seq=1, body=b"one")])
    store.write(token, "w-2", [Base(session_id="s-1", seq=1, body=b"two")])
    store.write(token, "w-1", [Base(session_id="s-1", seq=1, body=b"one"), stretch(9, by=token)])

    assert store.read_session("s-1") == Kept(base=Base(session_id="s-1", seq=1, body=b"two"))


def test_repeats_under_another_id_are_skipped(store: FencedStore) -> None:
    """Records that are already stored are skipped, and later records of the same write are stored."""
    token = claimed(store)
    store.write(token, "w-1", [stretch(1, 2, by=token), stretch(3, by=token)])
    before = store.read()
    store.write(token, "w-2", [stretch(1, 2, by=token)])
    store.write(token, "w-3", [stretch(1, 3, by=token)])
    assert store.read() == before

    store.write(token, "w-4", [stretch(3, by=token), stretch(4, by=token)])
    store.write(token, "w-5", [stretch(4, 3, by=token)])  # the end of a lost write, and new events
    store.write(token, "w-6", [stretch(7, by=token)])
    events = [stretch(1, 2, by=token), stretch(3, by=token), stretch(4, 3, by=token), stretch(7, by=token)]
    assert store.read_session("s-1").stretches == tuple(events)

    store.write(token, "w-7", [Base(session_id="s-1", seq=7, body=b"{}")])
    store.write(token, "w-8", [stretch(4, 3, by=token), Base(session_id="s-1", seq=6, body=b"old")])
    assert store.read_session("s-1") == Kept(base=Base(session_id="s-1", seq=7, body=b"{}"))


def test_gaps_are_refused_and_the_whole_write_with_them(store: FencedStore) -> None:
    """A write that contains events after a gap is refused as a whole."""
    token = claimed(store)
    store.write(token, "w-1", [stretch(1, by=token)])
    acknowledged = Acknowledged(command_id="c-1", body=b"1")
    with pytest.raises(StoreConflict):
        store.write(token, "w-2", [stretch(2, by=token), acknowledged, stretch(2, by=token, session="s-2")])

    assert store.read().sessions == {"s-1": Kept(stretches=(stretch(1, by=token),))}
    assert store.acknowledged() == {}
    store.write(token, "w-2", [stretch(2, by=token), acknowledged])  # a refused id is still unused
    assert store.read_session("s-1").stretches == (stretch(1, by=token), stretch(2, by=token))


def test_events_of_another_engine_are_never_replaced(store: FencedStore, clock: Clock) -> None:
    """Events with numbers that a predecessor has used are refused, so the holder must read again."""
    old = claimed(store)
    store.write(old, "w-1", [stretch(1, 2, by=old)])
    clock.now += LEASE_S
    new = claimed(store)

    for entry in (stretch(2, by=new), stretch(2, 2, by=new), stretch(1, 5, by=new)):
        with pytest.raises(StoreConflict):
            store.write(new, new_id("w-"), [entry])
    store.write(new, "w-2", [stretch(3, by=new)])
    assert store.read_session("s-1").stretches == (stretch(1, 2, by=old), stretch(3, by=new))


def test_nothing_is_accepted_for_a_run_after_its_end(store: FencedStore, clock: Clock) -> None:
    """Neither text nor a second end is stored after a run's end, from any holder or in any form."""
    old = claimed(store)
    store.write(old, "w-1", [stretch(1, by=old, r=run(1)), stretch(2, by=old, r=run(2, over=True))])
    clock.now += LEASE_S
    new = claimed(store)
    before = store.read()

    for token, late in (
        (new, stretch(3, by=new, r=run(3))),
        (new, stretch(3, by=new, r=run(3, over=True))),
        (new, stretch(3, 4, by=new, r=run(5), other=RunEvents(run_id="r-2", seq=6))),
        (new, Base(session_id="s-1", seq=3, body=b"{}", runs=(run(3),))),
    ):
        with pytest.raises(StoreConflict):
            store.write(token, new_id("w-"), [late])
    assert store.read() == before

    store.write(new, "w-2", [stretch(3, by=new, other=RunEvents(run_id="r-2", seq=3))])
    store.write(new, "w-3", [Base(session_id="s-1", seq=3, body=b"{}", runs=(run(3, over=True),))])
    with pytest.raises(StoreConflict):
        store.write(new, "w-4", [stretch(4, by=new, r=run(4))])


def test_an_end_within_a_state_is_an_end(store: FencedStore) -> None:
    """A run that is over in a session's state accepts no more events."""
    token = claimed(store)
    store.write(token, "w-1", [Base(session_id="s-1", seq=5, body=b"{}", runs=(run(5, over=True),))])
    with pytest.raises(StoreConflict):
        store.write(token, "w-2", [stretch(6, by=token, r=run(6))])


def test_an_end_can_be_written_again_with_later_events(store: FencedStore) -> None:
    """A lost write that ended a run can be repeated together with later events of other runs."""
    token = claimed(store)
    store.write(token, "w-1", [stretch(1, 2, by=token, r=run(2, over=True))])
    store.write(
        token,
        "w-2",
        [stretch(1, 4, by=token, r=run(2, over=True), other=RunEvents(run_id="r-2", seq=4))],
    )
    assert store.read_session("s-1").stretches == (kept(stretch(1, 4, by=token)),)


def test_a_deleted_session_comes_back_with_its_state_only(store: FencedStore) -> None:
    """Events of a deleted session are refused until an undo has written its state."""
    token = claimed(store)
    gone = Gone(session_id="s-1", body=b"{}")
    store.write(token, "w-1", [stretch(1, by=token), gone])
    for first in (1, 2):
        with pytest.raises(StoreConflict):
            store.write(token, new_id("w-"), [stretch(first, by=token)])
    assert store.read_session("s-1") == Kept(gone=gone)

    base = Base(session_id="s-1", seq=2, body=b"{}")
    store.write(token, "w-2", [base, stretch(3, by=token)])
    assert store.read_session("s-1") == Kept(base=base, stretches=(stretch(3, by=token),))


def test_acknowledgements_are_stored_with_the_events_of_their_commands(store: FencedStore) -> None:
    """Acknowledgements are read in order, the first of each command is kept, and the oldest are dropped."""
    token = claimed(store)
    store.write(token, "w-1", [stretch(1, by=token), Acknowledged(command_id="c-1", body=b"first")])
    store.write(token, "w-2", [Acknowledged(command_id="c-1", body=b"again")])
    assert store.acknowledged() == {"c-1": b"first"}

    many = [Acknowledged(command_id=f"d-{n}", body=b"%d" % n) for n in range(MAX_ACKNOWLEDGED)]
    store.write(token, "w-3", many)
    assert list(store.acknowledged().items()) == [(one.command_id, one.body) for one in many]


def test_a_full_store_refuses_the_whole_write(store: FencedStore) -> None:
    """A write without enough space stores nothing, and is accepted once there is space."""
    token = claimed(store)
    store.write(token, "w-1", [Base(session_id="s-1", seq=1, body=b"old")])
    large = [
        Acknowledged(command_id="c-1", body=b"1"),
        Base(session_id="s-1", seq=2, body=b"new"),
        Base(session_id="s-2", seq=1, body=random.Random(1).randbytes(100_000)),
    ]

    if isinstance(store, RedisStore):
        store._call(lambda client: client.config_set("maxmemory", 1))
    elif isinstance(store, SqliteStore):
        connection = store._connected()
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + 2}")
    else:
        assert isinstance(store, MemoryStore)
        store.max_bytes = 50_000
    with pytest.raises(StoreFull):
        store.write(token, "w-2", large)
    assert store.read().sessions == {"s-1": Kept(base=Base(session_id="s-1", seq=1, body=b"old"))}
    assert store.acknowledged() == {}
    assert store.renew(token, LEASE_S)

    if isinstance(store, RedisStore):
        store._call(lambda client: client.config_set("maxmemory", 0))
    elif isinstance(store, SqliteStore):
        store._connected().execute("PRAGMA max_page_count=1000000")
    else:
        store.max_bytes = None
    store.write(token, "w-2", large)
    assert store.read_session("s-1").base == Base(session_id="s-1", seq=2, body=b"new")
    assert store.acknowledged() == {"c-1": b"1"}


def test_ten_thousand_sessions_are_written_and_read(store: FencedStore) -> None:
    """A store handles ten thousand sessions with events and ends, skips repeats and refuses gaps."""
    token = claimed(store)
    names = [f"s-{n}" for n in range(10_000)]
    store.write(token, "w-1", [Base(session_id=name, seq=1, body=b"{}") for name in names])
    events = [
        stretch(2, by=token, session=name, r=RunEvents(run_id=f"r-{name}", seq=2, over=True))
        for name in names
    ]
    store.write(token, "w-2", events)
    store.write(token, "w-3", events)

    contents = store.read()
    assert contents.damage == ()
    assert list(contents.sessions) == names
    assert all(
        found.stretches == (kept(event),)
        for found, event in zip(contents.sessions.values(), events, strict=True)
    )
    with pytest.raises(StoreConflict):
        store.write(token, "w-4", [stretch(4, by=token, session="s-9999")])


# The file


def test_a_kernel_without_a_lease_finds_a_shared_file_busy(folder: Path, clock: Clock) -> None:
    """A file whose lease is held cannot be opened without a lease, and the holder is not affected."""
    path = folder / "n-1.sqlite"
    shared = SqliteStore(path, shared=True, clock=clock)
    token = claimed(shared)
    with pytest.raises(StoreBusy):
        SqliteStore(path, 0.01, clock=clock)
    shared.write(token, "w-1", [stretch(1, by=token)])
    shared.close()
    with pytest.raises(StoreBusy):
        SqliteStore(path, 0.01, clock=clock)

    clock.now += LEASE_S
    alone = SqliteStore(path, 0.01, clock=clock)
    assert alone.read_session("s-1").stretches == (stretch(1, by=token),)
    alone.close()


def test_on_a_network_disk_a_kernel_without_a_lease_replaces_a_suspended_holder(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that was suspended until its lease expired can be replaced, and writes nothing more."""
    put_on_disk(monkeypatch, local=False)
    path = tmp_path / "n-1.sqlite"
    shared = SqliteStore(path, shared=True, clock=clock)
    token = claimed(shared)
    shared.write(token, "w-1", [stretch(1, by=token)])

    clock.now += LEASE_S
    alone = SqliteStore(path, 0.01, clock=clock)
    with pytest.raises(StoreBusy):
        shared.write(token, "w-2", [stretch(2, by=token)])
    alone.write([stretch(2, by="k-1")])
    alone.close()
    with pytest.raises(LeaseLost):
        shared.write(token, "w-2", [stretch(2, by=token)])
    assert shared.read_session("s-1").stretches == (stretch(1, by=token), stretch(2, by="k-1"))
    shared.close()


def test_on_a_local_disk_a_kernel_without_a_lease_waits_for_the_process_of_a_suspended_holder(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a process has open is busy for kernels without a lease, even after its lease expired."""
    put_on_disk(monkeypatch, local=True)
    path = tmp_path / "n-1.sqlite"
    shared = SqliteStore(path, shared=True, clock=clock)
    token = claimed(shared)
    clock.now += LEASE_S
    with pytest.raises(StoreBusy):
        SqliteStore(path, 0.01, clock=clock)
    shared.write(token, "w-1", [stretch(1, by=token)])
    shared.release(token)
    shared.close()

    alone = SqliteStore(path, 0.01, clock=clock)
    assert alone.read_session("s-1").stretches == (stretch(1, by=token),)
    alone.close()


def journal_of(store: SqliteStore) -> tuple[str, int]:
    """Return the kind of journal of a file, and its level of `synchronous`."""
    connection = store._connected()
    mode, level = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    )
    return str(mode), int(level)


NORMAL, FULL = 1, 2


def test_only_a_local_disk_has_a_log_in_shared_memory(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared file gets the journal that its disk allows, keeps its entries, and waits for the disk."""
    path = tmp_path / "n-1.sqlite"
    token, events = new_id("l-"), []
    for number, local in enumerate((False, True, False, True), 1):
        put_on_disk(monkeypatch, local=local)
        store = SqliteStore(path, shared=True, clock=clock)
        assert journal_of(store) == (("wal", FULL) if local else ("persist", NORMAL))
        assert store.claim(token, LEASE_S)
        events.append(stretch(number, by=token))
        store.write(token, new_id("w-"), events[-1:])
        assert store.read_session("s-1").stretches == tuple(events)
        store.close()


def test_a_file_that_another_host_may_have_open_has_no_log_in_shared_memory(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the server of a network disk, the file keeps its journal until the other host has released it."""
    path = tmp_path / "n-1.sqlite"
    put_on_disk(monkeypatch, local=False)
    with monkeypatch.context() as patch:
        patch.setattr("nbchat.stores.sqlite.this_process", lambda: "other-host 1")
        remote = SqliteStore(path, shared=True, clock=clock)
        token = claimed(remote)

    put_on_disk(monkeypatch, local=True)
    clock.now += LEASE_S
    here = SqliteStore(path, shared=True, clock=clock)
    assert journal_of(here) == ("persist", NORMAL)
    here.close()

    remote.release(token)
    remote.close()
    here = SqliteStore(path, shared=True, clock=clock)
    assert journal_of(here) == ("wal", FULL)
    here.close()


def test_a_file_that_is_open_alone_cannot_be_shared(folder: Path) -> None:
    """A file that a kernel without a runner has open cannot be opened as shared."""
    alone = SqliteStore(folder / "n-1.sqlite")
    alone.write([stretch(1, by="k-1")])
    with pytest.raises(StoreBusy):
        SqliteStore(folder / "n-1.sqlite", 0.01, shared=True)
    alone.close()
    shared = SqliteStore(folder / "n-1.sqlite", 0.01, shared=True)
    assert shared.read_session("s-1").stretches == (stretch(1, by="k-1"),)
    shared.close()


def test_reading_beside_a_writer_is_no_damage(folder: Path) -> None:
    """A reader sees each write as a whole, even between its reads of two tables."""
    path = folder / "n-1.sqlite"
    writer = SqliteStore(path, 0.01, shared=True)
    reader = SqliteStore(path, shared=True)
    token = claimed(writer)
    writer.write(token, "w-1", [stretch(1, 5, by=token)])
    tried: list[bool] = []

    def fold(statement: str) -> None:
        if "FROM stretches" in statement and not tried:
            tried.append(True)
            with contextlib.suppress(StoreBusy):  # with a rollback journal, a reader keeps writers waiting
                writer.write(token, "w-2", [Base(session_id="s-1", seq=5, body=b"{}"), stretch(6, by=token)])

    reader._connected().set_trace_callback(fold)
    contents = reader.read()
    assert tried
    assert (contents.damage, contents.sessions) == ((), {"s-1": Kept(stretches=(stretch(1, 5, by=token),))})

    writer.write(token, "w-2", [Base(session_id="s-1", seq=5, body=b"{}"), stretch(6, by=token)])
    assert reader.read_session("s-1").stretches == (stretch(6, by=token),)
    reader.close()
    writer.close()


def test_leases_survive_the_process_and_damage(folder: Path, clock: Clock) -> None:
    """Claims, ends and acknowledgements survive a restart and the repair of a damaged file."""
    path = folder / "n-1.sqlite"
    first = SqliteStore(path, shared=True, clock=clock)
    old = claimed(first)
    acknowledged = Acknowledged(command_id="c-1", body=b"1")
    first.write(old, "w-1", [stretch(1, by=old, r=run(1, over=True)), acknowledged])
    first.close()
    with sqlite3.connect(path) as connection:
        damaged = "INSERT INTO stretches VALUES ('s-2', 1, 1, 'l-1', x'00', 0)"
        connection.execute(damaged)
    connection.close()

    clock.now += LEASE_S
    second = SqliteStore(path, shared=True, clock=clock)
    assert second.damage
    new = claimed(second)
    assert not second.claim(old, LEASE_S)
    assert second.acknowledged() == {"c-1": b"1"}
    with pytest.raises(StoreConflict):
        second.write(new, "w-2", [stretch(2, by=new, r=run(2))])
    second.write(new, "w-1", [stretch(2, by=new)])  # this id was accepted before
    assert second.read_session("s-1").stretches == (stretch(1, by=old),)
    second.close()


KILLED = """
import os, signal, sys
from pathlib import Path
from nbchat.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), 60.0, shared=True)
assert store.claim("l-old", 3600.0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there, the lease of a killed process expires")
@pytest.mark.parametrize("shared", [True, False])
def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path, shared: bool) -> None:
    """After SIGKILL of the holder another process can claim the lease at once."""
    path = tmp_path / "n-1.sqlite"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL

    store = SqliteStore(path, 60.0, shared=shared)
    claimed(store)
    store.close()


WRITING = """
import itertools, sys
from pathlib import Path
from nbchat.stores import sqlite
from nbchat.stores.base import Acknowledged, Stretch
path, token, first, disk = sys.argv[1:]
sqlite.is_local = lambda _folder: disk == "local"
store = sqlite.SqliteStore(Path(path), 60.0, shared=True)
assert store.claim(token, 3600.0)
for number in itertools.count(int(first)):
    event = Stretch(session_id="s-1", first_seq=number, count=1, epoch=token, body=b"x" * (number % 7 * 900))
    store.write(token, f"w-{number}", [event, Acknowledged(command_id=f"c-{number}", body=b"1")])
    print(number, flush=True)
"""


@pytest.mark.parametrize("disk", ["local", "network"])
def test_a_killed_writer_loses_nothing_that_it_acknowledged(
    tmp_path: Path, disk: str, soak: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After SIGKILL at any moment the file is intact and has every acknowledged event with its command."""
    put_on_disk(monkeypatch, local=disk == "local")
    path, dice, head = tmp_path / "n-1.sqlite", random.Random(1), 0
    for _ in range(100 if soak else 5):
        command = [sys.executable, "-c", WRITING, str(path), new_id("l-"), str(head + 1), disk]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline() for _ in range(dice.randrange(1, 60))]
            writer.kill()
            lines += writer.stdout.readlines()
        acknowledged = [int(line) for line in lines if line.endswith("\n")]

        store = SqliteStore(path, 60.0, shared=True)
        assert store.damage == ()
        seqs = [one.first_seq for one in store.read_session("s-1").stretches]
        assert seqs == list(range(1, len(seqs) + 1))
        assert acknowledged == list(range(head + 1, acknowledged[-1] + 1))
        head = len(seqs)
        assert head >= acknowledged[-1]
        assert f"c-{head}" in store.acknowledged()
        store.close()


SUSPENDED = """
import sys
from pathlib import Path
from nbchat.core.errors import LeaseLost
from nbchat.stores.base import Stretch
from nbchat.stores.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]), 60.0, shared=True)
event = lambda n: Stretch(session_id="s-1", first_seq=n, count=1, epoch="l-old", body=b"[]")
assert store.claim("l-old", 3600.0)
store.write("l-old", "w-1", [event(1)])
print("written", flush=True)
sys.stdin.readline()
try:
    store.write("l-old", "w-2", [event(2)])
except LeaseLost:
    print("refused", store.renew("l-old", 60.0), flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="Windows does not suspend processes by signals")
def test_a_writer_that_was_suspended_and_replaced_is_refused(tmp_path: Path) -> None:
    """A process that was suspended and replaced cannot write after it resumes."""
    path = tmp_path / "n-1.sqlite"
    old = subprocess.Popen(
        [sys.executable, "-c", SUSPENDED, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert old.stdout is not None
    assert old.stdout.readline() == "written\n"
    old.send_signal(signal.SIGSTOP)

    new = SqliteStore(path, 60.0, shared=True)
    assert not new.claim("l-new", LEASE_S)
    assert new.claim("l-new", LEASE_S, after="l-old")
    new.write("l-new", "w-1b", [stretch(2, by="l-new", r=run(2, over=True))])

    old.send_signal(signal.SIGCONT)
    said, _ = old.communicate("go\n")
    assert said == "refused False\n"
    assert [one.epoch for one in new.read_session("s-1").stretches] == ["l-old", "l-new"]
    new.close()

"""Engines that share a store: one at a time writes and recovers, and a repeated command is executed once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from nbchat.core import commands as c
from nbchat.core.errors import LeaseLost, StoreBusy, StoreConflict, StoreFull
from nbchat.core.kernel_commands import CreateSession, Outcome, SetLimits
from nbchat.core.transcript import SessionState
from nbchat.engine import base, journal_writer
from nbchat.engine.carry_out import execute_once
from nbchat.engine.engine import Engine
from nbchat.engine.journal_reader import read_back
from nbchat.engine.leased_store import LEASE_S, LeasedStore
from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import Ack, KernelMessage, RunCommand
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.stores.base import Acknowledged, FencedStore, Gone, Stretch
from nbchat.stores.sqlite import SqliteStore
from nbchat.wire.commands import PageCommands
from nbchat.wire.served_kernel import ServedKernel
from tests.engines import engine_of, live
from tests.stores.memory import MemoryStore
from tests.waiting import wait_for


class SharedMemory(MemoryStore):
    """A store whose clock tests advance, whose writes can be delayed, and which records its writes."""

    def __init__(self) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = 1_000_000.0
        self.may_write = threading.Event()
        self.may_write.set()
        self.writes: list[Sequence[Any]] = []
        self.renewals = 0
        self.conflicts = 0

    def write(self, *args: Any) -> None:
        """Write when the test allows it."""
        assert self.may_write.wait(30)
        try:
            super().write(*args)
        except StoreConflict:
            self.conflicts += 1
            raise
        self.writes.append(args[-1])

    def renew(self, token: str, lease_s: float) -> bool:
        """Count renewals."""
        self.renewals += 1
        return super().renew(token, lease_s)


MakeRegistry = Callable[..., SessionRegistry]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let acknowledgements wait for the store as long as a busy machine needs."""
    monkeypatch.setattr(base, "ACKNOWLEDGE_S", 60.0)


@pytest.fixture
def start() -> Iterator[MakeRegistry]:
    """Start engines that share a store, each replacing the previous one; shut them down at the end."""
    made: list[SessionRegistry] = []

    def begin(store: FencedStore) -> SessionRegistry:
        registry = SessionRegistry(backend=LocalBackend(Engine(leased=True)))
        engine = engine_of(registry)
        made.append(registry)
        assert store.claim(engine.epoch, LEASE_S, after=store.holder())
        leased = LeasedStore(store, engine.epoch)

        def restore() -> None:
            engine.open_journal(leased)
            engine.snapshots.restore(read_back(leased.read()), adopt=True)

        engine.loop.call(restore)
        return registry

    yield begin
    for registry in made:
        engine_of(registry).shutdown()


def streaming(registry: SessionRegistry) -> tuple[str, str]:
    """Send a prompt, wait until half of the answer is stored, and return the ids of session and run."""
    session = registry.create("geo", provider=ScriptedProvider("Half an", HANG))
    run = session.send("one")
    next(iter(run))
    registry.save()
    return session.id, run.id


def ends(store: FencedStore, session_id: str) -> list[tuple[str, str]]:
    """Return the runs of a session in a store, with their states."""
    saved = {one.state.id: one.state for one in read_back(store.read()).sessions}
    return [(run.id, str(run.state)) for run in saved[session_id].runs]


def test_an_engine_that_was_replaced_writes_nothing_and_ends_its_runs(start: MakeRegistry) -> None:
    """A replaced engine reports it, its writes are refused, and its run is recorded as interrupted once."""
    store = SharedMemory()
    old = start(store)
    session_id, run_id = streaming(old)
    told = threading.Event()
    engine_of(old).replaced.add(told.set)
    run = old[session_id].runs[0]

    new = start(store)
    assert [run.state for run in new[session_id].runs] == ["interrupted"]
    new.save()
    before = store.read()

    old[session_id].rename("too late")
    with pytest.raises(LeaseLost):
        old.save()
    assert told.wait(30)
    assert run.wait(30).state == "interrupted"
    with pytest.raises(LeaseLost):
        old.save()
    assert store.read() == before
    assert ends(store, session_id) == [(run_id, "interrupted")]

    new[session_id].rename("in time")
    assert new.save()
    live(new[session_id]).provider = ScriptedProvider("Whole.")
    assert new[session_id].retry().result(30).text == "Whole."


def test_an_idle_engine_notices_that_it_was_replaced(
    start: MakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle engine renews its lease, and stops working when a renewal fails."""
    monkeypatch.setattr(journal_writer, "LEASE_S", 0.03)
    store = SharedMemory()
    old = start(store)
    old.save()
    told = threading.Event()
    engine_of(old).replaced.add(told.set)
    wait_for(lambda: store.renewals > 2, "the lease is renewed")
    assert not told.is_set()

    start(store)
    assert told.wait(30)
    journal = engine_of(old).journal
    assert journal is not None
    assert isinstance(journal.error, LeaseLost)


def test_only_the_holder_of_the_lease_recovers(start: MakeRegistry) -> None:
    """Only the holder of the lease marks a live run of a snapshot as interrupted."""
    store = SharedMemory()
    holder = start(store)
    session_id, run_id = streaming(holder)
    idle = holder.create("idle").id
    snapshot = engine_of(holder).loop.call(engine_of(holder).snapshots.take)

    waiting = SessionRegistry(backend=LocalBackend(Engine(leased=True)))
    engine = engine_of(waiting)
    with pytest.raises(StoreBusy) as busy:
        LeasedStore(store, engine.epoch)

    def restore() -> None:
        engine.open_journal(
            None,
            error=busy.value,
            reopen=lambda: LeasedStore(store, engine.epoch),
            on_reopened=lambda found: engine.snapshots.restore(found, adopt=True),
        )
        engine.snapshots.restore(snapshot, adopt=True)

    engine.loop.call(restore)
    assert list(waiting) == [idle]
    assert holder[session_id].run is not None

    def is_taken_over() -> bool:
        store.now += LEASE_S
        return session_id in waiting

    wait_for(is_taken_over, "the lease is obtained")
    assert [run.state for run in waiting[session_id].runs] == ["interrupted"]
    waiting.save()
    assert ends(store, session_id) == [(run_id, "interrupted")]
    engine.shutdown()


def test_the_lease_is_released_when_the_engine_ends(start: MakeRegistry) -> None:
    """The next engine gets the lease at once, and finds the last writes of the previous one."""
    store = SharedMemory()
    first = start(store)
    session_id, _ = streaming(first)
    assert store.holder() == engine_of(first).epoch
    engine_of(first).shutdown(30.0)
    assert store.holder() is None
    assert [state for _, state in ends(store, session_id)] == ["interrupted"]

    LeasedStore(store, "l-next").close()


def test_an_engine_waits_for_one_that_finishes(start: MakeRegistry) -> None:
    """A claim waits until the holder releases the lease, and then reads everything written until then."""
    store = SharedMemory()
    first = start(store)
    session = first.create("geo", provider=ScriptedProvider("The Seine."))
    claimed: list[LeasedStore] = []
    thread = threading.Thread(target=lambda: claimed.append(LeasedStore(store, "l-next", 30.0)))
    thread.start()
    session.ask("Which river?")
    assert not claimed
    engine_of(first).shutdown(30.0)
    thread.join()
    texts = [m.text for m in read_back(claimed[0].read()).sessions[0].state.path]
    assert texts == ["Which river?", "The Seine."]


def test_conflicting_events_are_replaced_by_the_state(start: MakeRegistry) -> None:
    """If the store has lost events, the session's state is written, and the journal is whole again."""
    store = SharedMemory()
    registry = start(store)
    session = registry.create("geo", provider=ScriptedProvider("The Seine."))
    session.ask("Which river?")
    registry.save()
    store._sessions[session.id].log.clear()

    session.rename("rivers")

    def is_saved() -> bool:
        with contextlib.suppress(StoreConflict):
            return registry.save()
        return False

    wait_for(is_saved, "the session is written as a whole")
    assert store.conflicts == 1
    kept = store.read_session(session.id)
    assert kept.base is not None
    saved = read_back(store.read()).sessions[0].state
    assert saved.title == "rivers"
    assert [m.text for m in saved.path] == ["Which river?", "The Seine."]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_command_that_is_repeated_after_a_crash_is_executed_once(
    start: MakeRegistry, tmp_path: Path, kind: str
) -> None:
    """The next engine returns the stored outcome instead of asking the model again."""
    memory = SharedMemory()

    def opened() -> FencedStore:
        return memory if kind == "memory" else SqliteStore(tmp_path / "n-1.sqlite", 60.0, shared=True)

    first = engine_of(start(opened()))
    create = CreateSession(id="c-1", session_id="s-1")
    ask = c.Send(id="c-2", session_id="s-1", text="Which river?")
    first.loop.call(execute_once, first, create)
    first.loop.call(first.session, "s-1").provider = ScriptedProvider("The Seine.")
    outcome = first.loop.call(execute_once, first, ask)
    assert first.loop.call(execute_once, first, ask) == outcome
    stored = threading.Event()
    first.loop.call(first.when_stored, stored.set)
    assert stored.wait(30)

    second = engine_of(start(opened()))
    assert second.loop.call(execute_once, second, create) == Outcome(session_id="s-1")
    assert second.loop.call(execute_once, second, ask) == outcome
    state: SessionState = second.loop.call(second.session, "s-1").state
    assert [run.id for run in state.runs] == [outcome.run_id]


def test_an_acknowledgement_is_in_the_same_write_as_its_effect(start: MakeRegistry) -> None:
    """An acknowledgement is stored in the same write as its events, state or deletion."""
    store = SharedMemory()
    engine = engine_of(start(store))

    def write_with(command_id: str) -> Sequence[Any]:
        def found() -> Any:
            return next(
                (w for w in store.writes if Acknowledged in map(type, w) and command_id in str(w)), None
            )

        records: Sequence[Any] = wait_for(found, command_id)
        return records

    for command, kind in (
        (CreateSession(id="c-1", session_id="s-1"), Stretch),
        (c.Rename(id="c-2", session_id="s-1", title="rivers"), Stretch),
        (c.Delete(id="c-3", session_id="s-1"), Gone),
    ):
        engine.loop.call(execute_once, engine, command)
        assert kind in map(type, write_with(command.id))


def test_a_refused_acknowledgement_is_written_without_another_event(
    start: MakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command without events is acknowledged in the store although the first write was refused."""
    monkeypatch.setattr(journal_writer, "RETRY_S", (0.01,))
    store = SharedMemory()
    engine = engine_of(start(store))
    refused = threading.Event()
    write = store.write

    def full(*args: Any) -> None:
        if not refused.is_set():
            refused.set()
            raise StoreFull("no space is left.")
        write(*args)

    monkeypatch.setattr(store, "write", full)
    engine.loop.call(execute_once, engine, SetLimits(id="c-1", values={"live_runs": 3}))
    wait_for(lambda: list(store.acknowledged()) == ["c-1"], "the acknowledgement")
    assert refused.is_set()


def test_saving_includes_acknowledgements(start: MakeRegistry) -> None:
    """While only the acknowledgement of a command is to be written, the status is `saving`."""
    store = SharedMemory()
    engine = engine_of(start(store))
    journal: Any = engine.journal

    def execute() -> str:
        execute_once(engine, SetLimits(id="c-1", values={"live_runs": 3}))
        return str(journal.status.state)

    assert engine.loop.call(execute) == "saving"
    wait_for(lambda: engine.loop.call(lambda: journal.status.state) == "saved", "the acknowledgement")
    assert list(store.acknowledged()) == ["c-1"]


def test_temporary_sessions_are_not_acknowledged_in_the_store(start: MakeRegistry) -> None:
    """The store keeps no acknowledgements of commands to temporary sessions, which end with their engine."""
    store = SharedMemory()
    registry = start(store)
    engine = engine_of(registry)
    engine.loop.call(execute_once, engine, CreateSession(id="c-1", session_id="s-1", temporary=True))
    engine.loop.call(execute_once, engine, CreateSession(id="c-2", session_id="s-2"))
    registry.save()
    assert list(store.acknowledged()) == ["c-2"]


class Page:
    """A page connected through `PageCommands`, which keeps all acknowledgements."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.acks: list[Ack] = []
        kernel = ServedKernel.of_engine(engine)
        self._commands = engine.loop.call(PageCommands, engine, kernel, self._say, lambda _command: None)

    def _say(self, message: KernelMessage) -> None:
        assert isinstance(message, Ack)
        self.acks.append(message)

    def send(self, command: Any, epoch: str | None = None) -> None:
        """Send a command and wait until the engine has accepted it."""
        message = RunCommand(page="p-1", epoch=epoch or self._engine.epoch, command=command)
        self._engine.loop.call(self._commands.receive, message)

    def answered(self, count: int) -> list[Ack]:
        """Return the acknowledgements once there are at least `count`."""
        wait_for(lambda: len(self.acks) >= count, f"{count} acknowledgements")
        return self.acks


def test_a_page_gets_its_acknowledgement_when_it_is_stored(start: MakeRegistry) -> None:
    """A command is acknowledged only when it is stored; repeated before that, it is still executed once."""
    store = SharedMemory()
    registry = start(store)
    page = Page(engine_of(registry))
    store.may_write.clear()
    page.send(c.NewSession(id="c-1", title="geo"))
    page.send(c.NewSession(id="c-1", title="geo"))
    assert page.acks == []
    assert len(registry) == 1

    store.may_write.set()
    assert page.answered(1) == [Ack(id="c-1", session_id=next(iter(registry)))]
    page.send(c.NewSession(id="c-1", title="geo"))
    assert page.answered(2)[0] == page.acks[1]
    assert len(page.acks) == 2


def test_a_stop_is_acknowledged_at_once(start: MakeRegistry) -> None:
    """A slow store delays neither Stop nor the refusal of a command."""
    store = SharedMemory()
    registry = start(store)
    session_id, run_id = streaming(registry)
    page = Page(engine_of(registry))
    store.may_write.clear()
    page.send(c.Rename(id="c-1", session_id=session_id, title="rivers"))
    page.send(c.Stop(id="c-2", session_id=session_id, run_id=run_id))
    page.send(c.Rename(id="c-3", session_id="s-unknown", title="rivers"))
    assert [ack.id for ack in page.acks] == ["c-2", "c-3"]
    store.may_write.set()
    assert page.answered(3)[2].id == "c-1"


def test_a_page_that_repeats_a_command_to_the_next_engine_gets_the_same_answer(start: MakeRegistry) -> None:
    """An executed command is acknowledged again; another command for an earlier engine is refused."""
    store = SharedMemory()
    first = start(store)
    page = Page(engine_of(first))
    page.send(c.NewSession(id="c-1", title="geo"))
    acknowledged = page.answered(1)[0]

    second = start(store)
    again = Page(engine_of(second))
    again.send(c.NewSession(id="c-1", title="geo"), epoch=engine_of(first).epoch)
    again.send(c.NewSession(id="c-2", title="not executed"), epoch=engine_of(first).epoch)
    acks = again.answered(2)
    assert acks[0] == acknowledged
    assert acks[1].error is not None
    assert acks[1].error.code == "stale_command"
    assert len(second) == 1


class OldStore:
    """A user's store with the interface from before leases."""

    where = "elsewhere"

    def __init__(self) -> None:
        self._kept = MemoryStore()
        self.read = self._kept.read
        self.read_session = self._kept.read_session
        self.recall, self.remember = self._kept.recall, self._kept.remember

    def write(self, entries: Sequence[Any]) -> None:
        """Accept entries only."""
        assert all(not getattr(entry, "runs", ()) for entry in entries)
        self._kept.write(entries)

    def close(self) -> None:
        """Do nothing."""


def test_a_store_without_a_lease_serves_an_engine_without_one(registry: SessionRegistry) -> None:
    """An engine in a kernel works with a store that has neither tokens nor acknowledgements."""
    store = OldStore()
    engine = engine_of(registry)
    engine.open_journal(store)
    assert engine.epoch.startswith("k-")
    page = Page(engine)
    page.send(c.NewSession(id="c-1", title="geo"))
    assert [ack.id for ack in page.acks] == ["c-1"]  # at once
    live(registry["geo"]).provider = ScriptedProvider("The Seine.")
    registry["geo"].ask("Which river?")
    registry.save()
    assert [m.text for m in read_back(store.read()).sessions[0].state.path] == ["Which river?", "The Seine."]

"""The store on a server of Redis when the server, a writer or the connection between them fails."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from nbchat.core.errors import LeaseLost, StoreConflict, StoreError, StoreRolledBack
from nbchat.core.ids import new_id
from nbchat.engine.engine import Engine
from nbchat.engine.journal_reader import read_back
from nbchat.engine.leased_store import LeasedStore
from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.scripted import ScriptedProvider
from nbchat.stores.base import Acknowledged, Base, Kept, Record, RunEvents, Stretch
from nbchat.stores.redis import RedisStore
from nbchat.stores.redis_scripts import CLAIM, Script
from nbchat.stores.redis_server import connect
from tests.engines import engine_of
from tests.redis_process import LossyProxy, RedisProcess
from tests.waiting import wait_for

T = TypeVar("T")

LEASE_S = 600.0


@pytest.fixture
def store(redis_server: RedisProcess, namespace: str) -> Iterator[RedisStore]:
    """Return an empty store."""
    made = RedisStore(redis_server.url, namespace, timeout_s=60.0)
    yield made
    made.close()


def stretch(first: int, count: int = 1, *, by: str, session: str = "s-1", runs: Any = ()) -> Stretch:
    """Return events `first` to `first + count - 1`."""
    return Stretch(
        session_id=session,
        first_seq=first,
        count=count,
        epoch=by,
        body=b"%d %d" % (first, count),
        runs=tuple(runs),
    )


def claimed(store: RedisStore, after: str | None = None) -> str:
    """Claim the lease with a new token, and return the token."""
    token = new_id("l-")
    assert store.claim(token, LEASE_S, after=after)
    return token


Copy = dict[bytes, bytes]


def copied(server: RedisProcess, store: RedisStore) -> Copy:
    """Return the namespace of a store as it is on the server."""
    with server.client() as client:
        keys = list(client.scan_iter(match=f"{store._root}*"))
        return {key: client.dump(key) for key in keys}


def go_back(server: RedisProcess, store: RedisStore, copy: Copy) -> None:
    """Restore the namespace as it was when it was copied."""
    with server.client() as client, client.pipeline() as pipe:
        for key in client.scan_iter(match=f"{store._root}*"):
            pipe.delete(key)
        for key, value in copy.items():
            pipe.restore(key, 0, value)
        pipe.execute()


# Lost answers


def test_operations_can_be_repeated_after_a_lost_answer(redis_server: RedisProcess, namespace: str) -> None:
    """If the answer is lost once, the store repeats the operation by itself, and it takes effect once."""
    with LossyProxy(redis_server) as proxy:
        store = RedisStore(proxy.url, namespace, timeout_s=60.0)
        token = new_id("l-")
        proxy.drop_answers(1)
        assert store.claim(token, LEASE_S)
        for number in range(1, 6):
            proxy.drop_answers(1)
            record = Acknowledged(command_id=f"c-{number}", body=b"%d" % number)
            store.write(token, f"w-{number}", [stretch(number, by=token), record])
        proxy.drop_answers(1)
        assert store.renew(token, LEASE_S)
        proxy.drop_answers(1)
        assert len(store.read_session("s-1").stretches) == 5
        proxy.drop_answers(1)
        store.release(token)

        assert proxy.dropped == 9
        assert store.holder() is None
        assert store.read_session("s-1") == Kept(stretches=tuple(stretch(n, by=token) for n in range(1, 6)))
        assert store.acknowledged() == {f"c-{n}": b"%d" % n for n in range(1, 6)}
        store.close()


@pytest.mark.parametrize("same_id", [True, False])
def test_a_write_without_an_answer_can_be_repeated_by_the_caller(
    redis_server: RedisProcess, namespace: str, same_id: bool
) -> None:
    """A write whose answers were all lost can be repeated, under its id or together with later events."""
    with LossyProxy(redis_server) as proxy:
        store = RedisStore(proxy.url, namespace, timeout_s=60.0)
        token = claimed(store)
        proxy.drop_answers(2)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.write(token, "w-1", [stretch(1, 2, by=token)])
        if same_id:
            store.write(token, "w-1", [stretch(1, 2, by=token)])
            store.write(token, "w-2", [stretch(3, by=token)])
            expected = (stretch(1, 2, by=token), stretch(3, by=token))
        else:
            store.write(token, "w-2", [stretch(1, 3, by=token)])
            expected = (stretch(1, 3, by=token),)
        assert store.read_session("s-1") == Kept(stretches=expected)
        store.close()


def test_a_write_that_arrives_late_is_refused(store: RedisStore) -> None:
    """A write without an answer that the server executes after a later write changes nothing."""
    token = claimed(store)
    late = ("w-1", "", (), [Base(session_id="s-1", seq=1, body=b"old")])
    store._known(token).unanswered.append("w-1")
    store.write(token, "w-2", [Base(session_id="s-1", seq=1, body=b"new")])

    answer = store._write(token, *late)
    with pytest.raises(StoreConflict, match="later write"):
        store._refused([], answer)
    assert store.read_session("s-1").base == Base(session_id="s-1", seq=1, body=b"new")
    assert store._known(token).unanswered == []


# The server


def test_a_killed_server_loses_nothing_that_it_acknowledged(namespace: str) -> None:
    """After SIGKILL of the server, writes fail until it is started again, and no accepted one is lost."""
    with RedisProcess() as server:
        store = RedisStore(server.url, namespace, timeout_s=60.0)
        token, events = claimed(store), []
        for _ in range(2):
            for _ in range(10):
                events.append(stretch(len(events) + 1, by=token))
                store.write(token, new_id("w-"), events[-1:])
            server.kill()
            with pytest.raises(StoreError, match="cannot be reached"):
                store.write(token, new_id("w-"), [stretch(len(events) + 1, by=token)])
            server.start()
        assert store.renew(token, LEASE_S)
        assert store.read_session("s-1") == Kept(stretches=tuple(events))
        store.close()


def test_a_server_that_does_not_answer_is_an_error(namespace: str) -> None:
    """A suspended server makes a write fail in time, and its repetition takes effect once."""
    with RedisProcess() as server:
        patient = RedisStore(server.url, namespace, timeout_s=60.0)
        impatient = RedisStore(server.url, namespace, timeout_s=60.0)
        token = claimed(patient)
        assert impatient._client is not None
        impatient._client.close()
        impatient._client = connect(server.url, 0.1)
        server.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(StoreError, match="no answer in time"):
                impatient.write(token, "w-1", [stretch(1, by=token)])
        finally:
            server.send_signal(signal.SIGCONT)
        patient.write(token, "w-2", [stretch(1, 2, by=token)])
        assert patient.read_session("s-1") == Kept(stretches=(stretch(1, 2, by=token),))
        patient.close()
        impatient.close()


# The writer

SUSPENDED = """
import sys
from nbchat.core.errors import LeaseLost
from nbchat.stores.base import Stretch
from nbchat.stores.redis import RedisStore
from nbchat.stores.redis_scripts import CLAIM, Script
from nbchat.stores.redis_server import connect
store = RedisStore(sys.argv[1], sys.argv[2], timeout_s=60.0)
event = lambda n: Stretch(session_id="s-1", first_seq=n, count=1, epoch="l-old", body=b"[]")
assert store.claim("l-old", 3600.0)
store.write("l-old", "w-1", [event(1)])
print("written", flush=True)
sys.stdin.readline()
try:
    store.write("l-old", "w-2", [event(2)])
except LeaseLost:
    print("refused", store.renew("l-old", 60.0), flush=True)
store.close()
"""


def test_a_writer_that_was_suspended_and_replaced_is_refused(
    store: RedisStore, redis_server: RedisProcess
) -> None:
    """A process that was suspended and replaced cannot write after it resumes."""
    with subprocess.Popen(
        [sys.executable, "-c", SUSPENDED, redis_server.url, store.namespace],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == "written\n"
        old.send_signal(signal.SIGSTOP)
        try:
            assert not store.claim("l-new", LEASE_S)
            assert store.claim("l-new", LEASE_S, after="l-old")
            ended = RunEvents(run_id="r-1", seq=2, over=True)
            store.write("l-new", "w-1b", [stretch(2, by="l-new", runs=[ended])])
        finally:
            old.send_signal(signal.SIGCONT)
        output, _ = old.communicate("continue\n")
    assert output == "refused False\n"
    assert [one.epoch for one in store.read_session("s-1").stretches] == ["l-old", "l-new"]


# Back in time


@pytest.mark.parametrize("before_the_claim", [True, False])
@pytest.mark.parametrize("notices", ["write", "renew"])
def test_a_server_that_goes_back_is_noticed_and_can_be_repaired(
    store: RedisStore, redis_server: RedisProcess, before_the_claim: bool, notices: str
) -> None:
    """A server that is restored to an older state is reported once, and then accepts the sessions' states."""
    first = claimed(store)
    store.write(first, "w-0", [stretch(1, by=first, session="s-0")])
    old = copied(redis_server, store)
    token = claimed(store, after=first)
    if not before_the_claim:
        store.write(token, "w-1", [stretch(1, by=token)])
        old = copied(redis_server, store)
    store.write(token, "w-2", [stretch(1, 3, by=token)])

    go_back(redis_server, store, old)
    late = [stretch(1, by=token, session="s-2")]
    notice = {"write": lambda: store.write(token, "w-3", late), "renew": lambda: store.renew(token, LEASE_S)}
    with pytest.raises(StoreRolledBack):
        notice[notices]()
    assert "s-2" not in store.read().sessions
    base = Base(session_id="s-1", seq=4, body=b"{}")
    store.write(token, "w-4", [base])
    assert store.renew(token, LEASE_S)
    store.write(token, "w-5", [stretch(5, by=token)])
    assert store.read_session("s-1") == Kept(base=base, stretches=(stretch(5, by=token),))


def test_an_emptied_server_is_repaired(store: RedisStore, redis_server: RedisProcess) -> None:
    """A namespace that was deleted on the server is noticed, and the holder can write its sessions again."""
    token = claimed(store, after=claimed(store))
    store.write(token, "w-1", [stretch(1, by=token)])
    go_back(redis_server, store, {})
    with pytest.raises(StoreRolledBack):
        store.write(token, "w-2", [stretch(2, by=token)])
    store.write(token, "w-3", [Base(session_id="s-1", seq=2, body=b"{}")])
    assert store.read_session("s-1").base == Base(session_id="s-1", seq=2, body=b"{}")


def test_a_claim_after_going_back_can_lose_its_answer(redis_server: RedisProcess, namespace: str) -> None:
    """The holder keeps the lease also if the answer to its claim after going back is lost."""
    with LossyProxy(redis_server) as proxy:
        store = RedisStore(proxy.url, namespace, timeout_s=60.0)
        token = claimed(store)
        go_back(redis_server, store, {})

        def drop_the_second_answer(script: Script, *details: Any) -> Any:
            if script is CLAIM:
                proxy.drop_answers(1)
            return run(script, *details)

        run, store._run = store._run, drop_the_second_answer  # type: ignore[method-assign]
        with pytest.raises(StoreRolledBack):
            store.renew(token, LEASE_S)
        assert proxy.dropped == 1
        store.write(token, "w-1", [stretch(1, by=token)])
        store.close()


def test_after_going_back_a_new_holder_is_not_replaced(
    store: RedisStore, redis_server: RedisProcess, namespace: str
) -> None:
    """If another token has claimed in the older state, the earlier holder has lost the lease."""
    first = claimed(store)
    old = copied(redis_server, store)
    token = claimed(store, after=first)
    store.write(token, "w-1", [stretch(1, by=token)])
    go_back(redis_server, store, old)
    other = RedisStore(redis_server.url, namespace, timeout_s=60.0)
    new = claimed(other, after=first)
    other.release(new)

    assert not store.renew(token, LEASE_S)
    with pytest.raises(LeaseLost):
        store.write(token, "w-2", [Base(session_id="s-1", seq=9, body=b"{}")])
    assert store.read().sessions == {}
    other.close()


def test_an_engine_repairs_a_server_that_went_back(store: RedisStore, redis_server: RedisProcess) -> None:
    """When the server has gone back, the engine writes all of its sessions again, also idle ones."""
    registry = SessionRegistry(backend=LocalBackend(Engine(leased=True)))
    engine = engine_of(registry)
    leased = LeasedStore(store, engine.epoch)
    engine.loop.call(lambda: engine.open_journal(leased))
    try:
        names = ["idle", "asked"]
        for name in names:
            registry.create(name, provider=ScriptedProvider("one")).send("1").wait()
        registry.save()
        old = copied(redis_server, store)
        for name in names:
            registry[name].send("2").wait()
        registry.save()
        go_back(redis_server, store, old)
        registry["asked"].send("3").wait()

        def stored() -> dict[str, int]:
            found = read_back(store.read()).sessions
            return {one.state.title: len(one.state.messages) for one in found}

        wait_for(lambda: stored() == {"idle": 4, "asked": 6}, "all sessions are stored again")
    finally:
        engine.shutdown()


# Everything at random


class Writer:
    """An engine in small: it keeps the events of one session, and writes those that are not stored."""

    def __init__(self, store: RedisStore, after: str | None) -> None:
        self.store = store
        self.token = new_id("l-")
        until_answered(lambda: store.claim(self.token, LEASE_S, after=after))
        self.events: list[dict[str, Any]] = until_answered(lambda: history(store))
        self.stored = len(self.events)
        self.whole = False
        ended = {event["run"] for event in self.events if event["kind"] == "end"}
        started = {event["run"]: None for event in self.events}
        for run in started:
            if run not in ended:
                self.add(run, "end")

    def add(self, run: str, kind: str) -> None:
        """Record an event."""
        self.events.append({"run": run, "kind": kind, "seq": len(self.events) + 1})

    def records(self) -> Sequence[Record]:
        """Return what is not stored, or the whole session after a conflict."""
        first = 0 if self.whole else self.stored
        events = self.events[first:]
        if not events:
            return []
        runs: dict[str, RunEvents] = {}
        for event in events:
            runs[event["run"]] = RunEvents(run_id=event["run"], seq=event["seq"], over=event["kind"] == "end")
        body, found = json.dumps(events).encode(), tuple(runs.values())
        if self.whole:
            return [Base(session_id="s-1", seq=len(self.events), body=body, runs=found)]
        return [
            Stretch(
                session_id="s-1",
                first_seq=first + 1,
                count=len(events),
                epoch=self.token,
                body=body,
                runs=found,
            )
        ]

    def flush(self) -> None:
        """Write until it is accepted. Raises `LeaseLost` if this writer was replaced."""

        def write() -> bool:
            try:
                self.store.write(self.token, new_id("w-"), self.records())
            except StoreConflict:
                self.whole = True
                return False
            return True

        until_answered(write)
        self.stored, self.whole = len(self.events), False


def until_answered(work: Callable[[], T]) -> T:
    """Return the answer of the server; lost ones are asked for again, and `False` is one that may change."""

    def attempt() -> list[T]:
        try:
            answer = work()
        except StoreError as error:
            if isinstance(error, LeaseLost):
                raise
            return []
        return [] if answer is False else [answer]

    return wait_for(attempt, "the server answers", 60.0)[0]  # type: ignore[no-any-return]


def history(store: RedisStore) -> list[dict[str, Any]]:
    """Return the events of the session as they are stored, each once, and check that there is no gap."""
    contents = store.read()
    assert contents.damage == ()
    kept = contents.sessions.get("s-1", Kept())
    events: list[dict[str, Any]] = [] if kept.base is None else json.loads(kept.base.body)
    for one in kept.stretches:
        events += [event for event in json.loads(one.body) if event["seq"] > len(events)]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    return events


FAULTS = ("drop", "drop", "kill", "replace", "stale", "copy", "back")


def test_faults_at_random_leave_one_history_without_gaps(namespace: str, soak: bool) -> None:
    """Whatever fails, each event is stored once, without gaps, and each run that is stored has one end."""
    dice = random.Random(17)
    with RedisProcess() as server, LossyProxy(server) as proxy:
        store = RedisStore(proxy.url, namespace, timeout_s=60.0)
        writer, stale, copy = Writer(store, None), None, copied(server, store)
        for number in range(1000 if soak else 20):
            fault = dice.choice(FAULTS)
            for kind in ("start", *["text"] * dice.randrange(4), "end"):
                writer.add(f"r-{number}", kind)
                if dice.random() < 0.5:
                    writer.flush()
            if fault == "drop":
                proxy.drop_answers(dice.randrange(1, 5))
            elif fault == "kill":
                server.kill()
                server.start()
            elif fault == "replace":
                stale, writer = writer, Writer(store, writer.token)
            elif fault == "stale" and stale is not None:
                with pytest.raises(LeaseLost):
                    stale.flush()
            elif fault == "copy":
                copy = copied(server, store)
            elif fault == "back":
                go_back(server, store, copy)
            writer.flush()
            assert until_answered(lambda: history(store)) == writer.events
            ends = [event["run"] for event in writer.events if event["kind"] == "end"]
            assert len(ends) == len(set(ends)) == len({event["run"] for event in writer.events})
        assert proxy.dropped > 0
        store.close()

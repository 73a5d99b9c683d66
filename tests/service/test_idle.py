"""Idle namespaces leave memory, and the next link opens them again."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from nbchat.batch_engine.request import BatchRequest
from nbchat.core.errors import StoreFull
from nbchat.core.events import Settings
from nbchat.core.transcript import SessionState
from nbchat.handles.registry import SessionRegistry
from nbchat.service.measured_store import MeasuredStore
from nbchat.service.namespace import Namespace
from nbchat.service.quotas import Quotas
from tests.engines import RUNNERS
from tests.redis_process import RedisProcess
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.replicated import Replicated
from tests.service.served import Served

QUOTAS = Quotas(idle_s=0.01, live_runs=1)
"""A namespace leaves memory as soon as it may."""


@pytest.fixture
def served(tmp_path: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """Return a service whose idle namespaces leave memory at once."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with Served(tmp_path, quotas=QUOTAS) as made:
        yield made


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return the results of all checks for idle namespaces."""
    found: list[bool] = []
    is_idle = Namespace.is_idle

    def noted(namespace: Namespace, seconds: float) -> bool:
        found.append(is_idle(namespace, seconds))
        return found[-1]

    monkeypatch.setattr(Namespace, "is_idle", noted)
    return found


def end_kernel(served: Served) -> None:
    """End the newest kernel; its link ends, and the answers that it asked for continue."""
    engine, backend = served.kernels.pop()
    backend.leave(restart=True)
    engine.shutdown()
    RUNNERS.pop(backend)


def is_unloaded(served: Served) -> bool:
    """Return whether no namespace is in memory, or about to leave it."""
    namespaces = served.service._namespaces
    return served.loop.call(lambda: not (namespaces._opened or namespaces._releasing))


def states_of(registry: SessionRegistry) -> list[SessionState]:
    """Return the states of all sessions, in order."""
    return [registry._backend.state(session_id) for session_id in registry]


def test_sessions_return_as_they_were(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle namespace leaves memory with its files and threads; the next link has the same sessions."""
    server.go()
    registry = served.registry("ada")
    monkeypatch.setattr("nbchat.engine.engine.SWEEP_S", 0.01)  # these timers refer to the engine
    served.namespace("ada").engine.limits.unsaved_s = None
    session = registry.create("geo", model="count", instructions="Be brief.")
    session.ask("one", timeout=60)
    session.pin()
    registry.create("other", model="count").ask("two", timeout=60)
    session.ask("three", timeout=60)
    off = session.on("end", lambda _event: None)  # the namespace has a thread of callbacks
    before = states_of(registry)
    old = weakref.ref(served.namespace("ada"))
    callbacks = served.namespace("ada").engine.callbacks._thread
    assert callbacks is not None
    off()
    end_kernel(served)
    until(lambda: is_unloaded(served))
    callbacks.join(30)
    assert not callbacks.is_alive()
    assert served.metrics.stores == set()
    assert served.metrics.registry.get_sample_value("nbchat_namespaces") == 0
    assert served.get("/healthz")[0] == 200
    if sys.platform == "linux":
        assert not [path for path in open_files() if str(served.folder) in path]

    def is_forgotten() -> bool:
        gc.collect()
        return old() is None

    until(is_forgotten)
    again = served.registry("ada")
    assert states_of(again) == before
    assert again["geo"].ask("four", timeout=60).text == answer_to("four")
    assert server.asked == ["one", "two", "three", "four"]


def open_files() -> Iterator[str]:
    """Yield the paths of the files that this process has open."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(link.readlink())


def test_a_link_in_the_middle_of_unloading_waits(
    served: Served, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that arrives while a namespace leaves memory waits until that is done, and is then served."""
    server.go()
    served.registry("ada").create("geo", model="count").ask("one", timeout=60)
    closing, may_close = threading.Event(), threading.Event()
    close = Namespace.close

    def slow(namespace: Namespace) -> None:
        closing.set()
        assert may_close.wait(60)
        close(namespace)

    monkeypatch.setattr(Namespace, "close", slow)
    end_kernel(served)
    assert closing.wait(60)
    namespaces = served.service._namespaces
    with ThreadPoolExecutor(1) as thread:
        linking = thread.submit(served.registry, "ada")
        until(lambda: "person-ada" in namespaces)
        assert not namespaces._opened["person-ada"].done()
        may_close.set()
        registry = linking.result(60)
    assert registry["geo"].ask("two", timeout=60).text == answer_to("two")
    assert server.asked == ["one", "two"]


def test_a_kernel_that_returns_continues(served: Served, server: CountingServer) -> None:
    """A kernel that was cut off until its namespace had left memory sends its next question as before."""
    server.go()
    session = served.registry("ada").create("geo", model="count")
    session.ask("one", timeout=60)
    (_, backend) = served.kernels[-1]
    backend._left = True  # without a network it cannot reconnect
    assert backend._link is not None
    backend._link._transport.abort()
    until(lambda: is_unloaded(served))
    backend._left = False
    assert session.ask("two", timeout=60).text == answer_to("two")
    assert [message.text for message in session.messages][::2] == ["one", "two"]


def test_runs_that_are_not_over_keep_their_namespace(
    served: Served, server: CountingServer, looks: list[bool]
) -> None:
    """Without a kernel, a namespace stays in memory until its live and its queued runs are over."""
    registry = served.registry("ada")
    registry.create("one", model="count").send("first")
    until(lambda: server.asked == ["first"])
    assert registry.create("two", model="count").send("second").state == "queued"
    end_kernel(served)
    assert has_stayed(served, looks)
    server.go()
    until(lambda: is_unloaded(served))
    again = served.registry("ada")
    assert [again[title].messages[-1].text for title in ("one", "two")] == [
        answer_to("first"),
        answer_to("second"),
    ]
    assert server.asked == ["first", "second"]


def test_a_batch_keeps_its_namespace(served: Served, server: CountingServer, looks: list[bool]) -> None:
    """Without a kernel, a namespace stays in memory until its batch is complete; the next kernel reads it."""
    prompts = ("one", "two")
    request = BatchRequest(
        prompts=tuple(enumerate(prompts)),
        keys=prompts,
        settings=Settings(model="count"),
        concurrency=1,
        attempts=1,
    )
    served.registry("ada")
    reader = served.kernels[-1][1].batches.reader(request)
    assert reader.open() == 0
    until(lambda: server.asked == ["one"])
    end_kernel(served)
    reader.close()
    assert has_stayed(served, looks)
    server.go()
    until(lambda: is_unloaded(served))
    served.registry("ada")
    again = served.kernels[-1][1].batches.reader(request)
    assert again.open() == 2
    again.close()
    assert server.asked == ["one", "two"]


def has_stayed(served: Served, looks: list[bool]) -> bool:
    """Return whether the namespace is in memory after several checks without a kernel."""
    until(lambda: not served.namespace("ada")._links)
    looks.clear()
    until(lambda: len(looks) > 3)
    return not any(looks) and "person-ada" in served.service._namespaces


def refuse_writes(patch: pytest.MonkeyPatch) -> None:
    """Let stores refuse all writes."""

    def full(*_: object) -> None:
        raise StoreFull("the disk is full.")

    patch.setattr(MeasuredStore, "write", full)


def lose_lease(patch: pytest.MonkeyPatch) -> None:
    """Let the leases of all stores have expired."""
    patch.setattr(MeasuredStore, "margin_s", property(lambda _: -1.0))


@pytest.mark.parametrize("fail", [refuse_writes, lose_lease])
def test_what_is_not_stored_stays_in_memory(
    served: Served,
    monkeypatch: pytest.MonkeyPatch,
    looks: list[bool],
    fail: Callable[[pytest.MonkeyPatch], None],
) -> None:
    """A namespace stays in memory while its store does not accept its events, or cannot be reached."""
    registry = served.registry("ada")
    session = registry.create("geo")
    with monkeypatch.context() as for_now:
        fail(for_now)
        session.title = "rivers"
        end_kernel(served)
        assert has_stayed(served, looks)
    until(lambda: is_unloaded(served))
    assert [one.title for one in states_of(served.registry("ada"))] == ["rivers"]


def test_another_replica_claims_an_idle_namespace(
    tmp_path: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace that has left memory has no holder; the replica that is chosen next serves its sessions."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    server.go()
    with RedisProcess() as redis, Replicated(tmp_path, redis, quotas=QUOTAS) as replicated:
        registry = replicated.registry(replicated.one.port, "ada")
        registry.create("geo", model="count").ask("one", timeout=60)
        before = states_of(registry)
        holder, other = replicated.roles("person-ada")
        monkeypatch.setattr("nbchat.service.replicas.chosen", lambda _name, _addresses: other.url)
        assert len(list(replicated.registry(other.port, "ada"))) == 1
        assert (holder.namespaces, other.namespaces) == (["person-ada"], [])  # while it is held
        replicated.end_kernels()
        until(lambda: replicated.directory.holder("person-ada") is None)
        again = replicated.registry(holder.port, "ada")
        assert states_of(again) == before
        assert again["geo"].ask("two", timeout=60).text == answer_to("two")
        assert replicated.directory.holder("person-ada") == other.url
        assert (holder.namespaces, other.namespaces) == ([], ["person-ada"])

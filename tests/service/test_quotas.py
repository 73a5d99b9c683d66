"""Quotas of a namespace: links, live runs, sessions and bytes."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nbchat.batch_engine.request import BatchRequest
from nbchat.core.errors import CommandError, TooManySessions
from nbchat.core.events import Settings
from nbchat.providers.scripted import HANG, ScriptedProvider
from nbchat.runner.served_batches import MAX_COMPLETE
from nbchat.service.quotas import Quotas
from nbchat.service.storage import SqliteFolder
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.served import Served

if TYPE_CHECKING:
    from nbchat.batch_engine.reader import BatchReader


def test_links_are_limited(tmp_path: Path) -> None:
    """Beyond the quota, kernels of one namespace are refused with the number, and those of others are not."""
    with Served(tmp_path, quotas=Quotas(links=1)) as served:
        served.registry("ada")
        status, text = served.get("/link", f"Bearer {served.tokens['ada']}")
        assert (status, text) == (429, "there are 1 kernels linked, and the service allows no more\n")
        with pytest.raises(CommandError, match="1 kernels linked"):
            served.address("ada").connect()
        assert list(served.registry("bob")) == []


def test_live_runs_are_limited(tmp_path: Path) -> None:
    """Beyond the quota, runs of a namespace wait, those of others do not, and batches are refused."""
    with Served(tmp_path, quotas=Quotas(live_runs=1)) as served:
        registry = served.registry("ada")
        first = registry.create("one", provider=ScriptedProvider("a", HANG)).send("?")
        until(lambda: first.text == "a")
        second = registry.create("two", provider=ScriptedProvider("b")).send("?")
        other = served.registry("bob").create("one", provider=ScriptedProvider("c")).send("?")
        assert other.wait(60).text == "c"
        assert second.state == "queued"
        first.stop()
        assert second.wait(60).text == "b"
        request = {"prompts": [(0, "a")], "keys": ["k"], "settings": {}, "concurrency": 2, "attempts": 1}
        with pytest.raises(CommandError, match="at most 1 in this service, not 2"):
            registry._backend._call("start_batch", 30, request=request, view=1)  # type: ignore[attr-defined]


def test_batches_share_the_live_runs(
    tmp_path: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches in progress have at most the quota of live runs together, also those of other kernels."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    with Served(tmp_path, quotas=Quotas(live_runs=3)) as served:
        backends = [served.registry("ada")._backend for _ in range(2)]
        for backend in backends:
            backend.configure(whole=True)  # type: ignore[attr-defined]
        started = start_batch(backends[0], "a")
        assert started["known"] == 0
        with pytest.raises(CommandError, match="at most 3 in this service, not 2 in addition to 2 of other"):
            start_batch(backends[1], "b")
        for batch in served.loop.call(lambda: list(served.namespace("ada").batches._batches)):
            backends[0]._call("stop_batch", 30, batch=batch)  # type: ignore[attr-defined]
        assert start_batch(backends[1], "b")["known"] == 0


def test_complete_batches_are_forgotten(
    tmp_path: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of complete batches that no kernel reads, a number remains in memory; all keep their record."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    server.go()
    with Served(tmp_path) as served:
        backend = served.registry("ada")._backend
        backend.configure(whole=True)  # type: ignore[attr-defined]
        batches = served.namespace("ada").batches
        prompts = [f"p{number}" for number in range(MAX_COMPLETE + 2)]
        for prompt in prompts:
            start_batch(backend, prompt)
            until(lambda: served.loop.call(lambda: not batches.is_busy))
        assert served.loop.call(batches.counts) == [(1, 1)] * MAX_COMPLETE
        assert start_batch(backend, prompts[0])["known"] == 1
        assert server.asked == prompts


def start_batch(backend: Any, prompt: str) -> Any:
    """Start a batch of one prompt, of which the kernel does not read the answers."""
    settings = {"model": "count"}
    request = {
        "prompts": [(0, prompt)],
        "keys": [prompt],
        "settings": settings,
        "concurrency": 2,
        "attempts": 1,
    }
    return backend._call("start_batch", 30, request=request, view=1)


def test_answers_of_batches_are_limited(
    tmp_path: Path, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of batches count as stored bytes until they are deleted; a full store ends batches."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setattr("nbchat.service.namespace.MEASURE_S", 600.0)
    full = "answers of batches would have"
    with Served(tmp_path, quotas=Quotas(store_bytes=2000)) as served:
        registry = served.registry("ada")
        namespace = served.namespace("ada")
        server.go()
        assert read(reader_of(served, "zero")) == [answer_to("zero")]
        server.hold()
        reader = reader_of(served, "one", "two")
        reader.open()
        until(lambda: server.asked == ["zero", "one"])
        monkeypatch.setattr("nbchat.service.namespace.MEASURE_S", 0.0)
        served.loop.run(namespace._measure(), 60)
        assert namespace.stored_bytes > 2000
        server.go()
        for refused in (lambda: read(reader), lambda: read(reader_of(served, "three"))):
            with pytest.raises(CommandError, match=full):
                refused()
        with pytest.raises(CommandError, match=full):
            registry.create("geo")
        served.end()
        served.start()
        served.registry("ada")
        assert served.namespace("ada").stored_bytes > 2000
        complete, half = reader_of(served, "zero"), reader_of(served, "one", "two")
        assert read(complete) == [answer_to("zero")]
        with pytest.raises(CommandError, match=full):
            read(half)
        assert server.asked == ["zero", "one"]
        for one in (complete, half):
            one.close()
        until(lambda: served.namespace("ada").stored_bytes < 1000)
        assert registry.create("geo").title == "geo"


def reader_of(served: Served, *prompts: str) -> BatchReader:
    """Return a reader in the newest kernel for a batch that sends one prompt after the other."""
    request = BatchRequest(
        prompts=tuple(enumerate(prompts)),
        keys=prompts,
        settings=Settings(model="count"),
        concurrency=1,
        attempts=1,
    )
    return served.kernels[-1][1].batches.reader(request)


def read(reader: BatchReader) -> list[str]:
    """Return the answers of a batch, which is started if necessary, when it is over; or raise its error."""
    reader.open()

    def is_over() -> bool:
        reader.wait()
        return reader.is_over

    until(is_over)
    reader.check()
    return [answer.text for answer in reader.answers]


def test_a_namespace_counts_its_own_batches(tmp_path: Path) -> None:
    """The bytes of batches are those of one namespace; a batch that was not used for a week is deleted."""
    folder = SqliteFolder(tmp_path)
    for person in ("ada", f"ada-b-{'0' * 32}"):
        record = folder.batch(f"person-{person}", f"b-{'1' * 32}").open()
        record.asked("a" * 1000)
        record.close()
    path = tmp_path / "batches" / f"person-ada-b-{'1' * 32}.jsonl"
    assert folder.batch_bytes("person-ada") == path.stat().st_size > 1000
    week_ago = time.time() - 7 * 86_400
    os.utime(path, (week_ago + 600, week_ago + 600))
    folder.open("person-ada").close()
    assert folder.batch_bytes("person-ada") > 1000
    os.utime(path, (week_ago - 600, week_ago - 600))
    folder.open("person-ada").close()
    assert folder.batch_bytes("person-ada") == 0
    assert folder.batch_bytes(f"person-ada-b-{'0' * 32}") > 1000


def test_sessions_are_limited(tmp_path: Path) -> None:
    """Sessions beyond the quota are refused however they are made; a deletion makes room for another one."""
    with Served(tmp_path, quotas=Quotas(sessions=2)) as served:
        registry = served.registry("ada")
        first = registry.create("one", provider=ScriptedProvider("a"))
        first.ask("?")
        registry.get_or_create("two")
        assert registry.get_or_create("two").title == "two"
        snapshot = registry.snapshot()
        for change in (lambda: registry.create("three"), lambda: registry.get_or_create("three"), first.fork):
            with pytest.raises(TooManySessions, match="allows 2"):
                change()
        registry.restore(snapshot)
        registry.delete("two")
        assert first.fork().messages[-1].text == "a"
        with pytest.raises(TooManySessions, match="allows 2"):
            registry.create("three")


def test_bytes_are_limited(tmp_path: Path) -> None:
    """When a namespace has its bytes, no answer is started until sessions are deleted; reading works."""
    with Served(tmp_path, quotas=Quotas(store_bytes=50_000)) as served:
        registry = served.registry("ada")
        large = registry.create("large", provider=ScriptedProvider("a" * 60_000))
        assert large.ask("?").text == "a" * 60_000
        registry.save()
        small = registry["large"]
        snapshot = registry.snapshot()
        for change in (
            lambda: small.send("?"),
            lambda: registry.create("other"),
            lambda: setattr(small, "instructions", "a"),
            lambda: setattr(small, "title", "a"),
            lambda: registry.get_or_create("large", instructions="a"),
            lambda: registry.restore(snapshot),
            small.fork,
        ):
            with pytest.raises(CommandError, match=r"0\.1 MB; this service allows 0\.1 MB"):
                change()
        assert len(small.messages) == 2
        assert registry.get_or_create("large").instructions != "a"
        served.end()
        served.start()
        assert served.registry("ada")["large"].messages == small.messages
        with pytest.raises(CommandError, match="this service allows"):
            small.send("?")
        registry.delete("large")
        registry.save()
        assert registry.create("other", provider=ScriptedProvider("b")).ask("?").text == "b"


def test_a_command_larger_than_the_bytes_is_refused(tmp_path: Path) -> None:
    """Content that would exceed the bytes is refused before it is stored, however often it is sent."""
    with Served(tmp_path, quotas=Quotas(store_bytes=100_000)) as served:
        registry = served.registry("ada")
        session = registry.create("one")
        with pytest.raises(CommandError, match=r"would have 1\.0 MB; this service allows 0\.1 MB"):
            session.instructions = "a" * 1_000_000
        accepted = 0
        for number in range(20):
            with suppress(CommandError):
                session.instructions = f"{number}" + "a" * 30_000
                accepted += 1
        assert accepted
        registry.save()
        assert served.namespace("ada").stored_bytes <= 100_000

"""Batches that all replicas of a service send together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import nbchat
from nbchat.core.errors import CommandError, ConfigError
from nbchat.runner.engine import Origin
from nbchat.runner.frames import encode_frame
from nbchat.runner.messages import Call
from nbchat.service.quotas import DEFAULTS
from nbchat.service.replicas import PROOF_HEADER
from nbchat.stores.redis_batch import RedisBatch
from tests.batch.limited_server import LimitedServer, most_within
from tests.redis_process import RedisProcess
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.replicated import Processes, Replica, Replicated, batch_of, drains, status, texts_of
from tests.waiting import wait_for

if TYPE_CHECKING:
    from nbchat.batch_engine.batch import Batch
    from nbchat.batch_engine.reader import BatchReader
    from tests.service.served import Served

ROOT = Path(__file__).parents[2]

CANARY = "sk-canary-90c1e7a254"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return the prompts that each process marks as sent, by the token of its lease."""
    found: dict[str, list[str]] = defaultdict(list)
    original = RedisBatch.sent

    def spy(batch: RedisBatch, key: str) -> bool:
        is_mine = original(batch, key)
        if is_mine:
            found[batch.token].append(key)
        return is_mine

    monkeypatch.setattr(RedisBatch, "sent", spy)
    return found


def batch_in(replica: Replica) -> Batch:
    """Return the only batch of a namespace that a replica holds."""
    (name,) = replica.namespaces
    (found,) = replica.service._namespaces._opened[name].result().batches._batches.values()
    return found


def takes_part(replica: Replica) -> bool:
    """Return whether a replica sends prompts of a batch of another one."""
    return replica.service._namespaces.divided.is_busy


def begun(
    replicated: Replicated, *prompts: str, port: int = 0, **more: Any
) -> tuple[BatchReader, Replica, Replica]:
    """Begin a batch; return its reader, the replica that holds it, and one that waits for slots of it.

    As many prompts as the concurrency are in progress in the first one, and the next ones are for the other.
    The kernel is linked to `port`, or to the first replica.
    """
    reader = replicated.reader(port or replicated.one.port, batch_of(*prompts, concurrency=2, **more))
    assert reader.open() == 0
    holder, other = replicated.roles("person-ada")
    until(lambda: takes_part(other))
    slots: Any = batch_in(holder).slots
    until(lambda: len(slots._waiters or ()) == 2)
    return reader, holder, other


def test_replicas_send_one_batch(
    replicated: Replicated, server: CountingServer, sent: dict[str, list[str]]
) -> None:
    """Both send prompts, each prompt is sent once, and their common rate is below the limit."""
    prompts = [f"p{number}" for number in range(30)]
    began = time.monotonic()
    reader, _, other = begun(replicated, *prompts, rpm=1200)
    until(lambda: len(server.asked) == 2)
    server.go()
    assert texts_of(reader) == [answer_to(prompt) for prompt in prompts]
    assert sorted(server.asked) == sorted(prompts)
    assert sorted(key for keys in sent.values() for key in keys) == sorted(prompts)
    assert len(sent) == 2
    # However late requests arrive, none can arrive before its turn.
    for number, at in enumerate(sorted(server.times)):
        assert at - began >= number * 0.05 * 0.99
    until(lambda: not takes_part(other))


def test_the_concurrency_is_that_of_all_replicas(replicated: Replicated, server: CountingServer) -> None:
    """A replica sends a prompt only with a slot of the holder, so that no more are in progress together."""
    prompts = [f"p{number}" for number in range(8)]
    reader, _, _ = begun(replicated, *prompts)
    for count in range(2, 9):
        until(lambda: len(server.asked) == count)  # noqa: B023 - used at once
        server.release(server.asked[count - 2])
    server.release(server.asked[7])
    assert texts_of(reader) == [answer_to(prompt) for prompt in prompts]
    assert sorted(server.asked) == prompts


def test_a_replica_that_joins_takes_part_and_one_that_drains_finishes(
    replicated: Replicated,
    server: CountingServer,
    sent: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Replicas come and go during a batch: each prompt is sent once, and those in progress are finished."""
    monkeypatch.setattr("nbchat.service.divided_batches.LOOK_S", 0.05)
    monkeypatch.setattr("nbchat.service.namespaces.DRAIN_S", 600.0)
    prompts = [f"p{number}" for number in range(12)]
    reader, holder, other = begun(replicated, *prompts)
    until(lambda: len(server.asked) == 2)
    server.release(server.asked[0])
    until(lambda: len(sent) == 2 and len(server.asked) == 3)
    draining = other.loop.call(lambda: other.loop.spawn(other.service.drain(), name="drain"))
    until(lambda: drains(other.port))
    third = Replica(replicated.folder, replicated.redis.url, DEFAULTS)
    try:
        slots: Any = batch_in(holder).slots
        until(lambda: takes_part(third) and len(slots._waiters) == 3)  # and one of the holder
        assert not draining.done()
        server.go()
        until(draining.done)
        assert texts_of(reader) == [answer_to(prompt) for prompt in prompts]
    finally:
        third.end()
    assert sorted(server.asked) == sorted(prompts)
    assert len(sent) == 3


@pytest.mark.parametrize("ends", ["holder", "other"])
def test_a_replica_that_ends_sends_no_prompt_again(
    replicated: Replicated, server: CountingServer, sent: dict[str, list[str]], ends: str
) -> None:
    """A prompt that outlasts its replica, which ends in order, is unknown; the others send the rest."""
    replicated.registry(replicated.one.port, "ada")
    holder, other = replicated.roles("person-ada")
    ending, staying = (holder, other) if ends == "holder" else (other, holder)
    replicated.end_kernels()
    prompts = [f"p{number}" for number in range(6)]
    reader, *_ = begun(replicated, *prompts, port=staying.port)
    until(lambda: len(server.asked) == 2)
    server.release(server.asked[0])
    until(lambda: len(sent) == 2 and len(server.asked) == 3)
    unknown = server.asked[1 if ends == "holder" else 2]
    ending.end()
    server.go()
    assert texts_of(reader) == [
        "KernelGone" if prompt == unknown else answer_to(prompt) for prompt in prompts
    ]
    assert sorted(server.asked) == prompts


def test_a_batch_that_is_stopped_ends_in_all_replicas(replicated: Replicated, server: CountingServer) -> None:
    """Prompts in progress are ended in all replicas, and the same call sends them again."""
    prompts = [f"p{number}" for number in range(4)]
    reader, _, other = begun(replicated, *prompts)
    until(lambda: len(server.asked) == 2)
    server.release(server.asked[0])
    until(lambda: len(server.asked) == 3)
    reader.stop(is_interrupt=False)
    until(lambda: not takes_part(other))
    assert len(server.asked) == 3
    server.go()
    again = replicated.reader(replicated.two.port, batch_of(*prompts, concurrency=2))
    assert again.open() == 1
    assert texts_of(again) == [answer_to(prompt) for prompt in prompts]
    assert sorted(server.asked) == sorted([*prompts, *server.asked[1:3]])


def test_a_pause_applies_to_all_replicas(
    replicated: Replicated, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupt, no replica sends a prompt; the same call in the same kernel continues the batch."""
    monkeypatch.setattr("nbchat.runner.linked_batches.RESTART_S", 600.0)
    prompts = [f"p{number}" for number in range(6)]
    reader, _, other = begun(replicated, *prompts)
    until(lambda: len(server.asked) == 2)
    (part,) = other.service._namespaces.divided._parts
    reader.stop(is_interrupt=True)
    until(lambda: part.is_paused)
    server.go()
    batches = replicated.kernels[0][1].batches
    until(lambda: len(batch_in(replicated.roles("person-ada")[0]).answers) == 2)
    assert len(server.asked) == 2
    again = batches.reader(batch_of(*prompts, concurrency=2))
    again.open()
    assert texts_of(again) == [answer_to(prompt) for prompt in prompts]
    assert sorted(server.asked) == sorted(prompts)


def test_a_key_is_only_in_memory_while_the_batch_runs(
    replicated: Replicated,
    server: CountingServer,
    sent: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Both replicas send the key of the kernel, and it is in no store and in no log."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    caplog.set_level("DEBUG")
    prompts = [f"p{number}" for number in range(6)]
    reader, _, _ = begun(replicated, *prompts)
    monkeypatch.delenv("OPENAI_API_KEY")
    server.release("p0")
    server.release("p1")
    until(lambda: len(server.asked) == 4)
    assert len(sent) == 2
    with replicated.redis.client() as client:
        stored = {key: client.dump(key) for key in client.keys("*")}
    assert any(b":map:" in key for key in stored)
    assert not any(CANARY.encode() in key + value for key, value in stored.items())
    server.go()
    texts_of(reader)
    assert server.authorizations == [f"Bearer {CANARY}"] * len(prompts)
    assert CANARY not in caplog.text


def test_only_replicas_are_admitted(replicated: Replicated) -> None:
    """Without the proof of a replica for this address, a link for batches is refused as an unknown path."""
    one, two = replicated.one, replicated.two
    ada = f"Bearer {replicated.tokens['ada']}"
    assert status(one.port, "/batch", {}) == 404
    assert status(one.port, "/batch", {"Authorization": ada}) == 404
    assert status(one.port, "/batch", {PROOF_HEADER: "a", PROOF_HEADER.lower(): "b"}) == 404
    nonces = ("batch", f"{one.url}%20batch", f"{one.url}+batch")
    for nonce in nonces:  # what a replica proves to anyone is of no use
        with urllib.request.urlopen(f"{one.url}replica?{nonce}", timeout=60) as response:
            assert status(one.port, "/batch", {PROOF_HEADER: response.headers[PROOF_HEADER]}) == 404
    replicas = one.service._replicas
    assert replicas is not None
    assert status(one.port, "/batch", {PROOF_HEADER: replicas._proof_to(two.url)}) == 404
    assert status(two.port, "/batch", {PROOF_HEADER: replicas._proof_to(two.url)}) == 101


def test_a_viewer_starts_no_batch(replicated: Replicated) -> None:
    """A viewer's batch is refused by the replica that holds the team, and no other one takes part."""
    replicated.registry(replicated.one.port, "eve", "geo")
    reader = replicated.kernels[0][1].batches.reader(batch_of("a", "b", concurrency=2))
    with pytest.raises(CommandError, match="needs the role editor"):
        reader.open()
    assert not takes_part(replicated.one)
    assert not takes_part(replicated.two)


def test_another_version_takes_no_part(
    replicated: Replicated, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During an upgrade, a replica of another version sends no prompts, and is not asked again."""
    refused: list[str] = []

    def encode(message: Any) -> bytes:
        if isinstance(message, Call) and message.name == "take_part":
            refused.append(message.name)
            message.args["version"] = "0"  # type: ignore[index]
        return encode_frame(message)

    monkeypatch.setattr("nbchat.service.divided_batches.encode_frame", encode)
    server.go()
    reader = replicated.reader(replicated.one.port, batch_of("a", "b", "c", concurrency=2))
    assert reader.open() == 0
    assert texts_of(reader) == [answer_to(prompt) for prompt in "abc"]
    assert sorted(server.asked) == ["a", "b", "c"]
    assert refused == ["take_part"]


def test_a_replica_in_which_every_prompt_would_fail_loses_none(
    replicated: Replicated, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its prompts are sent by the others, which may reach the model, and it is not asked again."""
    made: list[Origin] = []

    class Broken(Origin):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

        async def choose(self, *_arguments: Any) -> Any:
            raise ConfigError("this replica cannot use the provider.")

    monkeypatch.setattr("nbchat.service.divided_batches.Origin", Broken)
    monkeypatch.setattr("nbchat.service.divided_batches.LOOK_S", 0.05)
    prompts = [f"p{number}" for number in range(12)]
    reader, _, other = begun(replicated, *prompts)
    until(lambda: len(server.asked) == 2)
    server.release(server.asked[0])
    until(lambda: not takes_part(other))
    server.go()
    assert texts_of(reader) == [answer_to(prompt) for prompt in prompts]
    assert sorted(server.asked) == sorted(prompts)
    assert len(made) == 1


@pytest.mark.timeout(300)  # processes start, and a lease expires
@pytest.mark.parametrize(("person", "killed"), [("ada", "other"), ("bob", "holder")])
def test_a_replica_that_is_killed_loses_only_its_own_prompts(
    processes: Processes, server: CountingServer, person: str, killed: str
) -> None:
    """Its prompts in progress are unknown, the other replica answers the rest, and nothing is sent twice."""
    prompts = [f"{killed}-{number}" for number in range(300)]
    reader = processes.reader(processes.port, batch_of(*prompts, concurrency=2), person)
    assert reader.open() == 0
    root = f"nb:{{person-{person}}}:map:{reader._id}:"  # type: ignore[attr-defined]
    with closing(processes.redis.client()) as client:

        def owners() -> dict[str, str]:
            rows = {key.decode(): value.decode() for key, value in client.hgetall(f"{root}open").items()}
            return {key: value.split(":")[2] for key, value in rows.items() if value.startswith("s:")}

        until(lambda: len(owners()) == 2)
        (holder_token,) = set(owners().values())
        until(lambda: client.hlen(f"{root}owners") == 2)
        count = 2
        while len(set(owners().values())) == 1:
            until(lambda: len(server.asked) == count)  # noqa: B023 - used at once
            server.release(server.asked[count - 2])
            count += 1
            until(lambda: len(server.asked) == count)  # noqa: B023 - used at once
        until(lambda: len(owners()) == 2 and len(set(owners().values())) == 2)
        lost = [key for key, owner in owners().items() if (owner == holder_token) == (killed == "holder")]
    victim = processes.roles(f"person-{person}")[killed == "other"]
    processes.unhealthy = victim
    victim.kill()
    server.go()
    found = dict(zip(prompts, texts_of(reader), strict=True))
    assert len(lost) == 1
    assert found == {key: "KernelGone" if key in lost else answer_to(key) for key in prompts}
    assert sorted(server.asked) == sorted(prompts)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_killed_replicas_send_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one of four replicas is killed every 5 s, each of 2,000 prompts is sent once or is unknown.

    The server never gets more than 200 requests in 10 s. Its limit is 1,200 a minute; the rate is 5 % lower,
    as documented, since requests can arrive closer together than they were sent.
    """
    prompts, concurrency = [f"prompt {number}" for number in range(2000)], 16
    with RedisProcess() as redis, LimitedServer(takes_s=0.1) as server, ThreadPoolExecutor(1) as thread:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        processes = Processes(tmp_path, redis)
        processes.count = 4
        with processes:
            request = batch_of(*prompts, concurrency=concurrency, rpm=1140)
            reader = processes.reader(processes.port, request)
            assert reader.open() == 0
            results = thread.submit(texts_of, reader, 900.0)
            kills, due = 0, time.monotonic()
            while not results.done():
                due += 5.0
                wait_for(lambda: results.done() or time.monotonic() >= due, "the next kill")  # noqa: B023 - used at once
                victim = processes.replicas[kills % processes.count]
                processes.unhealthy = victim
                victim.kill()
                kills += 1
                victim.start()
                victim.wait()
                processes.unhealthy = None
            texts = results.result()
    lost = texts.count("KernelGone")
    assert kills >= 20
    assert lost <= kills * concurrency
    assert max(server.asked.values()) == 1
    for prompt, text in zip(prompts, texts, strict=True):
        assert text == "KernelGone" or (text == prompt.upper() and server.asked[prompt] == 1)
    assert most_within(server.times, 10.0) <= 200


SCRIPT = """
import json, sys
import nbchat
from nbchat.providers.scripted import ScriptedProvider

url, prompts = sys.argv[1], ["a", "b", "c"]
results = nbchat.map(prompts, runner=url, model="count", progress=False)
print(json.dumps(results.texts))
try:
    nbchat.map(prompts, runner=url, provider=ScriptedProvider(), progress=False)
except nbchat.ConfigError as error:
    print(error)
"""


def run_script(url: str, token: str, server: CountingServer) -> list[str]:
    """Return the lines that `SCRIPT` prints."""
    environment = os.environ | {"NBCHAT_RUNNER_TOKEN": token, "OPENAI_BASE_URL": server.base_url}
    command = [sys.executable, "-c", SCRIPT, url]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_script_runs_a_batch_in_a_service(replicated: Replicated, server: CountingServer) -> None:
    """With `runner=`, a script that has no runner gets its answers from a service, which needs no object."""
    server.go()
    texts, error = run_script(replicated.one.url, replicated.tokens["ada"], server)
    assert json.loads(texts) == [answer_to(prompt) for prompt in "abc"]
    assert error.startswith("a runner cannot use this provider")
    assert replicated.roles("person-ada")[0].namespaces == ["person-ada"]
    assert sorted(server.asked) == ["a", "b", "c"]


def test_a_script_runs_a_batch_in_a_service_of_one_process(served: Served, server: CountingServer) -> None:
    """With SQLite, `runner=` uses the one process of the service."""
    server.go()
    texts, _ = run_script(f"http://127.0.0.1:{served.port}/", served.tokens["ada"], server)
    assert json.loads(texts) == [answer_to(prompt) for prompt in "abc"]
    assert sorted(server.asked) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("runner", "error", "text"),
    [
        (5, TypeError, "runner must be the URL of a service, not 5"),
        ("local", nbchat.ConfigError, "must be a URL such as https://"),
        ("http://10.0.0.5:8800/", nbchat.ConfigError, "must be reached with https"),
        ("https://hub.example/", nbchat.ConfigError, "needs a token"),
    ],
)
def test_a_runner_of_a_batch_is_the_url_of_a_service(
    runner: Any, error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any other value is refused before anything is sent, and so is a service without a token."""
    for name in ("NBCHAT_RUNNER_TOKEN", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(error, match=text):
        nbchat.map(["a"], runner=runner, progress=False)

"""Several replicas of a service: links to any of them, takeover, drain, and failures of the store."""

from __future__ import annotations

import http.client
import http.server
import signal
import threading
import time
import urllib.request
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nbchat.core.errors import CommandError, ConfigError
from nbchat.service.address import ServiceAddress
from nbchat.service.process import Options, checked_advertise
from nbchat.service.quotas import Quotas
from nbchat.service.replicas import FORWARDED, PROOF, PROOF_HEADER, chosen
from nbchat.stores.redis import RedisStore
from tests.redis_process import RedisProcess
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import until
from tests.service.replicated import Processes, Replicated, batch_of, drains, has_half, status, texts_of
from tests.waiting import wait_for

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


def stored_text(processes: Processes, person: str) -> str:
    """Return the text of a person's session as it is stored."""
    return "".join(one.text for one in processes.stored(f"person-{person}")["geo"].messages.values())


def test_a_link_to_any_replica_reaches_the_holder(replicated: Replicated, server: CountingServer) -> None:
    """Two kernels that are linked to different replicas are equal views of the same sessions."""
    one, two = (replicated.registry(replica.port, "ada") for replica in (replicated.one, replicated.two))
    session = one.create("geo", model="count")
    run = session.send("first")
    until(lambda: "first-150 " in two["geo"].runs[0].text)
    queued = two["geo"].send("second")
    until(lambda: len(session.runs) == 2)
    server.go()
    assert run.wait(60).text == answer_to("first")
    assert queued.wait(60).text == answer_to("second")
    until(lambda: session.messages == two["geo"].messages and len(session.messages) == 4)
    holder, other = replicated.roles("person-ada")
    assert (holder.namespaces, other.namespaces) == (["person-ada"], [])
    assert server.asked == ["first", "second"]


def test_a_forwarded_link_gives_no_rights(replicated: Replicated) -> None:
    """A client that claims to be a replica is identified by its own token, as any other."""
    port, bob = replicated.one.port, {"Authorization": f"Bearer {replicated.tokens['bob']}"}
    forwarded = {FORWARDED: "1"}
    assert status(port, "/link", forwarded) == 401
    assert status(port, "/link", forwarded | {"Authorization": "Bearer nbchat-wrong"}) == 401
    assert status(port, "/link?namespace=secret", forwarded | bob) == 404
    assert status(port, "/link?namespace=geo", forwarded | bob) == 101


def test_a_holder_s_refusal_reaches_the_kernel(replicated: Replicated) -> None:
    """A forwarded link that the holder refuses ends with the error that names the limit."""
    replicated.registry(replicated.one.port, "ada").create("geo")
    holder, other = replicated.roles("person-ada")
    holder.service._quotas = Quotas(links=1)
    address = ServiceAddress(
        f"http://127.0.0.1:{other.port}/", {"NBCHAT_RUNNER_TOKEN": replicated.tokens["ada"]}
    )
    with pytest.raises(
        CommandError, match=r"status 429 \(there are 1 kernels linked, and the service allows"
    ):
        address.connect()


class Impostor:
    """A program at the address of a replica that is gone. It obtains proofs from a replica that runs."""

    def __init__(self, replica: str) -> None:
        self.asked: list[tuple[str, str]] = []
        """The paths and headers of the requests to it."""
        asked = self.asked

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, str(self.headers)))
                with urllib.request.urlopen(f"{replica.rstrip('/')}{self.path}", timeout=60) as response:
                    proof = response.headers[PROOF_HEADER]
                self.send_response(200)
                self.send_header(PROOF_HEADER, proof)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def test_no_token_is_sent_to_a_program_at_the_address_of_a_replica_that_is_gone(
    replicated: Replicated, redis_server: RedisProcess, server: CountingServer
) -> None:
    """Only the replica with that address can prove that it is there; else another serves the namespace."""
    server.go()
    with Impostor(replicated.two.url) as impostor:
        store = RedisStore(redis_server.url, "person-ada", address=impostor.url)
        assert store.claim("l-gone", 0.001)
        store.close()
        session = replicated.registry(replicated.one.port, "ada").create("geo", model="count")
        assert session.ask("one", timeout=60).text == answer_to("one")
        assert impostor.asked
        for path, headers in impostor.asked:
            assert path.startswith(f"/{PROOF}?")
            assert replicated.tokens["ada"] not in headers
        holder, _ = replicated.roles("person-ada")
        assert holder.namespaces == ["person-ada"]


@pytest.mark.parametrize(
    ("advertise", "listen", "tls_by_proxy", "error"),
    [
        (None, "127.0.0.1", False, None),
        (None, "0.0.0.0", True, "cannot reach"),
        ("http://10.0.0.5:8800/", "10.0.0.5", False, "encrypted"),
        ("http://10.0.0.5:8800/", "10.0.0.5", True, None),
        ("https://one.example/", "10.0.0.5", False, None),
        ("http://localhost:8800/", "127.0.0.1", False, None),
        ("https://user:password@one.example/", "10.0.0.5", False, "not a URL"),
        ("one.example:8800", "10.0.0.5", False, "not a URL"),
    ],
)
def test_tokens_between_replicas_are_encrypted(
    advertise: str | None, listen: str, tls_by_proxy: bool, error: str | None
) -> None:
    """An address that other replicas cannot reach, or to which a token would be sent in plain, is refused."""
    options = Options(
        listen=f"{listen}:8800", store="redis://host", advertise=advertise, tls_by_proxy=tls_by_proxy
    )
    with nullcontext() if error is None else pytest.raises(ConfigError, match=error):
        checked_advertise(options, listen)


def test_all_replicas_choose_the_same_one() -> None:
    """The choice does not depend on the order, and a replica that leaves changes only its own namespaces."""
    addresses = [f"http://10.0.0.{number}:8800/" for number in range(5)]
    names = [f"person-{number}" for number in range(500)]
    before = {name: chosen(name, addresses) for name in names}
    assert before == {name: chosen(name, reversed(addresses)) for name in names}
    assert set(before.values()) == set(addresses)
    after = {name: chosen(name, addresses[1:]) for name in names}
    assert all(after[name] == before[name] for name in names if before[name] != addresses[0])


def test_a_replica_that_drains_hands_its_namespaces_over(
    replicated: Replicated, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its live answer is completed there; then the other replica continues with all sessions and links."""
    monkeypatch.setattr("nbchat.service.namespaces.DRAIN_S", 600.0)
    replicated.registry(replicated.one.port, "ada").create("geo", model="count")
    holder, other = replicated.roles("person-ada")
    replicated.end_kernels()
    one, two = (replicated.registry(other.port, "ada")["geo"] for _ in range(2))
    run = two.send("one")
    until(lambda: len(one.runs) == 1 and "one-150 " in one.runs[0].text)
    draining = holder.loop.call(lambda: holder.loop.spawn(holder.service.drain(), name="drain"))
    until(lambda: drains(holder.port))
    server.go()
    until(draining.done)
    assert run.wait(60).text == answer_to("one")
    assert one.ask("two", timeout=60).text == answer_to("two")
    until(lambda: two.messages == one.messages)
    assert (holder.namespaces, other.namespaces) == ([], ["person-ada"])
    assert replicated.directory.holder("person-ada") == other.url
    holder.end()
    assert two.ask("three", timeout=60).text == answer_to("three")
    assert server.asked == ["one", "two", "three"]


def test_a_batch_continues_in_the_next_replica(
    replicated: Replicated,
    redis_server: RedisProcess,
    server: CountingServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch whose replica drains keeps its answers; the next one sends the other prompts, each once."""
    monkeypatch.setattr("nbchat.service.namespaces.DRAIN_S", 600.0)
    replicated.registry(replicated.one.port, "ada").create("geo", model="count")
    holder, other = replicated.roles("person-ada")
    replicated.end_kernels()
    replicated.registry(other.port, "ada")  # its port leads to a replica that continues
    reader = replicated.kernels[0][1].batches.reader(batch_of("one", "two", "three"))
    assert reader.open() == 0
    until(lambda: server.asked == ["one"])
    draining = holder.loop.call(lambda: holder.loop.spawn(holder.service.drain(), name="drain"))
    until(lambda: drains(holder.port))
    server.go()
    assert texts_of(reader) == [answer_to(prompt) for prompt in ("one", "two", "three")]
    until(draining.done)
    assert server.asked == ["one", "two", "three"]
    assert other.namespaces == ["person-ada"]
    with redis_server.client() as client:
        assert client.keys("nb:*:map:*") == []


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let leases of replicas in this process expire soon."""
    for module in ("engine.journal_writer", "engine.leased_store", "service.server"):
        monkeypatch.setattr(f"nbchat.{module}.LEASE_S", 1.5)


@pytest.mark.usefixtures("short_lease")
def test_answers_continue_while_the_store_is_down(
    replicated: Replicated, redis_server: RedisProcess, server: CountingServer, soak: bool
) -> None:
    """An answer continues without the store and is marked unsaved; its holder stays, and stores it later."""
    session = replicated.registry(replicated.one.port, "ada").create("geo", model="count")
    holder, other = replicated.roles("person-ada")
    second = replicated.registry(other.port, "ada")
    run = session.send("one")
    until(lambda: "one-150 " in second["geo"].runs[0].text)
    with redis_server.client() as client:
        expires = int(client.hget("nb:{person-ada}:head", "expires")) / 1000
    redis_server.kill()
    try:
        server.go()
        assert run.wait(60).text == answer_to("one")
        until(lambda: not session._state.runs[0].saved)
        third = replicated.registry(other.port, "ada")
        assert third["geo"].messages == session.messages
        end = expires + (60 if soak else 0)
        wait_for(lambda: time.time() > end, "the lease has expired", 120.0)
    finally:
        redis_server.start()
    fourth = replicated.registry(other.port, "ada")
    assert fourth["geo"].ask("two", timeout=60).text == answer_to("two")
    until(lambda: [len(one.messages) for one in replicated.stored("person-ada").values()] == [4])
    until(lambda: session._state.runs[0].saved)
    assert replicated.directory.holder("person-ada") == holder.url
    assert (holder.namespaces, other.namespaces) == (["person-ada"], [])
    assert server.asked == ["one", "two"]


@pytest.mark.timeout(300)  # processes start, and a lease expires
@pytest.mark.parametrize(("number", "person"), [(signal.SIGKILL, "ada"), (signal.SIGSTOP, "bob")])
def test_a_holder_that_vanishes_is_replaced(
    processes: Processes, server: CountingServer, number: signal.Signals, person: str
) -> None:
    """Another replica takes over, a live answer has one end, and a holder that resumes cannot write."""
    session = processes.registry(processes.port, person).create("geo", model="count")
    run = session.send("one")
    until(lambda: "one-150 " in stored_text(processes, person))
    holder, other = processes.roles(f"person-{person}")
    processes.unhealthy = holder
    holder.send_signal(number)
    try:
        link = processes.kernels[0][1]._link
        assert link is not None
        link._transport.abort()  # it would be noticed after some pings
        assert run.wait(60).state == "interrupted"
        assert "one-150 " in run.text
        assert processes.directory.holder(f"person-{person}") == other.url
        server.go()
        assert session.ask("two", timeout=60).text == answer_to("two")
    finally:
        holder.send_signal(signal.SIGCONT)
        processes.unhealthy = None
    if number == signal.SIGSTOP:
        until(lambda: "has taken over" in holder.log)
    until(lambda: len(processes.stored(f"person-{person}")["geo"].messages) == 4)
    stored = processes.stored(f"person-{person}")["geo"]
    assert [one.state for one in stored.runs] == ["interrupted", "completed"]
    assert server.asked == ["one", "two"]


@pytest.mark.timeout(300)  # four processes start
def test_a_rolling_restart_loses_nothing(processes: Processes, server: CountingServer, soak: bool) -> None:
    """While each replica is restarted, every live answer is completed, and each question is asked once."""
    people = [("ada", None), ("bob", None), ("eve", None), ("ada", "geo")]
    count = 5 if soak else 1
    registries = [processes.registry(processes.port, *one) for one in people]
    sessions = [one.create(f"s-{n}", model="count") for one in registries for n in range(count)]
    asked = []
    for turn, replica in enumerate(processes.replicas):
        server.hold()
        prompts = [f"{turn}-{number}" for number in range(len(sessions))]
        asked += prompts
        runs = [one.send(prompt) for one, prompt in zip(sessions, prompts, strict=True)]
        for run in runs:
            wait_for(partial(has_half, run), "half of the answer has arrived", 60.0)
        replica.send_signal(signal.SIGTERM)
        wait_for(partial(drains, replica.port), "the replica drains")
        server.go()
        assert replica.ended() == 0
        assert [run.wait(60).text for run in runs] == [answer_to(prompt) for prompt in prompts]
        replica.start()
        replica.wait()
    assert sorted(server.asked) == sorted(asked)
    for session, registry in zip(sessions, [one for one in registries for _ in range(count)], strict=True):
        assert [run.state for run in registry[session.id].runs] == ["completed", "completed"]


def test_a_batch_continues_after_a_kill(processes: Processes, server: CountingServer) -> None:
    """If the replica of a batch is killed, the next one sends the rest; the prompt in progress is unknown."""
    processes.registry(processes.port, "eve").create("batch", model="count")
    reader = processes.kernels[-1][1].batches.reader(batch_of("one", "two", "three"))
    assert reader.open() == 0
    until(lambda: server.asked == ["one"])
    holder, _ = processes.roles("person-eve")
    processes.unhealthy = holder
    holder.kill()
    server.go()
    assert texts_of(reader) == ["KernelGone", answer_to("two"), answer_to("three")]
    assert server.asked == ["one", "two", "three"]

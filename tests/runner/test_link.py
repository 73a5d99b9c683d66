"""The link between kernels and a runner: equal views, keys, provider objects, and who may connect."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import queue
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nbchat.core.errors import CommandError, NbchatError, SessionGone
from nbchat.core.version import VERSION
from nbchat.handles.registry import SessionRegistry
from nbchat.providers.base import Delta, Finish, Request, TextDelta
from nbchat.providers.scripted import HANG, PAUSE, ScriptedProvider
from nbchat.runner.frames import encode_frame
from nbchat.runner.link import Link, LinkLost, greet
from nbchat.runner.link_backend import LinkBackend
from nbchat.runner.messages import LINK_VERSION, Greeting, Hello
from nbchat.runner.objects import WINDOW
from nbchat.runner.spawn import environment_of_runner
from nbchat.runner.transports import SocketTransport
from tests.prices import COST, price_table, priced
from tests.runner.counting_server import CountingServer, answer_to
from tests.runner.linked import Linked, until


@pytest.fixture
def linked() -> Iterator[Linked]:
    """Return a runner in this process."""
    with TemporaryDirectory(prefix="nb-") as short, Linked(Path(short)) as made:  # for a socket's path
        yield made


def test_two_kernels_are_two_views_of_the_same_sessions(
    linked: Linked, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that one kernel sends to, renames or stops change in the other, and transcripts are equal."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    one, two = linked.registry(), linked.registry()
    session = one.create("geo", model="count")
    run = session.send("first")
    seen = two["geo"].run
    assert seen is not None
    assert seen.id == run.id
    until(lambda: "first-150 " in seen.text)
    two["geo"].title = "rivers"
    until(lambda: session.title == "rivers")
    queued = two["rivers"].send("second")
    until(lambda: len(session.runs) == 2)
    two["rivers"].stop()
    assert run.wait(30).state == "stopped"
    server.go()
    assert queued.wait(30).text == answer_to("second")
    until(lambda: session.messages == two["rivers"].messages and len(session.messages) == 4)


def test_a_stop_does_not_wait_for_another_session(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the end of an answer is being stored, Stop in another session returns."""
    monkeypatch.setattr("nbchat.engine.run_queue.SETTLE_S", 60.0)
    storing, stored = threading.Event(), threading.Event()
    registry = linked.registry()
    scripted = ScriptedProvider("a", PAUSE, "b")
    ending = registry.create("ending", provider=scripted)
    other = registry.create("other", provider=ScriptedProvider("c", HANG))

    class Slow:
        waiting, lag_s = 0, 0.0

        def record(self, *_args: object) -> None: ...

        def acknowledge(self, *_args: object) -> None: ...

        async def settled(self, session_id: str) -> None:
            if session_id == ending.id:
                storing.set()
                await asyncio.to_thread(stored.wait, 60)

    run, stopped = ending.send("?"), other.send("?")
    until(lambda: run.text == "a" and stopped.text == "c")
    monkeypatch.setattr(linked.engine, "journal", Slow())
    scripted.go()
    assert storing.wait(30)
    stopped.stop()
    assert run.state == "streaming"
    stored.set()
    assert run.wait(30).text == "ab"


def test_a_caller_reads_its_own_writes(linked: Linked) -> None:
    """When a command returns, the state of its session includes the effect, however soon it is read."""
    registry = linked.registry()
    session = registry.create("geo", provider=ScriptedProvider("a"))
    for number in range(50):
        session.title = f"title {number}"
        assert session.title == f"title {number}"
        run = session.send(f"question {number}")
        assert run in session.runs
        assert run.result(30).text == "a"
        assert session.messages[-1].text == "a"


def test_a_provider_object_streams_from_its_kernel_and_ends_with_it(linked: Linked) -> None:
    """Its run is `interrupted` when its kernel disappears; the text stays, and another kernel has it."""
    one, two = linked.registry(), linked.registry()
    provider = ScriptedProvider("so far", HANG)
    run = one.create("geo", provider=provider).send("?")
    until(lambda: run.text == "so far")
    backend = linked.kernels[0][1]
    assert backend._link is not None
    backend._left = True  # it does not reconnect, just as a killed kernel does not
    backend._link._transport.abort()
    seen = two["geo"].runs[0]
    assert seen.wait(30).state == "interrupted"
    assert (seen.text, seen.error.code if seen.error else "") == ("so far", "kernel_gone")


def test_costs_are_those_of_the_server_of_the_kernel_s_provider_object(linked: Linked) -> None:
    """Runs and sessions have the same costs over a link as in the kernel."""
    with price_table():
        session = linked.registry().create("geo", model="m", provider=priced())
        run = session.send("Capital of France?").wait(30)
        assert (run.cost, session.cost) == (COST, COST)


def test_an_error_of_a_provider_object_has_its_cause_in_its_kernel(linked: Linked) -> None:
    """In the kernel of the provider object, `run.error.__cause__` is the original exception."""
    problem = ValueError("no such river")
    run = linked.registry().create("geo", provider=ScriptedProvider("a", problem)).send("?")
    run.wait(30)
    assert run.error is not None
    assert "no such river" in str(run.error)
    assert run.error.__cause__ is problem


class Numbers:
    """A provider object that streams numbers, and counts those that were read."""

    name = "numbers"
    can_prefill = can_resume = False

    def __init__(self, last: int) -> None:
        self.last = last
        self.read = 0

    async def stream(self, _request: Request) -> AsyncIterator[Delta]:
        """Yield the numbers up to the last one."""
        while self.read < self.last:
            self.read += 1
            yield TextDelta(f"{self.read} ")
        yield Finish("stop")

    async def models(self) -> Sequence[str]:
        """Return one model."""
        return ("numbers",)

    async def aclose(self) -> None:
        """Do nothing."""


def test_a_paused_run_stops_its_provider_object(linked: Linked) -> None:
    """While a run is paused, its object in the kernel is read no further than the window; then to its end."""
    last = 20_000
    provider = Numbers(last)
    run = linked.registry().create("geo", provider=provider).send("?")
    until(lambda: run.text)
    run.pause()
    assert run.state == "paused"
    objects = linked.kernels[0][1]._objects
    until(lambda: any(window.locked() for _, window in objects._streams.values()))
    shown = len(run.text.split())
    assert shown <= provider.read <= shown + 2 * WINDOW < last
    run.resume()
    assert run.result(60).text.split() == [str(number) for number in range(1, last + 1)]


def test_a_refused_command_raises_the_same_error_as_in_the_kernel(linked: Linked) -> None:
    """Errors cross the link with their class, and the command has no effect."""
    registry = linked.registry()
    session = registry.create("geo", provider=ScriptedProvider("a"))
    with pytest.raises(CommandError, match="no answer yet"):
        session.regenerate()
    with pytest.raises(ValueError, match="timeout"):
        session.send("?", params={"timeout": 3})
    with pytest.raises(TypeError, match="session key must be a string"):
        registry[3]  # type: ignore[index]
    session.delete()
    registry.undelete(session.id)
    session.delete()
    assert "geo" not in registry
    with pytest.raises(SessionGone):
        registry.undelete("s-unknown")


def test_callbacks_run_in_the_kernel_that_subscribed(linked: Linked) -> None:
    """A notification follows the events it is about, so a callback reads the run's end."""
    registry = linked.registry()
    ends: queue.SimpleQueue[tuple[str | None, str]] = queue.SimpleQueue()
    session = registry.create("geo", provider=ScriptedProvider("a"))
    off = session.on("end", lambda event: ends.put((event.state, str(session.runs[-1].state))))
    session.send("?")
    assert ends.get(timeout=30) == ("completed", "completed")
    off()


def test_a_temporary_session_leaves_nothing(linked: Linked) -> None:
    """A question of `nbchat.ask` is answered over the link, and its session is gone afterwards."""
    registry = linked.registry()
    session = registry.create(provider=ScriptedProvider("a"), temporary=True)
    assert session.ask("?").text == "a"
    assert list(registry) == []


def test_limits_are_those_of_the_runner(linked: Linked) -> None:
    """A limit that one kernel sets applies to all."""
    one, two = linked.registry(), linked.registry()
    one.limits.live_runs = 3
    assert two.limits.live_runs == 3
    assert linked.engine.limits.live_runs == 3


def test_a_key_travels_when_a_run_starts_and_stays_in_memory(
    linked: Linked, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first run the runner has no key; a queued prompt keeps the key it was asked with."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary-0123456789")
    registry = linked.registry()
    session = registry.create("geo", model="count", params={"extra_headers": {"X-Secret": "header-canary"}})
    assert linked.engine.latest is not None
    assert "canary" not in str(linked.engine.latest.profile())
    first, second = session.send("one"), session.send("two")
    until(lambda: "one-150 " in first.text)
    monkeypatch.delenv("OPENAI_API_KEY")
    server.go()
    assert second.wait(60).text == answer_to("two")
    assert server.authorizations == ["Bearer sk-canary-0123456789"] * 2
    assert [headers["x-secret"] for headers in server.headers] == ["header-canary"] * 2
    assert "canary" not in str(registry.snapshot())
    for path in linked.place.folder.rglob("*"):
        if path.is_file():
            assert b"canary" not in path.read_bytes()


def test_the_password_of_a_proxy_reaches_the_runner(
    linked: Linked, server: CountingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy set in a cell is used with its password, which is sent to the runner with the first run."""
    for variable in ("http_proxy", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("urllib.request.getproxies", dict)  # the runner's own environment has none
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.example/v1")
    monkeypatch.setenv("HTTP_PROXY", server.base_url.removesuffix("/v1").replace("//", "//me:proxy-canary@"))
    session = linked.registry().create("geo", model="count")
    assert linked.engine.latest is not None
    assert "canary" not in str(linked.engine.latest.profile())
    first, second = session.send("one"), session.send("two")
    until(lambda: "one-150 " in first.text)
    monkeypatch.delenv("HTTP_PROXY")
    server.go()
    assert second.wait(60).text == answer_to("two")
    expected = f"Basic {base64.b64encode(b'me:proxy-canary').decode()}"
    assert [headers["proxy-authorization"] for headers in server.headers] == [expected] * 2


def test_a_runner_starts_without_keys() -> None:
    """No variable that is or contains a key is in the environment of a new runner."""
    environment = {
        "PATH": "/bin",
        "HOME": "/home/a",
        "LC_ALL": "C",
        "OPENAI_API_KEY": "sk-a",
        "MY_TOKEN": "b",
        "OPENAI_BASE_URL": "https://user:c@host/v1",
        "HTTPS_PROXY": "http://user:d@proxy:3128",
        "NO_PROXY": "localhost",
    }
    assert environment_of_runner(environment) == {"PATH": "/bin", "HOME": "/home/a", "LC_ALL": "C"}


def test_the_socket_is_only_for_its_user(linked: Linked) -> None:
    """The folder has mode 0700 and the socket 0600."""
    assert stat.S_IMODE(linked.place.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(linked.place.address.stat().st_mode) == 0o600
    assert linked.place.has_socket


def test_without_unix_sockets_a_token_is_required(tmp_path: Path) -> None:
    """If a socket's path would be too long, a port on loopback requires the token from the runner's file."""
    with Linked(tmp_path / ("long" * 25)) as linked:
        assert not linked.place.has_socket
        assert stat.S_IMODE(linked.place.address.stat().st_mode) == 0o600
        session = linked.registry().create("geo", provider=ScriptedProvider("a"))
        assert session.ask("?").text == "a"
        port, _, token = linked.place.address.read_text().partition(" ")
        linked.place.address.write_text(f"{port} {token[:-1]}x")
        with pytest.raises(ConnectionError):
            greet(linked.place.address)


@pytest.mark.parametrize(
    "first",
    [
        b"\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\xff" * 64,
        encode_frame({"type": "hello"}),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["empty", "noise", "incomplete", "http"],
)
def test_other_clients_are_refused(linked: Linked, first: bytes) -> None:
    """A connection that does not begin with a hello is closed, and kernels are served as before."""
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(30)
        stranger.connect(str(linked.place.address))
        stranger.sendall(first)
        assert stranger.recv(1) == b""
    assert list(linked.registry()) == []


def test_a_lost_link_is_replaced(linked: Linked) -> None:
    """A kernel whose link breaks reconnects by itself, and follows its runs to their end."""
    one, two = linked.registry(), linked.registry()
    provider = ScriptedProvider("a", PAUSE, "b")
    run = two.create("geo", provider=provider).send("?")
    seen = one["geo"].runs[0]
    until(lambda: seen.text == "a")
    backend = linked.kernels[0][1]
    before = backend._link
    assert before is not None
    before._transport.abort()
    provider.go()
    assert seen.wait(30).text == "ab"
    assert backend._link is not before
    assert run.wait(30).state == "completed"


def test_a_runner_that_does_not_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link whose other end stays silent ends, and calls over it raise an error."""
    monkeypatch.setattr("nbchat.runner.link.PING_S", 0.01)
    ours, theirs = socket.socketpair()
    greeting = Greeting(link=LINK_VERSION, version=VERSION, pid=1, epoch="l-1", notebook="a.ipynb")
    ended = threading.Event()
    link = Link(SocketTransport(ours), greeting, lambda *_: None, lambda _link: ended.set())
    link.start()
    with theirs:
        with pytest.raises(LinkLost):
            link.call("limits")
        assert ended.wait(30)
        assert link.is_over


def test_a_command_in_flight_is_executed_once_when_its_link_breaks(linked: Linked) -> None:
    """A repeated command is acknowledged again and changes nothing."""
    registry = linked.registry()
    session = registry.create("geo", provider=ScriptedProvider("a"))
    backend = linked.kernels[0][1]
    engine, breaks = linked.engine, [True]
    execute: Callable[..., object] = engine.execute

    def broken(*args: object) -> object:
        outcome = execute(*args)
        if breaks:
            breaks.clear()
            link = backend._link
            assert link is not None
            link._transport.abort()
        return outcome

    engine.execute = broken  # type: ignore[method-assign, assignment]
    fork = session.fork()
    assert len(registry) == 2
    assert fork.id in list(registry)


def test_many_threads_share_one_link(linked: Linked) -> None:
    """Threads that create the same session get the same one."""
    registry = linked.registry()
    found: queue.SimpleQueue[str] = queue.SimpleQueue()
    threads = [
        threading.Thread(target=lambda: found.put(registry.get_or_create("geo").id)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({found.get(timeout=1) for _ in threads}) == 1


def test_a_forked_child_cannot_use_its_parent_s_link(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a forked process, calls over the parent's link raise an error and do not hang."""
    registry: SessionRegistry = linked.registry()
    backend = registry._backend
    assert isinstance(backend, LinkBackend)
    with monkeypatch.context() as child:
        child.setattr(backend, "_pid", -1)
        child.setattr(backend, "_link", None)
        with pytest.raises(NbchatError, match="forked"):
            list(registry)


def test_a_runner_of_another_version_is_drained(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runner of another version finishes its answers and releases its address for a new runner."""
    connection, greeting = greet(linked.place.address)
    connection.close()
    assert (greeting.link, greeting.version) == (LINK_VERSION, VERSION)
    monkeypatch.setattr("nbchat.runner.spawn.VERSION", "0.0.0")
    monkeypatch.setattr("nbchat.runner.spawn.START_S", 0.0)
    with pytest.raises(CommandError, match="no runner was ready"):
        linked.registry()
    until(lambda: not linked.place.address.exists())
    until(linked.server.over.is_set)


@pytest.mark.parametrize("connected", range(5))
def test_connections_end_with_their_runner(connected: int) -> None:
    """A runner that ends closes each connection: greeted, silent, or just being made."""
    ready, ended = threading.Event(), threading.Event()
    peers: list[socket.socket] = []

    def connect(address: str) -> None:
        while not ended.is_set():
            peer = socket.socket(socket.AF_UNIX)
            try:
                peer.connect(address)
            except OSError:
                peer.close()
                return
            peers.append(peer)
            if len(peers) > connected:
                ready.set()

    with TemporaryDirectory(prefix="nb-") as short:
        with Linked(Path(short)) as made:
            greeted, _ = greet(made.place.address)
            peers.append(greeted.connection)
            thread = threading.Thread(target=connect, args=(str(made.place.address),))
            thread.start()
            assert ready.wait(30)
        ended.set()
        thread.join(30)
    for peer in peers:
        peer.settimeout(30)
        with peer, suppress(ConnectionError):
            assert peer.recv(1) == b""


def test_hello_is_one_frame() -> None:
    """The first message is one frame as documented: two lengths, then JSON."""
    frame = encode_frame(Hello(link=LINK_VERSION, version=VERSION))
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    assert int.from_bytes(frame[4:8], "big") == len(frame) - 8


def test_a_structured_answer_is_an_object_in_its_kernel(linked: Linked) -> None:
    """The schema travels to the runner, which corrects the answer once; the type stays in the kernel."""

    @dataclasses.dataclass
    class River:
        name: str
        km: int

    answers = ['{"name": "Seine"}', '{"name": "Seine", "km": 775}']
    provider = ScriptedProvider(lambda _request: [answers.pop(0)])
    session = linked.registry().create(provider=provider)
    answer = session.ask("The Seine?", schema=River, timeout=30)
    assert answer.data == River("Seine", 775)
    assert answer.text == '{"name": "Seine", "km": 775}'
    assert [request.schema is None for request in provider.requests] == [False, False]

"""One person's use of a service leaves threads and memory for the others."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.sync.client import connect

from nbchat.core.errors import CommandError
from nbchat.core.messages import FilePart
from nbchat.core.values import MAX_VALUES
from nbchat.engine.base import THREAD_JOBS
from nbchat.providers.base import Request, TextDelta
from nbchat.providers.scripted import ScriptedProvider
from nbchat.runner import kernel_link, objects
from nbchat.runner.frames import MAX_FROM_KERNEL, encode_frame
from nbchat.runner.messages import LINK_VERSION, Call, FromPage, Hello, Reply, ToRunner
from nbchat.service.server import MAX_HELLO
from nbchat.service.websocket import WebSocketTransport
from nbchat.wire import requests
from nbchat.wire.requests import MAX_PENDING
from nbchat.wire.search import Result
from tests.runner.linked import until
from tests.service.served import Served

PAGES = 2 * MAX_PENDING


class Pages:
    """The pages of a kernel that sends any frames and answers no calls."""

    def __init__(self, transport: WebSocketTransport) -> None:
        self.transport = transport
        self.send(Call(id=1, name="open_pages"))
        self.epoch: str = self.read(lambda message: isinstance(message, Reply) and message.id == 1).value

    def send(self, message: ToRunner) -> None:
        """Send a message of the kernel."""
        self.transport.write(encode_frame(message))

    def ask(self, number: int, kind: str, **fields: Any) -> None:
        """Send the request of a page of its own."""
        page, request = f"p-{number:024}", f"q-{number:024}"
        message = {"type": kind, "page": page, "id": request, "epoch": self.epoch, **fields}
        self.send(FromPage(message=message))

    def read(self, is_wanted: Callable[[Any], bool]) -> Any:
        """Return the next message of a kind."""
        while True:
            message, _ = self.transport.read(60)
            if is_wanted(message):
                return message


@pytest.fixture
def pages(served: Served) -> Iterator[Pages]:
    """Return the pages of a kernel of a viewer in a team."""
    transport, _ = served.address("eve", "geo").connect()
    yield Pages(transport)
    transport.abort()
    transport.close()


def test_a_kernel_that_does_not_answer_takes_no_threads(
    served: Served, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pending questions about a kernel's variables take no threads, and beyond a number they are ignored."""
    monkeypatch.setattr(kernel_link, "ASK_S", 3600.0)
    for number in range(PAGES):
        pages.ask(number, "want_variables")
    command = {"type": "set_view", "id": f"c-{0:024}", "view_id": "v-0"}
    message = {"type": "run_command", "page": f"p-{0:024}", "epoch": pages.epoch, "command": command}
    pages.send(FromPage(message=message))
    asked: list[str] = []
    while "set_view" not in asked:
        asked.append(pages.read(lambda message: isinstance(message, Call)).name)
    assert asked == ["variables"] * MAX_PENDING + ["set_view"]
    other = served.registry("bob")
    other.create("one")
    assert other.snapshot()["sessions"]


def test_searches_of_one_namespace_leave_threads(
    served: Served, pages: Pages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow searches of one namespace run on a few threads, and the work of other namespaces continues."""
    started: list[str] = []
    may_end = threading.Event()

    def slow(query: str, *_: object, **__: object) -> Result:
        started.append(query)
        may_end.wait()
        return Result((), more=False)

    monkeypatch.setattr(requests, "search", slow)
    try:
        for number in range(PAGES):
            pages.ask(number, "search", query=str(number))
        until(lambda: len(started) == THREAD_JOBS)
        other = served.registry("bob")
        other.create("one")
        assert other.snapshot()["sessions"]
        assert started == [str(number) for number in range(THREAD_JOBS)]
    finally:
        may_end.set()
    until(lambda: len(started) == MAX_PENDING)


def test_calls_in_progress_are_limited(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel whose calls are not done yet gets an error for more than a number of them."""
    started: list[int] = []
    may_end = threading.Event()

    def slow(_backend: object, **_: object) -> bool:
        started.append(1)
        return may_end.wait()

    monkeypatch.setattr("nbchat.engine.local_backend.LocalBackend.save", slow)
    try:
        for number in range(kernel_link.MAX_CALLS + 1):
            pages.send(Call(id=2 + number, name="save", args={"timeout_s": 1.0}))
        refused = pages.read(lambda message: isinstance(message, Reply))
        assert refused.id == 2 + kernel_link.MAX_CALLS
        assert refused.error is not None
        assert "256 calls of this kernel are in progress" in refused.error.message
    finally:
        may_end.set()
    assert pages.read(lambda message: isinstance(message, Reply)).value is True


def ended(transport: WebSocketTransport) -> bool:
    """Return true when the service ends a link before it answers a ping."""
    try:
        while not isinstance(transport.read(60)[0], Reply):
            pass
    except EOFError:
        return True
    return False


def frame_of(text: bytes) -> bytes:
    """Return the frame of a message."""
    return struct.pack(">II", 4 + len(text), len(text)) + text


@pytest.mark.parametrize("values", [b"[],", b"{},", b'"":0,'])
def test_a_frame_of_many_values_ends_its_link(served: Served, values: bytes) -> None:
    """A frame that would take much more memory than its bytes is not decoded, and its link ends."""
    transport, _ = served.address("bob").connect()
    inner = (
        (b"{" + values * MAX_VALUES + b'"":0}') if b":" in values else (b"[" + values * MAX_VALUES + b"[]]")
    )
    transport.write(frame_of(b'{"type":"from_page","message":' + inner + b"}"))
    with suppress(ConnectionError):
        transport.write(encode_frame(Call(id=1, name="ping")))
    assert ended(transport)
    transport.close()


def test_a_long_hello_is_not_read(served: Served) -> None:
    """Before its hello, a link may send 64 KB only, and afterwards 32 MB at once."""

    def refuses(transport: WebSocketTransport, length: int) -> bool:
        with suppress(ConnectionError):
            transport.write(encode_frame(Hello(link=LINK_VERSION, version="a" * length)))
            transport.write(encode_frame(Call(id=1, name="ping")))
        return ended(transport)

    url = f"ws://127.0.0.1:{served.port}/link"
    with connect(url, additional_headers={"Authorization": f"Bearer {served.tokens['bob']}"}) as connection:
        assert refuses(WebSocketTransport(connection), MAX_HELLO)
    linked, _ = served.address("bob").connect()
    assert refuses(linked, MAX_FROM_KERNEL)
    linked.close()


def test_what_is_too_large_for_a_service_is_not_sent(served: Served) -> None:
    """A question that a service would not accept is an error in the kernel, and nothing ends."""
    registry = served.registry("bob")
    session = registry.create("one", provider=ScriptedProvider("a"))
    link = registry._backend._link  # type: ignore[attr-defined]
    with pytest.raises(CommandError, match=r"a service accepts at most 33\.6 MB and 1,000,000 values"):
        session.send("?", attachments=[FilePart(text="a" * MAX_FROM_KERNEL, name="a.txt")])
    assert session.ask("?").text == "a"
    assert len(session.runs) == 1
    assert registry._backend._link is link  # type: ignore[attr-defined]


def test_deltas_beyond_the_window_end_the_link(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that sends more deltas of a provider object than the service has requested loses its link."""
    monkeypatch.setattr(objects, "WINDOW", 10 * objects.WINDOW)  # in the kernel; the service has its own
    registry = served.registry("bob")
    provider = Paused()
    run = registry.create("one", provider=provider).send("?")
    until(lambda: run.text == "a")
    run.pause()
    until(lambda: run.state == "paused")
    link = registry._backend._link  # type: ignore[attr-defined]
    provider.may_continue.set()
    until(lambda: link.is_over)


class Paused:
    """A provider whose deltas after the first one wait for an event."""

    name = "paused"
    can_prefill = can_resume = False

    def __init__(self) -> None:
        self.may_continue = threading.Event()

    async def stream(self, _request: Request) -> AsyncIterator[TextDelta]:
        """Yield more deltas than a link may have under way."""
        yield TextDelta("a")
        await asyncio.to_thread(self.may_continue.wait)
        for _ in range(5 * objects.WINDOW):
            yield TextDelta("b")

    async def models(self) -> tuple[str, ...]:
        """Return one model."""
        return ("paused",)

    async def aclose(self) -> None:
        """Do nothing."""


def test_unused_provider_objects_are_not_kept(served: Served) -> None:
    """A provider object is kept for the command that names it only, and only if the command succeeds."""
    served.registry("bob").create("one")
    backend = served.kernels[-1][1]
    link = backend._link
    assert link is not None
    command = {"type": "get_or_create_session", "key": "one", "session_id": "s-1"}
    offered = {f"o-{number}": {"name": "a"} for number in range(3)}
    link.call("execute", 30, command={**command, "id": "c-1"}, offered=offered)
    wrong = {"type": "create_session", "session_id": backend.find("one"), "provider_id": "o-1"}
    with pytest.raises(CommandError):
        link.call("execute", 30, command={**wrong, "id": "c-2"}, offered=offered)
    assert served.namespace("bob").engine.offered == {}

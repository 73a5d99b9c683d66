"""One person's use of a service leaves threads and memory for the others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from nbchat.engine.base import THREAD_JOBS
from nbchat.runner import kernel_link
from nbchat.runner.frames import encode_frame
from nbchat.runner.messages import Call, FromPage, Reply, ToRunner
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
def pages(served: Served) -> Any:
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

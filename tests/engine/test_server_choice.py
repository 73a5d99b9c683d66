"""A server that the user chooses in a page. The tests simulate the page and the servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from nbchat.core.ids import new_id
from nbchat.core.values import decode
from nbchat.handles.registry import SessionRegistry
from nbchat.protocol import Connected
from nbchat.wire.server import WireServer
from tests.engines import engine_of
from tests.waiting import wait_for
from tests.wire.page import Page

ENVIRONMENT = "sk-environment-0123456789abcdef"
TYPED = "sk-typed-0123456789abcdefghij"


class RecordingServer:
    """An OpenAI-compatible server that records the head of each request."""

    def __init__(self, registry: SessionRegistry) -> None:
        self.heads: list[str] = []
        server = engine_of(registry).loop.run(asyncio.start_server(self._serve, "127.0.0.1", 0), 10)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self.close = server.close

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        answer: dict[str, object] = {"data": [{"id": "small"}, {"id": "large"}]}
        if head.startswith("POST"):
            message = {"role": "assistant", "content": "OK"}
            answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n")
        writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.close()

    @property
    def keys(self) -> list[str]:
        """Return the bearer token of each request."""
        lines = [line for head in self.heads for line in head.splitlines()]
        return [line.split()[-1] for line in lines if line.lower().startswith("authorization:")]


class ConnectingPage(Page):
    """A page that sends `connect` and returns the answer."""

    def __init__(self, registry: SessionRegistry) -> None:
        super().__init__()
        self.registry = registry
        self.wire = engine_of(registry).loop.call(WireServer, engine_of(registry), self.take)

    def connect(self, action: str, url: str = "", key: str = "", model: str = "") -> Connected:
        """Send `connect`, and return the answer."""
        request_id = new_id("ask_")
        request = {"type": "connect", "id": request_id, "page": "p", "epoch": engine_of(self.registry).epoch}
        self.wire.receive({**request, "action": action, "base_url": url, "api_key": key, "model": model})
        answer = wait_for(lambda: self.heard("connected", id=request_id), "the answer")
        return decode(Connected, dict(answer))


@pytest.fixture
def page(registry: SessionRegistry, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectingPage]:
    """Return a page of a kernel whose environment has a key for OpenAI."""
    monkeypatch.setenv("OPENAI_API_KEY", ENVIRONMENT)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    made = ConnectingPage(registry)
    yield made
    engine_of(registry).loop.call(made.wire.close)


@pytest.fixture
def server(registry: SessionRegistry) -> Iterator[RecordingServer]:
    """Return a server that records requests."""
    made = RecordingServer(registry)
    yield made
    engine_of(registry).loop.call(made.close)


def test_a_server_is_tried_and_chosen(
    page: ConnectingPage, server: RecordingServer, registry: SessionRegistry
) -> None:
    """Listing models and testing change nothing; after the choice, the next question uses server and key."""
    before = engine_of(registry).providers.name
    assert page.connect("models", server.url, TYPED).models == ("small", "large")
    assert page.connect("test", server.url, TYPED, "small").text == "OK"
    assert engine_of(registry).providers.name == before
    assert page.connect("use", server.url, TYPED, "large").error is None
    run = registry.create("a").send("question").wait(20)
    assert (run.text, run.state) == ("OK", "completed")
    assert set(server.keys) == {TYPED}
    assert page.heard("config", demo=False, model="large")
    page.connect("reset")
    assert engine_of(registry).providers.name == before


@pytest.mark.parametrize("action", ["models", "test", "use"])
def test_the_environments_key_is_not_sent_to_a_server_that_a_page_names(
    page: ConnectingPage, server: RecordingServer, registry: SessionRegistry, action: str
) -> None:
    """A key from the environment, or typed for another server, is not sent to a server that a page names."""
    page.connect("use", "http://127.0.0.1:9/v1", TYPED)
    answer = page.connect(action, server.url, "", "small")
    assert answer.error is None
    if action == "use":
        registry.create("a").send("question").wait(20)
    assert server.heads
    sent = "".join(server.heads)
    assert ENVIRONMENT not in sent
    assert TYPED not in sent


def test_the_server_in_force_keeps_its_key(
    page: ConnectingPage,
    server: RecordingServer,
    registry: SessionRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Changing the model of the current server does not require its key again."""
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert page.connect("use", server.url, "", "large").error is None
    assert registry.create("a").ask("question").text == "OK"
    assert set(server.keys) == {ENVIRONMENT}


def test_a_key_that_is_typed_again_replaces_the_first(
    page: ConnectingPage, server: RecordingServer, registry: SessionRegistry
) -> None:
    """A corrected key replaces the wrong one, also in a provider that is already in use."""
    page.connect("use", server.url, "sk-wrong-0123456789abcdef", "small")
    session = registry.create("a")
    session.ask("question")
    page.connect("use", server.url, TYPED, "small")
    session.ask("question")
    assert server.keys[-1] == TYPED


def test_headers_of_the_environment_are_not_sent_elsewhere(
    page: ConnectingPage, server: RecordingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page cannot choose another server if the environment sets headers for all requests."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Token: secret-4711")
    for action in ("models", "test", "use"):
        error = page.connect(action, server.url, TYPED, "small").error
        assert error is not None
        assert "OPENAI_CUSTOM_HEADERS" in error.message
    assert server.heads == []


def test_a_choice_that_cannot_be_made_changes_nothing(
    page: ConnectingPage, registry: SessionRegistry
) -> None:
    """A wrong URL, an overlong key and a page of an earlier kernel are refused with the reason."""
    before = repr(engine_of(registry).providers.defaults)
    error = page.connect("use", "localhost:11434").error
    assert error is not None
    assert "http://localhost:11434/v1" in error.hint
    assert page.connect("use", "http://127.0.0.1:9/v1", "x" * 9000).error is not None
    stale = {"type": "connect", "id": "ask_1", "page": "p", "epoch": "another", "action": "reset"}
    page.wire.receive(stale)
    assert wait_for(lambda: page.heard("connected", id="ask_1"), "the refusal")["error"]
    assert repr(engine_of(registry).providers.defaults) == before


def test_a_repeated_test_asks_the_model_once(page: ConnectingPage, server: RecordingServer) -> None:
    """If a page repeats a request whose answer it missed, the model is not asked again."""
    request = {
        "type": "connect",
        "id": "ask_1",
        "page": "p",
        "epoch": engine_of(page.registry).epoch,
        "action": "test",
    }
    for _ in range(2):
        page.messages.clear()
        page.wire.receive({**request, "base_url": server.url, "api_key": TYPED, "model": "small"})
        wait_for(lambda: page.heard("connected", id="ask_1"), "the answer")
    assert len(server.heads) == 1

"""Fixtures of the provider tests: a misbehaving server, a provider, and a collector of its deltas."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from nbchat.core.errors import ProviderError
from nbchat.core.messages import Message, TextPart, Usage
from nbchat.providers.base import (
    Answering,
    Delta,
    Finish,
    ImageDelta,
    Notice,
    Provider,
    ReasoningDelta,
    Request,
    SourceDelta,
    TextDelta,
    ToolCallDelta,
    UsageDelta,
)
from nbchat.providers.openai import OpenAIProvider
from tests.providers.fault_server import FaultServer

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to loopback directly, whatever proxies this machine's user has configured."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """Run a server whose fault is chosen by the model name."""
    async with FaultServer() as running:
        yield running


@pytest.fixture
async def provider(server: FaultServer) -> AsyncIterator[OpenAIProvider]:
    """Make a provider for that server."""
    made = OpenAIProvider(server.base_url)
    yield made
    await made.aclose()


@dataclass(slots=True)
class Heard:
    """The deltas of one stream."""

    deltas: list[Delta] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join([d.text for d in self.deltas if isinstance(d, TextDelta)])

    @property
    def reasoning(self) -> str:
        """The reasoning text."""
        return "".join([d.text for d in self.deltas if isinstance(d, ReasoningDelta)])

    @property
    def finish(self) -> str | None:
        """The finish reason, or `None`."""
        reasons = [d.reason for d in self.deltas if isinstance(d, Finish)]
        assert len(reasons) <= 1, "an answer finishes once"
        return reasons[0] if reasons else None

    @property
    def usage(self) -> Usage | None:
        """The last usage."""
        return next((d.usage for d in reversed(self.deltas) if isinstance(d, UsageDelta)), None)

    @property
    def model(self) -> str | None:
        """The model that the server reported."""
        return next((d.model for d in self.deltas if isinstance(d, Answering)), None)

    @property
    def shown(self) -> list[str]:
        """Notices that are visible in the answer."""
        return [d.text for d in self.deltas if isinstance(d, Notice) and d.shown]

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Titles and addresses of the sources."""
        return [(d.source.title, d.source.url) for d in self.deltas if isinstance(d, SourceDelta)]

    @property
    def images(self) -> list[str]:
        """Addresses of the generated images."""
        return [d.url for d in self.deltas if isinstance(d, ImageDelta)]

    @property
    def notices(self) -> list[str]:
        """Texts of all notices."""
        return [d.text for d in self.deltas if isinstance(d, Notice)]

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Tool calls, assembled as a run does it: id, name, arguments."""
        made: dict[int, list[str]] = {}
        for delta in self.deltas:
            if isinstance(delta, ToolCallDelta):
                call = made.setdefault(delta.index, ["", "", ""])
                for place, piece in enumerate((delta.id, delta.name, delta.arguments)):
                    call[place] += piece
        return [(call[0], call[1], call[2]) for _, call in sorted(made.items())]


def ask(model: str | None = None, text: str = "Hello?", **more: Any) -> Request:
    """Return a request of one user message."""
    message = Message(id="m1", role="user", parts=(TextPart(text=text),))
    return Request(**{"messages": (message,), "model": model, **more})


async def hear(provider: Provider, request: Request) -> Heard:
    """Collect a whole stream; an error ends it and is kept."""
    heard = Heard()
    try:
        async for delta in provider.stream(request):
            heard.deltas.append(delta)
    except ProviderError as error:
        heard.error = error
    return heard


def heard(deltas: Sequence[Delta]) -> Heard:
    """Return the collected deltas."""
    return Heard(list(deltas))

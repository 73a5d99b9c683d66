"""What the tests of providers share: a server that misbehaves, a provider, and somebody who listens."""

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
    """Reach loopback directly, whatever this machine's user has set up."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """Run a server that misbehaves as the model says."""
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
    """What came out of one stream."""

    deltas: list[Delta] = field(default_factory=list)
    error: ProviderError | None = None

    @property
    def text(self) -> str:
        """The answer's text."""
        return "".join([d.text for d in self.deltas if isinstance(d, TextDelta)])

    @property
    def reasoning(self) -> str:
        """What the model thought aloud."""
        return "".join([d.text for d in self.deltas if isinstance(d, ReasoningDelta)])

    @property
    def finish(self) -> str | None:
        """The finish reason; None where there was none."""
        reasons = [d.reason for d in self.deltas if isinstance(d, Finish)]
        assert len(reasons) <= 1, "an answer finishes once"
        return reasons[0] if reasons else None

    @property
    def usage(self) -> Usage | None:
        """The last usage."""
        return next((d.usage for d in reversed(self.deltas) if isinstance(d, UsageDelta)), None)

    @property
    def model(self) -> str | None:
        """Who answered."""
        return next((d.model for d in self.deltas if isinstance(d, Answering)), None)

    @property
    def shown(self) -> list[str]:
        """Notices for the reader of the answer."""
        return [d.text for d in self.deltas if isinstance(d, Notice) and d.shown]

    @property
    def sources(self) -> list[tuple[str, str]]:
        """Titles and addresses of what is cited."""
        return [(d.source.title, d.source.url) for d in self.deltas if isinstance(d, SourceDelta)]

    @property
    def images(self) -> list[str]:
        """Addresses of the images that the model made."""
        return [d.url for d in self.deltas if isinstance(d, ImageDelta)]

    @property
    def notices(self) -> list[str]:
        """What was survived."""
        return [d.text for d in self.deltas if isinstance(d, Notice)]

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Tool calls, put together as the run does it: id, name, arguments."""
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
    """Listen to a whole stream; an error ends it and is kept."""
    heard = Heard()
    try:
        async for delta in provider.stream(request):
            heard.deltas.append(delta)
    except ProviderError as error:
        heard.error = error
    return heard


def heard(deltas: Sequence[Delta]) -> Heard:
    """Return what those deltas say."""
    return Heard(list(deltas))

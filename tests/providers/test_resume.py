"""Resuming a background response after its connection is lost, with the embedded server."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from nbchat.core import errors
from nbchat.core.messages import Message, TextPart
from nbchat.providers.base import Answering, TextDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.server import DemoServer
from tests.providers.conftest import ask, hear
from tests.providers.fault_server import FaultServer

MODEL = "nbchat-long"


@pytest.fixture
async def demo() -> AsyncIterator[DemoServer]:
    """Run the embedded server without delays."""
    async with DemoServer(pace=0) as server:
        yield server


@pytest.fixture
async def responses(demo: DemoServer) -> AsyncIterator[OpenAIProvider]:
    """Make a provider that requests background responses from it."""
    provider = OpenAIProvider(demo.base_url, api="responses")
    yield provider
    await provider.aclose()


@pytest.mark.parametrize("pieces", [0, 1, 7, 50, 10_000])
async def test_a_broken_stream_is_read_on(pieces: int, responses: OpenAIProvider) -> None:
    """Wherever the connection was lost, the resumed stream continues the text without gap or repetition."""
    whole = await hear(responses, ask(MODEL))
    assert whole.finish == "stop"
    text, kept, at = "", "", Answering()
    async with aclosing(responses.stream(ask(MODEL))) as stream:
        async for delta in stream:
            if isinstance(delta, TextDelta):
                text += delta.text
            elif isinstance(delta, Answering):
                # Text and event number are saved together; later text was not saved.
                kept, at, pieces = text, delta, pieces - 1
                if pieces < 0:
                    break
    assert at.response_id is not None
    rest = await hear(responses, ask(MODEL, resume_id=at.response_id, resume_after=at.sequence))
    assert kept + rest.text == whole.text
    assert rest.finish == "stop"
    assert rest.usage == whole.usage


async def test_a_deleted_response_is_reported(responses: OpenAIProvider) -> None:
    """The error for a response that the server no longer has names the remedy."""
    error = (await hear(responses, ask(MODEL, resume_id="resp_nobody", resume_after=3))).error
    assert type(error) is errors.RequestRejected
    assert "does not have this response any more. Continue or regenerate." in str(error)


async def test_a_response_can_be_cancelled(demo: DemoServer) -> None:
    """A background response continues without its reader until it is cancelled by its id."""
    provider = OpenAIProvider(demo.base_url, api="responses", headers={"x-nbchat-pace": "1000"})
    async with aclosing(provider.stream(ask(MODEL))) as stream:
        async for delta in stream:
            if isinstance(delta, Answering):
                break
    assert isinstance(delta, Answering)
    assert delta.response_id is not None
    assert demo.generating == 1
    await provider.cancel(delta.response_id)
    rest = await hear(provider, ask(MODEL, resume_id=delta.response_id, resume_after=delta.sequence))
    assert rest.finish is None
    assert isinstance(rest.error, errors.ProviderError)
    assert demo.generating == 0
    await provider.aclose()


async def test_a_partial_answer_is_continued_by_chat(demo: DemoServer) -> None:
    """A prefill is sent to Chat Completions, because Responses cannot continue a partial answer."""
    provider = OpenAIProvider(demo.base_url, api="responses", can_prefill=True)
    whole = await hear(provider, ask(MODEL))
    begun = Message(id="a", role="assistant", parts=(TextPart(text=whole.text[:100]),))
    rest = await hear(provider, ask(MODEL, messages=(*ask().messages, begun), prefill=True))
    assert whole.text[:100] + rest.text == whole.text
    assert [delta.response_id for delta in rest.deltas if isinstance(delta, Answering)] == [None]
    await provider.aclose()


async def test_a_chat_names_nothing_to_read_on(demo: DemoServer) -> None:
    """Chat Completions cannot be resumed, and the provider does not report a response id."""
    provider = OpenAIProvider(demo.base_url)
    assert (provider.can_resume, OpenAIProvider(api="responses").can_resume) == (False, True)
    heard = await hear(provider, ask("nbchat-echo", "Hello?"))
    assert "Hello?" in heard.text
    assert [delta.response_id for delta in heard.deltas if isinstance(delta, Answering)] == [None]
    await provider.aclose()


async def test_a_server_without_the_background_is_asked_without(server: FaultServer) -> None:
    """If the server has no `/responses`, its 404 is reported as such."""
    provider = OpenAIProvider(server.base_url, api="responses")
    error = (await hear(provider, ask("ok"))).error
    assert type(error) is errors.ModelNotFound
    await provider.aclose()

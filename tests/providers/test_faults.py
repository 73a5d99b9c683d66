"""Every fault of a server, through the real client over loopback."""

import asyncio
import gc

import pytest

from nbchat.core import errors
from nbchat.core.messages import Usage
from nbchat.providers.base import TextDelta
from nbchat.providers.openai import OpenAIProvider
from tests.providers import dialects  # noqa: F401 - registers more FAULTS
from tests.providers.conftest import ask, hear
from tests.providers.fault_server import (
    CALL_STREAMS,
    CALLS,
    ECHOED_KEY,
    FAULTS,
    TEXT,
    USAGES,
    Fault,
    FaultServer,
)

ENDING = [fault for fault in FAULTS.values() if not fault.endless]
ENDLESS = [fault for fault in FAULTS.values() if fault.endless]


def named(faults: list[Fault]) -> list[object]:
    """Return the faults as parameters whose ids contain the promise."""
    return [pytest.param(fault, id=f"{fault.promise}-{fault.model}".replace(" ", "-")) for fault in faults]


@pytest.mark.parametrize("fault", named(ENDING))
async def test_a_fault_keeps_the_text_and_names_its_cause(
    fault: Fault, server: FaultServer, provider: OpenAIProvider
) -> None:
    """Text before a fault is yielded once, followed by the one right error or finish reason."""
    heard = await hear(provider, ask(fault.model))

    assert heard.text == fault.kept
    assert heard.finish == fault.finish
    if fault.error is None:
        assert heard.error is None
    else:
        assert type(heard.error) is fault.error
        assert heard.error.retryable == fault.retryable
        assert isinstance(heard.error.retryable, bool) == isinstance(fault.retryable, bool)
        assert heard.error.hint
        assert len(str(heard.error.args[0])) < 450
        assert ECHOED_KEY[8:] not in str(heard.error)
    assert server.attempts[fault.model] == 1, "retries belong to the run, where they are seen"


@pytest.mark.parametrize("fault", named([fault for fault in ENDING if not fault.alone]))
async def test_after_a_fault_the_provider_answers(
    fault: Fault, server: FaultServer, provider: OpenAIProvider
) -> None:
    """After a fault, the next request succeeds and no connection stays open."""
    await hear(provider, ask(fault.model))
    assert (await hear(provider, ask("ok"))).text == TEXT
    await provider.aclose()
    await server.until(lambda s: s.open == 0)


@pytest.mark.parametrize("fault", named(ENDLESS))
async def test_closing_reaches_the_server(
    fault: Fault, server: FaultServer, provider: OpenAIProvider
) -> None:
    """Closing the iterator closes the connection, whatever the server is doing."""
    stream = provider.stream(ask(fault.model))
    text = ""
    while len(text) < len(fault.kept):
        delta = await anext(stream)
        text += delta.text if isinstance(delta, TextDelta) else ""
    assert text == fault.kept
    if fault.kept:
        await stream.aclose()
    else:  # the server is silent, and the client waits for it
        waiting = asyncio.ensure_future(anext(stream))
        await server.until(lambda s: s.attempts[fault.model])
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await server.until(lambda s: s.open == 0)


@pytest.mark.parametrize("fault", named(ENDLESS))
async def test_cancelling_reaches_the_server(
    fault: Fault, server: FaultServer, provider: OpenAIProvider
) -> None:
    """Cancelling the reading task closes the connection, and the task ends as cancelled."""
    arrived = asyncio.Event()

    async def read() -> None:
        async for delta in provider.stream(ask(fault.model)):
            if isinstance(delta, TextDelta):
                arrived.set()

    task = asyncio.create_task(read())
    await server.until(lambda s: s.attempts[fault.model])
    if fault.kept:
        await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.until(lambda s: s.open == 0)


async def test_cancelling_is_safe_at_every_step(server: FaultServer, provider: OpenAIProvider) -> None:
    """A stream cancelled after any number of turns of the loop leaves nothing open."""
    assert (await hear(provider, ask("ok"))).text == TEXT
    before = asyncio.all_tasks()
    turns = 0
    while True:
        task = asyncio.create_task(hear(provider, ask("byte-by-byte" if turns % 2 else "ok")))
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        turns += 1
    assert turns > 10
    await provider.aclose()
    await server.until(lambda s: s.open == 0)
    gc.collect()
    assert asyncio.all_tasks() - before <= server.tasks


@pytest.mark.parametrize("name", CALL_STREAMS)
async def test_tool_calls_are_the_same_in_every_encoding(name: str, provider: OpenAIProvider) -> None:
    """Late ids, names in pieces, parallel calls and missing indices all give the same calls."""
    heard = await hear(provider, ask(f"calls-{name}"))
    assert heard.calls == CALLS[: CALL_STREAMS[name][1]]


@pytest.mark.parametrize("model", ["reasoning-content", "reasoning", "both-reasonings"])
async def test_reasoning_is_read_in_both_spellings(model: str, provider: OpenAIProvider) -> None:
    """Reasoning is separated from the answer, whichever field it is in."""
    heard = await hear(provider, ask(model))
    assert (heard.reasoning, heard.text) == ("hm, yes", TEXT)


@pytest.mark.parametrize("name", USAGES)
async def test_nonsense_is_no_usage(name: str, provider: OpenAIProvider) -> None:
    """Missing or invalid usage is `None`."""
    assert (await hear(provider, ask(f"usage-{name}"))).usage is None


async def test_usage_may_come_with_every_chunk(provider: OpenAIProvider) -> None:
    """The last usage counts, and an unchanged one is not yielded again."""
    heard = await hear(provider, ask("usage-always"))
    assert heard.usage == Usage(input_tokens=3, output_tokens=5)


async def test_two_identical_calls_stay_two(provider: OpenAIProvider) -> None:
    """Without ids and indices, a name after arguments begins the next call."""
    assert [call[1:] for call in (await hear(provider, ask("unnamed-calls"))).calls] == [c[1:] for c in CALLS]


@pytest.mark.parametrize("model", ["error-as-stream", "error-without-field", "error-as-field", "error-words"])
async def test_an_error_is_quoted_wherever_it_stood(model: str, provider: OpenAIProvider) -> None:
    """An error contains the server's message, wherever in the stream it was."""
    assert "It broke." in str((await hear(provider, ask(model))).error)


async def test_the_model_may_be_reported_late(provider: OpenAIProvider) -> None:
    """The model is read from the first chunk that names it, as Azure's first chunk does not."""
    assert (await hear(provider, ask("azure"))).model == "answering-model"


@pytest.mark.parametrize(
    ("model", "notices"),
    [
        ("three-bad", ["an event that is not JSON was skipped"] * 3),
        ("two-choices", ["choices other than the first were ignored"]),
        ("twice", ["an event was sent twice and taken once"]),
        ("odd-reasoning", ["reasoning of an unknown form was ignored"]),
        ("whole-json", ["the server does not stream: the whole answer came at once"]),
        ("reset-after-finish", ["the connection broke after the finish reason"]),
        ("ok", []),
    ],
)
async def test_survived_faults_become_notices(
    model: str, notices: list[str], provider: OpenAIProvider
) -> None:
    """Harmless faults are reported as notices, and repeated ones are reported once."""
    assert (await hear(provider, ask(model))).notices == notices


async def test_an_error_carries_status_and_request_id(provider: OpenAIProvider) -> None:
    """An error carries the status, the server's id for the request, the stage and the cause."""
    error = (await hear(provider, ask("status-503"))).error
    assert error is not None
    assert (error.http_status, error.request_id, error.stage) == (503, "req-17", "first_byte")
    assert error.__cause__ is not None


@pytest.mark.parametrize("model", ["page", "page-502", "page-as-json"])
async def test_a_page_is_quoted_without_its_markup(model: str, provider: OpenAIProvider) -> None:
    """A few words of an HTML error page are shown, without tags or scripts."""
    message = str((await hear(provider, ask(model))).error)
    assert "Bad gateway" in message
    assert not set("<>") & set(message)
    assert "alert" not in message


async def test_a_redirect_takes_the_prompt_nowhere(server: FaultServer, provider: OpenAIProvider) -> None:
    """A redirect is refused, and the message names its target without the query."""
    error = (await hear(provider, ask("redirect-away", "secret plans"))).error
    assert isinstance(error, errors.ConfigError)
    assert "https://elsewhere.example/v1/x." in str(error)
    assert "key=1" not in str(error)
    assert len(server.requests) == 1

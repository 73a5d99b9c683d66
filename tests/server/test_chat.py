"""Chat Completions, through the openai client."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

from nbchat.server import MODELS, DemoServer
from tests.server.conftest import HandClock, RawConnection, ask, request, user

UNICODE = (
    "Grüße, 世界! 👩‍👩‍👧‍👦🇫🇷 \u202eabc\u202c e\u0301 \x00\x1b \ufffd\r\n\ttab \U0001d4b3 "
    '"quotes" \\ </script> data: x\n\n'
)


async def chunks(
    client: AsyncOpenAI, model: str, messages: list[Any], **more: Any
) -> list[ChatCompletionChunk]:
    """Return all chunks of a streamed answer."""
    stream = await client.chat.completions.create(model=model, messages=messages, stream=True, **more)
    async with stream:
        return [chunk async for chunk in stream]


def said(chunks: list[ChatCompletionChunk]) -> str:
    """Return the text of a streamed answer."""
    return "".join([chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices])


async def whole(client: AsyncOpenAI, model: str, messages: list[Any], **more: Any) -> str:
    """Return the text of an answer that is not streamed."""
    answer = await client.chat.completions.create(model=model, messages=messages, **more)
    return str(answer.choices[0].message.content)


async def test_models_are_listed_the_tour_first(client: AsyncOpenAI) -> None:
    """The list of models begins with the default model."""
    listed = [model.id async for model in await client.models.list()]
    assert listed == [
        *("nbchat-tour", "nbchat-echo", "nbchat-long", "nbchat-slow", "nbchat-think", "nbchat-tools")
    ]
    assert (await client.models.retrieve("nbchat-slow")).owned_by == "nbchat-demo"


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_is_well_formed(client: AsyncOpenAI, model: str) -> None:
    """A stream has the role, then the text, then the finish reason, and its chunks share one id."""
    got = await chunks(client, model, user("What is nbchat? In 300 words."))
    assert got[0].choices[0].delta.role == "assistant"
    assert got[-1].choices[0].finish_reason == "stop"
    assert [chunk.choices[0].finish_reason for chunk in got[:-1]] == [None] * (len(got) - 1)
    assert {(chunk.id, chunk.model, chunk.object) for chunk in got} == {
        (got[0].id, model, "chat.completion.chunk")
    }
    assert len(said(got)) > 20


@pytest.mark.parametrize("model", MODELS)
async def test_the_answer_is_the_same_with_and_without_streaming(client: AsyncOpenAI, model: str) -> None:
    """Streaming does not change the text of an answer."""
    messages = user("How do I stop an answer?", "Like this.", "And in 200 words?")
    assert said(await chunks(client, model, messages)) == await whole(client, model, messages)


async def test_equal_requests_have_equal_answers(client: AsyncOpenAI) -> None:
    """An answer is determined by the conversation, or by the seed if there is one."""
    one, two = user("120 words, please"), user("130 words, please")
    first = await whole(client, "nbchat-long", one)
    assert await whole(client, "nbchat-long", one) == first
    assert await whole(client, "nbchat-long", two) != first
    seeded = await whole(client, "nbchat-long", one, seed=7)
    assert seeded == await whole(client, "nbchat-long", one, seed=7)
    assert seeded != await whole(client, "nbchat-long", one, seed=8)


async def test_pieces_follow_from_the_seed_too(client: AsyncOpenAI) -> None:
    """Two streams of one request have the same chunks, not only the same text."""
    first, second = [await chunks(client, "nbchat-tour", user("What is nbchat?")) for _ in range(2)]
    assert [c.choices[0].delta.content for c in first] == [c.choices[0].delta.content for c in second]
    assert first[0].id != second[0].id


@pytest.mark.parametrize("text", [UNICODE, "", " ", "\n", "x", "no newline", "```py\n1\n```", "9" * 5000])
async def test_echo_is_exact(client: AsyncOpenAI, text: str) -> None:
    """The echo repeats the last user message to the byte, streamed or not."""
    messages = user("earlier", "answer", text)
    assert said(await chunks(client, "nbchat-echo", messages)) == text
    assert await whole(client, "nbchat-echo", messages) == text


async def test_echo_of_a_large_text_comes_in_few_pieces(client: AsyncOpenAI) -> None:
    """A large message is echoed whole, in few enough pieces to arrive within a minute."""
    text = "A line of text, and another.\n" * 50_000
    got = await chunks(client, "nbchat-echo", user(text))
    assert said(got) == text
    assert len(got) < 10_000


async def test_content_may_be_a_list_of_parts(client: AsyncOpenAI) -> None:
    """Text parts are joined; images are accepted and ignored."""
    parts = [
        {"type": "text", "text": "one "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "two"},
    ]
    assert await whole(client, "nbchat-echo", [{"role": "user", "content": parts}]) == "one two"


async def test_usage_adds_up(client: AsyncOpenAI) -> None:
    """The usage counts input, output and reasoning tokens."""
    answer = await client.chat.completions.create(model="nbchat-think", messages=user("What is nbchat?"))
    usage = answer.usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details is not None
    thought = usage.completion_tokens_details.reasoning_tokens
    tour = await client.chat.completions.create(model="nbchat-tour", messages=user("What is nbchat?"))
    assert thought is not None
    assert tour.usage is not None
    assert thought > 10
    assert usage.completion_tokens - thought == tour.usage.completion_tokens
    assert answer.choices[0].message.content == tour.choices[0].message.content
    longer = await client.chat.completions.create(model="nbchat-think", messages=user("What is nbchat? " * 9))
    assert longer.usage is not None
    assert longer.usage.prompt_tokens > usage.prompt_tokens


async def test_usage_is_streamed_if_requested(client: AsyncOpenAI) -> None:
    """With `include_usage` the last chunk has the usage and no choices; otherwise no chunk has it."""
    got = await chunks(client, "nbchat-echo", user("Hello"), stream_options={"include_usage": True})
    assert got[-1].choices == []
    assert got[-1].usage is not None
    assert got[-1].usage.completion_tokens == 1
    assert all(chunk.usage is None for chunk in got[:-1])
    assert all("usage" in chunk.model_fields_set for chunk in got)
    plain = await chunks(client, "nbchat-echo", user("Hello"))
    assert not any("usage" in chunk.model_fields_set for chunk in plain)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_max_tokens_end_an_answer(client: AsyncOpenAI, name: str) -> None:
    """At the limit the answer ends with `length`; an answer that just fits ends with `stop`."""
    text = "one two three four five"
    for limit, reason, expected in ((3, "length", "one two three"), (5, "stop", text), (9, "stop", text)):
        got = await chunks(client, "nbchat-echo", user(text), **{name: limit})
        assert said(got) == expected
        assert got[-1].choices[0].finish_reason == reason


async def test_thoughts_count_against_the_limit(client: AsyncOpenAI) -> None:
    """A model whose reasoning exceeds the limit gives an empty answer with the finish reason `length`."""
    answer = await client.chat.completions.create(
        model="nbchat-think", messages=user("What is nbchat?"), max_completion_tokens=5
    )
    assert answer.choices[0].message.content == ""
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 5


@pytest.mark.parametrize(
    ("stop", "expected"), [("three", "one two "), (["x", "wo"], "one t"), (["no"], None)]
)
async def test_stop_sequences_are_not_part_of_the_answer(
    client: AsyncOpenAI, stop: str | list[str], expected: str | None
) -> None:
    """The answer ends before a stop sequence, wherever its tokens are cut."""
    text = "one two three four"
    got = await chunks(client, "nbchat-echo", user(text), stop=stop)
    assert said(got) == (text if expected is None else expected)
    assert got[-1].choices[0].finish_reason == "stop"


async def test_reasoning_comes_before_the_answer(client: AsyncOpenAI) -> None:
    """The thinking model sends `reasoning_content` first, then the answer of the tour."""
    got = await chunks(client, "nbchat-think", user("How do I stop an answer?"))
    kinds = []
    for chunk in got[1:-1]:
        extra = chunk.choices[0].delta.model_extra or {}
        kinds.append("thought" if extra.get("reasoning_content") else "said")
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"thought", "said"}
    assert said(got) == await whole(client, "nbchat-tour", user("How do I stop an answer?"))


@pytest.mark.parametrize("model", MODELS)
async def test_a_prefilled_answer_is_continued_exactly(client: AsyncOpenAI, model: str) -> None:
    """If the last message is the assistant's, the answer continues from its last character."""
    question = user("Tell me in 150 words how saving works 👩‍👩‍👧.")
    full = await whole(client, model, question)
    for cut in {1, 2, 5, len(full) // 3, len(full) // 2, len(full) - 1}:
        rest = said(await chunks(client, model, [*question, {"role": "assistant", "content": full[:cut]}]))
        assert full[:cut] + rest == full


async def test_a_complete_answer_is_continued_with_nothing(client: AsyncOpenAI) -> None:
    """A complete answer is continued by an empty one with the finish reason `stop`."""
    answer = await client.chat.completions.create(model="nbchat-echo", messages=user("Hello", "Hello"))
    assert answer.choices[0].message.content == ""
    assert answer.choices[0].finish_reason == "stop"


async def test_the_length_limit_and_continue_give_the_whole(client: AsyncOpenAI) -> None:
    """An answer cut by `max_tokens` repeatedly, and continued each time, gives the whole answer."""
    question = user("100 words")
    full, text, rounds = await whole(client, "nbchat-long", question), "", 0
    reason: str | None = "length"
    while reason == "length":
        messages = [*question, {"role": "assistant", "content": text}] if text else question
        got = await chunks(client, "nbchat-long", messages, max_tokens=37)
        text += said(got)
        reason = got[-1].choices[0].finish_reason
        rounds += 1
    assert (text, rounds > 3) == (full, True)


async def test_an_unknown_model_is_named_with_the_known_ones(client: AsyncOpenAI) -> None:
    """The error for an unknown model lists the known ones."""
    with pytest.raises(openai.NotFoundError) as caught:
        await client.chat.completions.create(model="gpt-0", messages=user("Hello"))
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert all(model in caught.value.message for model in MODELS)


async def test_a_pace_per_request(held_client: AsyncOpenAI) -> None:
    """A request may set its own pace, also 0, with which the answer needs no clock."""
    text = await whole(held_client, "nbchat-slow", user("Hello"), extra_body={"nbchat_pace": 0})
    assert text == await whole(
        held_client, "nbchat-slow", user("Hello"), extra_headers={"x-nbchat-pace": "0"}
    )


async def test_no_token_is_sent_before_its_time(
    held_server: DemoServer, held_client: AsyncOpenAI, clock: HandClock
) -> None:
    """The slow model is silent for about two seconds, then sends a token about every fifth of a second."""
    stream = await held_client.chat.completions.create(
        model="nbchat-slow", messages=user("Hello"), stream=True
    )
    async with stream:
        assert (await anext(aiter(stream))).choices[0].delta.role == "assistant"
        await clock.someone_sleeps()
        first = asyncio.ensure_future(anext(aiter(stream)))
        clock.advance(1.5)
        assert (await ask(held_server, request("/v1/models"))).status == 200  # time for a piece to arrive
        assert not first.done()
        clock.advance(1.0)
        assert (await first).choices[0].delta.content == "You"
        await clock.someone_sleeps()
        clock.advance(1.5)
        assert (await anext(aiter(stream))).choices[0].delta.content == " asked"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_stops_the_generation(
    held_server: DemoServer, clock: HandClock, *, stream: bool
) -> None:
    """Generation stops when the client disconnects, streamed or not."""
    body = {"model": "nbchat-slow", "stream": stream, "messages": user("Hello")}
    async with await RawConnection.open(held_server) as connection:
        connection.send(request("/v1/chat/completions", body))
        await clock.someone_sleeps()
        assert held_server.generating == 1
        connection.writer.close()
        async with asyncio.timeout(10):
            await held_server.quiet()
    assert held_server.generating == 0


async def test_closing_a_stream_of_the_client_stops_the_generation(
    held_server: DemoServer, held_client: AsyncOpenAI, clock: HandClock
) -> None:
    """Closing the client's stream early stops the generation on the server."""
    stream = await held_client.chat.completions.create(
        model="nbchat-slow", messages=user("Hello"), stream=True
    )
    async with stream:
        await clock.someone_sleeps()
    async with asyncio.timeout(10):
        await held_server.quiet()


async def test_a_client_that_does_not_read_holds_the_answer(server: DemoServer) -> None:
    """An answer is not buffered without limit for a client that does not read, and arrives whole later."""
    body = {"model": "nbchat-long", "stream": True, "messages": user("500 KB, please")}
    async with await RawConnection.open(server) as reading, await RawConnection.open(server) as other:
        reading.send(request("/v1/chat/completions", body))
        await reading.reader.readuntil(b"data: ")
        reading.writer.transport.pause_reading()  # type: ignore[attr-defined]
        (held,) = [connection for connection in server._connections if connection._task is not None]
        assert held._transport is not None

        async def other_rounds(count: int) -> None:
            for _ in range(count):  # other clients are served meanwhile
                other.send(request("/v1/models"))
                assert (await other.reply()).status == 200

        while held._writable.is_set():
            await other_rounds(1)
        piled_up = held._transport.get_write_buffer_size()
        await other_rounds(200)
        assert held._transport.get_write_buffer_size() <= piled_up
        assert server.generating == 1

        reading.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = b""
        async with asyncio.timeout(60):
            while b"data: [DONE]" not in got:
                got = got[-200:] + await reading.reader.read(1 << 20)
    await server.quiet()

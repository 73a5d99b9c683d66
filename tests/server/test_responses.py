"""Responses, through the openai client: streamed, whole, in the background, resumed and cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import ResponseCompletedEvent, ResponseTextDeltaEvent

from nbchat.server import MODELS, DemoServer
from nbchat.server import store as store_module
from tests.server.conftest import HandClock, RawConnection, ask, client_of, request

QUESTION = "In 40 words 👩‍👩‍👧: how do I stop an answer?"


async def events(stream: Any) -> list[Any]:
    """Return all events of a stream."""
    async with stream:
        return [event async for event in stream]


def said(events: list[Any]) -> str:
    """Return the text of a stream's deltas."""
    return "".join([event.delta for event in events if event.type == "response.output_text.delta"])


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_contains_every_event_of_a_response(client: AsyncOpenAI, model: str) -> None:
    """Events are numbered from 0, each begun item also ends, and the last event has the whole response."""
    got = await events(await client.responses.create(model=model, input=QUESTION, stream=True))
    assert [event.sequence_number for event in got] == list(range(len(got)))
    kinds = [event.type for event in got if not event.type.endswith(".delta")]
    message = [
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]
    reasoning = [kind.replace("output_text", "reasoning_text") for kind in message]
    assert kinds == [
        "response.created",
        "response.in_progress",
        *(reasoning if model == "nbchat-think" else []),
        *message,
        "response.completed",
    ]
    last = got[-1]
    assert isinstance(last, ResponseCompletedEvent)
    assert last.response.output_text == said(got)
    assert last.response.status == "completed"
    assert last.response.usage is not None
    assert last.response.usage.output_tokens > 10


@pytest.mark.parametrize("model", MODELS)
async def test_both_apis_give_the_same_answer(client: AsyncOpenAI, model: str) -> None:
    """A model gives the same answer over Responses, streamed or not, and over Chat Completions."""
    response = await client.responses.create(model=model, input=QUESTION, instructions="Be kind.")
    streamed = await client.responses.create(
        model=model, input=QUESTION, instructions="Be kind.", stream=True
    )
    chat = await client.chat.completions.create(
        model=model,
        messages=[{"role": "developer", "content": "Be kind."}, {"role": "user", "content": QUESTION}],
    )
    assert response.output_text == chat.choices[0].message.content == said(await events(streamed))


async def test_the_clients_accumulator_understands_the_events(client: AsyncOpenAI) -> None:
    """The client's own helper, which checks the order of events, gives the whole response."""
    async with client.responses.stream(model="nbchat-think", input=QUESTION) as stream:
        final = await stream.get_final_response()
    assert final.output_text
    assert [item.type for item in final.output] == ["reasoning", "message"]


async def test_input_may_be_items(client: AsyncOpenAI) -> None:
    """Messages in either form are read, other items are ignored, and a partial answer is continued."""
    items: list[Any] = [
        {"role": "user", "content": "earlier"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "answer"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one two three"}]},
    ]
    assert (await client.responses.create(model="nbchat-echo", input=items)).output_text == "one two three"
    items.append({"role": "assistant", "content": "one t"})
    assert (await client.responses.create(model="nbchat-echo", input=items)).output_text == "wo three"


async def test_the_limit_makes_a_response_incomplete(client: AsyncOpenAI) -> None:
    """At `max_output_tokens` the response ends as incomplete, with the reason."""
    got = await events(
        await client.responses.create(
            model="nbchat-echo", input="one two three four", max_output_tokens=2, stream=True
        )
    )
    response = got[-1].response
    assert (got[-1].type, response.status, response.incomplete_details.reason) == (
        "response.incomplete",
        "incomplete",
        "max_output_tokens",
    )
    assert (response.output_text, response.output[0].status, response.usage.output_tokens) == (
        "one two",
        "incomplete",
        2,
    )


async def test_a_background_response_is_resumed_identically_at_every_cut(client: AsyncOpenAI) -> None:
    """For any last event received, `starting_after` gives exactly the rest."""
    all_events = await events(
        await client.responses.create(
            model="nbchat-think", input=QUESTION, background=True, stream=True, max_output_tokens=100
        )
    )
    assert said(all_events)
    response_id = all_events[0].response.id
    for cut in range(len(all_events)):
        rest = await events(await client.responses.retrieve(response_id, stream=True, starting_after=cut))
        assert rest == all_events[cut + 1 :]
    assert await events(await client.responses.retrieve(response_id, stream=True)) == all_events


async def test_a_lost_connection_does_not_stop_a_background_response(
    held_server: DemoServer, held_client: AsyncOpenAI, clock: HandClock
) -> None:
    """A response continues after its client disconnects, and the client later receives the rest."""
    whole = await held_client.responses.create(
        model="nbchat-slow", input="Hello", extra_body={"nbchat_pace": 0}
    )
    stream = await held_client.responses.create(
        model="nbchat-slow", input="Hello", background=True, stream=True
    )
    seen: list[Any] = []
    async with stream:
        await clock.someone_sleeps()
        clock.advance(3.0)
        async for event in stream:
            seen.append(event)
            if isinstance(event, ResponseTextDeltaEvent):
                break
    assert held_server.generating == 1
    resumed = await held_client.responses.retrieve(
        seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number
    )
    clock.advance(60.0)
    rest = await events(resumed)
    assert [event.sequence_number for event in seen + rest] == list(range(len(seen + rest)))
    assert said(seen + rest) == whole.output_text


async def test_several_followers_see_the_same(held_client: AsyncOpenAI, clock: HandClock) -> None:
    """Any number of clients can follow one response, and one that disconnects does not affect the others."""
    created = await held_client.responses.create(
        model="nbchat-echo", input="one two three four", background=True
    )
    assert created.status == "queued"
    streams = [await held_client.responses.retrieve(created.id, stream=True) for _ in range(3)]
    await streams[0].close()
    followers = [asyncio.ensure_future(events(stream)) for stream in streams[1:]]
    await clock.someone_sleeps()
    while not all(follower.done() for follower in followers):
        clock.advance(1.0)
        await asyncio.sleep(0)
    first, second = [follower.result() for follower in followers]
    assert first == second
    assert said(first) == "one two three four"


async def test_a_background_response_can_be_polled(held_client: AsyncOpenAI, clock: HandClock) -> None:
    """Without a stream, a response can be polled until it is completed."""
    created = await held_client.responses.create(model="nbchat-echo", input="one two three", background=True)
    assert (created.status, created.output_text) == ("queued", "")
    assert (await held_client.responses.retrieve(created.id)).status == "in_progress"
    await clock.someone_sleeps()
    clock.advance(60.0)
    async with asyncio.timeout(10):
        while (response := await held_client.responses.retrieve(created.id)).status == "in_progress":
            pass
    assert (response.status, response.output_text) == ("completed", "one two three")


async def test_cancelling_keeps_the_text(
    held_server: DemoServer, held_client: AsyncOpenAI, clock: HandClock
) -> None:
    """A cancelled response stops at once, keeps its text, and ends the streams of its followers."""
    created = await held_client.responses.create(model="nbchat-slow", input="Hello", background=True)
    stream = await held_client.responses.retrieve(created.id, stream=True)
    seen: list[Any] = []
    async with stream:
        await clock.someone_sleeps()
        clock.advance(3.0)
        async for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta" and held_server.generating:
                cancelled = await held_client.responses.cancel(created.id)
                assert cancelled.status == "cancelled"
                await held_server.quiet()
    assert seen[-1].type == "response.cancelled"
    kept = await held_client.responses.retrieve(created.id)
    assert (kept.status, kept.output_text) == ("cancelled", said(seen))
    assert (await held_client.responses.cancel(created.id)).status == "cancelled"


async def test_cancelling_after_the_end_does_nothing(client: AsyncOpenAI) -> None:
    """A completed response stays completed."""
    got = await events(
        await client.responses.create(model="nbchat-echo", input="Hello", background=True, stream=True)
    )
    cancelled = await client.responses.cancel(got[0].response.id)
    assert (cancelled.status, cancelled.output_text) == ("completed", "Hello")


async def test_a_response_cancelled_before_it_began(
    held_server: DemoServer, held_client: AsyncOpenAI
) -> None:
    """A response cancelled before its first token has no output and still ends its stream."""
    created = await held_client.responses.create(model="nbchat-slow", input="Hello", background=True)
    await held_client.responses.cancel(created.id)
    got = await events(await held_client.responses.retrieve(created.id, stream=True))
    assert [event.type for event in got] == [
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.cancelled",
    ]
    assert held_server.generating == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_in_the_foreground_stops_with_its_client(
    held_server: DemoServer, clock: HandClock, *, stream: bool
) -> None:
    """A response that is not in the background stops when its client disconnects."""
    body = {"model": "nbchat-slow", "stream": stream, "input": "Hello"}
    async with await RawConnection.open(held_server) as connection:
        connection.send(request("/v1/responses", body))
        await clock.someone_sleeps()
        assert held_server.generating == 1
    async with asyncio.timeout(10):
        await held_server.quiet()


async def test_a_response_follows_another(client: AsyncOpenAI) -> None:
    """With `previous_response_id` the earlier turns are included, and the earlier instructions are not."""
    first = await client.responses.create(
        model="nbchat-tour", input="How do I stop an answer?", instructions="Be brief."
    )
    second = await client.responses.create(model="nbchat-tour", input="More.", previous_response_id=first.id)
    assert "*stop, pause and the states of a run*" in second.output_text
    assert len(second.output_text) > len(first.output_text) * 2
    with pytest.raises(openai.BadRequestError) as caught:
        await client.responses.create(model="nbchat-tour", input="More.", previous_response_id="resp_none")
    assert caught.value.code == "previous_response_not_found"


async def test_a_live_response_cannot_be_followed_yet(held_client: AsyncOpenAI) -> None:
    """A response that is still in progress is refused as `previous_response_id`."""
    live = await held_client.responses.create(model="nbchat-slow", input="Hello", background=True)
    with pytest.raises(openai.BadRequestError) as caught:
        await held_client.responses.create(model="nbchat-slow", input="More.", previous_response_id=live.id)
    assert caught.value.param == "previous_response_id"


async def test_responses_are_stored_unless_refused(client: AsyncOpenAI) -> None:
    """Responses are kept unless `store` is false; only background responses can be streamed again."""
    stored = await client.responses.create(model="nbchat-echo", input="Hello", metadata={"cell": "3"})
    assert (await client.responses.retrieve(stored.id)) == stored
    assert stored.metadata == {"cell": "3"}
    with pytest.raises(openai.BadRequestError):
        await client.responses.retrieve(stored.id, stream=True)
    with pytest.raises(openai.BadRequestError):
        await client.responses.cancel(stored.id)
    await client.responses.delete(stored.id)
    gone = await client.responses.create(model="nbchat-echo", input="Hello", store=False)
    for response in (stored, gone):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.responses.retrieve(response.id)
        assert caught.value.code == "response_not_found"


async def test_deleting_a_live_response_ends_it(held_server: DemoServer, held_client: AsyncOpenAI) -> None:
    """Generation stops when its response is deleted."""
    live = await held_client.responses.create(model="nbchat-slow", input="Hello", background=True)
    assert held_server.generating == 1
    await held_client.responses.delete(live.id)
    async with asyncio.timeout(10):
        await held_server.quiet()


async def test_old_responses_are_forgotten_after_ten_minutes(
    held_client: AsyncOpenAI, clock: HandClock
) -> None:
    """A response is kept for ten minutes after its end, and a live one without limit."""
    over = await held_client.responses.create(model="nbchat-echo", input="", background=True)
    live = await held_client.responses.create(
        model="nbchat-slow", input="Hello", background=True, extra_body={"nbchat_pace": 1000}
    )
    while (await held_client.responses.retrieve(over.id)).status != "completed":
        clock.advance(0.1)
    clock.advance(599.0)
    await held_client.responses.retrieve(over.id)
    clock.advance(2.0)
    with pytest.raises(openai.NotFoundError):
        await held_client.responses.retrieve(over.id)
    assert (await held_client.responses.retrieve(live.id)).status == "in_progress"


async def test_the_store_is_bounded(
    server: DemoServer, held_server: DemoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit the oldest finished response is removed; if all are live, a new one is refused."""
    monkeypatch.setattr(store_module, "MAX_RESPONSES", 3)
    async with client_of(server) as client:
        ids = [(await client.responses.create(model="nbchat-echo", input="Hello")).id for _ in range(5)]
        found = [await _is_there(client, response_id) for response_id in ids]
        assert found == [False, False, True, True, True]
    async with client_of(held_server) as client:
        for _ in range(3):
            await client.responses.create(model="nbchat-slow", input="Hello", background=True)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.responses.create(model="nbchat-slow", input="Hello", background=True)
        assert caught.value.code == "too_many_responses"


async def _is_there(client: AsyncOpenAI, response_id: str) -> bool:
    try:
        await client.responses.retrieve(response_id)
    except openai.NotFoundError:
        return False
    return True


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stream=true&starting_after=-1", "starting_after"),
        ("stream=true&starting_after=x", "starting_after"),
        ("stream=true&starting_after=99999", "starting_after"),
        ("stream=true&starting_after=" + "9" * 5000, "starting_after"),
        ("starting_after=1", "starting_after"),
        ("stream=maybe", "stream"),
    ],
)
async def test_a_cursor_that_makes_no_sense_is_refused(
    server: DemoServer, client: AsyncOpenAI, query: str, param: str
) -> None:
    """An invalid cursor gives an error that names it, never an incomplete stream."""
    response = await client.responses.create(model="nbchat-echo", input="Hello", background=True)
    reply = await ask(server, request(f"/v1/responses/{response.id}?{query}"))
    assert (reply.status, reply.error["param"]) == (400, param)

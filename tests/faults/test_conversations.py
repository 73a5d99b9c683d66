"""No end of a turn spoils the conversation: tests with the real client and a strict server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

import nbchat
from nbchat.core import errors
from nbchat.core.messages import FilePart, ImagePart, Message, Source, Usage
from nbchat.core.refusals import refused_questions
from nbchat.export.reading import Imported, from_jsonl, from_markdown
from nbchat.handles.registry import SessionRegistry
from nbchat.handles.session import Session
from nbchat.providers.base import ImageDelta, Notice, SourceDelta
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.scripted import HANG, ScriptedProvider
from tests.engines import engine_of, live, use
from tests.providers import dialects  # noqa: F401 - registers more FAULTS
from tests.providers.fault_server import TEXT, FaultServer
from tests.waiting import wait_for

PICTURE = ImagePart(text="data:image/gif;base64,R0lGODlhAQABAAAAACw=", name="dot.gif")
KEPT = [401, 403, 404, 408, 409, 429]
LEFT_OUT = [400, 402, 405, 406, 410, 411, 412, 413, 414, 415, 422, 424, 431, 451]


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    """Run the strict server."""
    async with FaultServer() as running:
        yield running


@pytest.fixture
async def chat(registry: SessionRegistry, server: FaultServer) -> AsyncIterator[Session]:
    """Return a session that uses the strict server, without retries."""
    registry.limits.retries = 0
    provider = OpenAIProvider(server.base_url)
    yield await asyncio.to_thread(registry.create, "chat", model="strict", provider=provider)
    await asyncio.to_thread(engine_of(registry).loop.run, provider.aclose(), 10)


async def end(run: Any) -> Any:
    """Wait for a run's end outside the server's loop."""
    return await asyncio.to_thread(run.wait, 20)


async def asked(chat: Session, text: str, **more: Any) -> Any:
    """Send a prompt, and return its run when the run is over."""
    return await end(await asyncio.to_thread(chat.send, text, **more))


def sent(server: FaultServer) -> list[tuple[str, Any]]:
    """Return roles and contents of the last request."""
    return [(message["role"], message["content"]) for message in server.requests[-1].body["messages"]]


async def test_a_stopped_answer_leaves_two_questions_that_are_joined(
    server: FaultServer, chat: Session
) -> None:
    """A question whose answer was stopped before its first word is sent with the next one, as one turn."""
    provider, live(chat).provider = live(chat).provider, ScriptedProvider(HANG)
    for text in ("First?", "Second?"):
        run = await asyncio.to_thread(chat.send, text)
        await asyncio.to_thread(wait_for, lambda run=run: run.state == "connecting", "it was asked")
        await asyncio.to_thread(run.stop)
        await end(run)
    live(chat).provider = provider

    assert (await asked(chat, "Third?")).text == TEXT
    assert sent(server) == [("user", "First?\n\nSecond?\n\nThird?")]
    assert (await asked(chat, "Fourth?")).text == TEXT
    assert [role for role, _ in sent(server)] == ["user", "assistant", "user"]


@pytest.mark.parametrize("status", KEPT)
async def test_a_question_stays_that_was_not_refused_for_its_content(
    status: int, server: FaultServer, chat: Session
) -> None:
    """A question remains in the next request if it failed because of a key, a limit or a timeout."""
    chat.instructions = f"REFUSE {status} END"
    assert (await asked(chat, "First?")).error.http_status == status
    chat.instructions = None
    assert (await asked(chat, "Second?")).text == TEXT
    assert sent(server) == [("user", "First?\n\nSecond?")]


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_question_stays_when_the_server_broke(
    status: int, server: FaultServer, chat: Session
) -> None:
    """A question remains in the conversation after a failure of the server."""
    chat.instructions = f"REFUSE {status} END"
    assert (await asked(chat, "First?")).state == "failed"
    chat.instructions = None
    assert (await asked(chat, "Second?")).text == TEXT
    assert sent(server) == [("user", "First?\n\nSecond?")]


@pytest.mark.parametrize("status", LEFT_OUT)
async def test_a_refused_question_is_left_out_of_later_requests(
    status: int, server: FaultServer, chat: Session
) -> None:
    """A question that was refused for its content stays visible, and later questions are sent without it."""
    await asked(chat, "Before?")
    refused = await asked(chat, f"REFUSE {status} END")
    assert refused.state == "failed"
    assert refused.error.http_status == status

    for _ in range(2):
        assert (await asked(chat, "And now?")).text == TEXT
    assert "REFUSE" not in str(sent(server))
    assert ("user", "Before?") in sent(server)
    assert f"REFUSE {status} END" in [message.text for message in chat.messages]
    state = live(chat).state
    (question,) = refused_questions(state, state.path)
    assert state.messages[question].text == f"REFUSE {status} END"


@pytest.mark.parametrize("read", [from_markdown, from_jsonl])
async def test_refused_questions_are_not_imported(
    read: Callable[[str], Iterable[Imported]], chat: Session
) -> None:
    """A refused question in an exported file is not imported, so it is not sent again."""
    await asked(chat, "Before?")
    await asked(chat, "REFUSE 413 END")
    ending = "md" if read is from_markdown else "jsonl"
    text = str(await asyncio.to_thread(chat.export, ending))
    assert ("REFUSE 413 END" in text) == (ending == "md")
    (one,) = read(text)
    assert one.turns == (("user", "Before?"), ("assistant", TEXT))


async def test_it_is_left_out_after_a_restore_too(
    server: FaultServer, registry: SessionRegistry, chat: Session
) -> None:
    """A restored log identifies refused questions, so that a saved conversation continues without them."""
    await asked(chat, "REFUSE 413 END")
    snapshot = registry.snapshot()
    other = SessionRegistry()
    try:
        (restored,) = await asyncio.to_thread(other.restore, snapshot)
        provider = live(restored).provider = OpenAIProvider(server.base_url)
        restored.model = "strict"
        assert (await asked(restored, "And now?")).text == TEXT
        assert sent(server) == [("user", "And now?")]
        await asyncio.to_thread(engine_of(other).loop.run, provider.aclose(), 10)
    finally:
        await asyncio.to_thread(engine_of(other).shutdown)


async def test_a_fork_does_not_take_it_along(chat: Session) -> None:
    """A fork begins without a refused question, because it has no runs that record the refusal."""
    await asked(chat, "Before?")
    await asked(chat, "REFUSE 400 END")
    fork = await asyncio.to_thread(chat.fork)
    assert [message.text for message in fork.messages] == ["Before?", TEXT]
    assert (await asked(fork, "And now?")).text == TEXT


async def test_it_can_be_retried_and_edited(server: FaultServer, chat: Session) -> None:
    """Retry and edit work on a refused question, also after its answer was discarded and others followed."""
    await asked(chat, "REFUSE 400 END")
    question, answer = chat.messages
    conversation = live(chat)
    await asyncio.to_thread(conversation.context.loop.call, conversation.discard, answer.id)
    assert (await asked(chat, "Later?")).text == TEXT
    assert sent(server) == [("user", "Later?")]

    again = await end(await asyncio.to_thread(chat.retry, question.id))
    assert (again.state, again.error.http_status) == ("failed", 400)
    assert sent(server) == [("user", "REFUSE 400 END")], "what is asked is always sent"

    edited = await end(await asyncio.to_thread(chat.edit, question.id, "Better?"))
    assert edited.text == TEXT
    assert sent(server) == [("user", "Better?")]


async def test_an_answer_by_another_model_takes_the_question_back_in(
    server: FaultServer, chat: Session
) -> None:
    """A refused question is part of the conversation again once a retry has answered it."""
    chat.instructions = "REFUSE 422 END"
    await asked(chat, "First?")
    chat.instructions = None
    assert (await end(await asyncio.to_thread(chat.retry))).text == TEXT
    await asked(chat, "Second?")
    assert sent(server) == [("user", "First?"), ("assistant", TEXT), ("user", "Second?")]


async def test_a_filter_that_ends_an_answer_before_its_first_word_is_a_refusal(
    server: FaultServer, chat: Session
) -> None:
    """A question filtered by a finish reason instead of a status is left out as a refused one is."""
    provider, live(chat).provider = (
        live(chat).provider,
        ScriptedProvider(finish="content_filter"),
    )
    assert (await asked(chat, "Filtered?")).state == "incomplete"
    live(chat).provider = provider
    await asked(chat, "And now?")
    assert sent(server) == [("user", "And now?")]
    assert (await end(await asyncio.to_thread(chat.retry, chat.messages[0].id))).text == TEXT


async def test_a_picture_of_earlier_is_replaced_by_its_name_where_the_model_refuses_it(
    server: FaultServer, chat: Session
) -> None:
    """Earlier pictures are replaced by their names for a text-only model, and a notice reports it."""
    provider = live(chat).provider
    live(chat).provider = ScriptedProvider("A dot.")
    await asked(chat, "What is it?", attachments=[PICTURE])
    live(chat).provider = provider

    for number in (1, 2):
        before = len(server.requests)
        run = await asked(chat, f"Question {number}?")
        assert run.text == TEXT
        assert len(server.requests) - before == (2 if number == 1 else 1), "it is asked in vain once"
        content = sent(server)[0][1]
        assert content == "What is it?\n[picture: dot.gif]\n"
        assert "pictures" in str(chat.messages[-1].notices)
    assert chat.messages[0].parts[1] == PICTURE


async def test_a_picture_in_the_question_is_refused_with_the_remedy(
    server: FaultServer, chat: Session
) -> None:
    """A refusal of the question's own picture names the remedy, and the conversation can continue."""
    run = await asked(chat, "What is it?", attachments=[PICTURE])
    assert isinstance(run.error, errors.RequestRejected)
    assert "without the picture" in run.error.hint
    assert "model" in run.error.hint
    assert (await asked(chat, "Then tell me a story.")).text == TEXT
    assert sent(server) == [("user", "Then tell me a story.")]


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("400 maximum context length is 10 tokens", "Shorten"),
        ("413", "Shorten"),
        ("400 filtered due to the content management policy", "other words"),
        ("422 messages[0].content must be a string", "without the picture"),
        ("400", "without its files"),
    ],
)
async def test_a_hint_names_the_remedy(words: str, remedy: str, chat: Session) -> None:
    """The hint for a refused question is to shorten it, leave the file out, or choose another model."""
    status, _, reason = words.partition(" ")
    run = await asked(chat, f"REFUSE {status} {reason} END", attachments=[FilePart(name="a.txt", text="a")])
    assert remedy in run.error.hint
    assert "model" in run.error.hint
    assert "Check the session's model" not in str(run.error)


async def test_imported_turns_alternate(
    server: FaultServer,
    registry: SessionRegistry,
    chat: Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Imported turns alternate, also if the file begins with an answer or repeats a role."""
    turns: list[tuple[Any, str]] = [
        ("assistant", "Welcome."),
        ("assistant", "Ask."),
        ("user", "One?"),
        ("user", "Two?"),
        ("assistant", "Yes."),
    ]
    messages = [{"role": role, "content": text} for role, text in turns]
    (tmp_path / "talk.jsonl").write_text(json.dumps({"messages": messages}))
    use(monkeypatch, registry)
    (imported,) = await asyncio.to_thread(nbchat.import_, tmp_path / "talk.jsonl")
    live(imported).provider = live(chat).provider
    imported.model = "strict"
    assert (await asked(imported, "Three?")).text == TEXT
    assert [role for role, _ in sent(server)] == ["user", "assistant", "user", "assistant", "user"]
    assert sent(server)[1:3] == [("assistant", "Welcome.\n\nAsk."), ("user", "One?\n\nTwo?")]


async def test_notices_are_kept_with_the_message(
    registry: SessionRegistry,
) -> None:
    """A visible notice is in the message, once, and survives saving; other notices are only logged."""
    script = ("a", Notice("Odd."), *[Notice("1 item is not shown.", shown=True)] * 2)
    chat = await asyncio.to_thread(registry.create, "n", provider=ScriptedProvider(*script))
    await asked(chat, "?")
    assert chat.messages[-1].notices == ("1 item is not shown.",)
    saved = registry.snapshot()["sessions"][0]["messages"]
    assert saved[-1]["notices"] == ["1 item is not shown."]
    assert "notices" not in saved[0], "what is as always is not written"
    assert Message(id="m", role="user").notices == ()


async def test_sources_and_images_of_an_answer_are_kept(registry: SessionRegistry) -> None:
    """Sources and generated images are in the message, in order, and are there after a restore."""
    picture = "data:image/png;base64,iVBORw0KGgo="
    script = (
        "Here: ",
        ImageDelta(picture, "dot"),
        " and more",
        SourceDelta(Source(title="  A\n B ", url="https://example.org/a")),
        SourceDelta(Source(url="https://example.org/" + "x" * 5000)),
    )
    chat = await asyncio.to_thread(registry.create, "n", provider=ScriptedProvider(*script))
    run = await asked(chat, "?")
    answer = chat.messages[-1]
    assert run.text == answer.text == "Here:  and more"
    assert answer.parts[1] == ImagePart(text=picture, name="dot")
    assert answer.sources[0] == Source(title="A B", url="https://example.org/a")
    assert answer.sources[1].url == "", "half an address leads elsewhere"
    other = SessionRegistry()
    try:
        (restored,) = await asyncio.to_thread(other.restore, registry.snapshot())
        assert restored.messages[-1] == answer
    finally:
        await asyncio.to_thread(engine_of(other).shutdown)


async def test_an_image_that_is_too_large_is_left_out_whole(registry: SessionRegistry) -> None:
    """An image that exceeds the limit is left out as a whole, with a notice, and the text is kept."""
    picture = "data:image/png;base64,iVBORw0KGgo="
    registry.limits.session_chars = 30
    chat = await asyncio.to_thread(
        registry.create, "n", provider=ScriptedProvider("a", ImageDelta(picture), "b")
    )
    assert (await asked(chat, "?")).text == "ab"
    assert "larger than the limit" in chat.messages[-1].notices[0]


async def test_a_continued_answer_keeps_the_sources_of_its_beginning(registry: SessionRegistry) -> None:
    """A continued answer keeps the sources of its first part and adds those of the second once."""
    first, second = (Source(title=title, url=f"https://example.org/{title}") for title in "ab")
    provider = ScriptedProvider("One", SourceDelta(first), finish="length")
    chat = await asyncio.to_thread(registry.create, "n", provider=provider)
    await asked(chat, "?")
    live(chat).provider = ScriptedProvider("two", SourceDelta(first), SourceDelta(second))
    await end(await asyncio.to_thread(chat.continue_))
    assert chat.messages[-1].sources == (first, second)


async def test_an_empty_answer_that_cost_tokens_is_completed(
    server: FaultServer, registry: SessionRegistry, chat: Session
) -> None:
    """An answer without text that cost tokens is completed, with its usage and a notice that it is empty."""
    chat.model = "paid-for-nothing"
    run = await asked(chat, "?")
    assert (run.state, run.usage) == ("completed", Usage(input_tokens=3, output_tokens=5))
    assert chat.messages[-1].notices == ("The model's answer is empty.",)

    live(chat).provider, provider = (
        OpenAIProvider(server.base_url, api="responses"),
        live(chat).provider,
    )
    for model in ("empty", "done local_shell_call"):
        chat.model = model
        run = await asked(chat, "?")
        assert (run.state, run.usage) == ("completed", Usage(input_tokens=3, output_tokens=5))
        assert chat.messages[-1].notices
    await asyncio.to_thread(engine_of(registry).loop.run, live(chat).provider.aclose(), 10)
    live(chat).provider = provider


async def test_usage_beside_an_error_is_kept(chat: Session) -> None:
    """A failed and an interrupted run have the usage that the server reported."""
    chat.model = "usage-beside-error"
    run = await asked(chat, "?")
    assert (run.state, run.usage) == ("interrupted", Usage(input_tokens=3, output_tokens=5))
    chat.model = "usage-and-error"
    run = await asked(chat, "?")
    assert (run.state, run.usage) == ("failed", Usage(input_tokens=3, output_tokens=5))

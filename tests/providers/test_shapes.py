"""Answers in other shapes than text are read without loss and without failure."""

from collections.abc import AsyncIterator

import pytest

from nbchat.core.messages import Usage
from nbchat.providers.base import EMPTY
from nbchat.providers.openai import OpenAIProvider
from tests.providers.conftest import ask, hear
from tests.providers.dialects import BODIES, CITED, PNG, UNDECLARED
from tests.providers.fault_server import CALLS, TEXT, FaultServer

PICTURE = f"data:image/png;base64,{PNG}"


@pytest.fixture
async def responses(server: FaultServer) -> AsyncIterator[OpenAIProvider]:
    """Make a provider that uses the Responses API."""
    made = OpenAIProvider(server.base_url, api="responses")
    yield made
    await made.aclose()


@pytest.mark.parametrize("model", ["parts-thinking", "parts-thinking-text", "parts-reasoning", "whole-parts"])
async def test_parts_that_think_are_reasoning(model: str, provider: OpenAIProvider) -> None:
    """Content as a list of parts, as from Mistral's reasoning models, is read as reasoning and text."""
    heard = await hear(provider, ask(model))
    assert (heard.reasoning, heard.text, heard.finish) == ("hm, yes", TEXT, "stop")


async def test_parts_that_are_not_shown_are_named(provider: OpenAIProvider) -> None:
    """Parts of an unsupported type are named once, and do not hide the text."""
    heard = await hear(provider, ask("parts-unknown"))
    assert heard.shown == ["1 item of type reference is not shown.", "1 item of type unknown is not shown."]


async def test_a_part_that_refuses_is_text(provider: OpenAIProvider) -> None:
    """The text of a refusal is shown, also if it is a part."""
    heard = await hear(provider, ask("parts-refusal"))
    assert (heard.text, heard.shown) == (TEXT, [])


async def test_a_voice_without_words_is_named(provider: OpenAIProvider) -> None:
    """Audio without a transcript is named."""
    assert (await hear(provider, ask("audio-without-words"))).shown == ["1 item of type audio is not shown."]


@pytest.mark.parametrize(("model", "text"), [("odd-part", ""), ("odd-part-and-text", TEXT)])
async def test_parts_of_responses_that_are_not_shown_are_named(
    model: str, text: str, responses: OpenAIProvider
) -> None:
    """A part of a message that is not text is named once, and the rest is kept."""
    heard = await hear(responses, ask(model))
    assert (heard.text, heard.shown) == (text, ["1 item of type video is not shown."])


@pytest.mark.parametrize("model", ["parts-image", "images"])
async def test_an_image_is_an_image(model: str, provider: OpenAIProvider) -> None:
    """A generated image arrives whole."""
    heard = await hear(provider, ask(model))
    assert (heard.images, heard.text) == ([PICTURE], TEXT)


async def test_an_image_elsewhere_is_not_fetched(provider: OpenAIProvider) -> None:
    """An image given as an address on another server is named and not loaded."""
    heard = await hear(provider, ask("image-elsewhere"))
    assert (heard.images, heard.shown) == ([], ["1 item of type image is not shown."])


@pytest.mark.parametrize(
    "model", ["usage-after-finish", "usage-beside-error", "usage-beside-late-error", "usage-beside-wrong"]
)
async def test_usage_is_kept_wherever_it_stands(model: str, provider: OpenAIProvider) -> None:
    """Usage after the finish reason, without choices, or beside an error is kept."""
    assert (await hear(provider, ask(model))).usage == Usage(input_tokens=3, output_tokens=5)


async def test_the_old_form_of_a_call_is_a_call(provider: OpenAIProvider) -> None:
    """The old form of a call, `function_call`, is read as a tool call."""
    assert (await hear(provider, ask("old-function-call"))).calls == [("", *CALLS[0][1:])]


async def test_two_calls_with_index_0_and_no_ids_are_two(provider: OpenAIProvider) -> None:
    """A name after complete arguments begins the next call."""
    heard = await hear(provider, ask("index-0-no-ids"))
    assert heard.calls == [("", *call[1:]) for call in CALLS]


@pytest.mark.parametrize(
    ("model", "sources"),
    [
        ("citations", [("A", CITED), ("B", "https://example.org/b")]),
        ("citations-late", [("", CITED)]),
        ("citations-odd", []),
        ("annotations", [("A", CITED)]),
    ],
)
async def test_sources_of_chat_are_kept(
    model: str, sources: list[tuple[str, str]], provider: OpenAIProvider
) -> None:
    """Sources from annotations and Perplexity's lists are yielded once, in the order of their numbers."""
    heard = await hear(provider, ask(model))
    assert (heard.sources, heard.text) == (sources, TEXT)


async def test_sources_of_responses_are_kept(responses: OpenAIProvider) -> None:
    """Annotations of both kinds are sources, whether sent as events or at the end."""
    heard = await hear(responses, ask("cited"))
    assert heard.sources == [("A", CITED), ("rivers.pdf", ""), ("f-2", "")]
    assert (heard.text, heard.finish) == (TEXT, "stop")


@pytest.mark.parametrize("kind", ["custom_tool_call", "local_shell_call", "mcp_approval_request", "<b>x</b>"])
@pytest.mark.parametrize("how", ["item", "done"])
async def test_items_that_are_not_shown_are_named(how: str, kind: str, responses: OpenAIProvider) -> None:
    """A response with only such an item is complete, with its usage, and the item is named once."""
    heard = await hear(responses, ask(f"{how} {kind}"))
    assert heard.error is None
    assert heard.finish == "stop"
    assert heard.usage == Usage(input_tokens=3, output_tokens=5)
    name = kind.replace("<b>", "").replace("</b>", "")
    assert heard.shown == [f"1 item of type {name} is not shown."]


async def test_items_are_counted_by_type(responses: OpenAIProvider) -> None:
    """Items of one type share one notice; intermediate steps before a text are not named."""
    heard = await hear(responses, ask("items"))
    assert heard.shown == [
        "2 items of type local_shell_call are not shown.",
        "1 item of type unknown is not shown.",
    ]
    assert heard.text == TEXT
    assert (await hear(responses, ask("search"))).shown == []
    assert len((await hear(responses, ask("item web_search_call"))).shown) == 1


@pytest.mark.parametrize("model", ["empty", "empty-null"])
async def test_an_empty_response_is_complete(model: str, responses: OpenAIProvider) -> None:
    """An empty response is complete, because it was billed, and a notice reports that it is empty."""
    heard = await hear(responses, ask(model))
    assert (heard.finish, heard.shown) == ("stop", [EMPTY])
    assert heard.usage == Usage(input_tokens=3, output_tokens=5)


async def test_reasoning_without_a_summary_is_read(responses: OpenAIProvider) -> None:
    """A response with reasoning alone is read from its end event."""
    assert (await hear(responses, ask("reasoning-only"))).reasoning == "hm, yes"


@pytest.mark.parametrize("model", ["image", "image-whole"])
async def test_a_generated_image_of_responses_is_shown_once(model: str, responses: OpenAIProvider) -> None:
    """An image that is sent as an item and again with the whole response is shown once."""
    heard = await hear(responses, ask(model))
    assert (heard.images, heard.shown, heard.finish) == ([PICTURE], [], "stop")


async def test_an_image_of_an_unsafe_type_is_named(responses: OpenAIProvider) -> None:
    """An image that is not PNG, JPEG, GIF or WebP is named instead of shown."""
    assert (await hear(responses, ask("image-broken"))).shown == ["1 item of type image is not shown."]


@pytest.mark.parametrize("model", ["audio", "audio-whole"])
async def test_a_voice_is_read_by_its_words(model: str, responses: OpenAIProvider) -> None:
    """The transcript of a spoken answer is its text."""
    heard = await hear(responses, ask(model))
    assert (heard.text, heard.finish) == (TEXT, "stop")


@pytest.mark.parametrize("model", [*[f"in-{name}" for name in BODIES], "status-400-br"])
async def test_an_unrequested_encoding_is_named(model: str, provider: OpenAIProvider) -> None:
    """The error for a body in an unsupported encoding names the encoding, also for an error status."""
    error = (await hear(provider, ask(model))).error
    assert model.split("-", 1)[1].removeprefix("400-") in str(error)
    assert "hello" not in str(error)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *[(f"undeclared-{name}", name) for name in UNDECLARED],
        ("undeclared-by-the-byte", "zstd"),
        ("undeclared-br", "compressed"),
        ("status-400-undeclared", "gzip"),
    ],
)
async def test_an_encoding_that_is_not_declared_is_named(
    model: str, name: str, provider: OpenAIProvider
) -> None:
    """A compressed body without a `Content-Encoding` header causes an error that states the encoding."""
    error = (await hear(provider, ask(model))).error
    assert name in str(error)
    assert "\ufffd" not in str(error)

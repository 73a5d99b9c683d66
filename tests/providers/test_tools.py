"""Servers that refuse tools, and servers that refuse only something about one of them."""

from __future__ import annotations

from typing import Any

import pytest

from nbchat.core import errors
from nbchat.providers.base import Notice, ToolSpec
from nbchat.providers.openai import OpenAIProvider
from nbchat.providers.quirks import find_quirk
from tests.providers.conftest import ask, hear
from tests.providers.fault_server import TEXT, FaultServer, chunk, fault, say

RATE = ToolSpec(name="rate", description="Rate.", parameters={"type": "object", "properties": {}})

NO_TOOLS = [
    '{"error":"registry.ollama.ai/library/gemma:2b does not support tools"}',
    '{"error":{"message":"No endpoints found that support tool use. To learn more, see the docs."}}',
    '{"error":{"message":"\\"auto\\" tool choice requires --enable-auto-tool-choice to be set"}}',
    '{"error":{"message":"tools param requires --jinja flag"}}',
    '{"error":{"message":"Unsupported parameter: \'tools\' is not supported with this model."}}',
    '{"error":{"message":"Function calling is not enabled for models/gemma-3-27b-it"}}',
    '{"error":{"message":"`tool calling` is not supported with this model"}}',
    '{"error":{"message":"Unrecognized request argument supplied: tools"}}',
    '{"error":{"message":"property \'tools\' is unsupported"}}',
    '{"error":{"message":"This model doesn\'t support function calling."}}',
    '{"detail":[{"type":"extra_forbidden","loc":["body","tools"],"msg":"Extra inputs are not permitted"}]}',
]
"""Errors of servers and models that support no tools."""

OTHER = [
    "Invalid 'tools[0].function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'.",
    "Invalid schema for function 'rate': 'oneOf' is not supported.",
    "Unknown parameter: 'tools[0].strict'.",
    "An assistant message with 'tool_calls' must be followed by tool messages.",
    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
    "Unexpected role 'user' after role 'tool'",
    "tools.0.input_schema: JSON schema is invalid",
    "Failed to call a function. Please adjust your prompt. (tool_use_failed)",
    "Invalid value for 'tool_choice': expected one of 'auto' and 'none'",
    "Too many tools: at most 128 are allowed",
]
"""Errors about tools of servers that support them."""


@pytest.mark.parametrize("words", NO_TOOLS)
def test_a_server_without_tools_is_recognised(words: str) -> None:
    """An error that names tools as unsupported leads to a request without them."""
    assert find_quirk({"tools": [{}]}, words) == "tools"
    assert find_quirk({"tools": [{}]}, words, ("tools",)) is None
    assert find_quirk({}, words) is None


@pytest.mark.parametrize("words", OTHER)
def test_another_error_about_tools_is_reported(words: str) -> None:
    """An error about one tool, a schema or a result does not remove the tools."""
    assert find_quirk({"tools": [{}]}, words) is None


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found"])
async def test_a_server_without_tools_is_asked_once_more_without_them(
    status: str, server: FaultServer, provider: OpenAIProvider
) -> None:
    """The request is repeated once without tools, a notice reports it, and the result is cached."""

    @fault("no-tools", "provider-facts")
    async def _(wire: Any) -> None:
        if "tools" in wire.seen.body:
            await wire.refuse(status, {"error": {"message": "This model does not support tools."}})
        else:
            await wire.stream(say(TEXT), chunk(None, "stop"))

    for requests in (2, 3):
        heard = await hear(provider, ask("no-tools", tools=(RATE,)))
        assert (heard.text, heard.error) == (TEXT, None)
        assert len(server.requests) == requests
        shown = [delta.text for delta in heard.deltas if isinstance(delta, Notice) and delta.shown]
        assert shown == ["This server refused tools for this model; it was asked without them."]


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("Invalid schema for function 'rate': 'oneOf' is not supported.", {"tools": (RATE,)}),
        ("This model does not support tools.", {"params": {"tools": [{"type": "web_search"}]}}),
    ],
)
async def test_tools_are_not_removed_for_another_reason(
    message: str, more: dict[str, Any], server: FaultServer, provider: OpenAIProvider
) -> None:
    """An error about a schema is reported, as is one about the tools in the user's own request fields."""

    @fault("bad-tools", "provider-facts")
    async def _(wire: Any) -> None:
        await wire.refuse("400 Bad Request", {"error": {"message": message}})

    heard = await hear(provider, ask("bad-tools", **more))
    assert type(heard.error) is errors.RequestRejected
    assert len(server.requests) == 1

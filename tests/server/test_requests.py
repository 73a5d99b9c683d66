"""Invalid requests are refused with the name of the field."""

from __future__ import annotations

from typing import Any

import pytest

from nbchat.server import DemoServer
from tests.server.conftest import ask, request, user

CHAT: dict[str, Any] = {"model": "nbchat-echo", "messages": user("Hello")}
RESPONSE: dict[str, Any] = {"model": "nbchat-echo", "input": "Hello"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"model": NaN}',
        b'{"model": "\\ud800"}',
        b"[" * 5000,
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_body_that_is_not_a_json_object_is_refused(
    server: DemoServer, path: str, body: bytes
) -> None:
    """The error explains the fault in the JSON."""
    reply = await ask(server, request(path, body))
    assert (reply.status, reply.error["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": ["Hello"]}, "messages[0]"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": ["user"], "content": "Hello"}]}, "messages[0].role"),
        ({"messages": [*user("Hello"), {"role": "user"}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["Hello"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "messages[0].content[0].type"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"max_completion_tokens": True}, "max_completion_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"seed": "x"}, "seed"),
        ({"n": 2}, "n"),
        ({"stop": 5}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
            "response_format.json_schema.name",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
            "response_format.json_schema.schema",
        ),
        ({"nbchat_pace": -1}, "nbchat_pace"),
        ({"nbchat_pace": "nan"}, "nbchat_pace"),
        ({"nbchat_pace": {}}, "nbchat_pace"),
    ],
)
async def test_a_wrong_field_of_a_chat_is_named(
    server: DemoServer, change: dict[str, Any], param: str
) -> None:
    """A chat completion with one wrong field is refused, and the field is named."""
    body = {key: value for key, value in {**CHAT, **change}.items() if value is not None}
    reply = await ask(server, request("/v1/chat/completions", body))
    assert (reply.status, reply.error["param"]) == (400, param)
    assert param.rsplit(".", 1)[-1] in reply.error["message"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["Hello"]}, "input[0]"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "smell"}]}, "input[0].type"),
        ({"instructions": []}, "instructions"),
        ({"background": "yes"}, "background"),
        ({"background": True, "store": False}, "background"),
        ({"store": 0}, "store"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(index): "" for index in range(17)}}, "metadata"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format.schema"),
    ],
)
async def test_a_wrong_field_of_a_response_is_named(
    server: DemoServer, change: dict[str, Any], param: str
) -> None:
    """A response with one wrong field is refused, and the field is named."""
    body = {key: value for key, value in {**RESPONSE, **change}.items() if value is not None}
    reply = await ask(server, request("/v1/responses", body))
    assert (reply.status, reply.error["param"]) == (400, param)


@pytest.mark.parametrize(
    "odd",
    [
        {"enum": {"a": 1}},
        {"anyOf": "x"},
        {"type": []},
        {"properties": []},
        {"minimum": "x"},
        {"maxLength": "x"},
    ],
)
async def test_a_schema_that_is_not_valid_is_refused(server: DemoServer, odd: dict[str, Any]) -> None:
    """A schema with a keyword of the wrong type is refused with its problem, in both APIs."""
    schema = {"type": "object", "properties": {"a": odd}}
    inner = {"name": "a", "schema": schema}
    chat = {**CHAT, "response_format": {"type": "json_schema", "json_schema": inner}}
    response = {**RESPONSE, "text": {"format": {"type": "json_schema", **inner}}}
    for path, body, param in (
        ("/v1/chat/completions", chat, "response_format.json_schema.schema"),
        ("/v1/responses", response, "text.format.schema"),
    ):
        reply = await ask(server, request(path, body))
        assert (reply.status, reply.error["param"]) == (400, param)
        assert "not a valid JSON schema" in reply.error["message"]


async def test_null_is_the_same_as_absent(server: DemoServer) -> None:
    """Requests with every known field, most of them null, are served."""
    nothing = dict.fromkeys(
        [
            "stream",
            "stream_options",
            "max_tokens",
            "temperature",
            "top_p",
            "seed",
            "n",
            "stop",
            "tools",
            "user",
        ]
    )
    assert (await ask(server, request("/v1/chat/completions", {**CHAT, **nothing}))).status == 200
    nothing = dict.fromkeys(
        ["instructions", "store", "metadata", "text", "previous_response_id", "background"]
    )
    assert (await ask(server, request("/v1/responses", {**RESPONSE, **nothing}))).status == 200


async def test_unused_fields_are_ignored(server: DemoServer) -> None:
    """Fields that only other servers use are ignored."""
    extra = {"repetition_penalty": 1.1, "logit_bias": {}, "tools": [{"type": "function"}], "x": {"y": [None]}}
    assert (await ask(server, request("/v1/chat/completions", {**CHAT, **extra}))).status == 200


async def test_any_key_or_none_is_accepted(server: DemoServer) -> None:
    """The demo server accepts any key, and no key."""
    for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "nonsense"}):
        assert (await ask(server, request("/v1/models", headers=headers))).status == 200


async def test_a_wrong_pace_in_the_header_is_refused(server: DemoServer) -> None:
    """The pace in the header is checked as the field is."""
    reply = await ask(server, request("/v1/chat/completions", CHAT, headers={"x-nbchat-pace": "fast"}))
    assert (reply.status, reply.error["param"]) == (400, "x-nbchat-pace")


async def test_long_names_are_not_sent_back_whole(server: DemoServer) -> None:
    """An error quotes only the beginning of a long wrong value."""
    reply = await ask(server, request("/v1/chat/completions", {**CHAT, "model": "x" * 1_000_000}))
    assert reply.status == 404
    assert len(reply.body) < 1000

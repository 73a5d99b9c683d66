"""Request bodies contain the conversation in the terms of the API, without anything servers always reject."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.messages import (
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from nbchat.providers.base import Request
from nbchat.providers.prompts import (
    BEFORE,
    NOT_RUN,
    UNKNOWN,
    chat_body,
    has_earlier_images,
    responses_body,
    without_earlier_images,
)

IMAGE = "data:image/png;base64,AAAA"


def turn(role: Role, *parts: Part) -> Message:
    """Return a message with these parts."""
    return Message(id="m", role=role, parts=parts)


def text(value: str) -> TextPart:
    """Return a text part."""
    return TextPart(text=value)


def tool(call_id: str, arguments: str = "{}", name: str = "f") -> ToolCallPart:
    """Return a tool call."""
    return ToolCallPart(call_id=call_id, name=name, text=arguments)


def asked(*messages: Message, **more: Any) -> list[Any]:
    """Return the messages of the Chat Completions body."""
    return list(chat_body(Request(messages=messages, **more))["messages"])


def test_text_is_sent_as_text() -> None:
    """Text parts are joined into one string, and the instructions come first."""
    sent = asked(turn("user", text("a"), text("b")), instructions="Be brief.")
    assert sent == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "ab"}]


def test_images_are_sent_in_their_place() -> None:
    """A message with images is sent as a list, in order."""
    sent = asked(turn("user", text("look:"), ImagePart(text=IMAGE), text("?")))
    assert sent[0]["content"] == [
        {"type": "text", "text": "look:"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "text", "text": "?"},
    ]


def test_a_file_is_sent_as_a_block_of_code() -> None:
    """A file's name and text come after the question in a code block, which nothing in the text can end."""
    file = FilePart(name="notes.md", text="# A\n```\nb\n```\n")
    sent = asked(turn("user", text("Summarise."), file))
    assert sent[0]["content"] == "Summarise.\n\n`notes.md`\n````md\n# A\n```\nb\n```\n````"
    sent = asked(turn("user", text(""), file, ImagePart(text=IMAGE)))
    assert [part["type"] for part in sent[0]["content"]] == ["text", "image_url"]
    assert sent[0]["content"][0]["text"].startswith("`notes.md`\n````md\n")


def test_reasoning_is_not_sent_back() -> None:
    """Reasoning is not sent."""
    sent = asked(turn("user", text("a")), turn("assistant", ReasoningPart(text="hm"), text("b")))
    assert sent[1] == {"role": "assistant", "content": "b"}


def test_a_thought_in_the_text_is_not_sent_back_either() -> None:
    """Reasoning at the beginning of a text is not sent, unless the answer continues from it."""
    question, more = turn("user", text("a")), turn("user", text("c"))
    thought = turn("assistant", text("<think>h"), text("m</think>\n\nb "), text("!"))
    assert asked(question, thought, more)[1] == {"role": "assistant", "content": "b !"}
    for whole in ("<think>hm", "b <think>hm</think>", "<thinking>hm</thinking>b"):
        assert asked(question, turn("assistant", text(whole)), more)[1]["content"] == whole
    assert asked(question, thought, prefill=True)[1]["content"] == "<think>hm</think>\n\nb !"
    assert asked(turn("user", text("<think>a</think>b")))[0]["content"] == "<think>a</think>b"


@pytest.mark.parametrize("parts", [(), (text(""),), (ReasoningPart(text="hm"),)])
def test_an_answer_without_text_is_left_out(parts: tuple[Part, ...]) -> None:
    """An empty answer, which servers reject, is left out, and the questions around it are joined."""
    sent = asked(turn("user", text("a")), turn("assistant", *parts), turn("user", text("b")))
    assert sent == [{"role": "user", "content": "a\n\nb"}]


def test_turns_of_one_role_are_joined_with_their_attachments() -> None:
    """Consecutive turns of one role become one, in both APIs, with every text, file and image in order."""
    file, image = FilePart(name="a.txt", text="A"), ImagePart(text=IMAGE)
    assert asked(turn("user", text("a"), file), turn("user", text("b"))) == [
        {"role": "user", "content": f"a\n\n{file.markdown}\n\nb"}
    ]
    messages = (turn("user", text("a"), file), turn("user", text("b"), image), turn("user", text("c")))
    (sent,) = asked(*messages)
    assert [part.get("text", IMAGE) for part in sent["content"]] == ["a", file.markdown, "b", IMAGE, "c"]
    (item,) = responses_body(Request(messages=messages))["input"]
    assert [part["type"] for part in item["content"]] == [
        "input_text",
        "input_text",
        "input_text",
        "input_image",
        "input_text",
    ]
    answers = asked(turn("user", text("a")), turn("assistant", text("b")), turn("assistant", text("c")))
    assert answers[1:] == [{"role": "assistant", "content": "b\n\nc"}]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("user", "assistant", "system", "tool")),
            st.sampled_from(
                (
                    (),
                    (text("a"),),
                    (text(""), ImagePart(text=IMAGE)),
                    (tool("1"), tool("2", "{")),
                    (ToolResultPart(call_id="1", text="r"), text("b")),
                    (text("c"), tool("1"), ToolResultPart(call_id="1", text="s"), text("d"), tool("1")),
                )
            ),
        ),
        max_size=8,
    )
)
def test_roles_always_alternate(conversation: list[tuple[Role, tuple[Part, ...]]]) -> None:
    """System text comes first, then user and assistant alternate, and each call has its result."""
    sent = asked(*(turn(role, *parts) for role, parts in conversation))
    roles = [message["role"] for message in sent]
    assert "system" not in roles[1:]
    spoken = [role for role in roles if role not in ("system", "tool")]
    assert spoken[:1] in ([], ["user"])
    last = ""
    due: list[str] = []
    for message in sent:
        if message["role"] == "tool":
            assert message["tool_call_id"] == due.pop(0)
            last = "tool"
            continue
        assert due == [], "a call's result follows at once"
        assert message["role"] != last
        due = [call["id"] for call in message.get("tool_calls", ())]
        last = message["role"]
    assert due == []


def test_messages_after_a_result_are_sent_after_it() -> None:
    """Text that the model wrote after a result is sent after it, in both APIs."""
    answer = turn(
        "assistant",
        text("I look. "),
        tool("1"),
        ToolResultPart(call_id="1", text="x"),
        text("It is x."),
        tool("1"),
        ToolResultPart(call_id="1", text="y"),
    )
    sent = asked(turn("user", text("a")), answer, turn("user", text("b")))
    assert [(m["role"], m["content"]) for m in sent] == [
        ("user", "a"),
        ("assistant", "I look. "),
        ("tool", "x"),
        ("assistant", "It is x."),
        ("tool", "y"),
        ("user", "b"),
    ]
    items = responses_body(Request(messages=(turn("user", text("a")), answer)))["input"]
    assert [item.get("content", item.get("output", item.get("call_id"))) for item in items] == [
        "a",
        "I look. ",
        "1",
        "x",
        "It is x.",
        "1",
        "y",
    ]


def test_system_messages_stand_first() -> None:
    """System messages are joined and come first, because many templates reject any others."""
    sent = asked(
        turn("user", text("a")), turn("system", text("s")), turn("user", text("b")), instructions="i"
    )
    assert sent == [{"role": "system", "content": "i\n\ns"}, {"role": "user", "content": "a\n\nb"}]
    request = Request(messages=(turn("system", text("s")), turn("user", text("b"))))
    assert responses_body(request)["instructions"] == "s"


def test_a_conversation_that_begins_with_an_answer_is_given_a_beginning() -> None:
    """If a conversation begins with an answer, a user message is added before it, as servers require."""
    sent = asked(turn("assistant", text("a")), turn("user", text("b")))
    assert sent[0] == {"role": "user", "content": BEFORE}
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]


def test_pictures_of_earlier_questions_can_be_named_instead() -> None:
    """Pictures of earlier questions are replaced by their names; those of the current one are kept."""
    old = turn("user", text("look:"), ImagePart(text=IMAGE, name="a\nb.png"))
    new = turn("user", text("and?"), ImagePart(text=IMAGE))
    request = Request(messages=(old, turn("assistant", text("b")), new))
    assert has_earlier_images(request)
    named = without_earlier_images(request)
    assert not has_earlier_images(named)
    sent = chat_body(named)["messages"]
    assert sent[0]["content"] == "look:\n[picture: a b.png]\n"
    assert sent[2]["content"][1]["type"] == "image_url"
    assert not has_earlier_images(Request(messages=(new,)))


def test_a_partial_answer_stands_last() -> None:
    """For a prefill, the beginning of the answer is the last message."""
    sent = asked(turn("user", text("a")), turn("assistant", text("b ")), prefill=True)
    assert sent[-1] == {"role": "assistant", "content": "b "}


def test_calls_and_results_belong_together() -> None:
    """Calls are sent with their results, whichever message holds the results."""
    for results in (
        [turn("tool", ToolResultPart(call_id="1", text="x"), ToolResultPart(call_id="2", text="y"))],
        [turn("tool", ToolResultPart(call_id=i, text=t)) for i, t in (("1", "x"), ("2", "y"))],
    ):
        sent = asked(turn("user", text("a")), turn("assistant", tool("1"), tool("2", '{"a":1}')), *results)
        assert [call["function"]["arguments"] for call in sent[1]["tool_calls"]] == ["{}", '{"a":1}']
        assert sent[1]["content"] is None
        assert sent[2:] == [
            {"role": "tool", "tool_call_id": "1", "content": "x"},
            {"role": "tool", "tool_call_id": "2", "content": "y"},
        ]


def test_a_call_that_was_not_run_has_a_result() -> None:
    """A call without a result gets one, because both APIs would reject it at every later turn."""
    messages = (turn("user", text("a")), turn("assistant", text("b"), tool("1")), turn("user", text("c")))
    assert asked(*messages)[2] == {"role": "tool", "tool_call_id": "1", "content": NOT_RUN}
    items = responses_body(Request(messages=messages))["input"]
    assert items[3] == {"type": "function_call_output", "call_id": "1", "output": NOT_RUN}


def test_a_call_that_was_started_is_not_said_to_be_not_run() -> None:
    """A started call without a result is sent with an unknown outcome, since it may have had its effect."""
    call = ToolCallPart(call_id="1", name="pay", text="{}", started_at=1.0)
    messages = (turn("user", text("a")), turn("assistant", call), turn("user", text("c")))
    assert asked(*messages)[2] == {"role": "tool", "tool_call_id": "1", "content": UNKNOWN}


def test_pictures_of_results_follow_them() -> None:
    """Pictures of results are a user turn after them; a model that refuses them gets their number."""
    result = ToolResultPart(call_id="1", text="", images=(PICTURE, "https://example.org/a.png"))
    messages = (turn("user", text("a")), turn("assistant", tool("1"), result, text("b")))
    roles = [message["role"] for message in asked(*messages)]
    assert roles == ["user", "assistant", "tool", "user", "assistant"]
    assert asked(*messages)[3]["content"][1] == {"type": "image_url", "image_url": {"url": PICTURE}}
    request = Request(messages=messages)
    assert has_earlier_images(request)
    without = without_earlier_images(request)
    assert not has_earlier_images(without)
    assert asked(*without.messages)[2]["content"] == "[2 pictures, shown to the user only]"


PICTURE = "data:image/png;base64,iVBORw0KGgo="

CUT = [tool("1", '{"cut'), tool("1", "[1]"), tool("1", "[" * 100_000)]


@pytest.mark.parametrize("call", CUT)
def test_a_refused_call_is_sent_with_its_result(call: ToolCallPart) -> None:
    """A call whose arguments are no object is sent without them if its result states what is wrong."""
    result = ToolResultPart(call_id="1", text="not valid JSON", is_error=True)
    sent = asked(turn("user", text("a")), turn("assistant", call, result))
    assert sent[1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert sent[2] == {"role": "tool", "tool_call_id": "1", "content": "not valid JSON"}


@pytest.mark.parametrize("call", [*CUT, tool(""), tool("1", name="")])
def test_a_call_that_was_cut_off_is_left_out(call: ToolCallPart) -> None:
    """A call without id, name or complete arguments is left out, as servers reject it."""
    result = turn("tool", ToolResultPart(call_id="1" if call not in CUT else "2", text="x"))
    messages = (turn("user", text("a")), turn("assistant", text("b"), call), result)
    assert asked(*messages) == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert len(responses_body(Request(messages=messages))["input"]) == 2


def test_parameters_do_not_replace_the_conversation() -> None:
    """Parameters add fields, and do not replace those that nbchat sets."""
    params = {
        "messages": [],
        "stream": False,
        "model": "other",
        "n": 2,
        "extra_body": {"messages": [], "x": 1},
    }
    body = chat_body(Request(messages=(turn("user", text("a")),), params=params))
    assert body["messages"] == [{"role": "user", "content": "a"}]
    assert (body["stream"], body["n"], body["x"]) == (True, 2, 1)
    assert "model" not in body


def test_usage_may_be_declined() -> None:
    """A parameter of `None` is not sent; for `stream_options` this turns usage off."""
    assert "stream_options" not in chat_body(Request(messages=(), params={"stream_options": None}))
    assert "seed" not in chat_body(Request(messages=(), params={"seed": None}))


def test_responses_have_other_names() -> None:
    """The Responses API gets the same request with its own field names."""
    request = Request(
        messages=(
            turn("user", text("look"), ImagePart(text=IMAGE)),
            turn("assistant", text("b"), tool("1")),
            turn("tool", ToolResultPart(call_id="1", text="x")),
        ),
        instructions="Be brief.",
        params={"max_tokens": 7, "reasoning_effort": "low", "temperature": 1, "stream_options": {"a": 1}},
    )
    assert responses_body(request) == {
        "instructions": "Be brief.",
        "max_output_tokens": 7,
        "reasoning": {"effort": "low"},
        "temperature": 1,
        "stream": True,
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_image", "image_url": IMAGE},
                ],
            },
            {"role": "assistant", "content": "b"},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
        ],
    }


def test_lone_surrogates_are_not_sent() -> None:
    """Lone surrogates, which servers cannot read, are replaced everywhere in the request."""
    bad = "a\ud800"
    sent = asked(
        turn("user", text(bad), ImagePart(text=bad)),
        turn("assistant", text(bad), tool("1", '{"a": "\ud800"}')),
        turn("tool", ToolResultPart(call_id="1", text=bad)),
        instructions=bad,
    )
    assert "\ud800" not in str(sent)


@pytest.mark.parametrize(
    "address", ["https://elsewhere.example/p.png", "file:///etc/passwd", "data:image/svg+xml;base64,AAAA", ""]
)
def test_addresses_of_images_are_not_sent(address: str) -> None:
    """Addresses of images, as in an untrusted file, are replaced by names, as servers would load them."""
    sent = asked(turn("user", text("look"), ImagePart(text=address, name="map.png")))
    assert sent == [{"role": "user", "content": "look\n[picture: map.png]\n"}]

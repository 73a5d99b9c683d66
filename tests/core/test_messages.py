"""`Message`: its representations in Python, and its JSON data."""

import pytest

from nbchat.core.messages import Message, TextPart


def answer(text: str) -> Message:
    """Return a complete answer with this text."""
    return Message(id="m-1", role="assistant", parts=(TextPart(text=text),), finish_reason="stop")


def test_a_message_shows_its_beginning() -> None:
    """`repr` is one line with the first 80 characters, and `str` is the whole text."""
    message = answer("The **Seine**\n\nand " + "the Marne " * 100)
    assert repr(answer("Seine")) == "<Message m-1 assistant, stop: 'Seine'>"
    assert repr(message) == f"<Message m-1 assistant, stop: '{'The **Seine** and ' + 'the Marne ' * 6}th…'>"
    assert str(message) == message.text


@pytest.mark.parametrize(
    "text",
    [
        '{"river": "Seine", "km": [775]}',
        'Here it is:\n\n```json\n{"river": "Seine",\n"km": [775]}\n```\n\nAnything else?',
        '~~~\n{"river": "Seine", "km": [775]}\n~~~',
    ],
)
def test_an_answer_is_read_as_json(text: str) -> None:
    """`json()` and `data` parse the text, or the JSON in its code block."""
    expected = {"river": "Seine", "km": [775]}
    assert answer(text).json() == expected
    assert answer(text).data == expected


@pytest.mark.parametrize("text", ["", "The Seine.", "```json\n{'river': 'Seine'}\n```", '{"river": '])
def test_other_text_is_not_json(text: str) -> None:
    """`json()` raises with a way to request JSON, and `data` is `None`."""
    with pytest.raises(ValueError, match=r"not valid JSON .* response_format="):
        answer(text).json()
    assert answer(text).data is None

"""`Message`: its representations in Python, and its JSON data."""

import json
import unicodedata

import pytest

from nbchat.core.events import Settings
from nbchat.core.messages import Message, TextPart
from nbchat.core.values import decode, encode_json


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


def test_without_a_service_there_are_no_names() -> None:
    """Messages and settings without a person are the same JSON as before there were names."""
    for value in (answer("Seine"), Settings()):
        assert not {"author", "written_by", "changed_by"} & json.loads(encode_json(value)).keys()
    assert answer("Seine").author is None


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ada", "ada"),
        ("Ada\n\tLovelace ", "Ada Lovelace"),
        ("\u202eada\u200b\x1b[31m", "\ufffdada\ufffd\ufffd[31m"),
        ("ada\ud800\0", "ada\ufffd\ufffd"),
        ("<b>ada</b>", "<b>ada</b>"),
        ("a" * 100_000, "a" * 63 + "…"),
        ("é" * 500, "é" * 63 + "…"),
        ("", None),
        ("\n", None),
    ],
)
def test_a_name_is_one_visible_line(name: str, shown: str | None) -> None:
    """The author of a question has no invisible characters and is short, whatever a file says."""
    data = {"id": "m-1", "role": "user", "author": name}
    message: Message = decode(Message, data)
    assert message.author == shown
    assert all(unicodedata.category(char)[0] != "C" for char in message.author or "")

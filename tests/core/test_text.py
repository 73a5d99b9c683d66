"""Text is measured and cleaned as the page does it."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nbchat.core.messages import ImagePart, Message, ReasoningPart, TextPart
from nbchat.core.text import checksum, clean, split_thought, utf16_length

ANY_TEXT = st.text(st.characters())  # lone surrogates too


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("plain", "plain"),
        ("\ud83d\ude00", "😀"),  # two halves that came apart
        ("a\ud83d b", "a\ufffd b"),
        ("\ude00\ud83d", "\ufffd\ufffd"),  # the wrong way round
        ("nul\0", "nul\ufffd"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
    ],
)
def test_clean(dirty: str, cleaned: str) -> None:
    """Halves are joined; lost halves and NUL become U+FFFD; all else stays."""
    assert clean(dirty) == cleaned


@given(ANY_TEXT)
def test_clean_text_can_be_encoded(text: str) -> None:
    """What is clean is UTF-8, and cleaning again changes nothing."""
    clean(text).encode()
    assert clean(clean(text)) == clean(text)


@given(st.text())
def test_length_is_javascripts(text: str) -> None:
    """Characters outside of the BMP count twice."""
    assert utf16_length(text) == sum(2 if ord(c) > 0xFFFF else 1 for c in text)


@given(st.text(), st.text())
def test_checksums_go_on(first: str, second: str) -> None:
    """The checksum of a text is that of its pieces, one after the other."""
    assert checksum(second, checksum(first)) == zlib.crc32((first + second).encode())


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<think>a</think>b", "a", "b"),
        ("\n <think>\na\n</think>\n\nb <think>c</think>", "a", "b <think>c</think>"),
        ("<think></think>", "", ""),
        ("<think>a", "", "<think>a"),
        ("a <think>b</think>", "", "a <think>b</think>"),
        ("<thinking>a</thinking>", "", "<thinking>a</thinking>"),
    ],
)
def test_a_thought_at_the_beginning_of_a_text_is_told_from_the_rest(
    text: str, thought: str, rest: str
) -> None:
    """Reasoning that a model wrote into its text is split off where it begins the text and has ended."""
    assert split_thought(text) == (thought, rest)


def test_a_message_is_shown_with_its_thought_as_reasoning() -> None:
    """What is stored stays as it was; what is shown has the thought as a part of its own."""
    stored = Message(
        id="m",
        role="assistant",
        parts=(TextPart(text="<think>h"), TextPart(text="m</think>\n"), TextPart(text="\nA"), ImagePart()),
    )
    shown = stored.as_shown()
    assert shown.parts == (ReasoningPart(text="hm"), TextPart(text="A"), ImagePart())
    assert stored.text == "<think>hm</think>\n\nA"
    assert replace(stored, role="user").as_shown() == replace(stored, role="user")

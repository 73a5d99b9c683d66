"""Text is measured and cleaned as in the page."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from nbchat.core.messages import ImagePart, Message, ReasoningPart, TextPart
from nbchat.core.text import (
    MAX_NAME,
    boundary,
    checksum,
    clean,
    cut,
    cut_bytes,
    distinct_name,
    person_name,
    split_thought,
    utf16_length,
)

ANY_TEXT = st.text(st.characters())  # lone surrogates too


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("plain", "plain"),
        ("\ud83d\ude00", "😀"),  # a split surrogate pair
        ("a\ud83d b", "a\ufffd b"),
        ("\ude00\ud83d", "\ufffd\ufffd"),  # in the wrong order
        ("nul\0", "nul\ufffd"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
    ],
)
def test_clean(dirty: str, cleaned: str) -> None:
    """Split surrogate pairs are joined, lone surrogates and NUL become U+FFFD, and all else stays."""
    assert clean(dirty) == cleaned


@given(ANY_TEXT)
def test_clean_text_can_be_encoded(text: str) -> None:
    """Cleaned text can be encoded as UTF-8, and cleaning it again changes nothing."""
    clean(text).encode()
    assert clean(clean(text)) == clean(text)


@given(st.text())
def test_length_is_javascripts(text: str) -> None:
    """Characters outside the BMP count twice, as in JavaScript."""
    assert utf16_length(text) == sum(2 if ord(c) > 0xFFFF else 1 for c in text)


@given(st.text(), st.text())
def test_checksums_can_be_continued(first: str, second: str) -> None:
    """The checksum of a text can be computed piece by piece."""
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
def test_reasoning_at_the_beginning_of_a_text_is_separated(text: str, thought: str, rest: str) -> None:
    """Reasoning in a text is split off if it is at the beginning and closed."""
    assert split_thought(text) == (thought, rest)


def test_a_message_is_shown_with_its_thought_as_reasoning() -> None:
    """A message is shown with its reasoning as a part, and stored unchanged."""
    stored = Message(
        id="m",
        role="assistant",
        parts=(TextPart(text="<think>h"), TextPart(text="m</think>\n"), TextPart(text="\nA"), ImagePart()),
    )
    shown = stored.as_shown()
    assert shown.parts == (ReasoningPart(text="hm"), TextPart(text="A"), ImagePart())
    assert stored.text == "<think>hm</think>\n\nA"
    assert replace(stored, role="user").as_shown() == replace(stored, role="user")


FAMILY = "👨‍👩‍👧‍👦"
GRAPHEMES = {
    "family": FAMILY,
    "flag": "🇩🇪",
    "keycap": "1️⃣",
    "skin tone": "👍🏽",
    "accent": "e\u0301",
    "two accents": "a\u0323\u0302",
    "syllable": "한",
    "jamo": "\u1112\u1161\u11ab",
    "vowel sign": "नि",
    "rainbow flag": "🏳️‍🌈",
}


@pytest.mark.parametrize("grapheme", GRAPHEMES.values(), ids=GRAPHEMES.keys())
@pytest.mark.parametrize("before", ["", "a", "ab "])
def test_text_is_cut_between_graphemes(grapheme: str, before: str) -> None:
    """Text is cut between graphemes at every length, with and without an ellipsis."""
    text = before + grapheme * 5
    allowed = {before[:at] for at in range(len(before) + 1)} | {before + grapheme * n for n in range(6)}
    for most in range(len(before) + len(grapheme), len(text) + 2):
        assert len(cut(text, most)) <= most
        assert cut(text, most) in {one.rstrip() for one in allowed}
        marked = cut(text, most + 1, "…")
        assert len(marked) <= most + 1
        assert marked.removesuffix("…") in {one.rstrip() for one in allowed}
    for most in range(len((before + grapheme).encode()), len(text.encode()) + 2):
        assert len(cut_bytes(text, most).encode()) <= most
        assert cut_bytes(text, most) in allowed


def test_text_within_the_limit_is_not_cut() -> None:
    """Text within the limit is unchanged, with its spaces; one overlong grapheme is divided."""
    assert cut("abc ", 4, "…") == "abc "
    assert cut("abcdef", 4, "…") == "abc…"
    assert len(cut("e" + "\u0301" * 500, 48)) == 48
    assert boundary("abc", 99) == 99


@given(st.text(), st.integers(0, 60))
def test_cutting_takes_a_beginning(text: str, most: int) -> None:
    """`cut` returns a prefix within the limit, and cutting it again changes nothing."""
    short = cut(text, most)
    assert text.startswith(short)
    assert len(short) <= most
    assert cut(short, most) == short


def test_different_names_are_shown_apart() -> None:
    """Names that would look equal, or are too long, end with a hash, which no other name can imitate."""
    plain = ["ada", "ada\ufffd", "a b", "José Ñ", "@x", "%2e"]
    names = [*plain, "ada\u200b", "ada\n", "a  b", "n" * 65, "n" * 66]
    names += [distinct_name(name) for name in names if distinct_name(name) != name]
    shown = [distinct_name(name) for name in names]
    assert len(set(shown)) == len(names) == 16
    assert shown[: len(plain)] == plain
    assert all(person_name(name) == name and len(name) <= MAX_NAME for name in shown)

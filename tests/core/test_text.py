"""Text is measured and cleaned as the page does it."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbchat.core.text import checksum, clean, utf16_length

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

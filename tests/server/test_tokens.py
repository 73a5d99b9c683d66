"""Text of a model: split into tokens, ended and continued."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbchat.server.tokens import after, tokens, until

BLOCKS = st.lists(st.text(max_size=30), max_size=6)
FEW_LETTERS = st.text(alphabet="ab", max_size=8)


@given(BLOCKS)
def test_tokens_are_the_text(blocks: list[str]) -> None:
    """In any script, the joined tokens equal the text, and no token is empty."""
    pieces = list(tokens(blocks))
    assert "".join(pieces) == "".join(blocks)
    assert all(pieces)


def test_tokens_are_about_as_long_as_a_models() -> None:
    """Words, numbers, signs and spaces are split roughly as models split them."""
    text = "Internationalisation, in 2026:\n\n    x += 1  # 世界"
    assert list(tokens([text])) == [
        "Intern", "ationa", "lisati", "on", ",", " in", " ", "202", "6", ":", "\n\n", "    ", "x", " ", "+=",
        " ", "1", "  ", "#", " ", "世", "界",
    ]  # fmt: skip


@given(st.lists(FEW_LETTERS, max_size=6), st.lists(FEW_LETTERS, max_size=3))
def test_a_stop_sequence_is_found_however_the_text_is_cut(blocks: list[str], stops: list[str]) -> None:
    """The text ends before the first stop sequence in it."""
    text = "".join(blocks)
    found = [at for at in (text.find(stop) for stop in stops if stop) if at >= 0]
    assert "".join(until(blocks, [stop for stop in stops if stop])) == text[: min(found, default=len(text))]


@given(BLOCKS, st.data())
def test_a_prefix_of_the_text_is_continued_exactly(blocks: list[str], data: st.DataObject) -> None:
    """After any beginning of the text, exactly the rest follows."""
    text = "".join(blocks)
    cut = data.draw(st.integers(0, len(text)))
    assert "".join(after(blocks, text[:cut])) == text[cut:]


def test_an_edited_beginning_is_gone_on_with_where_it_fits() -> None:
    """An edited beginning is continued after its last words, if the answer has them."""
    text = ["The Seine crosses Paris, ", "and so does the Bièvre, ", "under the ground."]
    assert (
        "".join(after(text, "The river Seine crosses Paris, and so do")) == "es the Bièvre, under the ground."
    )


def test_a_beginning_that_fits_nowhere_is_left_standing() -> None:
    """A beginning that does not match is followed by the answer in a new paragraph."""
    assert "".join(after(["The ", "Seine."], "No idea.")) == "\n\nThe Seine."
    assert "".join(after(["The ", "Seine."], "No idea.\n")) == "The Seine."


def test_a_text_that_goes_beyond_the_answer_is_complete() -> None:
    """A text that contains the whole answer and more gets no continuation."""
    assert "".join(after(["The Seine."], "The Seine. And more.")) == ""

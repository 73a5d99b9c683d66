"""Mentions of variables in questions."""

import pytest

from nbchat.context.mentions import mentions, without_escapes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("why is @df so sparse?", ("df",)),
        ("@df and @other, then @df again", ("df", "other")),
        ("mail me@df.org", ()),
        ("@unknown", ()),
        (r"\@df is literal", ()),
        ("`@df` and ``a ` @df``", ()),
        ("```\n@df\n```\n@other", ("other",)),
        ("~~~\n@df", ()),
        ("(@df)", ()),
        ("`code`@df", ()),
        ("@df.head()", ("df",)),
        ("a\n@df", ("df",)),
        ("@größe", ("größe",)),
    ],
)
def test_a_mention_names_a_variable_outside_code(text: str, names: tuple[str, ...]) -> None:
    """`@name` counts at the start or after white space, outside code, if the variable exists."""
    found = mentions(text, {"df", "other", "größe"}.__contains__)
    assert found == tuple((name, "") for name in names)


def test_an_escaped_mention_is_sent_without_its_backslash() -> None:
    r"""`\@df` is sent as `@df`; code keeps its backslashes."""
    assert without_escapes(r"\@df, a\@df and `\@df`") == r"@df, a\@df and `\@df`"


def test_a_mention_can_have_an_argument() -> None:
    """`@cell:3` mentions `cell` with the argument `3`; two arguments are two mentions."""
    found = mentions("@cell:3, @cell and @cell:load", {"cell"}.__contains__)
    assert found == (("cell", "3"), ("cell", ""), ("cell", "load"))

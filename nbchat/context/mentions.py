"""`mentions` finds the variables that the text of a question mentions as `@name`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

_CODE: Final = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?(?:^(?P=fence)|\Z)|(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)",
    re.DOTALL | re.MULTILINE,
)
_MENTION: Final = re.compile(r"(?:^|(?<=\s))@(?P<name>[^\W\d]\w*)(?::(?P<argument>\w+))?")
_ESCAPED: Final = re.compile(r"(?:^|(?<=\s))\\(?=@[^\W\d])")


def mentions(text: str, exists: Callable[[str], bool]) -> tuple[tuple[str, str], ...]:
    r"""Return the names that a text mentions with `@`, each once, in the order of their first mention.

    A name is returned with its argument: `3` for `@cell:3`, else an empty string.

    A mention is at the start of the text or after white space, outside code, and names an existing
    variable. `\@df` is literal.
    """
    found = ((match["name"], match["argument"] or "") for match in _outside_code(_MENTION, text))
    return tuple(dict.fromkeys(mention for mention in found if exists(mention[0])))


def without_escapes(text: str) -> str:
    r"""Return the text as it is sent: outside code, `\@df` becomes `@df`."""
    out, at = [], 0
    for match in _outside_code(_ESCAPED, text):
        out.append(text[at : match.start()])
        at = match.end()
    return "".join([*out, text[at:]])


def _outside_code(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield the matches of a pattern that do not start inside a code span or a fenced block."""
    code = [match.span() for match in _CODE.finditer(text)]
    for match in pattern.finditer(text):
        if not any(start <= match.start() < end for start, end in code):
            yield match

"""Text functions: cleaning, cutting, lengths and checksums. Some have counterparts in TypeScript."""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable
from typing import Final

_THOUGHT: Final = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")

MAX_NAME: Final = 64
"""Maximum characters of a person's name."""

_HASH: Final = 16
_HASHED: Final = re.compile(rf" \([0-9a-f]{{{_HASH}}}\)\Z")


def clean(text: str) -> str:
    """Return `text` in a form that can be stored anywhere: surrogate halves joined or replaced, NUL replaced.

    An unpaired half becomes U+FFFD, as in WebIDL's `USVString`; so does NUL, as in CommonMark 0.31.2,
    section 2.3.
    """
    if _SURROGATE.search(text):
        text = _PAIR.sub(lambda m: m[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), text)
        text = _SURROGATE.sub("\ufffd", text)
    return text.replace("\0", "\ufffd") if "\0" in text else text


def split_thought(text: str) -> tuple[str, str]:
    """Return the reasoning that a model wrote at the beginning of its text, and the rest.

    Models write `<think>…</think>` if their server does not separate reasoning from the answer. Reasoning
    without an end is treated as text, since otherwise no text would remain. `js/src/view/thinking.ts` has the
    same rule for display.
    """
    found = _THOUGHT.match(text)
    return ("", text) if found is None else (found[1].strip(), text[found.end() :])


def cut(text: str, most: int, mark: str = "") -> str:
    """Return the beginning of `text` in at most `most` characters, cut between graphemes.

    A grapheme is perceived as one character: a letter with its accents, a flag, a keycap, an emoji with its
    skin tone, a family (Unicode Standard Annex 29).

    Parameters
    ----------
    mark
        Appended to a text that was cut, such as `…`; counted in `most`.
    """
    if len(text) <= most:
        return text
    return text[: boundary(text, most - len(mark))].rstrip() + mark


def boundary(text: str, at: int) -> int:
    """Return the last boundary between graphemes at or before `at`.

    A grapheme that is longer than `at`, such as a letter with hundreds of accents, is split.
    """
    if at >= len(text) or text[: at + 1].isascii():
        return at
    from wcwidth import iter_graphemes  # noqa: PLC0415 - its tables are needed for such text only

    end = 0
    for grapheme in iter_graphemes(text[: at + 1]):
        if end + len(grapheme) > at:
            break
        end += len(grapheme)
    return end or at


def cut_bytes(text: str, most: int) -> str:
    """Return the beginning of `text` in at most `most` bytes of UTF-8, cut between graphemes."""
    whole = text.encode("utf-8", "replace")
    if len(whole) <= most:
        return text
    return text[: boundary(text, len(whole[:most].decode("utf-8", "ignore")))]


def printable(text: str) -> str:
    """Return text without terminal control characters, except line ends and tabs."""
    return _CONTROL.sub("", text)


def person_name(name: str) -> str:
    """Return a person's name as one line of at most `MAX_NAME` characters that are all visible.

    Control characters, marks of the writing direction and other characters without a shape become U+FFFD,
    so that two different names do not look equal because of them.
    """
    line = " ".join(name[: 4 * MAX_NAME].split())
    visible = ["\ufffd" if unicodedata.category(char)[0] == "C" else char for char in line]
    return cut("".join(visible), MAX_NAME, "…")


def distinct_name(name: str) -> str:
    """Return a person's name as `person_name` does, so that different names remain different.

    A name that would be changed ends with a hash of it, as does one that already looks like this.
    """
    shown = person_name(name)
    if shown == name and _HASHED.search(name) is None:
        return name
    end = f" ({hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:_HASH]})"
    return cut(shown, MAX_NAME - len(end), "…") + end


def fenced(code: str, language: str = "") -> str:
    """Return a Markdown code block, with a fence longer than any in the code (CommonMark 0.31.2, 4.5)."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"


def suggestion(name: str, names: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the closest of `names`, or an empty string."""
    import difflib  # noqa: PLC0415 - only when a name is wrong

    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def utf16_length(text: str) -> int:
    """Return the length of `text` as JavaScript counts it, in UTF-16 code units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def checksum(text: str, start: int = 0) -> int:
    """Return the CRC-32 of the UTF-8 of `text`, continued from `start`."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"), start)

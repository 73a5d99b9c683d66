"""`tokens`, `until` and `after` split text into tokens, end it at stop sequences, and continue a prefill.

All three are lazy, so that the start of a long answer takes no longer than that of a short one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_TOKEN = re.compile(r" ?[A-Za-z]{1,6}|[0-9]{1,3}|\n+|[ \t]+|[!-/:-@\[-`{-~]{1,2}")
_TAILS = (400, 200, 100, 50, 25, 12)


def tokens(blocks: Iterable[str]) -> Iterator[str]:
    """Split the text into tokens of a few characters; no character is lost, in any script.

    The lengths are similar to those of real tokens: up to six letters with the space before them, three
    digits, or two signs. Other characters are one token each.
    """
    for block in blocks:
        at = 0
        for match in _TOKEN.finditer(block):
            yield from block[at : match.start()]
            yield match.group()
            at = match.end()
        yield from block[at:]


def until(blocks: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Yield the text up to the first stop sequence, excluding it."""
    longest = max(map(len, stops), default=0)
    if not longest:
        yield from blocks
        return
    held = ""
    for block in blocks:
        held += block
        found = [at for at in map(held.find, stops) if at >= 0]
        if found:
            yield held[: min(found)]
            return
        # The end may be the start of a stop sequence: hold back that many characters.
        safe = len(held) - longest + 1
        if safe > 0:
            yield held[:safe]
            held = held[safe:]
    yield held


def after(blocks: Iterable[str], prefill: str) -> Iterator[str]:
    """Yield the rest of the text after `prefill`.

    If the text starts with `prefill`, yield the exact rest. If the end of `prefill` was edited, continue
    after the longest match of its last characters. Without a match, yield the whole text in a new
    paragraph.
    """
    rest = iter(blocks)
    if not prefill:
        yield from rest
        return
    said: list[str] = []
    length = 0
    for block in rest:
        said.append(block)
        length += len(block)
        if length >= len(prefill):
            break
    text = "".join(said)
    if text.startswith(prefill):
        yield text[len(prefill) :]
        yield from rest
        return
    text += "".join(rest)
    if prefill.startswith(text):
        return
    for size in _TAILS:
        tail = prefill[-size:]
        found = text.find(tail)
        if found >= 0 and len(tail) == size:
            yield text[found + size :]
            return
    yield "\n\n" if not prefill.endswith("\n") else ""
    yield text

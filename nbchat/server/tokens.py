"""Text as a model would say it: cut into tokens, ended at a stop sequence, taken up after a beginning.

All three are lazy, so that the first words of a long answer cost no more than those of a short one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_TOKEN = re.compile(r" ?[A-Za-z]{1,6}|[0-9]{1,3}|\n+|[ \t]+|[!-/:-@\[-`{-~]{1,2}")
_TAILS = (400, 200, 100, 50, 25, 12)


def tokens(blocks: Iterable[str]) -> Iterator[str]:
    """Yield pieces of a few characters; joined they are the blocks, whatever the script.

    About as long as a real model's tokens: six letters at most with the space before them, three
    digits, a few signs; outside of ASCII one character each.
    """
    for block in blocks:
        at = 0
        for match in _TOKEN.finditer(block):
            yield from block[at : match.start()]
            yield match.group()
            at = match.end()
        yield from block[at:]


def until(blocks: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Yield the text up to the first stop sequence, which itself is not said."""
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
        # The beginning of a stop sequence may stand at the end: hold back what it could be.
        safe = len(held) - longest + 1
        if safe > 0:
            yield held[:safe]
            held = held[safe:]
    yield held


def after(blocks: Iterable[str], prefill: str) -> Iterator[str]:
    """Yield what is still to be said after `prefill`.

    Where the text begins with it: the rest, without a seam. Where somebody has edited the end: from the
    place that fits its last words best. Where nothing fits: the text from its beginning, in a new
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

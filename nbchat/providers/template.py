"""A shortcut through JSON: the chunks of one answer are the same bytes, but for one string.

Between `{"id":"…","choices":[{"index":0,"delta":{"content":` and `},"finish_reason":null}]}` stands the
text. Once a chunk was decoded, and what stands around its text is known, the next one with the same
surroundings is decoded by decoding that string alone, which is several times as fast and gives the same:
JSON with one string put in another's place is the same JSON with another string.

Servers whose chunks differ elsewhere too (a counter, padding) gain nothing, and are soon let alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import orjson

_TRIES: Final = 4
"""Surroundings that turned out not to last, before a stream is let alone."""

_LASTED: Final = 16
"""Chunks for which surroundings have to hold to have been worth it."""

_PROBE: Final = "nbchat"


class Template:
    """What stands around the text of one stream's chunks.

    Parameters
    ----------
    text_of
        Returns the text of a decoded chunk that holds text and nothing else; None for any other.
    """

    __slots__ = ("_after", "_before", "_left", "_lengths", "_text_of", "_used")

    def __init__(self, text_of: Callable[[object], str | None]) -> None:
        self._text_of = text_of
        self._before = self._after = b""
        self._lengths = (0, 0)
        self._left = _TRIES
        self._used = 0

    def match(self, event: bytes) -> str | None:
        """Return the text of an event with the known surroundings; None for every other one."""
        if not self._after or not event.startswith(self._before) or not event.endswith(self._after):
            return None
        before, after = self._lengths
        literal = event[before:after]
        # White space around the string would be JSON as well, but a CR there would end the event's line.
        if literal[:1] != b'"' or literal[-1:] != b'"':
            return None
        try:
            text = orjson.loads(literal)
        except orjson.JSONDecodeError:
            return None
        self._used += 1
        return text if type(text) is str else None

    def learn(self, event: bytes, text: str) -> None:
        """Take the surroundings of `text` in an event that was decoded the long way."""
        if self._left <= 0:
            return
        self._left = _TRIES if self._used >= _LASTED else self._left - 1
        self._used = 0
        literal = orjson.dumps(text)
        at = event.rfind(literal)
        before, after = event[:at], event[at + len(literal) :]
        # The same letters may stand elsewhere: put others in their place, and look where they come out.
        try:
            probed = self._text_of(orjson.loads(b"".join((before[6:], orjson.dumps(_PROBE), after))))
        except orjson.JSONDecodeError:
            probed = None
        if at < 0 or probed != _PROBE:
            self._after = b""
            return
        self._before, self._after = before, after
        self._lengths = (len(before), -len(after))

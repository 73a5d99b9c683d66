"""Finding words in what was said: in all sessions, also in those whose messages have left memory."""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from nbchat.core.errors import NbchatError
from nbchat.core.messages import Attachment, FilePart, Message, TextPart
from nbchat.core.text import boundary
from nbchat.core.transcript import SessionState
from nbchat.protocol import Hit

MOST: Final = 50
"""Places that are returned, at most."""

BEFORE: Final = 24
AFTER: Final = 80
"""Characters around a place that are returned with it."""

MAX_QUERY: Final = 200
"""Characters of a query; what follows them is not looked for."""

SEARCH_S: Final = 2.0
"""Seconds that a search may take before it returns what it has: reading many sessions again costs time."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was found."""

    hits: tuple[Hit, ...]
    more: bool
    """There may be more: the search ended at a limit."""


def search(
    query: str,
    sessions: Iterable[Callable[[], SessionState]],
    *,
    most: int = MOST,
    seconds: float = SEARCH_S,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Result:
    """Return where `query` stands in transcripts, once for each message, without regard to case.

    States are immutable, so this may run on any thread beside those that write.

    Parameters
    ----------
    query
        What to look for, as it stands; white space around it does not count.
    sessions
        Functions that return sessions' states, in the order in which their hits are wanted. They are
        called one by one, so that what has to be read again is read only when its turn comes.
    most, seconds
        Limits of hits and of time.
    is_wanted
        Asked between two sessions; once it says no, the search ends.

    Returns
    -------
    The hits, in each session the newest message first.
    """
    words = query.strip()[:MAX_QUERY]
    if not words:
        return Result((), more=False)
    # An accent may be part of its letter or a character behind it: systems differ in what they type.
    forms = {re.escape(unicodedata.normalize(form, words)) for form in ("NFC", "NFD")}
    pattern = re.compile("|".join(forms | {re.escape(words)}), re.IGNORECASE)
    deadline = time.monotonic() + seconds
    hits: list[Hit] = []
    more = False
    for state_of in sessions:
        if time.monotonic() > deadline or not is_wanted():
            more = True
            break
        try:
            found = list(islice(_find(pattern, state_of()), most + 1 - len(hits)))
        except NbchatError:
            more = True  # it could not be read again; the others can
            continue
        hits += found
        if len(hits) > most:
            more = True
            break
    return Result(tuple(hits[:most]), more=more)


MAX_GRAPHEME: Final = 64
"""Characters of the longest grapheme that excerpts keep whole."""


def _find(pattern: re.Pattern[str], state: SessionState) -> Iterator[Hit]:
    for message in reversed(state.path):
        for text in _texts(message):
            found = pattern.search(text)
            if found is None:
                continue
            start, end = found.span()
            yield Hit(
                session_id=state.id,
                message_id=message.id,
                before=_last(text[:start], BEFORE),
                match=found.group(),
                after=text[end : end + boundary(text[end : end + AFTER + 1], AFTER)],
            )
            break


def _last(text: str, most: int) -> str:
    """Return the end of `text` in about `most` characters, from a boundary between graphemes."""
    start = max(len(text) - most, 0)
    # The beginning of a grapheme can be seen from some way before it only.
    seen = max(start - MAX_GRAPHEME, 0)
    return text[seen + boundary(text[seen:], start - seen) :]


def _texts(message: Message) -> Iterator[str]:
    """Yield what was said, and the names and texts of what was attached."""
    for part in message.parts:
        if isinstance(part, Attachment):
            yield part.name
        if isinstance(part, TextPart | FilePart):
            yield part.text

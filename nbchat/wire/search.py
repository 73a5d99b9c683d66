"""`search`: finds text in the messages of all sessions, including evicted ones."""

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
"""Maximum number of hits returned."""

BEFORE: Final = 24
AFTER: Final = 80
"""Characters before and after a match that are returned with it."""

MAX_QUERY: Final = 200
"""Characters of a query that are used; the rest is ignored."""

SEARCH_S: Final = 2.0
"""Seconds after which a search returns its hits so far, since loading evicted sessions is slow."""


@dataclass(frozen=True, slots=True)
class Result:
    """Result of a search."""

    hits: tuple[Hit, ...]
    more: bool
    """True if there may be more hits: the search ended at a limit."""


def search(
    query: str,
    sessions: Iterable[Callable[[], SessionState]],
    *,
    most: int = MOST,
    seconds: float = SEARCH_S,
    is_wanted: Callable[[], bool] = lambda: True,
) -> Result:
    """Return the matches of `query` in transcripts, ignoring case, at most one per message.

    States are immutable, so this may run on any thread while sessions change.

    Parameters
    ----------
    query
        Literal text to search for; surrounding white space is ignored.
    sessions
        Functions that return the states of sessions, in the order of their hits. They are called one by one,
        so that evicted sessions are loaded only when they are searched.
    most, seconds
        Limits of the number of hits and of the time.
    is_wanted
        Called between two sessions; the search ends once it returns false.

    Returns
    -------
    The hits; in each session the newest message comes first.
    """
    words = query.strip()[:MAX_QUERY]
    if not words:
        return Result((), more=False)
    # An accented letter may be one character or two: input systems differ.
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
            more = True  # this session could not be loaded; search the others
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
    # Grapheme boundaries are found only by scanning from some characters earlier.
    seen = max(start - MAX_GRAPHEME, 0)
    return text[seen + boundary(text[seen:], start - seen) :]


def _texts(message: Message) -> Iterator[str]:
    """Yield the texts of a message, and the names and texts of its attachments."""
    for part in message.parts:
        if isinstance(part, Attachment):
            yield part.name
        if isinstance(part, TextPart | FilePart):
            yield part.text

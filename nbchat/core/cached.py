"""`CachedAnswer`: a complete answer, as the cache of answers stores it."""

from __future__ import annotations

from typing import Final

from nbchat.core.messages import ImagePart, ReasoningPart, Source, TextPart
from nbchat.core.values import SafeInt, Value

CACHE: Final = "nbchat_cache"
"""Name of the field among a run's `params` that lets its answer come from the cache. It is never sent."""


class CachedAnswer(Value, frozen=True, kw_only=True):
    """A complete answer. It contains neither the question nor any credentials."""

    parts: tuple[TextPart | ReasoningPart | ImagePart, ...]
    model: str | None
    """The model that answered."""
    finish_reason: str
    sources: tuple[Source, ...] = ()
    tokens: SafeInt = 0
    """Tokens of the question and the answer, which another request would cost."""

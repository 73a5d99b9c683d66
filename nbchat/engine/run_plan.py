"""`RunPlan`: the work of a live run, decided when it starts."""

from __future__ import annotations

from msgspec import Struct

from nbchat.providers.base import Request


class RunPlan(Struct, frozen=True, kw_only=True):
    """The work of a live run, decided when it starts."""

    run_id: str
    request: Request
    first_part: int
    """Number of parts that the answer already has."""
    characters_left: int
    """Characters that may still be added to the session."""
    uses_cache: bool = False
    """The answer may come from the cache of answers, and may be added to it."""
    text_before: str = ""
    """Text of the answer that the run continues, after the last result of a tool."""

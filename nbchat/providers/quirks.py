"""What servers refuse although others need it: asked once more without, and remembered."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal

from nbchat.providers.prompts import Body

Quirk = Literal["stream_options", "max_tokens", "max_completion_tokens", "background", "images"]
"""Named after the field that the server does not take; `images` are those of earlier messages."""

_STREAM_OPTIONS: Final = re.compile(r"stream_options|include_usage")
_BACKGROUND: Final = re.compile(r"\b(?:background|store)\b")


def find_quirk(body: Body, refusal: str, known: Collection[Quirk] = ()) -> Quirk | None:
    """Return what in `body` the server's refusal names and can be done without; None for nothing.

    Parameters
    ----------
    known
        Quirks that `body` respects already. The two names of one limit are tried once, not in turn.
    """
    has_limit_quirk = "max_tokens" in known or "max_completion_tokens" in known
    if "stream_options" in body and _STREAM_OPTIONS.search(refusal):
        return "stream_options"
    if not has_limit_quirk and "max_tokens" in body and "max_completion_tokens" in refusal:
        return "max_tokens"
    if not has_limit_quirk and "max_completion_tokens" in body and "max_completion_tokens" in refusal:
        return "max_completion_tokens"
    if body.get("background") and _BACKGROUND.search(refusal):
        return "background"
    return None


def without(body: Body, quirk: Quirk) -> Body:
    """Return a body that says the same to a server with that quirk."""
    body = dict(body)
    if quirk == "stream_options":
        body.pop("stream_options", None)
    elif quirk == "background":
        body.pop("background", None)
        body.pop("store", None)
    elif quirk != "images":  # they are taken out before there is a body
        other = "max_completion_tokens" if quirk == "max_tokens" else "max_tokens"
        if quirk in body:
            body.setdefault(other, body.pop(quirk))
    return body

"""`find_quirk` detects request fields that a server rejects; the request is retried without them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final, Literal

from nbchat.providers.prompts import Body

Quirk = Literal[
    "stream_options", "max_tokens", "max_completion_tokens", "background", "images", "schema", "tools"
]
"""Named after the field that the server rejects; `images` are those of earlier messages."""

_STREAM_OPTIONS: Final = re.compile(r"stream_options|include_usage")
_SCHEMA: Final = re.compile(
    r"response[_ ]format|json[_ ]?schema|text\.format|structured output|grammar|response mime type",
    re.IGNORECASE,
)
_TOOLS_NAME: Final = r"\b(?:tools|functions|(?:tool|function)[ _-]?(?:use|calling))\b(?!\[|\.\w)"
# Not every error about tools: a server that rejects one of them, or a result, supports tools.
_TOOLS: Final = re.compile(
    rf"(?:\bnot|n't|\bno\b[^.]{{0,40}}) (?:support|accept|allow)\w*[^.]{{0,20}}?{_TOOLS_NAME}"
    rf"|{_TOOLS_NAME}[^.]{{0,20}}? (?:is|are) "
    r"(?:unsupported|not (?:\w+ )?(?:supported|enabled|available|allowed))"
    r"|\b(?:unsupported|unrecogni[sz]ed|unknown|unexpected)"
    rf"[^.\w]+(?:(?:request|argument|parameter|field|key|property|supplied)s?[^.\w]+){{0,4}}{_TOOLS_NAME}"
    r"|\b(?:tools|tool choice)\b[^.]{0,20}? requires? --"
    r'|"loc"\s*:\s*\[\s*"body"\s*,\s*"tools"\s*\]',
    re.IGNORECASE,
)
_BACKGROUND: Final = re.compile(r"\b(?:background|store)\b")


def find_quirk(  # noqa: PLR0911 - a return per quirk
    body: Body, refusal: str, known: Collection[Quirk] = ()
) -> Quirk | None:
    """Return the optional part of `body` named in the server's error; `None` if there is no such part.

    Parameters
    ----------
    known
        Quirks already applied to `body`. The two names of the token limit are swapped at most once.
    """
    has_limit_quirk = "max_tokens" in known or "max_completion_tokens" in known
    if "stream_options" in body and _STREAM_OPTIONS.search(refusal):
        return "stream_options"
    if not has_limit_quirk and "max_tokens" in body and "max_completion_tokens" in refusal:
        return "max_tokens"
    if not has_limit_quirk and "max_completion_tokens" in body and "max_completion_tokens" in refusal:
        return "max_completion_tokens"
    if has_schema(body) and _SCHEMA.search(refusal):
        return "schema"
    if body.get("tools") and "tools" not in known and _TOOLS.search(refusal):
        return "tools"
    if body.get("background") and _BACKGROUND.search(refusal):
        return "background"
    return None


def has_schema(body: Body) -> bool:
    """Return whether a body asks for an answer that matches a schema."""
    text = body.get("text")
    formats = (body.get("response_format"), text.get("format") if isinstance(text, dict) else None)
    return any(isinstance(one, dict) and one.get("type") == "json_schema" for one in formats)


def without(body: Body, quirk: Quirk) -> Body:
    """Return an equivalent body for a server with that quirk."""
    body = dict(body)
    if quirk == "stream_options":
        body.pop("stream_options", None)
    elif quirk == "background":
        body.pop("background", None)
        body.pop("store", None)
    elif quirk not in ("images", "schema", "tools"):  # these are removed before the body is built
        other = "max_completion_tokens" if quirk == "max_tokens" else "max_tokens"
        if quirk in body:
            body.setdefault(other, body.pop(quirk))
    return body

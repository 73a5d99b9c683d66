"""Functions that read the fields of a server's events: texts, sources and token counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from nbchat.core.messages import Source, Usage

_MAX_COUNT: Final = 2**53 - 1
"""The largest interoperable integer in JSON (RFC 8259, section 6)."""


def texts_in(parts: object) -> Iterator[str]:
    """Yield the texts of a list of parts, or of a single string."""
    if isinstance(parts, str):
        yield parts
    for part in parts if isinstance(parts, list) else ():
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text


def source_of(item: object) -> Source | None:
    """Return the source of one citation; `None` if it has neither title nor URL."""
    if isinstance(item, str):
        return Source(url=item) if item else None
    if not isinstance(item, dict):
        return None
    # Chat Completions nests the fields of an annotation under the name of its type; Responses does not.
    inner = item.get(str(item.get("type")))
    held: Mapping[str, object] = inner if isinstance(inner, dict) else item

    def field(*names: str) -> str:
        return next((v for name in names if isinstance(v := held.get(name), str) and v), "")

    source = Source(title=field("title", "filename", "file_id"), url=field("url"))
    return source if source.title or source.url else None


def count(value: object) -> int | None:
    """Return a number of tokens; `None` if it is missing.

    Raises
    ------
    ValueError
        If the value is invalid, so that no count of the server can be trusted.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise ValueError("not a number of tokens")
    return value


def usage_of(value: object, names: tuple[str, str]) -> Usage | None:
    """Return the usage in an object of the server; `None` if it is missing or invalid.

    Parameters
    ----------
    names
        Names of the input and output counts in this API. Details are in `<name>_details`.
    """
    if not isinstance(value, Mapping):
        return None
    try:
        tokens_in, tokens_out = count(value.get(names[0])), count(value.get(names[1]))
    except ValueError:
        return None
    reasoning = _detail(value, names[1], "reasoning_tokens")
    # Some servers, such as that of xAI, do not count reasoning as output; their total shows it.
    if reasoning and value.get("total_tokens") == (tokens_in or 0) + (tokens_out or 0) + reasoning:
        tokens_out = (tokens_out or 0) + reasoning
    usage = Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        reasoning_tokens=reasoning,
        cached_tokens=_detail(value, names[0], "cached_tokens"),
    )
    return None if tokens_in is None and tokens_out is None else usage


def _detail(value: Mapping[str, object], name: str, what: str) -> int | None:
    details = value.get(f"{name}_details")
    try:
        return count(details.get(what)) if isinstance(details, Mapping) else None
    except ValueError:
        return None

"""`output_of_result` converts the result of an MCP call to text and pictures."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any

from nbchat.core.redact import redact
from nbchat.engine.tools import MAX_IMAGES, ToolOutput
from nbchat.tools.results import picture_url


def output_of_result(result: Any, secrets: Iterable[str]) -> ToolOutput:  # noqa: ANN401 - the library is not imported here
    """Return a result for the model and the reader; the engine limits the text.

    Parameters
    ----------
    result
        A `CallToolResult`.
    secrets
        Values that must not be in the text.
    """
    texts: list[str] = []
    images: list[str] = []
    for item in result.content:
        if item.type == "text":
            texts.append(item.text)
        elif item.type == "image":
            picture = _picture(item.data) if len(images) < MAX_IMAGES else None
            if picture is None:
                texts.append("[a picture is omitted]")
            else:
                images.append(picture)
        elif item.type == "resource_link":
            texts.append(f"[link: {item.name}, {item.uri}]")
        elif item.type == "resource" and hasattr(item.resource, "text"):
            texts.append(item.resource.text)
        else:
            texts.append(f"[content of type {item.type} is omitted]")
    if not result.content and result.structured_content is not None:
        texts.append(json.dumps(result.structured_content, ensure_ascii=False))
    text = redact("\n".join(texts), secrets)
    if not text and not images:
        text = "[no output]"
    return ToolOutput(text=text, is_error=bool(result.is_error), images=tuple(images))


def _picture(data: str) -> str | None:
    """Return a picture as a `data:` URL; `None` if it cannot be shown."""
    try:
        return picture_url(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None

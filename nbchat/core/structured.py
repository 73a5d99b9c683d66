"""`SCHEMA`: the request field that asks for an answer as JSON that matches a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

SCHEMA: Final = "schema"
"""Name of the field among a run's `params`. Providers send it in the form of their API."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9_-]+")
_MAX_NAME: Final = 64


def schema_name(schema: Mapping[str, Any]) -> str:
    """Return the schema's title as a name that both APIs of OpenAI accept."""
    title = schema.get("title")
    name = _NOT_IN_NAMES.sub("_", title).strip("_") if isinstance(title, str) else ""
    return name[:_MAX_NAME] or "answer"


def schema_text(schema: Mapping[str, Any]) -> str:
    """Return the schema as compact JSON, for a prompt."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))

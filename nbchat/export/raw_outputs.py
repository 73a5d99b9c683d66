"""`count_raw_outputs` finds outputs of earlier versions, which contain the text of models as raw Markdown.

In a trusted notebook, scripts in such a text run each time the notebook is opened. A view in the page
replaces these outputs by the same rules (`js/src/jupyter/raw-outputs.ts`).
"""

from __future__ import annotations

import re
from typing import Any, Final

_REPR: Final = re.compile(r"<(?:Message|Run|Result) [^\n]*>")
_MAGIC: Final = re.compile(r"\s*%{1,2}chat\b")


def count_raw_outputs(notebook: Any) -> int:  # noqa: ANN401 - any JSON value
    """Return the number of outputs that an earlier version wrote to a notebook as raw Markdown."""
    return sum(
        _is_raw(output, _text(cell.get("source")))
        for cell in _dicts(notebook, "cells")
        for output in _dicts(cell, "outputs")
    )


def _is_raw(output: dict[str, Any], source: str) -> bool:
    data = output.get("data")
    if not isinstance(data, dict) or "text/markdown" not in data:
        return False
    markdown, plain = _text(data["text/markdown"]), _text(data.get("text/plain"))
    metadata = output.get("metadata")
    own = metadata.get("nbchat") if isinstance(metadata, dict) else None
    if isinstance(own, dict) and isinstance(own.get("transcript"), str):
        return True
    return bool(_REPR.fullmatch(plain)) or (plain == markdown and bool(_MAGIC.match(source)))


def _dicts(value: Any, name: str) -> list[dict[str, Any]]:  # noqa: ANN401 - any JSON value
    items = value.get(name) if isinstance(value, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""

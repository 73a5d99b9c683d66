"""Conversations for people and other programs: Markdown, HTML, JSONL, notebooks; and the way back.

Exported pages and notebooks run, load and call nothing when they are opened. Markdown and JSONL are the texts
as they are.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from nbchat.core.text import cut_bytes
from nbchat.core.transcript import SessionState

FORMATS: Final[Mapping[str, str]] = {
    "md": "nbchat.export.markdown.to_markdown",
    "html": "nbchat.export.html.to_html",
    "jsonl": "nbchat.export.jsonl.to_jsonl",
    "ipynb": "nbchat.export.notebook.to_ipynb",
}
"""Functions that write a format, by the ending of its files. They are imported when they are used."""

_ALIASES: Final = {"markdown": "md", "htm": "html"}
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}
)


def render(states: Sequence[SessionState], to: str) -> str:
    """Return conversations in a format.

    Raises
    ------
    ValueError
        There is no such format.
    """
    name = to.lower().lstrip(".")
    writer = FORMATS.get(_ALIASES.get(name, name))
    if writer is None:
        raise ValueError(f"there is no format {to!r}; the formats are {', '.join(FORMATS)}.")
    module, _, function = writer.rpartition(".")
    text: str = getattr(import_module(module), function)(states)
    return text


def export(states: Sequence[SessionState], target: str | os.PathLike[str], *, to: str | None = None) -> str:
    """Return conversations in a format, and write them where `target` is a file and not just a format.

    Raises
    ------
    ValueError
        There is no such format.
    FileExistsError
        The file is there already.
    """
    name = os.fspath(target)
    if to is None and _ALIASES.get(name, name) in FORMATS:
        return render(states, name)
    path = Path(name)
    if path.is_dir():
        path /= f"{slug(states[0].title if states else '')}.{to or 'md'}"
    if to is None and not path.suffix:
        raise ValueError(f"there is no format {name!r}; the formats are {', '.join(FORMATS)}.")
    text = render(states, to or path.suffix)
    # Neither replaced nor followed: what stands there, or where a link leads, is somebody else's.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return text


def slug(title: str) -> str:
    """Return a file's name made of a title: letters, digits and dashes, at most 80 bytes, never reserved."""
    name = ""
    for character in unicodedata.normalize("NFC", title).lower():
        # Accents and vowel signs that are characters of their own belong to the letter before them.
        is_mark = unicodedata.category(character)[0] == "M" and name[-1:] not in {"", "-"}
        name += character if is_mark or character == "_" or character.isalnum() else "-"
    name = cut_bytes(re.sub("-+", "-", name).strip("-_"), 80).rstrip("-")
    return f"chat-{name}".rstrip("-") if not name or name in _RESERVED else name


__all__ = ["FORMATS", "export", "render", "slug"]

"""Export of conversations to Markdown, HTML, JSONL and notebooks, and import from such files.

Exported pages and notebooks run no code and load nothing when they are opened. Markdown and JSONL contain the
texts unchanged.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from nbchat.core.ids import new_id
from nbchat.core.text import cut_bytes
from nbchat.core.transcript import SessionState

FORMATS: Final[Mapping[str, str]] = {
    "md": "nbchat.export.markdown.to_markdown",
    "html": "nbchat.export.html.to_html",
    "jsonl": "nbchat.export.jsonl.to_jsonl",
    "ipynb": "nbchat.export.notebook.to_ipynb",
}
"""Functions that write a format, by file extension. They are imported when they are used."""

_ALIASES: Final = {"markdown": "md", "htm": "html"}
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}
)


def render(states: Sequence[SessionState], to: str) -> str:
    """Return conversations in a format.

    Raises
    ------
    ValueError
        If there is no such format.
    """
    name = to.lower().lstrip(".")
    writer = FORMATS.get(_ALIASES.get(name, name))
    if writer is None:
        raise ValueError(f"there is no format {to!r}; the formats are {', '.join(FORMATS)}.")
    module, _, function = writer.rpartition(".")
    text: str = getattr(import_module(module), function)(states)
    return text


def export(
    states: Sequence[SessionState],
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    overwrite: bool = False,
) -> str | Path:
    """Return conversations in a format. If `target` is a file, write them to it and return its path.

    Raises
    ------
    ValueError
        If there is no such format.
    FileExistsError
        If the file exists and `overwrite` is false.
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
    if overwrite:
        _replace(path, text)
    else:
        try:
            _create(path, text)
        except FileExistsError:
            raise FileExistsError(
                f"{path} exists. Pass overwrite=True to replace it, or give another name."
            ) from None
    return path


def _create(path: Path, text: str) -> None:
    # A link is not followed, because its target was not named.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o644), "w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _replace(path: Path, text: str) -> None:
    """Replace a file or a link by a new file atomically. If writing fails, it is unchanged."""
    unfinished = path.with_name(f".{path.name[:100]}.{new_id('')}")
    try:
        _create(unfinished, text)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def slug(title: str) -> str:
    """Return a file name for a title: letters, digits and dashes, at most 80 bytes, never reserved."""
    name = ""
    for character in unicodedata.normalize("NFC", title).lower():
        # Combining accents and vowel signs belong to the letter before them.
        is_mark = unicodedata.category(character)[0] == "M" and name[-1:] not in {"", "-"}
        name += character if is_mark or character == "_" or character.isalnum() else "-"
    name = cut_bytes(re.sub("-+", "-", name).strip("-_"), 80).rstrip("-")
    return f"chat-{name}".rstrip("-") if not name or name in _RESERVED else name


__all__ = ["FORMATS", "export", "render", "slug"]

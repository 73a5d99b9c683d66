"""Which file belongs to which notebook: `<Jupyter data>/nbchat/journals/<notebook id>.sqlite`.

The notebook's id stands in its metadata. Until it was saved there, a note by the notebook's path leads to
it, so that not even a notebook that was never saved loses anything with its kernel.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"n-[0-9a-z]{1,64}")


def folder() -> Path:
    """Return where journals are kept: `NBCHAT_JOURNAL_DIR`, else in Jupyter's data folder."""
    own = os.environ.get("NBCHAT_JOURNAL_DIR")
    if own:
        return Path(own)
    try:
        from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415 - scripts may not have it
    except ImportError:
        return Path.home() / ".local" / "share" / "jupyter" / "nbchat" / "journals"
    return Path(jupyter_data_dir()) / "nbchat" / "journals"


def is_id(notebook_id: object) -> bool:
    """Tell whether this can be the id of a notebook; nothing else becomes part of a file's name."""
    return isinstance(notebook_id, str) and _ID.fullmatch(notebook_id) is not None


def journal(notebook_id: str) -> Path:
    """Return the journal's file.

    Raises
    ------
    ValueError
        It is not an id of ours.
    """
    if not is_id(notebook_id):
        raise ValueError(f"{notebook_id!r} is not the id of a notebook.")
    return folder() / f"{notebook_id}.sqlite"


def digest(path: str) -> str:
    """Return a name for a notebook's path that says nothing about it."""
    return hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _note(path: str) -> Path:
    return folder() / "unsaved" / digest(path)


def noted(path: str) -> str | None:
    """Return the id that a notebook was given which has not been saved since, or None."""
    with contextlib.suppress(OSError, ValueError):
        found = _note(path).read_text("utf-8").strip()
        return found if is_id(found) else None
    return None


def note(path: str, notebook_id: str) -> None:
    """Lead from a path to the id, as long as the notebook does not say it itself."""
    place = _note(path)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.write_text(notebook_id, "utf-8")


def forget_note(path: str) -> None:
    """Hear that the notebook was saved with its id."""
    with contextlib.suppress(OSError):
        _note(path).unlink()

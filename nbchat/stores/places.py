"""Paths of journals: `<Jupyter data>/nbchat/journals/<notebook id>.sqlite`.

The id of a notebook is in its metadata. Until the notebook is saved with it, a note file maps the notebook's
path to the id, so that a notebook that was never saved loses nothing when its kernel ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

_ID: Final = re.compile(r"n-[0-9a-z]{1,64}")


def folder() -> Path:
    """Return the folder of journals: `NBCHAT_JOURNAL_DIR`, else a folder in Jupyter's data folder."""
    own = os.environ.get("NBCHAT_JOURNAL_DIR")
    if own:
        return Path(own)
    try:
        from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415 - scripts may not have it
    except ImportError:
        return Path.home() / ".local" / "share" / "jupyter" / "nbchat" / "journals"
    return Path(jupyter_data_dir()) / "nbchat" / "journals"


def is_disabled() -> bool:
    """Return whether writing outside the notebook is disabled, by `NBCHAT_JOURNAL` or by default in Voilà.

    Voilà starts a kernel for each load of a page, and a later kernel does not find its journal.
    """
    setting = os.environ.get("NBCHAT_JOURNAL", "").lower()
    return setting in ("0", "false", "no", "off") or (not setting and "VOILA_PREHEAT" in os.environ)


def is_id(notebook_id: object) -> bool:
    """Return whether a value is a valid notebook id. Only valid ids become part of a file name."""
    return isinstance(notebook_id, str) and _ID.fullmatch(notebook_id) is not None


def journal(notebook_id: str) -> Path:
    """Return the path of a notebook's journal.

    Raises
    ------
    ValueError
        If the id is not valid.
    """
    if not is_id(notebook_id):
        raise ValueError(f"{notebook_id!r} is not the id of a notebook.")
    return folder() / f"{notebook_id}.sqlite"


def answer_cache() -> Path:
    """Return the path of the cache of answers of this user, for all notebooks and scripts."""
    return folder() / "cache" / "answers-1.sqlite"


BATCH_DAYS: Final = 7
"""Days for which the answers of a batch are kept that no kernel has read."""


def batch(notebook_id: str, batch_id: str) -> Path:
    """Return the path of the answers of a notebook's batch, whose folder is created if necessary."""
    place = folder() / "batches"
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    return place / f"{notebook_id}-{batch_id}.jsonl"


def batches() -> Iterator[Path]:
    """Yield the files with the answers of batches, of all notebooks."""
    return (folder() / "batches").glob("n-*-b-*.jsonl")


def remove_old_batches(paths: Iterable[Path]) -> None:
    """Delete the answers of batches that were not written to for `BATCH_DAYS`."""
    oldest = time.time() - BATCH_DAYS * 24 * 3600
    with contextlib.suppress(OSError):
        for path in paths:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def digest(path: str) -> str:
    """Return a hash of a notebook's path, which does not reveal it."""
    return hashlib.sha256(os.path.realpath(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _note(path: str) -> Path:
    return folder() / "unsaved" / digest(path)


def noted(path: str) -> str | None:
    """Return the id of a notebook that has not been saved with it yet, or `None`."""
    with contextlib.suppress(OSError, ValueError):
        found = _note(path).read_text("utf-8").strip()
        return found if is_id(found) else None
    return None


def note(path: str, notebook_id: str) -> None:
    """Map a path to a notebook id until the notebook is saved with the id."""
    place = _note(path)
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        place.write_text(notebook_id, "utf-8")


def forget_note(path: str) -> None:
    """Delete the note of a notebook that was saved with its id."""
    with contextlib.suppress(OSError):
        _note(path).unlink()

"""`place_of`: the place that the `journal` of a batch names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from nbchat.batch_engine.answer_file import FilePlace
from nbchat.stores.redis_server import SCHEMES

if TYPE_CHECKING:
    from nbchat.batch_engine.answers import Place


def absolute(journal: str | os.PathLike[str]) -> str:
    """Return a journal as it is named in any folder: a URL, or an absolute path."""
    name = os.fspath(journal)
    return name if _is_url(name) else os.path.abspath(name)  # noqa: PTH100 - links stay


def place_of(journal: str) -> Place:
    """Return the place of a journal: on a server of Redis or Valkey, or in a file."""
    if not _is_url(journal):
        return FilePlace(Path(journal))
    from nbchat.batch_engine.shared_answers import SharedPlace  # noqa: PLC0415 - only where it is used

    url, _, name = journal.partition("#")
    return SharedPlace(url, unquote(name))


def _is_url(journal: str) -> bool:
    return journal.partition("://")[0] in SCHEMES and "://" in journal

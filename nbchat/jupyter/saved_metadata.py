"""`SavedMetadata`: reads the conversations in the notebook's metadata, from a page or from the file."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nbchat.core.errors import NbchatError, SnapshotError, SnapshotTooNew
from nbchat.core.saved import Snapshot
from nbchat.core.snapshot import loads, parse
from nbchat.export.reading import saved_in
from nbchat.protocol import Stored

logger = logging.getLogger("nbchat")

PAGE_S: Final = 1.0
"""Longest wait for a page to connect."""

STORED_S: Final = 4.0
"""Longest wait for the stored state of a page that has connected."""

MAX_PIECES: Final = 256
"""Maximum number of pieces in which a page sends its stored state. Messages with more are ignored."""

MAX_INCOMPLETE: Final = 8
"""Maximum number of incomplete states; older ones are of pages that disconnected before the last piece."""


class SavedMetadata:
    """Waits for the metadata that a page sends, which includes unsaved changes; else reads the file."""

    def __init__(self) -> None:
        self.blocked: SnapshotError | None = None
        """The error because of which the metadata must not be overwritten."""
        self.path = ""
        """Path of the notebook in the page that answered first."""
        self._pieces: dict[tuple[str, str], dict[int, str]] = {}
        self._connected = threading.Event()
        self._answered = threading.Event()
        self._lock = threading.Lock()
        self._is_late = False
        """True if `read` no longer waits."""
        self._text: str | None = None

    def on_page(self) -> None:
        """Record that a page has connected."""
        self._connected.set()

    def add_piece(self, message: Stored) -> str | None:
        """Add a piece of a page's metadata; return the whole text if it is complete."""
        if not 0 < message.of <= MAX_PIECES or not 0 <= message.piece < message.of:
            return None
        self._connected.set()
        key = (message.page, message.id)
        pieces = self._pieces.setdefault(key, {})
        pieces[message.piece] = message.text
        while len(self._pieces) > MAX_INCOMPLETE:
            self._pieces.pop(next(iter(self._pieces)))
        if len(pieces) < message.of:
            return None
        del self._pieces[key]
        return "".join(pieces[i] for i in range(message.of))

    def answer(self, text: str | None, path: str) -> bool:
        """Pass the metadata of a page to `read`; return `False` if it no longer waits.

        `text` is `None` if the page has no access to the notebook.
        """
        with self._lock:
            if self._is_late or self._answered.is_set():
                return False
            self._text, self.path = text, path
            self._answered.set()
            return True

    def read(self, connect: Callable[[], object], path: str) -> Snapshot | None:
        """Return the saved conversations, if any. Blocks the caller's thread.

        Parameters
        ----------
        connect
            Creates the widget that connects to pages.
        path
            Path of the notebook's file.
        """
        try:
            connect()
        except Exception:
            logger.debug("no page can be reached", exc_info=True)
        else:
            if self._connected.wait(PAGE_S):
                self._answered.wait(STORED_S)
        with self._lock:
            self._is_late = True
        if self._text is not None:
            return self.parse(self._text)
        try:
            value = saved_in(Path(path))
        except (OSError, NbchatError) as error:
            logger.debug("the notebook's file could not be read: %s", error)
            return None
        return self.parse(value)

    def parse(self, value: object) -> Snapshot | None:
        """Return the snapshot in the metadata. Metadata that cannot be read are never overwritten."""
        try:
            data = loads(value) if isinstance(value, str) else value
            return None if data is None else parse(data)
        except SnapshotError as error:
            logger.warning("the chats in the notebook's metadata could not be read: %s", error)
            self.blocked = error
            return _readable(value) if isinstance(error, SnapshotTooNew) else None


def _readable(value: object) -> Snapshot | None:
    """Return the readable part of a snapshot that a newer nbchat wrote; it is never written back."""
    data = loads(value) if isinstance(value, str) else value
    with contextlib.suppress(SnapshotError):
        return parse(data, newer=True)
    return None

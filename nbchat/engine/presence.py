"""`Presence`: the open pages, the sessions that each of them shows, and the page of the last action."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

MAX_PAGES: Final = 64
"""Pages that are kept; the oldest have been closed without a message."""


class _Page(Struct):
    viewing: tuple[str, ...] = ()
    drafts: tuple[str, ...] = ()
    reported_at: float = 0.0
    """Time of its last report, by the loop's clock."""


class Presence:
    """The open pages. Changed on the engine's loop; any thread may read it."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, _Page] = OrderedDict()
        self.last_actor: str | None = None
        """The page where the user last acted."""

    def __repr__(self) -> str:
        """Return the number of pages."""
        return f"<Presence of {len(self._pages)} pages>"

    @property
    def pages(self) -> list[str]:
        """Ids of the pages; the one that connected last comes last."""
        return list(self._pages)

    def connected(self, page: str) -> None:
        """Add a page, or move it to the end."""
        self._pages.setdefault(page, _Page())
        self._pages.move_to_end(page)
        while len(self._pages) > MAX_PAGES:
            self._pages.popitem(last=False)

    def shows(self, page: str, session_ids: tuple[str, ...], drafts: tuple[str, ...], now: float) -> None:
        """Set the sessions that a page shows, and those for which it holds unsent text."""
        self._pages[page] = _Page(session_ids, drafts, now)

    def is_viewed(self, session_id: str) -> bool:
        """Return whether any page shows the session."""
        return any(session_id in page.viewing for page in list(self._pages.values()))

    def has_draft(self, session_id: str) -> bool:
        """Return whether any page holds unsent text for the session."""
        return any(session_id in page.drafts for page in list(self._pages.values()))

    def drop_silent(self, session_id: str, since: float) -> bool:
        """Clear the sessions of pages that have not reported since then; return whether any showed it."""
        silent = [
            page for page in self._pages.values() if session_id in page.viewing and page.reported_at < since
        ]
        for page in silent:
            page.viewing = ()
        return bool(silent)

    def remove(self, pages: Iterable[str]) -> None:
        """Remove pages whose connection is closed."""
        for page in pages:
            self._pages.pop(page, None)
            if self.last_actor == page:
                self.last_actor = None

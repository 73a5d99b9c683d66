"""The conversation as Markdown in an output of its own, for where no widget runs.

GitHub, nbviewer, nbconvert and a notebook that is opened without its kernel show it. Where the view runs,
the page hides it; the view's own output is never updated, since that would rebuild the view.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.ids import new_id
from nbchat.export.markdown import transcript

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.runtime.registry import SessionRegistry

logger = logging.getLogger("nbchat")

MARK: Final = "[](#nbchat-transcript)"
"""An invisible link, by which the page knows the output and hides it beside a view."""

KEPT: Final = 8
"""Outputs that are kept up to date: those that were shown last."""


class Transcripts:
    """Shows transcripts beside views, and updates them."""

    def __init__(self, registry: SessionRegistry) -> None:
        self._registry = registry
        self._shown: OrderedDict[str, tuple[tuple[str, ...] | None, str]] = OrderedDict()

    def show(self, session_ids: Sequence[str] | None) -> None:
        """Display a transcript now, in the running cell. On the cell's thread.

        Parameters
        ----------
        session_ids
            The sessions in it; None: all that are open.
        """
        from IPython.display import display  # noqa: PLC0415 - only in a kernel

        ids = None if session_ids is None else tuple(session_ids)
        bundle = self._bundle(self._registry.engine.call(self._states, ids))
        display_id = new_id("nbchat-")
        self._shown[display_id] = (ids, bundle["text/markdown"])
        while len(self._shown) > KEPT:
            self._shown.popitem(last=False)
        metadata = {"nbchat": {"transcript": True}}
        display(bundle, raw=True, display_id=display_id, metadata=metadata)  # type: ignore[no-untyped-call,unused-ignore]

    async def update(self) -> None:
        """Bring all that were shown up to date. On the engine's loop."""
        for display_id, (ids, text) in list(self._shown.items()):
            bundle = await asyncio.to_thread(self._bundle, self._states(ids))
            if bundle["text/markdown"] != text and display_id in self._shown:
                self._shown[display_id] = (ids, bundle["text/markdown"])
                try:
                    await asyncio.to_thread(_update, bundle, display_id)
                except Exception:
                    logger.debug("a transcript could not be updated", exc_info=True)

    def _states(self, ids: tuple[str, ...] | None) -> list[SessionState]:
        return [
            conversation.state
            for conversation in self._registry.conversations()
            if not conversation.state.temporary
            and not conversation.evicted
            and (not conversation.state.settings.closed if ids is None else conversation.id in ids)
        ]

    @staticmethod
    def _bundle(states: Sequence[SessionState]) -> dict[str, Any]:
        spoken = [state for state in states if state.messages]
        rich, plain = transcript(spoken)
        return {"text/markdown": f"{MARK}\n\n{rich}".rstrip(), "text/plain": plain}


def _update(bundle: dict[str, Any], display_id: str) -> None:
    from IPython.display import update_display  # noqa: PLC0415 - only in a kernel

    metadata = {"nbchat": {"transcript": True}}
    update_display(bundle, raw=True, display_id=display_id, metadata=metadata)  # type: ignore[no-untyped-call,unused-ignore]

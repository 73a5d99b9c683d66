"""The conversation as sanitized HTML in an output of its own, for where no widget runs.

GitHub, nbviewer, nbconvert and a notebook that is opened without its kernel show it. Where the view runs,
the page hides it; the view's own output is never updated, since that would rebuild the view.

The page that writes checkpoints puts the newest text into the output as well: a message by display id
would reach every page, and make each of them unsaved, and none that was reloaded. Where there is no such
page (another front end, nbclient, `nbconvert --execute`) the display is updated.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.ids import new_id

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.engine import Engine
    from nbchat.export.turns import Rendered

logger = logging.getLogger("nbchat")

MARK: Final = '<a href="#nbchat-transcript"></a>'
"""An invisible link, by which the page's styles find the output and hide it beside a view.

It is added after the text is sanitized: in the text of a model no such link remains.
"""

KEPT: Final = 8
"""Outputs that are kept up to date: those that were shown last."""

Bundle = Mapping[str, str]
"""An output's MIME types and their texts."""


@dataclass(slots=True)
class _Shown:
    """An output, and how old what stands there is."""

    session_ids: tuple[str, ...] | None
    text: str
    rendered: Rendered
    """The messages in it as they were rendered last."""
    publisher: Any
    """Displayed it. While a cell captures its output, the shell has another publisher."""
    page: str | None = None
    """The page that has this text; empty: nobody knows; None: every page, for it was just displayed."""


class Transcripts:
    """Shows transcripts beside views, and brings them up to date."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._displaying = asyncio.Lock()
        self._rendering = threading.Lock()

    def show(self, session_ids: Sequence[str] | None) -> None:
        """Display a transcript now, in the running cell. On the cell's thread.

        Parameters
        ----------
        session_ids
            The sessions in it; None: all that are open.
        """
        from IPython import get_ipython  # noqa: PLC0415 - only in a kernel
        from IPython.display import display  # noqa: PLC0415

        ids = None if session_ids is None else tuple(session_ids)
        shell = get_ipython()  # type: ignore[no-untyped-call,unused-ignore]
        shown = _Shown(ids, "", {}, getattr(shell, "display_pub", None))
        bundle = self._bundle(shown, self._engine.loop.call(self._states, ids))
        shown.text = bundle["text/html"]
        display_id = new_id("nbchat-")
        self._shown[display_id] = shown
        while len(self._shown) > KEPT:
            self._shown.popitem(last=False)
        display(bundle, raw=True, display_id=display_id, metadata=_metadata(display_id))  # type: ignore[no-untyped-call,unused-ignore]

    async def news(self, page: str) -> dict[str, Bundle]:
        """Return what a page does not have yet, by output; it is taken to have it then.

        On the engine's loop.
        """
        news: dict[str, Bundle] = {}
        for display_id, shown in self._all():
            bundle = await self._made(shown)
            if bundle["text/html"] != shown.text or shown.page not in (None, page):
                shown.text, shown.page = bundle["text/html"], page
                news[display_id] = bundle
        return news

    def lost(self, page: str) -> None:
        """Hear that a page did not take what it was given. On the engine's loop."""
        for _, shown in self._all():
            if shown.page == page:
                shown.page = ""

    async def display(self) -> None:
        """Bring all outputs up to date where no page does it. On the engine's loop."""
        async with self._displaying:
            for display_id, shown in self._all():
                bundle = await self._made(shown)
                if bundle["text/html"] == shown.text:
                    continue
                shown.text, shown.page = bundle["text/html"], ""
                try:
                    await asyncio.to_thread(_update, shown, bundle, display_id)
                except Exception:
                    logger.debug("a transcript could not be updated", exc_info=True)

    def after_cell(self, _result: object = None) -> None:
        """Bring all outputs up to date before the cell is over. On the cell's thread.

        For kernels that know of no notebook. A program that runs a notebook takes what belongs to the cell
        that is running, and nothing later.
        """
        for display_id, shown in self._all():
            try:
                bundle = self._bundle(shown, self._engine.loop.call(self._states, shown.session_ids))
                if bundle["text/html"] != shown.text:
                    shown.text = bundle["text/html"]
                    _update(shown, bundle, display_id)
            except Exception:
                logger.debug("a transcript could not be updated", exc_info=True)

    def _all(self) -> Iterator[tuple[str, _Shown]]:
        yield from list(self._shown.items())

    async def _made(self, shown: _Shown) -> Bundle:
        return await asyncio.to_thread(self._bundle, shown, self._states(shown.session_ids))

    def _bundle(self, shown: _Shown, states: Sequence[SessionState]) -> Bundle:
        from nbchat.export.turns import transcript  # noqa: PLC0415 - loaded when a view is shown

        with self._rendering:
            turns = transcript(
                [state for state in states if state.messages or state.runs], rendered=shown.rendered
            )
        return {"text/html": f"{MARK}{turns.html}", "text/plain": turns.text}

    def _states(self, ids: tuple[str, ...] | None) -> list[SessionState]:
        return [
            session.state
            for session in self._engine.sessions
            if not session.state.temporary
            and not session.evicted
            and (not session.state.settings.closed if ids is None else session.id in ids)
        ]


def _metadata(display_id: str) -> dict[str, Any]:
    return {"nbchat": {"transcript": display_id}}


def _update(shown: _Shown, bundle: Bundle, display_id: str) -> None:
    """Replace an output, past a capture of the cell that runs."""
    if shown.publisher is not None:
        transient = {"display_id": display_id}
        shown.publisher.publish(bundle, _metadata(display_id), transient=transient, update=True)

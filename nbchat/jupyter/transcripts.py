"""`Transcripts`: shows conversations as sanitized HTML in a separate output, for hosts without widgets.

It also shows live runs: a line that is updated, and the answer when it has ended.

GitHub, nbviewer, nbconvert and notebooks opened without a kernel show this output. A page with a running
view hides it. The view's own output is never updated, since that would rebuild the view.

The page that writes checkpoints also writes the newest text into the output. An update by display id would
reach every page, mark each of them as unsaved, and miss pages that were reloaded. If there is no such page
(another front end, nbclient, `nbconvert --execute`), the display is updated.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.errors import NbchatError
from nbchat.core.ids import new_id
from nbchat.jupyter.imports import load
from nbchat.jupyter.representations import line_of

if TYPE_CHECKING:
    from nbchat.core.transcript import SessionState
    from nbchat.engine.engine import Engine
    from nbchat.export.turns import Rendered
    from nbchat.handles.run import Run

logger = logging.getLogger("nbchat")

MARK: Final = '<a href="#nbchat-transcript"></a>'
"""An invisible link, by which the page's styles select the output and hide it beside a view.

It is added after the text is sanitized. Sanitizing removes such links from the text of a model.
"""

KEPT: Final = 8
"""Maximum number of outputs kept up to date; the most recent ones."""

LIVE_S: Final = 1.0
"""Seconds between two updates of a live run's line."""

Bundle = Mapping[str, str]
"""An output's MIME types and their texts."""


@dataclass(slots=True)
class _Shown:
    """An output, its current text and the page that has it."""

    session_ids: tuple[str, ...] | None
    text: str
    rendered: Rendered
    """Its messages as last rendered."""
    publisher: Any
    """The publisher that displayed it. While a cell captures its output, the shell has another one."""
    run: Run | None = None
    """The run that is shown, instead of sessions."""
    page: str | None = None
    """The page that has this text. Empty if unknown; `None` if just displayed, so that every page has it."""


class Transcripts:
    """Shows transcripts beside views, and keeps them up to date.

    Parameters
    ----------
    engine
        The engine of this process.
    states
        Returns the states of sessions that another process has; it may block. `None`: those of the engine.
    """

    def __init__(
        self,
        engine: Engine,
        states: Callable[[tuple[str, ...] | None], Sequence[SessionState]] | None = None,
    ) -> None:
        self._engine = engine
        self._elsewhere = states
        self._shown: OrderedDict[str, _Shown] = OrderedDict()
        self._runs: OrderedDict[str, _Shown] = OrderedDict()
        self._displaying = asyncio.Lock()
        self._rendering = threading.Lock()

    def show(self, session_ids: Sequence[str] | None) -> None:
        """Display a transcript in the running cell. On the cell's thread.

        Parameters
        ----------
        session_ids
            Ids of its sessions; `None` for all open sessions.
        """
        ids = None if session_ids is None else tuple(session_ids)
        shown = _Shown(ids, "", {}, _publisher())
        _display(shown, self._bundle(shown, self._now(ids)), self._shown)

    def show_run(self, run: Run) -> bool:
        """Display a live run in the running cell. On the cell's thread.

        The output is a line that is updated, and the answer when the run has ended.

        Returns
        -------
        False if the run is over, or if its output could not be updated; nothing is displayed then.
        """
        shown = _Shown((), "", {}, _publisher(), run=run)
        if run.is_over or not hasattr(shown.publisher, "session"):  # of a kernel, and not of a capture
            return False
        display_id = _display(shown, line_of(run), self._runs)
        name = f"nbchat-output-{run.id}"
        threading.Thread(target=_follow, args=(shown, run, display_id), name=name, daemon=True).start()
        return True

    async def news(self, page: str) -> dict[str, Bundle]:
        """Return the outputs that a page lacks, by display id, and mark them as delivered.

        On the engine's loop.
        """
        news: dict[str, Bundle] = {}
        for display_id, shown in self._all():
            bundle = await self._made(shown)
            if bundle is None:
                continue
            if bundle["text/html"] != shown.text or shown.page not in (None, page):
                shown.text, shown.page = bundle["text/html"], page
                news[display_id] = bundle
        return news

    def lost(self, page: str) -> None:
        """Mark the outputs delivered to a page as not delivered. On the engine's loop."""
        for _, shown in self._all():
            if shown.page == page:
                shown.page = ""

    async def display(self) -> None:
        """Update all outputs if no page does. On the engine's loop."""
        async with self._displaying:
            for display_id, shown in self._all():
                bundle = await self._made(shown)
                if bundle is None or bundle["text/html"] == shown.text:
                    continue
                shown.text, shown.page = bundle["text/html"], ""
                try:
                    await asyncio.to_thread(_update, shown, bundle, display_id)
                except Exception:
                    logger.debug("a transcript could not be updated", exc_info=True)

    def after_cell(self, _result: object = None) -> None:
        """Update all outputs before the cell ends. On the cell's thread.

        Used in kernels without a known notebook. A program that executes a notebook records only the output
        of the running cell.
        """
        for display_id, shown in self._all():
            try:
                bundle = self._bundle(shown, self._now(shown.session_ids))
                if bundle["text/html"] != shown.text:
                    shown.text = bundle["text/html"]
                    _update(shown, bundle, display_id)
            except Exception:
                logger.debug("a transcript could not be updated", exc_info=True)

    def _all(self) -> Iterator[tuple[str, _Shown]]:
        yield from [*self._shown.items(), *self._runs.items()]

    async def _made(self, shown: _Shown) -> Bundle | None:
        """Return the current output; `None` for a live run, whose line is updated by its display id."""
        if shown.run is not None:
            return await asyncio.to_thread(_answer, shown.run)
        if self._elsewhere is not None:
            return await asyncio.to_thread(lambda: self._bundle(shown, self._now(shown.session_ids)))
        return await asyncio.to_thread(self._bundle, shown, self._states(shown.session_ids))

    def _now(self, ids: tuple[str, ...] | None) -> Sequence[SessionState]:
        """Return the states of sessions. On any thread but the engine's."""
        if self._elsewhere is not None:
            return self._elsewhere(ids)
        return self._engine.loop.call(self._states, ids)

    def _bundle(self, shown: _Shown, states: Sequence[SessionState]) -> Bundle:
        load("nbchat.export.turns")
        from nbchat.export.turns import transcript  # noqa: PLC0415 - loaded when a view is shown

        if shown.run is not None:
            return line_of(shown.run)
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


def _answer(run: Run) -> Bundle | None:
    """Return the output of a run that is over; `None` for others, and for one whose session was deleted."""
    with suppress(NbchatError):
        return line_of(run) if run.is_over else None
    return None


def _publisher() -> Any:  # noqa: ANN401 - a DisplayPublisher
    from IPython import get_ipython  # noqa: PLC0415 - only in a kernel

    return getattr(get_ipython(), "display_pub", None)  # type: ignore[no-untyped-call,unused-ignore]


def _display(shown: _Shown, bundle: Bundle, kept: OrderedDict[str, _Shown]) -> str:
    """Display an output, add it to those that are kept up to date, and return its display id."""
    from IPython.display import display  # noqa: PLC0415 - only in a kernel

    shown.text = bundle["text/html"]
    display_id = new_id("nbchat-")
    kept[display_id] = shown
    while len(kept) > KEPT:
        kept.popitem(last=False)
    display(bundle, raw=True, display_id=display_id, metadata=_metadata(display_id))  # type: ignore[no-untyped-call,unused-ignore]
    return display_id


def _follow(shown: _Shown, run: Run, display_id: str) -> None:
    """Update the output of a run until it has ended."""
    try:
        over, text = False, shown.text
        while not over:
            with suppress(TimeoutError):
                run.wait(LIVE_S)
            over = run.is_over  # read before the text: a run that is over has all its text
            bundle = line_of(run)
            if bundle["text/html"] != text:
                text = bundle["text/html"]
                _update(shown, bundle, display_id)
    except Exception:
        logger.debug("the output of a run could not be updated", exc_info=True)


def _update(shown: _Shown, bundle: Bundle, display_id: str) -> None:
    """Replace an output, bypassing a capture of the running cell's output."""
    if shown.publisher is not None:
        transient = {"display_id": display_id}
        shown.publisher.publish(bundle, _metadata(display_id), transient=transient, update=True)

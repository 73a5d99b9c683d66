"""`show` streams a run's answer into the output of a cell."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from IPython.display import DisplayHandle

from nbchat.core.messages import ImagePart, Message
from nbchat.core.run import RunState
from nbchat.core.text import printable
from nbchat.jupyter.representations import of_text

if TYPE_CHECKING:
    from nbchat.handles.run import Run

SHARE: Final = 0.1
"""Interval of updates as a share of the elapsed time: the longer the text, the rarer the updates."""

MIN_INTERVAL_S: Final = 0.1
"""Minimum interval between two updates."""

LAST_WORD_S: Final = 0.25
"""Longest wait of an interrupted cell for the end of its run, so that the final state is shown."""


def show(run: Run, shell: Any) -> None:  # noqa: ANN401 - an InteractiveShell
    """Stream the text of the cell's run into its output, and return when the run has ended in any state.

    Raises
    ------
    KeyboardInterrupt
        If the cell is interrupted. The run is stopped, as by `Session.ask`; the text received is shown.
    """
    if getattr(shell, "kernel", None) is None:
        _print(run)
    else:
        _update(run)


def _stop(run: Run) -> None:
    run.stop()
    with suppress(TimeoutError):
        run.wait(LAST_WORD_S)


def _print(run: Run) -> None:
    shown = 0
    try:
        for text in _growing(run, lambda: MIN_INTERVAL_S):
            sys.stdout.write(printable(text[shown:]))
            sys.stdout.flush()
            shown = len(text)
    except KeyboardInterrupt:
        _stop(run)
        raise
    finally:
        sys.stdout.write(f"\n{_ending(run)}\n" if _ending(run) else "\n")


def _update(run: Run) -> None:
    # Each update contains the whole text, so that the notebook's file holds the answer and not its pieces.
    # Updates become rarer as the text grows, which limits the total size.
    handle = DisplayHandle()  # type: ignore[no-untyped-call,unused-ignore]
    handle.display(of_text("…"), raw=True)  # type: ignore[no-untyped-call,unused-ignore]
    began = time.monotonic()
    try:
        for text in _growing(run, lambda: max(MIN_INTERVAL_S, SHARE * (time.monotonic() - began))):
            _replace(handle, text)
    except KeyboardInterrupt:
        _stop(run)
        raise
    finally:
        ending = _ending(run)
        beside = run.is_over and _has_more_than_text(run.message)
        if ending or beside:
            _replace(handle, run.text, ending, run.message if beside else None)


def _growing(run: Run, interval_s: Callable[[], float]) -> Iterator[str]:
    """Yield the whole text when it has grown, at most once per interval."""
    shown = 0
    while True:
        over = run.is_over  # read before the text: a run that has ended has all its text
        text = run.text
        if len(text) > shown:
            yield text
            shown = len(text)
        if over:
            return
        with suppress(TimeoutError):
            run.wait(interval_s())


def _has_more_than_text(message: Message) -> bool:
    return bool(message.sources or message.notices) or any(isinstance(p, ImagePart) for p in message.parts)


def _replace(handle: DisplayHandle, text: str, ending: str = "", message: Message | None = None) -> None:
    handle.update(of_text(text, ending, message), raw=True)  # type: ignore[no-untyped-call,unused-ignore]


def _ending(run: Run) -> str:
    """Return the note below an answer that is not complete; empty for a complete one."""
    if run.state is RunState.INCOMPLETE:
        return f"the model stopped early: {run.finish_reason}"
    return "" if run.state is RunState.COMPLETED else str(run.state)

"""Short tracebacks in notebooks: the user's lines and the message, without nbchat's own frames.

IPython uses the method `_render_traceback_` of an exception to show it. The exception's `__traceback__` stays
complete, for `%debug` and for `traceback.print_exception(sys.last_value)`.
"""

from __future__ import annotations

import functools
import linecache
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from types import FrameType

P = ParamSpec("P")
T = TypeVar("T")

_PACKAGE: Final = __name__.partition(".")[0]
_HOST: Final = ("IPython", "ipykernel")
_CELL: Final = re.compile(r"ipykernel_\d+[\\/]\d+\.py$|^<ipython-input-|^<string>$")
_RULE: Final = "-" * 75
_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[39m"


def render(error: BaseException) -> list[str]:
    """Return the lines that IPython shows for an error of nbchat."""
    lines = [f"{_RED}{_RULE}{_PLAIN}"]
    for frame, number in _of_the_user(error):
        code = frame.f_code
        cell = _CELL.search(code.co_filename)
        place = "Cell" if cell else f"File {code.co_filename}"
        function = "" if code.co_name == "<module>" else f", in {code.co_name}"
        source = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        lines.append(f"{_GREEN}{place}, line {number}{function}{_PLAIN}\n----> {number} {source}\n")
    name = f"{_RED}{type(error).__name__}{_PLAIN}"
    message = str(error)
    lines.append(f"{name}: {message}" if message else name)
    return lines


def short_traceback(function: Callable[P, T]) -> Callable[P, T]:
    """Make IPython show exceptions of `function` without the frames of nbchat."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            shorten(error)
            raise

    return called


def shorten(error: BaseException) -> None:
    """Make IPython show this error without the frames of nbchat."""
    if not hasattr(error, "_render_traceback_"):
        error._render_traceback_ = functools.partial(render, error)  # type: ignore[attr-defined]


def _of_the_user(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """Yield the user's frames that called nbchat, outermost first, with their line numbers."""
    traceback = error.__traceback__
    while traceback is not None:
        package = str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if package == _PACKAGE:
            return
        if package not in _HOST:
            yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next

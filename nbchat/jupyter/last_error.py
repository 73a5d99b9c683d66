"""`describe_last_error`: the last error of a cell as text for a chat, trimmed and without secrets."""

from __future__ import annotations

import linecache
import os
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.redact import MIN_SECRET, redact

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_FRAMES: Final = 3
LAST_FRAMES: Final = 6
"""Numbers of outermost and innermost frames kept of a deep stack."""

MAX_SOURCE: Final = 4_000
MAX_MESSAGE: Final = 2_000
"""Maximum characters of the cell's source and of the error's message."""

MAX_CHAIN: Final = 3
"""Maximum number of chained errors."""

_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


def describe_last_error(shell: Any) -> str | None:  # noqa: ANN401 - an InteractiveShell
    """Return the last uncaught error and its cell as Markdown; `None` if there was no error.

    Values of variables are included only if the error's message quotes them. Secrets are detected by their
    form or by their value in the environment, and removed. The home folder becomes `~`.
    """
    error = last_error()
    if error is None:
        return None
    parts = []
    source = _cell_source(error)
    if source.strip():
        parts.append(f"```python\n{_shorten(source.strip(chr(10)), MAX_SOURCE)}\n```")
    parts.append(f"```text\n{_traceback(error, shell)}\n```")
    text = redact("\n\n".join(parts), _secrets())
    home = str(Path.home())
    return text.replace(home + os.sep, f"~{os.sep}") if len(home) > 1 else text


def last_error() -> BaseException | None:
    """Return the last uncaught error of a cell."""
    error = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return error if isinstance(error, BaseException) else None


def _secrets() -> Iterable[str]:
    return [
        value for name, value in os.environ.items() if _SECRET_NAME.search(name) and len(value) >= MIN_SECRET
    ]


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of the error, starting at the cell, without IPython's."""
    frames = traceback.extract_tb(error.__traceback__)
    for at, frame in enumerate(frames):
        if _is_cell(frame.filename):
            return list(frames[at:])
    return [frame for frame in frames if f"{os.sep}IPython{os.sep}" not in frame.filename]


def _is_cell(filename: str) -> bool:
    return "ipykernel_" in filename or filename.startswith("<ipython-input-")


def _cell_source(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return "".join(linecache.getlines(error.filename)) if _is_cell(error.filename) else ""
    for frame in _frames(error):
        if _is_cell(frame.filename):
            return "".join(linecache.getlines(frame.filename))
    return ""


def _traceback(error: BaseException, shell: Any, depth: int = 1) -> str:  # noqa: ANN401 - an InteractiveShell
    text = ""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and depth < MAX_CHAIN:
        led_to = "was the direct cause of" if error.__cause__ else "was being handled when there came"
        text = f"{_traceback(before, shell, depth + 1)}\n\nThe error above {led_to} this one:\n\n"
    frames = _frames(error)
    left_out = len(frames) - FIRST_FRAMES - LAST_FRAMES
    lines = []
    for at, frame in enumerate(frames):
        if left_out > 0 and FIRST_FRAMES <= at < FIRST_FRAMES + left_out:
            if at == FIRST_FRAMES:
                lines.append(f"  … {left_out} more …")
            continue
        lines.append(f"  {_place(frame.filename, shell)}, line {frame.lineno}, in {frame.name}")
        if frame.line:
            lines.append(f"    {frame.line}")
    message = "".join(traceback.format_exception_only(error)).rstrip()
    if isinstance(error, SyntaxError) and error.filename:
        message = message.replace(error.filename, _place(error.filename, shell))
    return text + "\n".join([*lines, _shorten(message, MAX_MESSAGE)])


def _place(filename: str, shell: Any) -> str:  # noqa: ANN401 - an InteractiveShell
    compiled = getattr(shell, "compile", None)
    if compiled is not None and _is_cell(filename):
        found = compiled.format_code_name(filename)
        if found:
            return " ".join(found)
    return filename


def _shorten(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"

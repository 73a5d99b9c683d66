"""`read_attachments`: converts paths, data frames, figures and bytes into parts of a message."""

from __future__ import annotations

import base64
import io
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from nbchat.core.messages import Attachment, FilePart, ImagePart
from nbchat.handles.data_frames import csv_of, is_frame

MAX_ROWS: Final = 1000
"""Rows of a data frame that are attached."""

LARGE_TOKENS: Final = 50_000
"""Estimated tokens of one question above which a warning is given."""

_IMAGE_TYPES: Final[Mapping[bytes, str]] = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF8": "gif",
}
_ACCEPTED: Final = (
    "An attachment is a path, a data frame, a Matplotlib figure, a pair (name, content), "
    "an nbchat.ImagePart or an nbchat.FilePart."
)


def read_attachments(given: object) -> tuple[Attachment, ...]:
    """Return the parts for `attachments=`: one attachment, several, or a mapping of names to contents.

    Raises
    ------
    TypeError
        If something cannot be attached.
    ValueError
        If a file is neither text nor an image of type PNG, JPEG, GIF or WebP, or an `ImagePart` is not one.
    OSError
        If a file cannot be read.
    """
    return tuple(_read(one) for one in _listed(given))


def warn_if_large(prompt: str, attachments: Iterable[Attachment]) -> None:
    """Warn about a question whose text and files are estimated at more than `LARGE_TOKENS` tokens."""
    files = [part.text for part in attachments if isinstance(part, FilePart)]
    tokens = sum(estimate_tokens(text) for text in (prompt, *files))
    if tokens > LARGE_TOKENS:
        _warn(
            f"this question has about {tokens:,} tokens; it may be slow or costly, "
            "or longer than the model can read."
        )


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of a text: one per four bytes of UTF-8, in any language."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // 4)


def _listed(given: object) -> Iterator[object]:
    if isinstance(given, Mapping):
        yield from given.items()
    elif _is_one(given) or not isinstance(given, Iterable):
        yield given
    else:
        yield from given


def _is_one(given: object) -> bool:
    return (
        isinstance(given, str | bytes | bytearray | memoryview | os.PathLike | Attachment)
        or _is_pair(given)
        or is_frame(given)
    )


def _is_pair(given: object) -> bool:
    """Return whether this is a name with its content, and not two paths."""
    return (
        isinstance(given, tuple)
        and len(given) == 2  # noqa: PLR2004 - a pair
        and isinstance(given[0], str)
        and not isinstance(given[1], str | os.PathLike | Attachment)
        and not _is_pair(given[1])
    )


def _read(given: object) -> Attachment:
    if isinstance(given, Attachment):
        if not isinstance(given.text, str) or not isinstance(given.name, str):
            raise TypeError("the text and the name of an attachment must be strings.")
        if isinstance(given, ImagePart) and not given.is_bitmap:
            raise ValueError(
                f"image {given.name!r} is not a data: URL of type png, jpeg, gif or webp. "
                "Attach the file's path, or a pair of its name and its bytes."
            )
        return given
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        return _part(path.name, path.read_bytes())
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):  # noqa: PLR2004
        name, content = given
        if isinstance(content, str):  # in a mapping, the text itself
            return FilePart(name=name, text=content)
        return _named(content, name)
    return _named(given, None)


def _named(content: object, name: str | None) -> Attachment:
    if isinstance(content, bytes | bytearray | memoryview):
        if not name:
            raise TypeError("bytes need a name: attachments=[('plot.png', data)].")
        return _part(name, bytes(content))
    if is_frame(content):
        return _table(content, name)
    figure = _figure(content)
    if figure is not None:
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", bbox_inches="tight")
        return _part(name or "figure.png", buffer.getvalue())
    raise TypeError(f"cannot attach an object of type {type(content).__name__}. {_ACCEPTED}")


def _table(frame: object, name: str | None) -> FilePart:
    text, rows = csv_of(frame, MAX_ROWS)
    name = name or "data frame.csv"
    if rows is None or rows > MAX_ROWS:
        total = "" if rows is None else f" of {rows:,}"
        _warn(
            f"only the first {MAX_ROWS:,} rows{total} of a data frame are attached; "
            "choose or aggregate rows to attach others."
        )
        stem, dot, suffix = name.rpartition(".")
        name = f"{stem or suffix} (rows 1 to {MAX_ROWS:,}{total}){dot}{suffix if stem else ''}"
    return FilePart(name=name, text=text)


def _warn(message: str) -> None:
    """Warn at the line that called nbchat."""
    level, frame = 2, sys._getframe(1)  # noqa: SLF001 - as `warnings` does itself
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "nbchat":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _figure(content: object) -> Any:  # noqa: ANN401 - a Matplotlib figure
    """Return the object if it is a Matplotlib figure, or the figure it is drawn on; else `None`."""
    if "matplotlib" not in sys.modules:
        return None
    from matplotlib.figure import Figure  # noqa: PLC0415 - only where it is loaded

    figure = content if isinstance(content, Figure) else getattr(content, "figure", None)
    return figure if isinstance(figure, Figure) else None


def _part(name: str, data: bytes) -> Attachment:
    kind = next((kind for start, kind in _IMAGE_TYPES.items() if data.startswith(start)), None)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind = "webp"
    if kind is not None:
        url = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        return ImagePart(name=name, text=url)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"cannot attach {name!r}: only text (UTF-8), PNG, JPEG, GIF or WebP.")
    return FilePart(name=name, text=text)

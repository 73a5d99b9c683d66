"""`output_of` converts a tool's value, and `output_of_error` its error, to the result of a call."""

from __future__ import annotations

import base64
import io
import json
import linecache
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from nbchat.context.data_frames import is_data_frame
from nbchat.context.descriptions import describe
from nbchat.context.values import is_axes, is_figure
from nbchat.engine.tools import MAX_IMAGE_BYTES, MAX_RESULT, ToolOutput, bounded

MAX_SIDE: Final = 1568
"""Maximum pixels of a picture's long side: models scale larger ones down."""

SIDES: Final = (MAX_SIDE, 1024, 640)
"""Sizes that are tried until a picture has at most `MAX_IMAGE_BYTES`."""

MAX_PIXELS: Final = 50_000_000
"""Maximum pixels of a picture that is scaled down: decoding it needs four bytes for each."""

ROWS, COLUMNS = 30, 12
"""Maximum size of a data frame that is sent whole."""

FRAMES: Final = 6
"""Maximum frames of an error's traceback."""

MAX_MESSAGE: Final = 2000
"""Maximum characters of an error's type and message."""

_MAGIC: Final = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF8": "gif",
    b"RIFF": "webp",
}
_INSTALLED: Final = (
    "<frozen ",
    *(f"{folder}{os.sep}" for folder in (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"))),
)
_PACKAGES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def output_of(value: object) -> ToolOutput:
    """Return a value as the result of a call: text, or a picture."""
    kind = type(value)
    if kind is ToolOutput:
        return value  # type: ignore[return-value]
    if isinstance(value, str):
        return ToolOutput(text=str.__str__(value))
    if is_figure(kind) or is_axes(kind) or hasattr(kind, "_repr_png_"):
        picture = _picture(value)
        if picture is not None:
            return ToolOutput(text="", images=(picture,))
    if is_data_frame(kind) and (table := _table(value)) is not None:
        return ToolOutput(text=table)
    if isinstance(value, dict | list | tuple | int | float | bool) or value is None:
        try:
            return ToolOutput(text=_json(value))
        except (TypeError, ValueError, RecursionError):
            pass
    return ToolOutput(text=describe(value, "summary"))


def output_of_error(error: BaseException) -> ToolOutput:
    """Return an error as the result of a call: its type, its message, and the user's frames."""
    head = "".join(traceback.format_exception_only(error)).strip()
    frames = list(traceback.walk_tb(error.__traceback__))
    lines = []
    for frame, number in ([one for one in frames if _is_of_user(one[0])] or frames[-1:])[-FRAMES:]:
        code = frame.f_code
        source = linecache.getline(code.co_filename, number, frame.f_globals).strip()
        lines.append(f"  in {code.co_name}, line {number}: {source[:200]}")
    return ToolOutput(text="\n".join([bounded(head, MAX_MESSAGE), *lines]), is_error=True)


def _is_of_user(frame: FrameType) -> bool:
    """Return whether code is a cell or a file of the user's, and not of Python, nbchat or a package."""
    name = frame.f_code.co_filename
    return not name.startswith(_INSTALLED) and not any(folder in name for folder in _PACKAGES)


def _json(value: object) -> str:
    """Return a value as JSON, or the beginning of it.

    It is encoded in pieces: encoding a large value at once would block all threads.

    Raises
    ------
    TypeError, ValueError, RecursionError
        If it is not JSON.
    """
    pieces: list[str] = []
    size = 0
    for piece in _pieces(value):
        pieces.append(piece)
        size += len(piece)
        if size > 2 * MAX_RESULT:
            name = type(value).__name__
            items = f", {len(value):,} items" if isinstance(value, dict | list | tuple) else ""
            end = f"\n\n[more is omitted: {name}{items}]"
            # Secrets may be cut in two at the limit, so they are removed first.
            return bounded("".join(pieces)[: 2 * MAX_RESULT])[: MAX_RESULT - 200] + end
    return "".join(pieces)


def _pieces(value: object) -> Iterator[str]:
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False).iterencode(value)


def picture_url(data: bytes) -> str | None:
    """Return a picture as a `data:` URL within the limits; `None` if it cannot be sent."""
    kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    fitting = None if kind is None else _fitting(data, kind)
    if fitting is None:
        return None
    data, kind = fitting
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _fitting(data: bytes, kind: str) -> tuple[bytes, str] | None:
    """Return a picture within the limits; `None` if that is not possible."""
    try:
        from PIL import Image  # noqa: PLC0415 - optional
    except ImportError:
        # Only in a PNG the size has a fixed position.
        sides = [int.from_bytes(data[at : at + 4]) for at in (16, 20)]
        is_small = kind == "png" and max(sides) <= MAX_SIDE and len(data) <= MAX_IMAGE_BYTES
        return (data, kind) if is_small else None
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            if max(width, height) <= MAX_SIDE and len(data) <= MAX_IMAGE_BYTES:
                return data, kind
            if width * height > MAX_PIXELS:
                return None
            scaled: Any = image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA")
            for side in SIDES:
                scaled.thumbnail((side, side))
                for name in ("png", "jpeg"):
                    if name == "png" and kind == "jpeg":
                        continue
                    buffer = io.BytesIO()
                    (scaled if name == "png" else scaled.convert("RGB")).save(buffer, name)
                    if buffer.tell() <= MAX_IMAGE_BYTES:
                        return buffer.getvalue(), name
    except Exception:  # noqa: BLE001 - a damaged picture is not sent
        return None
    return None


def _picture(value: Any) -> str | None:  # noqa: ANN401 - any value with a picture
    kind = type(value)
    try:
        if is_figure(kind) or is_axes(kind):
            figure = value if is_figure(kind) else value.get_figure(root=True)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", bbox_inches="tight")
            data = buffer.getvalue()
        else:
            data = value._repr_png_()
    except Exception:  # noqa: BLE001 - then it is described
        return None
    return picture_url(data) if isinstance(data, bytes) else None


def _table(value: Any) -> str | None:  # noqa: ANN401 - a data frame
    """Return a small data frame as text; `None` if it is larger, lazy or a series."""
    shape = getattr(value, "shape", None)
    if not (isinstance(shape, tuple) and len(shape) == 2 and shape[0] <= ROWS and shape[1] <= COLUMNS):  # noqa: PLR2004 - rows and columns
        return None
    try:
        if hasattr(value, "to_string") and hasattr(value, "index"):  # pandas, with its index
            whole = value.to_string()
        else:  # the text of other frames omits rows
            import narwhals  # noqa: PLC0415 - for data frames only

            whole = narwhals.from_native(value, eager_only=True).write_csv()
    except Exception:  # noqa: BLE001 - then it is described
        return None
    return whole if isinstance(whole, str) else None

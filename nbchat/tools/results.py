"""`output_of` converts a tool's value, and `output_of_error` its error, to the result of a call."""

from __future__ import annotations

import base64
import io
import json
import linecache
import traceback
from typing import Any, Final

from nbchat.context.data_frames import is_data_frame
from nbchat.context.descriptions import describe
from nbchat.context.values import is_axes, is_figure
from nbchat.engine.tools import MAX_IMAGE_BYTES, MAX_RESULT, ToolOutput

MAX_SIDE: Final = 1568
"""Maximum pixels of a picture's long side: models scale larger ones down."""

ROWS, COLUMNS = 30, 12
"""Maximum size of a data frame that is sent whole."""

FRAMES: Final = 6
"""Maximum frames of an error's traceback."""

_MAGIC: Final = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF8": "gif",
    b"RIFF": "webp",
}
_OURS: Final = ("nbchat", "threading", "asyncio", "concurrent")


def output_of(value: object) -> ToolOutput:
    """Return a value as the result of a call: text, or a picture."""
    kind = type(value)
    if kind is ToolOutput:
        return value  # type: ignore[return-value]
    if isinstance(value, str):
        return ToolOutput(text=_bounded(str.__str__(value)))
    if is_figure(kind) or is_axes(kind) or hasattr(kind, "_repr_png_"):
        picture = _picture(value)
        if picture is not None:
            return ToolOutput(text="", images=(picture,))
    if is_data_frame(kind) and (table := _table(value)) is not None:
        return ToolOutput(text=table)
    if isinstance(value, dict | list | tuple | int | float | bool) or value is None:
        try:
            return ToolOutput(text=_bounded(json.dumps(value, ensure_ascii=False, allow_nan=False)))
        except (TypeError, ValueError, RecursionError):
            pass
    return ToolOutput(text=describe(value, "summary"))


def output_of_error(error: BaseException) -> ToolOutput:
    """Return an error as the result of a call: its type, its message, and the user's frames."""
    frames = [
        frame
        for frame in traceback.walk_tb(error.__traceback__)
        if str(frame[0].f_globals.get("__name__")).partition(".")[0] not in _OURS
    ]
    lines = []
    for frame, number in frames[-FRAMES:]:
        source = linecache.getline(frame.f_code.co_filename, number, frame.f_globals).strip()
        lines.append(f"  in {frame.f_code.co_name}, line {number}: {source[:200]}")
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - an error of the user's own
        message = "(its message cannot be shown)"
    head = f"{type(error).__name__}: {message[:2000]}" if message else type(error).__name__
    return ToolOutput(text="\n".join([head, *lines]), is_error=True)


def picture_url(data: bytes) -> str | None:
    """Return a picture as a `data:` URL within the limits; `None` if it cannot be sent."""
    kind = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        return None
    data, kind = _scaled(data, kind)
    if len(data) > MAX_IMAGE_BYTES:
        return None
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _scaled(data: bytes, kind: str) -> tuple[bytes, str]:
    """Return a picture with at most `MAX_SIDE` pixels, if Pillow is installed."""
    try:
        from PIL import Image  # noqa: PLC0415 - optional
    except ImportError:
        return data, kind
    try:
        with Image.open(io.BytesIO(data)) as image:
            if max(image.size) <= MAX_SIDE:
                return data, kind
            image.thumbnail((MAX_SIDE, MAX_SIDE))
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            return buffer.getvalue(), "png"
    except Exception:  # noqa: BLE001 - a damaged picture is sent or refused as it is
        return data, kind


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
        whole = value.to_string() if hasattr(value, "to_string") else str(value)
    except Exception:  # noqa: BLE001 - then it is described
        return None
    return _bounded(whole) if isinstance(whole, str) else None


def _bounded(text: str) -> str:
    """Return the beginning of a text; the engine names what is omitted."""
    if len(text) <= 2 * MAX_RESULT:
        return text
    return f"{text[:MAX_RESULT]}\n\n[{len(text) - MAX_RESULT:,} more characters are omitted]"

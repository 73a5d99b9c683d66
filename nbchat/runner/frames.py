"""Frames of the link: a length, a message as JSON, and bytes that are passed on unchanged.

::

    4 bytes   length of the rest, big-endian
    4 bytes   length of the message
    …         the message: JSON in UTF-8
    …         bytes, such as a packet for pages
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Final

from nbchat.core.errors import CommandError, WireError
from nbchat.core.values import MAX_VALUES, DecodeError, count_values, decode_json, encode_json

MAX_FRAME: Final = 512 * 1024 * 1024
"""Maximum bytes of a frame; a longer one can only be an error."""

MAX_FROM_KERNEL: Final = 32 * 1024 * 1024
"""Maximum bytes of a frame that a service accepts: twice the longest command of a page."""

_LENGTHS: Final = struct.Struct(">II")
_TEXT_LENGTH: Final = 4
"""Bytes of the second length, which the first one counts."""


def encode_frame(message: object, body: bytes = b"") -> bytes:
    """Return a frame.

    Raises
    ------
    WireError
        If it is longer than `MAX_FRAME`.
    """
    text = encode_json(message)
    length = _TEXT_LENGTH + len(text) + len(body)
    if length > MAX_FRAME:
        raise WireError(f"a message of {length:,} bytes is too long for the link to the runner.")
    return _LENGTHS.pack(length, len(text)) + text + body


def check_for_service(frame: bytes) -> None:
    """Raise `CommandError` if a service would not accept a frame."""
    text = int.from_bytes(frame[_TEXT_LENGTH : _LENGTHS.size])
    values = count_values(frame[_LENGTHS.size : _LENGTHS.size + text])
    if len(frame) > MAX_FROM_KERNEL or values > MAX_VALUES:
        raise CommandError(
            f"this has {len(frame) / 1e6:,.1f} MB and {values:,} values; a service accepts at most "
            f"{MAX_FROM_KERNEL / 1e6:,.1f} MB and {MAX_VALUES:,} values at once.",
            hint="Send fewer prompts, attachments or sessions at a time.",
        )


def _decode(kind: Any, text: bytes) -> Any:  # noqa: ANN401 - the type is the argument
    try:
        return decode_json(kind, text)
    except DecodeError as error:
        raise WireError(
            f"the link to the runner carried something that is not in its protocol: {error}."
        ) from error


def _body_lengths(head: bytes) -> tuple[int, int]:
    length, text = _LENGTHS.unpack(head)
    if not _TEXT_LENGTH <= length <= MAX_FRAME or text > length - _TEXT_LENGTH:
        raise WireError("the link to the runner carried a frame with impossible lengths.")
    return text, length - _TEXT_LENGTH - text


def read_frame(receive: Callable[[int], bytes], kind: Any) -> tuple[Any, bytes]:  # noqa: ANN401 - as above
    """Return the next message and its bytes; `receive` returns exactly as many bytes as it is asked for.

    Raises
    ------
    EOFError
        If the link has ended.
    WireError
        If the frame or the message is invalid.
    """
    text, body = _body_lengths(receive(_LENGTHS.size))
    return _decode(kind, receive(text)), receive(body) if body else b""


def decode_frame(frame: bytes, kind: Any) -> tuple[Any, bytes]:  # noqa: ANN401 - as above
    """Return the message and the bytes of one whole frame.

    Raises
    ------
    WireError
        If the frame or the message is invalid.
    """
    if len(frame) < _LENGTHS.size:
        raise WireError("the link to the runner carried a frame that is cut off.")
    text, body = _body_lengths(frame[: _LENGTHS.size])
    end = _LENGTHS.size + text
    if len(frame) != end + body:
        raise WireError("the link to the runner carried a frame with impossible lengths.")
    return _decode(kind, frame[_LENGTHS.size : end]), frame[end:]


async def read_frame_async(reader: asyncio.StreamReader, kind: Any) -> tuple[Any, bytes]:  # noqa: ANN401 - as above
    """Return the next message and its bytes, as `read_frame`."""
    try:
        text, body = _body_lengths(await reader.readexactly(_LENGTHS.size))
        return _decode(kind, await reader.readexactly(text)), await reader.readexactly(body) if body else b""
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError("the link has ended") from error

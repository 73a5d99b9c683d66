"""Results of tool calls as parts of a message, within the limits and without secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nbchat.core.messages import BITMAP, ToolResultPart
from nbchat.engine.tool_threads import on_worker
from nbchat.engine.tools import MAX_IMAGE_BYTES, MAX_IMAGES, MAX_RESULT, Previewed, ToolOutput, bounded

if TYPE_CHECKING:
    from nbchat.engine.tools import Work

NO_IMAGES: Final = "[pictures that are too large or too many are omitted]"


async def preview_of(work: Work, call_id: str) -> str | None:
    """Return the text that a call will return, if that is possible before it is executed."""
    if not isinstance(work, Previewed):
        return None
    return part_of(call_id, await on_worker(work.preview)).text


def part_of(call_id: str, output: ToolOutput) -> ToolResultPart:
    """Return a result without secrets and within the limits."""
    most = MAX_IMAGE_BYTES * 4 // 3 + 100  # base64
    images = [url for url in output.images if len(url) <= most and BITMAP.match(url)]
    text = bounded(output.text)
    if len(images) < len(output.images) or len(images) > MAX_IMAGES:
        text = f"{bounded(output.text, MAX_RESULT - len(NO_IMAGES) - 2)}\n\n{NO_IMAGES}".strip()
    return ToolResultPart(
        call_id=call_id,
        text=text,
        is_error=output.is_error,
        not_run=output.not_run,
        images=tuple(images[:MAX_IMAGES]),
    )

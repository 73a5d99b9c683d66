"""`listen` receives the messages of pages on the kernel's control channel while a cell runs.

ipykernel handles each message on its shell channel, including comm messages, as part of a cell: the message
becomes the parent of all later output, and IPython's `pre_execute` and `post_execute` fire. On a subshell,
this removes the output of the running cell's threads and its figures. Even a request on the control channel
flushes `sys.stdout`, which may be a user's object, and reports the kernel as idle.

Messages of pages are therefore taken from the control channel before ipykernel dispatches them. The state of
the running cell is unchanged, nothing is published, and no message waits for another request, such as the
debugger's. All other requests are passed to ipykernel unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

REQUEST: Final = "nbchat_request"
"""Type of a page's messages. They have no reply: answers are packets on the hub's comm."""


def listen(kernel: Any, receive: Callable[[object], None]) -> bool:  # noqa: ANN401 - an ipykernel
    """Call `receive` with each message of a page, on the control thread. Replaces any earlier listener.

    Returns
    -------
    `False` if the kernel has no control channel on a separate thread.
    """
    stream = getattr(kernel, "control_stream", None)
    loop = getattr(getattr(kernel, "control_thread", None), "io_loop", None)
    if stream is None or loop is None or not hasattr(kernel, "dispatch_control"):
        return False

    def on_frames(frames: Sequence[Any]) -> Any:  # noqa: ANN401 - None, or ipykernel's coroutine
        content = _content(kernel.session, frames)
        if content is None:
            return kernel.dispatch_control(frames)
        receive(content.get("message"))
        return None

    # The stream belongs to the control thread.
    loop.add_callback(stream.on_recv, on_frames, copy=False)
    return True


def _content(session: Any, frames: Sequence[Any]) -> dict[str, Any] | None:  # noqa: ANN401 - a Session
    """Return the content of a page's message; `None` for any other request, including invalid ones."""
    try:
        _, parts = session.feed_identities(frames, copy=False)
        # Without `content`, the message is not recorded as received, so that ipykernel can read it again.
        if session.deserialize(parts, content=False, copy=False)["header"]["msg_type"] != REQUEST:
            return None
        content = session.deserialize(parts, copy=False)["content"]
    except Exception:  # noqa: BLE001 - ipykernel logs the error
        return None
    return content if isinstance(content, dict) else None

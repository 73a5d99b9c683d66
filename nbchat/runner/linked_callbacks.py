"""`LinkedCallbacks`: the callbacks of this kernel, which the runner notifies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from nbchat.core.alert import Alert
from nbchat.core.calls import ToolCall
from nbchat.core.errors import ErrorInfo
from nbchat.core.messages import Message
from nbchat.core.values import convert
from nbchat.engine.callbacks import Callback, Callbacks, Notification

if TYPE_CHECKING:
    from nbchat.runner.link import Link
    from nbchat.runner.messages import Notified

_KINDS: Final[Mapping[str, Any]] = {
    "message": Message,
    "error": ErrorInfo,
    "alert": Alert,
    "calls": tuple[ToolCall, ...],
}


class LinkedCallbacks:
    """Subscribes to the events that this kernel has callbacks for. From any thread.

    Parameters
    ----------
    call, post
        Call the runner, and call it without waiting.
    """

    def __init__(self, call: Callable[..., Any], post: Callable[..., object]) -> None:
        self._call = call
        self._post = post
        self._callbacks = Callbacks()
        self._events: list[tuple[str, str | None]] = []
        """The events that callbacks are subscribed to, and for calls that wait for approval the session."""

    def __repr__(self) -> str:
        """Return the number of events."""
        return f"<LinkedCallbacks, {len(self._events)} events>"

    def on(self, event: str, callback: Callback, session_id: str | None) -> Callable[[], None]:
        """Subscribe a callback; return the function that unsubscribes."""
        off = self._callbacks.on(event, callback, session_id)
        if event != "approval_needed":
            if (event, None) not in self._events:
                self._events.append((event, None))
                self._call("subscribe", event=event, session_id=None)
            return off
        # For this session only, and until it is unsubscribed: without a callback, calls are refused.
        entry = (event, session_id)
        self._events.append(entry)
        self._call("subscribe", event=event, session_id=session_id)

        def off_at_runner() -> None:
            off()
            with suppress(ValueError):  # it was unsubscribed before
                self._events.remove(entry)
                if entry not in self._events:
                    self._post("unsubscribe", event=event, session_id=session_id)

        return off_at_runner

    def subscribe_again(self, link: Link) -> None:
        """Subscribe to all events over another link."""
        for event, session_id in set(self._events):
            link.call("subscribe", event=event, session_id=session_id)

    def notify(self, message: Notified) -> None:
        """Call the callbacks of an event."""
        data = message.data
        if message.kind:
            data = convert(_KINDS[message.kind], data)
        self._callbacks.notify(
            Notification(
                event=message.event,
                session_id=message.session_id,
                run_id=message.run_id,
                state=message.state,
                text=message.text,
                at=message.at,
                data=data,
            )
        )

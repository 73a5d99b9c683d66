"""`Alerts`: emits the event `alert` when a limit is reached."""

from __future__ import annotations

from typing import Final

from nbchat.core.alert import Alert, AlertKind
from nbchat.engine.callbacks import Callbacks, Notification

RECOVERED: Final = 0.8
"""Fraction of a limit below which a value has recovered, so that one that varies about it is one alert."""


class Alerts:
    """Emits one `alert` when a value reaches its limit, and another one only after it has recovered.

    Only for the engine's loop. If a value reaches its limit before a callback is subscribed, it is reported
    when it is observed again.
    """

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._reported: set[tuple[AlertKind, str | None]] = set()

    def observe(
        self, kind: AlertKind, value: float, limit: float, hint: str, session_id: str | None = None
    ) -> None:
        """Take the current value of what a limit applies to: the kernel, or one session."""
        key = (kind, session_id)
        if value < limit:
            if value < limit * RECOVERED:
                self._reported.discard(key)
            return
        if key in self._reported or not self._callbacks.wants("alert", session_id):
            return
        self._reported.add(key)
        alert = Alert(kind=kind, value=value, limit=limit, hint=hint)
        self._callbacks.notify(Notification(event="alert", session_id=session_id, data=alert))

"""A simulated page that records the messages of the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Page:
    """A page whose `take` a `WireServer` calls with each comm message."""

    def __init__(self) -> None:
        self.messages: list[Mapping[str, Any]] = []
        self._pieces: list[bytes] = []

    def take(self, content: Mapping[str, Any], buffers: list[bytes]) -> None:
        """Record the messages of a comm message."""
        self._pieces += buffers
        if content["piece"] + 1 == content["of"]:
            packet, self._pieces = msgspec.json.decode(b"".join(self._pieces)), []
            self.messages += packet["messages"]

    def heard(self, kind: str, **fields: object) -> Mapping[str, Any] | None:
        """Return the newest message of a type with these fields, or None."""
        for message in reversed(self.messages):
            if message["type"] == kind and all(message[name] == value for name, value in fields.items()):
                return message
        return None

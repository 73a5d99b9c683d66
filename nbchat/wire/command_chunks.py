"""`CommandChunks`: reassembles commands that are too long for one message."""

from __future__ import annotations

from typing import Any, Final

from nbchat.core.errors import WireError
from nbchat.core.values import MAX_VALUES, count_values, decode_json
from nbchat.protocol import MAX_COMMAND, CommandChunk

MOST: Final = 8
"""Maximum number of incomplete commands; beyond it, the oldest is discarded."""


class CommandChunks:
    """Keeps parts until a command is complete. Parts may arrive in any order and more than once."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], dict[int, str]] = {}

    def take(self, part: CommandChunk) -> dict[str, Any] | None:
        """Add a part; return the whole `run_command` message, not yet validated, if it is complete.

        Raises
        ------
        WireError
            If the parts do not form a command, or exceed its maximum length.
        """
        key = (part.page, part.id)
        parts = self._parts.setdefault(key, {})
        while len(self._parts) > MOST:
            self._parts.pop(next(iter(self._parts)))
        parts[part.part] = part.text
        if not 0 <= part.part < part.of or sum(map(len, parts.values())) > MAX_COMMAND:
            del self._parts[key]
            raise WireError(f"the parts of command {part.id[:64]!r} do not fit together.")
        if len(parts) < part.of:
            return None
        del self._parts[key]
        try:
            whole = "".join(parts[i] for i in range(part.of))
            if count_values(whole.encode("utf-8", "surrogatepass")) > MAX_VALUES:
                raise WireError(f"command {part.id[:64]!r} has more than {MAX_VALUES:,} values.")
            command = decode_json(Any, whole)
        except (KeyError, ValueError) as error:
            raise WireError(f"the parts of command {part.id[:64]!r} are no JSON: {error}.") from error
        return {"type": "run_command", "page": part.page, "epoch": part.epoch, "command": command}

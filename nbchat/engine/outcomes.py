"""`Outcomes`: the outcomes of executed commands, so that a repeated command is executed once."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping

from nbchat.core.kernel_commands import Outcome
from nbchat.core.values import DecodeError, decode_json, encode_json
from nbchat.stores.base import MAX_ACKNOWLEDGED

logger = logging.getLogger("nbchat")


class Outcomes:
    """The outcomes of the last commands that were executed. Only for the engine's loop.

    A command that was refused has changed nothing, so it is not kept.
    """

    def __init__(self) -> None:
        self._outcomes: OrderedDict[str, Outcome] = OrderedDict()

    def __repr__(self) -> str:
        """Return the number of outcomes."""
        return f"<Outcomes of {len(self._outcomes)} commands>"

    def get(self, command_id: str) -> Outcome | None:
        """Return the outcome of a command; `None` if it was not executed."""
        return self._outcomes.get(command_id)

    def add(self, command_id: str, outcome: Outcome) -> None:
        """Keep an outcome; the oldest one may be dropped."""
        self._outcomes[command_id] = outcome
        while len(self._outcomes) > MAX_ACKNOWLEDGED:
            self._outcomes.popitem(last=False)

    def restore(self, acknowledged: Mapping[str, bytes]) -> None:
        """Add the outcomes that earlier engines stored."""
        for command_id, body in acknowledged.items():
            try:
                outcome = decode_json(Outcome, body)
            except DecodeError as error:
                logger.warning("the outcome of command %s could not be read: %s", command_id, error)
            else:
                if command_id not in self._outcomes:
                    self.add(command_id, outcome)


def encode_outcome(outcome: Outcome) -> bytes:
    """Return an outcome as a store keeps it."""
    return encode_json(outcome)

"""`Conversation`, the input of a demo model: the turns so far and an optional prefill."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zlib import crc32

Role = Literal["system", "user", "assistant", "tool"]

_CHARS_PER_TOKEN = 4
_TOKENS_PER_TURN = 4


@dataclass(frozen=True, slots=True)
class Turn:
    """One message, reduced to its text."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool."""

    name: str
    arguments: str
    """JSON."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns, oldest first, and the prefill if the last turn was the assistant's."""

    turns: tuple[Turn, ...]
    prefill: str = ""

    @classmethod
    def of(cls, turns: tuple[Turn, ...]) -> Conversation:
        """Return the conversation; an assistant turn at the end becomes the prefill."""
        if turns and turns[-1].role == "assistant":
            return cls(turns[:-1], prefill=turns[-1].text)
        return cls(turns)

    @property
    def instructions(self) -> str:
        """The text of all system and developer messages."""
        return "\n\n".join([turn.text for turn in self.turns if turn.role == "system"])

    @property
    def questions(self) -> tuple[str, ...]:
        """The user messages, oldest first."""
        return tuple([turn.text for turn in self.turns if turn.role == "user"])

    @property
    def question(self) -> str:
        """The last user message; empty if there is no user message."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def results(self) -> tuple[str, ...]:
        """The results of tools after the last user message."""
        roles = [turn.role for turn in self.turns]
        last = len(roles) - roles[::-1].index("user") if "user" in roles else 0
        return tuple([turn.text for turn in self.turns[last:] if turn.role == "tool"])

    @property
    def seed(self) -> int:
        """A number derived from the turns; independent of the prefill."""
        value = 0
        for turn in self.turns:
            # The length distinguishes two turns from one turn with both texts.
            value = crc32(f"{turn.role}:{len(turn.text)}:{turn.text}".encode(), value)
        return value

    @property
    def tokens(self) -> int:
        """An estimate of the number of input tokens that is cheap even for a long prompt."""
        texts = [*(turn.text for turn in self.turns), *([self.prefill] if self.prefill else [])]
        return sum([-(-len(text) // _CHARS_PER_TOKEN) + _TOKENS_PER_TURN for text in texts])

"""What a demo model is given: the turns so far and, maybe, the beginning of its own answer."""

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
class Conversation:
    """The turns, oldest first; and the answer's beginning, where the last turn was the assistant's."""

    turns: tuple[Turn, ...]
    prefill: str = ""

    @classmethod
    def of(cls, turns: tuple[Turn, ...]) -> Conversation:
        """Return the conversation; an assistant's turn at the end becomes the prefill."""
        if turns and turns[-1].role == "assistant":
            return cls(turns[:-1], prefill=turns[-1].text)
        return cls(turns)

    @property
    def instructions(self) -> str:
        """What the system or the developer said."""
        return "\n\n".join([turn.text for turn in self.turns if turn.role == "system"])

    @property
    def questions(self) -> tuple[str, ...]:
        """What the user said, oldest first."""
        return tuple([turn.text for turn in self.turns if turn.role == "user"])

    @property
    def question(self) -> str:
        """What the user said last; empty if nothing."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")

    @property
    def seed(self) -> int:
        """A number that is the same whenever the same was said, wherever the answer is taken up."""
        value = 0
        for turn in self.turns:
            # A turn's length keeps two turns apart from one turn with both texts.
            value = crc32(f"{turn.role}:{len(turn.text)}:{turn.text}".encode(), value)
        return value

    @property
    def tokens(self) -> int:
        """Roughly how many tokens the model reads; an estimate that costs nothing on a long prompt."""
        texts = [*(turn.text for turn in self.turns), *([self.prefill] if self.prefill else [])]
        return sum([-(-len(text) // _CHARS_PER_TOKEN) + _TOKENS_PER_TURN for text in texts])

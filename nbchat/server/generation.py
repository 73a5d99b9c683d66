"""One answer: what is said, in which pieces, why it ended, and what it took. No I/O and no waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Literal

from nbchat.server.conversation import Conversation
from nbchat.server.models import DemoModel
from nbchat.server.pace import Piece
from nbchat.server.tokens import after, tokens, until

FinishReason = Literal["stop", "length"]

_PAUSE_SHARE = 0.06
_PAUSE_FACTOR = 4.0


class Generation:
    """The answer of one model to one conversation; the same for the same `seed`, piece by piece.

    Parameters
    ----------
    seed
        What the choices of words and the jitter of the times follow from. None: what was said.
    max_tokens
        Tokens that may be said, reasoning included; None for no limit.
    stop
        The answer ends before the first of these.
    """

    def __init__(
        self,
        model: DemoModel,
        conversation: Conversation,
        *,
        seed: int | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.conversation = conversation
        self.finish_reason: FinishReason | None = None
        """None while the answer goes on."""
        self.input_tokens: int = conversation.tokens
        self.reasoning_tokens: int = 0
        self.text_tokens: int = 0
        self._seed = conversation.seed if seed is None else seed
        self._max_tokens = max_tokens
        self._stop = stop

    @property
    def output_tokens(self) -> int:
        """Tokens that were said so far, thoughts included."""
        return self.reasoning_tokens + self.text_tokens

    def __iter__(self) -> Iterator[Piece]:
        """Yield the answer; afterwards `finish_reason` is set. To be read once."""
        model, conversation = self.model, self.conversation
        # Words and times have generators of their own, so that no change of pace changes a word.
        words, times = Random(self._seed), Random(self._seed + 1)  # noqa: S311 - to repeat, not to hide
        tempo = model.tempo(conversation)
        speed = times.uniform(*tempo.tokens_per_s)
        gap_s = tempo.first_token_s * times.uniform(0.8, 1.2)
        # Thinking comes before the first word, so an answer that has begun is not thought about again.
        thoughts = () if conversation.prefill else tokens(model.thoughts(conversation))
        answer = tokens(until(after(model.answer(conversation, words), conversation.prefill), self._stop))
        fewest, most = tempo.tokens_per_piece
        for reasoning, stream in ((True, iter(thoughts)), (False, answer)):
            while said := list(islice(stream, times.randint(fewest, most))):
                allowed = self._allow(said)
                if allowed:
                    yield Piece("".join(allowed), gap_s, reasoning)
                    # Counted when the next piece is asked for: an answer that is broken off took no more.
                    self._count(len(allowed), reasoning=reasoning)
                if len(allowed) < len(said):
                    self.finish_reason = "length"
                    return
                gap_s = len(said) / speed * times.uniform(0.4, 1.4)
                if times.random() < _PAUSE_SHARE:
                    gap_s *= _PAUSE_FACTOR
        self.finish_reason = "stop"

    def _allow(self, said: list[str]) -> list[str]:
        return said if self._max_tokens is None else said[: max(self._max_tokens - self.output_tokens, 0)]

    def _count(self, amount: int, *, reasoning: bool) -> None:
        if reasoning:
            self.reasoning_tokens += amount
        else:
            self.text_tokens += amount


def text_of(pieces: Iterable[Piece]) -> tuple[str, str]:
    """Return what was thought and what was said."""
    both = list(pieces)
    return (
        "".join([piece.text for piece in both if piece.reasoning]),
        "".join([piece.text for piece in both if not piece.reasoning]),
    )

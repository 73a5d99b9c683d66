"""`Generation` produces one answer in pieces, with finish reason and usage. No I/O and no waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any, Literal

from nbchat.server.conversation import Call, Conversation
from nbchat.server.json_answer import json_answer
from nbchat.server.models import DemoModel
from nbchat.server.pace import Piece
from nbchat.server.tokens import after, tokens, until

FinishReason = Literal["stop", "length", "tool_calls"]

_PAUSE_SHARE = 0.06
_PAUSE_FACTOR = 4.0


class Generation:
    """The answer of one model to one conversation. The same `seed` produces the same pieces.

    Parameters
    ----------
    seed
        Seed for the choice of words and the jitter of delays. `None`: derived from the conversation.
    max_tokens
        Maximum number of tokens, including reasoning; `None` for no limit.
    stop
        Stop sequences; the answer ends before the first one.
    schema
        JSON schema of the answer, which every model then reads from the question.
    tools
        Names of the tools that may be called.
    """

    def __init__(
        self,
        model: DemoModel,
        conversation: Conversation,
        *,
        seed: int | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        schema: Mapping[str, Any] | None = None,
        tools: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.conversation = conversation
        self.finish_reason: FinishReason | None = None
        """`None` while the answer is being generated."""
        self.input_tokens: int = conversation.tokens
        self.reasoning_tokens: int = 0
        self.text_tokens: int = 0
        self._seed = conversation.seed if seed is None else seed
        self._max_tokens = max_tokens
        self._stop = stop
        self._schema = schema
        self._tools = tools
        self.calls: Sequence[Call] = ()
        """The tool calls at the end of the answer, known when it is generated."""

    @property
    def output_tokens(self) -> int:
        """Tokens generated so far, including reasoning."""
        return self.reasoning_tokens + self.text_tokens

    def __iter__(self) -> Iterator[Piece]:
        """Yield the pieces of the answer and then set `finish_reason`. Iterate only once."""
        model, conversation = self.model, self.conversation
        # Separate random generators, so that a change of timing does not change the words.
        words, times = Random(self._seed), Random(self._seed + 1)  # noqa: S311 - to repeat, not to hide
        tempo = model.tempo(conversation)
        speed = times.uniform(*tempo.tokens_per_s)
        gap_s = tempo.first_token_s * times.uniform(0.8, 1.2)
        # Reasoning precedes the text, so an answer that continues a prefill has none.
        thoughts = () if conversation.prefill else tokens(model.thoughts(conversation))
        text = (
            model.answer(conversation, words)
            if self._schema is None
            else [json_answer(self._schema, conversation.question)]
        )
        answer = tokens(until(after(text, conversation.prefill), self._stop))
        fewest, most = tempo.tokens_per_piece
        for reasoning, stream in ((True, iter(thoughts)), (False, answer)):
            while said := list(islice(stream, times.randint(fewest, most))):
                allowed = self._allow(said)
                if allowed:
                    yield Piece("".join(allowed), gap_s, reasoning)
                    # Counted when the next piece is requested, so that an aborted answer is not overcounted.
                    self._count(len(allowed), reasoning=reasoning)
                if len(allowed) < len(said):
                    self.finish_reason = "length"
                    return
                gap_s = len(said) / speed * times.uniform(0.4, 1.4)
                if times.random() < _PAUSE_SHARE:
                    gap_s *= _PAUSE_FACTOR
        self.calls = self.model.calls(conversation, self._tools)
        self.text_tokens += sum(1 + len(call.arguments) // 4 for call in self.calls)
        self.finish_reason = "tool_calls" if self.calls else "stop"

    def _allow(self, said: list[str]) -> list[str]:
        return said if self._max_tokens is None else said[: max(self._max_tokens - self.output_tokens, 0)]

    def _count(self, amount: int, *, reasoning: bool) -> None:
        if reasoning:
            self.reasoning_tokens += amount
        else:
            self.text_tokens += amount


def text_of(pieces: Iterable[Piece]) -> tuple[str, str]:
    """Return the reasoning and the text."""
    both = list(pieces)
    return (
        "".join([piece.text for piece in both if piece.reasoning]),
        "".join([piece.text for piece in both if not piece.reasoning]),
    )

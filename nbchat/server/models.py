"""The demo models, `MODELS`: prepared answers that require no network and no key."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from random import Random
from types import MappingProxyType
from typing import Final, Protocol

from nbchat.server import essay, tour
from nbchat.server.conversation import Call, Conversation
from nbchat.server.pace import Tempo

_BRISK = Tempo(first_token_s=0.3, tokens_per_s=(45.0, 75.0))
_SLOW = Tempo(first_token_s=2.0, tokens_per_s=(4.5, 5.5), tokens_per_piece=(1, 1))
_ECHO_PIECES = 4000
_CHARS_PER_TOKEN = 4


class DemoModel(Protocol):
    """A demo model. It keeps no state between two answers, and equal seeds produce equal answers."""

    @property
    def id(self) -> str:
        """The model id in requests."""
        ...

    @property
    def description(self) -> str:
        """A one-line description."""
        ...

    def tempo(self, conversation: Conversation) -> Tempo:
        """Return the tempo of this answer."""
        ...

    def thoughts(self, conversation: Conversation) -> Iterable[str]:
        """Yield the reasoning before the answer, in blocks."""
        ...

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:
        """Yield the whole answer in blocks, regardless of a prefill."""
        ...

    def calls(self, conversation: Conversation, tools: Collection[str]) -> Sequence[Call]:
        """Return the tool calls at the end of the answer; `tools` are the names of the request's tools."""
        ...


class _Model:
    """Defaults shared by most models."""

    id = ""
    description = ""

    def tempo(self, conversation: Conversation) -> Tempo:  # noqa: ARG002 - the same for all
        """Return the tempo of this answer."""
        return _BRISK

    def thoughts(self, conversation: Conversation) -> Iterable[str]:  # noqa: ARG002 - most do not think
        """Yield nothing."""
        return ()

    def calls(self, conversation: Conversation, tools: Collection[str]) -> Sequence[Call]:  # noqa: ARG002 - most call none
        """Return nothing."""
        return ()


class Tour(_Model):
    """Answers questions about nbchat."""

    id = "nbchat-tour"
    description = "answers about nbchat itself, with tables, code and formulas"

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:
        """Yield the answer of the tour to the last question."""
        return tour.answer(conversation, words, name=self.id)


class Echo(_Model):
    """Repeats the last user message."""

    id = "nbchat-echo"
    description = "repeats your last message exactly"

    def tempo(self, conversation: Conversation) -> Tempo:
        """Return a fast tempo; a long text has larger pieces, so that it ends within a minute."""
        most = 3 + len(conversation.question) // (_CHARS_PER_TOKEN * _ECHO_PIECES)
        return Tempo(
            first_token_s=0.1, tokens_per_s=(60.0 * most, 80.0 * most), tokens_per_piece=(most // 2, most)
        )

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:  # noqa: ARG002 - nothing to choose
        """Yield the last user message, in blocks small enough for fast tokenization."""
        text = conversation.question
        return (text[at : at + 4096] for at in range(0, len(text), 4096))


class Long(_Model):
    """Generates a long answer."""

    id = "nbchat-long"
    description = "a long structured answer: 40 KB, or as long as you ask for (“2000 words”, “160 KB”)"

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:
        """Yield an essay of the length requested in the question."""
        return essay.write(conversation.question, words)


class Slow(_Model):
    """Answers slowly."""

    id = "nbchat-slow"
    description = "two seconds of silence, then five tokens per second: time to try Stop and Pause"

    def tempo(self, conversation: Conversation) -> Tempo:  # noqa: ARG002 - the same for all
        """Return the tempo of a large model on a small machine."""
        return _SLOW

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:
        """Yield a few sentences that take half a minute."""
        return tour.slow_answer(conversation, words)


class Think(_Model):
    """Emits reasoning, then answers like `Tour`."""

    id = "nbchat-think"
    description = "thinks aloud first, then answers like nbchat-tour"

    def thoughts(self, conversation: Conversation) -> Iterable[str]:
        """Yield the steps of choosing an answer."""
        return tour.thoughts(conversation)

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:
        """Yield the answer of the tour to the last question."""
        return tour.answer(conversation, words, name=self.id)


_CALL = re.compile(r"^call ([A-Za-z0-9_-]{1,64})(?:[ \t]+(\S.*))?$", re.MULTILINE)


class Tools(_Model):
    """Calls tools: each line `call NAME {…}` of the question is a call with these arguments."""

    id = "nbchat-tools"
    description = "calls tools: ask `call NAME {…}`, and it quotes the result"

    def answer(self, conversation: Conversation, words: Random) -> Iterable[str]:  # noqa: ARG002 - nothing to choose
        """Yield a text that quotes the results, or announces the calls."""
        results = conversation.results
        names = [name for name, _ in _CALL.findall(conversation.question)]
        if results:
            yield "The tools returned:\n\n"
            for name, result in zip_longest(names, results, fillvalue=""):
                yield f"{name or 'tool'}: {result}\n"
        elif names:
            yield "Let me call " + ", ".join(names) + "."
        else:
            yield 'Ask me to call a tool, with a line such as: call rate {"currency": "USD"}'

    def calls(self, conversation: Conversation, tools: Collection[str]) -> Sequence[Call]:
        """Return the calls in the question, unless their results follow it."""
        if conversation.results:
            return ()
        found = _CALL.findall(conversation.question)
        return tuple(Call(name, arguments or "{}") for name, arguments in found if name in tools)


_ALL: Final[tuple[DemoModel, ...]] = (Tour(), Echo(), Long(), Slow(), Think(), Tools())
MODELS: Final = MappingProxyType({model.id: model for model in _ALL})
"""The models by id; the first is used by clients that do not set a model."""

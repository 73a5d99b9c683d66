"""`write` generates a long Markdown text about streams, of the requested length.

The text is filler for testing streaming, scrolling, stopping and performance. It is determined by the seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

DEFAULT_BYTES = 40_000
MAX_WORDS = 200_000
MAX_BYTES = 2_000_000
_READ_CHARS = 2000

_WORDS_ASKED = re.compile(r"(\d[\d,_']*)\s*(?:-\s*)?words?\b", re.IGNORECASE)
_BYTES_ASKED = re.compile(r"(\d+(?:\.\d+)?)\s*(k|m)(?:i?b|ilobytes?|egabytes?)\b", re.IGNORECASE)
_BYTES_PER = {"k": 1000, "m": 1_000_000}

_SUBJECTS = (
    "a reader", "the reservoir", "every source", "the slow tributary", "a well kept log",
    "the second observer", "the gauge at the bridge", "a late arrival", "the whole basin",
    "an honest counter", "the narrow channel", "a patient listener", "the first drop", "the upstream lock",
)  # fmt: skip
_VERBS = (
    "carries", "remembers", "divides", "measures", "delays", "joins", "outlasts", "repeats", "smooths",
    "reveals", "keeps apart", "waits for", "overtakes", "accounts for",
)  # fmt: skip
_OBJECTS = (
    "what has already passed", "the difference between two readings", "more than the eye can follow",
    "the order in which things happened", "a quiet stretch of water", "the noise of the day",
    "one bucket at a time", "the shape of the bed", "what comes after the bend", "the level at midnight",
    "the sum of all its parts", "an interval that nobody noticed", "the same stone twice",
)  # fmt: skip
_OPENERS = (
    "In practice, ", "As a rule, ", "Seen from the bank, ", "After rain, ", "On most days, ",
    "By contrast, ", "Strictly speaking, ", "In the long run, ", "", "", "", "",
)  # fmt: skip
_TAILS = (
    ", and nothing is lost on the way", ", which is *easier to see* than to say", ", whatever the season",
    ", as `gauge.read()` shows", ", although **nobody asked it to**", "", "", "", "", "",
)  # fmt: skip
_TITLES = (
    "Where the water comes from", "Reading the gauge", "Two rivers, one bed", "What the flood left",
    "Slow water", "A day at the lock", "Maps and their errors", "The delta", "Counting drops",
    "Below the weir",
)  # fmt: skip
_RIVERS = (
    "Aa", "Bode", "Cher", "Drau", "Ebro", "Fulda", "Guadiana", "Havel", "Inn", "Jihlava", "Krka", "Loire",
)  # fmt: skip
_FORMULAS = (
    r"Q = v \cdot A",
    r"v = \frac{1}{n} R^{2/3} S^{1/2}",
    r"\frac{\partial h}{\partial t} + \frac{\partial q}{\partial x} = 0",
    r"\bar{x} = \frac{1}{N} \sum_{i=1}^{N} x_i",
)


@dataclass(slots=True)
class _Budget:
    """The remaining length, in words or in bytes."""

    left: int
    in_words: bool

    @classmethod
    def asked(cls, question: str) -> _Budget:
        if words := _WORDS_ASKED.search(question[:_READ_CHARS]):
            # Truncated, since int() rejects numbers with thousands of digits.
            digits = re.sub(r"\D", "", words[1])[:9]
            return cls(min(max(int(digits), 1), MAX_WORDS), in_words=True)
        if size := _BYTES_ASKED.search(question[:_READ_CHARS]):
            wanted = float(size[1][:12]) * _BYTES_PER[size[2].lower()]
            return cls(max(int(min(wanted, MAX_BYTES)), 1), in_words=False)
        return cls(DEFAULT_BYTES, in_words=False)

    def spend(self, text: str) -> None:
        self.left -= len(text.split()) if self.in_words else len(text.encode())


def write(question: str, words: Random) -> Iterator[str]:
    """Yield Markdown, block by block, up to the length requested in `question`.

    “500 words” and “160 KB” are recognized (at most 200,000 words or 2 MB); the default is about 40 KB.
    The last sentence may exceed the length by a few words.
    """
    budget = _Budget.asked(question)
    for block in _blocks(words):
        for piece in block:
            if budget.left <= 0:
                return
            budget.spend(piece)
            yield piece


def _blocks(words: Random) -> Iterator[Iterator[str]]:
    yield iter(["# On streams\n\n"])
    yield _paragraph(words)
    extras: tuple[Callable[[Random], Iterator[str]], ...] = (
        _bullets,
        _table,
        _code,
        _formula,
        _quote,
        _steps,
    )
    for number in count(1):
        yield iter([f"## {number}. {words.choice(_TITLES)}\n\n"])
        yield _paragraph(words)
        yield extras[(number - 1) % len(extras)](words)
        if words.random() < 0.5:  # noqa: PLR2004 - every other section
            yield iter([f"### {words.choice(_TITLES)}, once more\n\n"])
        yield _paragraph(words)


def _sentence(words: Random) -> str:
    opener, subject = words.choice(_OPENERS), words.choice(_SUBJECTS)
    start = opener + subject
    said = f"{start} {words.choice(_VERBS)} {words.choice(_OBJECTS)}{words.choice(_TAILS)}."
    return said[0].upper() + said[1:]


def _paragraph(words: Random) -> Iterator[str]:
    for index in range(words.randint(4, 7)):
        yield f"{' ' if index else ''}{_sentence(words)}"
    yield "\n\n"


def _bullets(words: Random) -> Iterator[str]:
    for _ in range(words.randint(3, 5)):
        yield f"- **{words.choice(_RIVERS)}**: {_sentence(words)}\n"
    yield "\n"


def _steps(words: Random) -> Iterator[str]:
    for index in range(words.randint(3, 5)):
        yield f"{index + 1}. {_sentence(words)}\n"
    yield "\n"


def _table(words: Random) -> Iterator[str]:
    yield "| river | length (km) | flow (m³/s) | note |\n|:--|--:|--:|:--|\n"
    for river in words.sample(_RIVERS, words.randint(4, 8)):
        length, flow = words.randint(40, 1100), words.uniform(2, 900)
        yield f"| {river} | {length} | {flow:.1f} | {words.choice(_OBJECTS)} |\n"
    yield "\n"


def _code(words: Random) -> Iterator[str]:
    river, window = words.choice(_RIVERS), words.randint(3, 48)
    yield "```python\n"
    yield f"def mean_level(readings: list[float], window: int = {window}) -> list[float]:\n"
    yield f'    """Smooth the level of the {river}."""\n'
    yield "    sums = list(accumulate(readings, initial=0.0))\n"
    yield "    return [(b - a) / window for a, b in zip(sums, sums[window:])]\n"
    yield "```\n\n"


def _formula(words: Random) -> Iterator[str]:
    yield f"What flows in flows out:\n\n$$\n{words.choice(_FORMULAS)}\n$$\n\n"
    yield f"with $v$ in m/s; the {words.choice(_RIVERS)} has $v \\approx {words.uniform(0.2, 2.5):.2f}$.\n\n"


def _quote(words: Random) -> Iterator[str]:
    yield f"> {_sentence(words)}\n>\n> *from a notebook found at the {words.choice(_RIVERS)}*\n\n"

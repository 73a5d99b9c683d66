"""`Results`: the answers of a batch, in the order of its prompts, and its progress."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, overload

from nbchat.core.messages import Usage, json_of
from nbchat.core.text import cut
from nbchat.engine import prices
from nbchat.engine.one_shot import Answer
from nbchat.handles.data_frames import make_frame, rate, with_columns

if TYPE_CHECKING:
    from nbchat.handles.structured import Structure


class Result(Answer, frozen=True, kw_only=True):
    """Outcome of one prompt of a batch. `str(result)` is the answer's text.

    Examples
    --------
    >>> river, nothing = nbchat.map(["Seine", ""], model="nbchat-echo", progress=False)
    >>> str(river), river.ok, river.attempts
    ('Seine', True, 1)
    >>> nothing.ok, nothing.error.code
    (False, 'request_rejected')
    """

    prompt: str
    data: Any = None
    """The answer as an object of the schema, if there was one."""
    restored: bool = False
    """True if it was answered before this call: by an earlier one with this journal, or in the runner."""

    @property
    def cost(self) -> Decimal | None:
        """The cost of all attempts in USD; `None` if it is unknown, as in `Run.cost`."""
        return cost_of_result(self, hint=True)

    @property
    def ok(self) -> bool:
        """True if there is an answer."""
        return self.error is None

    def __str__(self) -> str:
        """Return the answer's text."""
        return self.text

    def __repr__(self) -> str:
        """Return one line with the prompt and its outcome."""
        end = f"failed: {self.error.code}" if self.error is not None else f"{len(self.text):,} characters"
        return f"<Result {self.index} {_short(self.prompt)!r} {end}>"


class Results(Sequence[Result]):
    """Results of a batch, in the order of its prompts, failed ones included.

    Examples
    --------
    >>> results = nbchat.map(["Seine", ""], model="nbchat-echo", progress=False)
    >>> results.texts
    ['Seine', None]
    >>> [result.index for result in results.failed]
    [1]

    Attributes
    ----------
    usage
        Token counts of all results together, as far as the server reported them.
    """

    def __init__(
        self, results: Sequence[Result], frame: object = None, structure: Structure | None = None
    ) -> None:
        self._results = tuple(results)
        self._structure = structure
        self._frame = frame
        self.usage: Usage = sum((r.usage for r in self._results if r.usage is not None), Usage())

    @overload
    def __getitem__(self, at: int) -> Result: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Result]: ...
    def __getitem__(self, at: int | slice) -> Result | Sequence[Result]:
        return self._results[at]

    def __len__(self) -> int:
        return len(self._results)

    def __repr__(self) -> str:
        """Return the number of answers, and the tokens used."""
        failed = len(self.failed)
        return (
            f"<Results: {len(self) - failed:,} answered, {failed:,} failed, "
            f"{self.usage.total_tokens:,} tokens>"
        )

    @property
    def cost(self) -> Decimal | None:
        """The known costs of all results together, in USD; `None` if the cost of no result is known."""
        return prices.total(result.cost for result in self._results)

    @property
    def texts(self) -> list[str | None]:
        """The texts of the answers, in order; `None` for a failed prompt."""
        return [result.text if result.ok else None for result in self._results]

    @property
    def failed(self) -> list[Result]:
        """The results without an answer."""
        return [result for result in self._results if not result.ok]

    def raise_errors(self) -> None:
        """Raise the errors of all failed prompts, if there are any.

        Raises
        ------
        ExceptionGroup
            If any prompt failed; contains the errors, in order.
        """
        errors = [result.error for result in self._results if result.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self)} prompts were not answered", errors)

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each prompt, in order.

        If the prompts came in a frame, the result is a frame of the same kind, with its index, and with the
        columns `prompt`, `answer`, `error`, `state`, `model`, `finish_reason`, `input_tokens`,
        `output_tokens`, `cost_usd`, `duration_s` and `attempts` added, after one column per field of the
        `schema`, if there was one. If a column or field of that name exists, the new one is called
        `nbchat_…`.

        Parameters
        ----------
        library
            `pandas`, `polars` or `pyarrow`, if the prompts did not come in a frame. `None` selects one that
            is loaded, else one that is installed.

        Raises
        ------
        CommandError
            If no such library is installed.
        """
        columns: dict[str, list[Any]] = {
            "prompt": [r.prompt for r in self._results],
            "answer": self.texts,
            "error": [r.error.code if r.error is not None else None for r in self._results],
            "state": [str(r.state) if r.state is not None else None for r in self._results],
            "model": [r.model for r in self._results],
            "finish_reason": [r.finish_reason for r in self._results],
            "input_tokens": [r.usage.input_tokens if r.usage else None for r in self._results],
            "output_tokens": [r.usage.output_tokens if r.usage else None for r in self._results],
            "cost_usd": [None if (cost := cost_of_result(r)) is None else float(cost) for r in self._results],
            "duration_s": [r.duration_s for r in self._results],
            "attempts": [r.attempts for r in self._results],
        }
        if self._structure is not None:
            # The text has numbers and dates as the model wrote them; the object adds defaults.
            answers = [
                {**self._structure.values_of(r.data), **json_of(r.text)} if r.ok else {}
                for r in self._results
            ]
            values = {name: [answer.get(name) for answer in answers] for name in self._structure.fields}
            own = {f"nbchat_{name}" if name in values else name: column for name, column in columns.items()}
            columns = {**values, **own}
        if self._frame is None or library is not None:
            return make_frame(columns, library)
        return with_columns(self._frame, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """Progress of a batch; the argument of a function given as `progress`.

    Examples
    --------
    >>> told = []
    >>> results = nbchat.map(["Seine", "Rhône"], model="nbchat-echo", progress=told.append)
    >>> [now.done for now in told]
    [0, 1, 2]
    >>> told[-1].remaining_s
    0.0
    """

    total: int
    done: int
    """Answered, failed and restored prompts together."""
    failed: int
    restored: int
    """Those of `done` that were answered by an earlier call."""
    elapsed_s: float
    usage: Usage
    continues: bool | None = None
    """With a runner: whether the batch continues without the kernel. `None` without a runner."""
    prompt_tokens: int = 0
    """Estimated tokens of all requests together: one for every four bytes of text."""
    cost: Decimal | None = None
    """Known costs of the answers so far, in USD, as in `Results.cost`."""
    estimated_cost: Decimal | None = None
    """Estimated cost of the whole batch in USD; `None` if it is unknown.

    The remaining prompts are taken to cost as much as those so far. Before the first answer, it is the cost
    of `prompt_tokens`, without answers.
    """

    @property
    def per_s(self) -> float:
        """Prompts per second, without restored ones."""
        return rate(self.done - self.restored, self.elapsed_s) or 0.0

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds for the rest at this rate; `None` if there is no rate yet."""
        return (self.total - self.done) / self.per_s if self.per_s else None

    def __str__(self) -> str:
        """Return the progress as one readable line."""
        failed = f", {self.failed:,} failed" if self.failed else ""
        left = "" if self.remaining_s is None else f", {_clock(self.remaining_s)} left"
        cost = ""
        if self.cost is not None:
            of = f" of about {prices.shown(self.estimated_cost)}" if self.done < self.total else ""
            cost = f", {prices.shown(self.cost) or '$0'}{of}"
        elif not self.done and self.prompt_tokens:
            price = prices.shown(self.estimated_cost)
            cost = f", about {self.prompt_tokens:,} tokens to send" + (f" for {price}" if price else "")
        ends = ""
        if self.continues is not None and self.done < self.total:
            ends = ", continues without the kernel" if self.continues else ", ends with this kernel"
        return f"{self.done:,} of {self.total:,}{failed}, {self.per_s:.1f}/s{left}{cost}{ends}"


def cost_of_result(result: Result, *, hint: bool = False) -> Decimal | None:
    """Return the cost of a result; with `hint`, log once that the library of prices is missing."""
    if result.from_cache and result.usage is None:
        return Decimal(0)
    return prices.cost_of(result.usage, result.model, result.server, result.started_at, hint=hint)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return cut(line, 40, "…")

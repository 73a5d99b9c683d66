"""`nbchat.map`: many prompts, answered in order, several at a time, and going on after a stop."""

from __future__ import annotations

import contextlib
import math
import numbers
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload

from nbchat.api import the_registry
from nbchat.batch.answer_file import AnswerFile, Ledger, keys
from nbchat.batch.runner import Answer, BatchRunner
from nbchat.core.errors import NbchatError, RequestRejected
from nbchat.core.events import Settings
from nbchat.core.interpolation import field_names, interpolate
from nbchat.core.messages import Usage
from nbchat.core.redact import without_references
from nbchat.core.request_fields import merged
from nbchat.core.settings import session_settings
from nbchat.core.text import cut, suggestion
from nbchat.core.tracebacks import short_traceback
from nbchat.engine.loop_thread import POLL_S, LoopThread
from nbchat.engine.wakeup import Wakeup
from nbchat.handles.data_frames import is_frame, make_frame, rate, rows_of, with_columns

if TYPE_CHECKING:
    import asyncio

    from nbchat.core.run import RunState
    from nbchat.providers.base import Provider

MAX_CONCURRENCY: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One prompt of a batch and what became of it. `str(result)` is the answer's text.

    Examples
    --------
    >>> river, nothing = nbchat.map(["Seine", ""], model="nbchat-echo", progress=False)
    >>> str(river), river.ok, river.attempts
    ('Seine', True, 1)
    >>> nothing.ok, nothing.error.code
    (False, 'request_rejected')
    """

    index: int
    """Place among the prompts, from 0."""
    prompt: str
    text: str = ""
    """The answer; of a failed one, what had arrived."""
    error: NbchatError | None = None
    """Why there is no answer; None where there is one."""
    state: RunState | None = None
    """How the last attempt ended; None where nothing was asked."""
    model: str | None = None
    finish_reason: str | None = None
    usage: Usage | None = None
    """Tokens of all attempts, as far as the server reported them."""
    time_to_first_token_s: float | None = None
    duration_s: float | None = None
    """Seconds of the last attempt."""
    attempts: int = 0
    restored: bool = False
    """It was answered by an earlier call, and comes from the journal."""

    @property
    def ok(self) -> bool:
        """There is an answer."""
        return self.error is None

    def __str__(self) -> str:
        """Return the answer's text."""
        return self.text

    def __repr__(self) -> str:
        """Return one line: which prompt, and what became of it."""
        end = f"failed: {self.error.code}" if self.error is not None else f"{len(self.text):,} characters"
        return f"<Result {self.index} {_short(self.prompt)!r} {end}>"


class Results(Sequence[Result]):
    """Results of a batch, in the order of its prompts; failed ones stand in their places.

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
        Tokens of all of them together, as far as the server reported them.
    """

    def __init__(self, results: Sequence[Result], frame: object = None) -> None:
        self._results = tuple(results)
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
        """Return how many were answered, and what it took."""
        failed = len(self.failed)
        return (
            f"<Results: {len(self) - failed:,} answered, {failed:,} failed, "
            f"{self.usage.total_tokens:,} tokens>"
        )

    @property
    def texts(self) -> list[str | None]:
        """The answers' texts, in order; None where there is none."""
        return [result.text if result.ok else None for result in self._results]

    @property
    def failed(self) -> list[Result]:
        """Those without an answer."""
        return [result for result in self._results if not result.ok]

    def raise_errors(self) -> None:
        """Raise the errors of all that failed, if any did.

        Raises
        ------
        ExceptionGroup
            With the error of each, in order.
        """
        errors = [result.error for result in self._results if result.error is not None]
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(self)} prompts were not answered", errors)

    def to_frame(self, library: str | None = None) -> Any:  # noqa: ANN401 - pandas', polars' or PyArrow's
        """Return a data frame with a row for each prompt, in order.

        Where the prompts came in a frame, it is that frame (of the same kind, with its index) with the
        columns `prompt`, `answer`, `error`, `state`, `model`, `finish_reason`, `input_tokens`,
        `output_tokens`, `duration_s` and `attempts` added; one that has a name of these keeps it, and
        the new one is called `nbchat_…`.

        Parameters
        ----------
        library
            `pandas`, `polars` or `pyarrow`, where the prompts came in no frame. None: one that is loaded,
            else one that is installed.

        Raises
        ------
        CommandError
            No such library is installed.
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
            "duration_s": [r.duration_s for r in self._results],
            "attempts": [r.attempts for r in self._results],
        }
        if self._frame is None or library is not None:
            return make_frame(columns, library)
        return with_columns(self._frame, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchProgress:
    """How far a batch is; what a function given as `progress` is called with.

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
    """Answered, failed and restored ones together."""
    failed: int
    restored: int
    """Of these, answered by an earlier call."""
    elapsed_s: float
    usage: Usage

    @property
    def per_s(self) -> float:
        """Prompts per second, restored ones not counted."""
        return rate(self.done - self.restored, self.elapsed_s) or 0.0

    @property
    def remaining_s(self) -> float | None:
        """Seconds that the rest takes at this rate; None as long as nobody can say."""
        return (self.total - self.done) / self.per_s if self.per_s else None

    def __str__(self) -> str:
        """Return one line for people."""
        failed = f", {self.failed:,} failed" if self.failed else ""
        left = "" if self.remaining_s is None else f", {_clock(self.remaining_s)} left"
        return f"{self.done:,} of {self.total:,}{failed}, {self.per_s:.1f}/s{left}"


@short_traceback
def map(  # noqa: A001 - `nbchat.map` reads as what it does
    prompts: Iterable[Any],
    template: str | Callable[[Any], str] | None = None,
    *,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    concurrency: int = 8,
    rpm: float | None = None,
    attempts: int = 6,
    journal: str | os.PathLike[str] | None = None,
    retry_interrupted: bool = False,
    progress: bool | Callable[[BatchProgress], object] = True,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Results:
    """Ask many prompts, several at a time, and return the answers in the order of the prompts.

    Each prompt is on its own: no answer sees another, and no tab or saved state shows them. A prompt that
    cannot be answered has its error in its place; the others go on. Blocks this cell only; interrupting
    it ends what is being asked. The batch belongs to this call: `registry.stop_all()` and its kin are
    about sessions, and leave it alone.

    Parameters
    ----------
    prompts
        Strings; or anything else with a `template`: numbers, mappings, rows. Or a data frame or series
        (pandas, polars, PyArrow, …), whose rows are mappings of its columns; without a template, its
        only column or the one called `prompt`.
    template
        A string, as `"Summarise: {text}"`, that is filled from each mapping or row, or, as
        `"Summarise: {prompt}"`, from each other item. Or a function that makes the prompt from an item; a row
        of a data frame gives its columns by name and as attributes: `lambda row: f"Summarise: {row.text}"`.
        The rule for braces is that of `%%chat`: `{name}` is a field, `{{name}}` is text, and so are all other
        braces, such as those of JSON and LaTeX.
    model, instructions, params, provider, **fields
        As `nbchat.session`.
    concurrency
        Prompts that are asked at the same time, at most.
    rpm
        Requests per minute, at most, evenly spaced; attempts after the first count too. None: no limit. A
        server that answers "too many requests" is given the time it asks for in any case.
    attempts
        How often a prompt is asked at most, when the server fails or an answer breaks off. A wrong key,
        model or address is not asked again, and the rest of the batch has the same error.
    journal
        A file to go on from: what is asked and answered is written to it as it happens, and what it has
        is not asked again. It is for the same prompts with the same settings; other ones are asked. What
        failed, or was ended with the cell, is asked again. What was on its way when the process was
        killed is not, since it may have been answered, and charged: its answer is read from the server,
        where that has kept it (`nbchat.config(api="responses")`), and else it has the error `KernelGone`.
        None: nothing is kept.
    retry_interrupted
        True: what was on its way when the process was killed, and was not kept, is asked again.
    progress
        True: a bar in a notebook, a line in a terminal. False: nothing. Or a function, which is called
        with a `BatchProgress`, on this thread; what it raises ends the batch.

    Returns
    -------
    A sequence of `Result`, as long as `prompts`.

    Raises
    ------
    TypeError, ValueError
        An argument cannot be used; nothing was asked.
    StoreBusy
        Another batch is writing to the journal; nothing was asked.
    StoreError
        The journal cannot be read or written; what is being asked is ended.
    WouldDeadlock
        Called on the engine's own thread.

    Examples
    --------
    >>> results = nbchat.map(["Paris", "Rome"], "Which river crosses {prompt}?", model="nbchat-echo")
    >>> results.texts
    ['Which river crosses Paris?', 'Which river crosses Rome?']
    """
    registry = the_registry()
    registry.engine.refuse_to_block("nbchat.map()")
    _check_numbers(concurrency, rpm, attempts)
    texts = _prompts(prompts, template)
    chosen = _settings(model, instructions, merged("map", params, fields), provider)
    results: list[Result | None] = [None] * len(texts)
    tally = _Tally(len(texts), progress)

    def put(result: Result) -> None:
        results[result.index] = result
        tally.add(result)

    with contextlib.ExitStack() as stack:
        file = None if journal is None else stack.enter_context(AnswerFile(journal))
        asked = [(at, text) for at, text in enumerate(texts) if isinstance(text, str)]
        names = (
            dict(zip([at for at, _ in asked], _keys(asked, chosen), strict=True)) if file is not None else {}
        )
        todo: list[tuple[int, str]] = []
        kept: dict[int, Answer] = {}
        for at, text in enumerate(texts):
            if isinstance(text, NbchatError):
                put(Result(index=at, prompt="", error=text))
                continue
            found = file.find(names[at], at) if file is not None else None
            if found is None:
                todo.append((at, text))
            elif found.error is not None and (retry_interrupted or found.response_id is not None):
                todo.append((at, text))
                kept[at] = found
            else:
                put(_result(found, text, restored=found.error is None))
        stack.callback(tally.close)
        tally.tell()
        inbox = _Inbox()
        batch = BatchRunner(
            registry,
            todo,
            settings=Settings(**chosen),
            provider=None if isinstance(provider, str) else provider,
            concurrency=concurrency,
            per_minute=rpm,
            attempts=attempts,
            deliver=inbox.put,
            ledger=stack.enter_context(Ledger(file, names)) if file is not None else None,
            kept=kept,
            retry_interrupted=retry_interrupted,
        )
        waiting = dict(todo)

        def take(answer: Answer) -> None:
            if results[answer.index] is None:
                put(_result(answer, waiting[answer.index]))
                tally.tell()

        _drive(registry.engine, batch, inbox, results, take)
    return Results([r for r in results if r is not None], prompts if is_frame(prompts) else None)


class _Inbox:
    """Answers on their way from the engine's thread to the one that called."""

    def __init__(self) -> None:
        self._answers: deque[Answer] = deque()
        self._arrived = Wakeup()

    def put(self, answer: Answer) -> None:
        """Take an answer; on the engine's thread."""
        self._answers.append(answer)
        self._arrived.ring()

    def wait(self) -> None:
        """Return when something has arrived, or after a moment."""
        self._arrived.wait(POLL_S)

    def empty(self, take: Callable[[Answer], None]) -> None:
        """Hand all answers over. Interrupted in the middle, it can be called again and loses none."""
        while self._answers:
            take(self._answers[0])
            self._answers.popleft()


def _drive(
    engine: LoopThread,
    batch: BatchRunner,
    inbox: _Inbox,
    results: Sequence[Result | None],
    take: Callable[[Answer], None],
) -> None:
    """Run a batch on the engine and take its answers on this thread, until all are there."""
    if None not in results:
        return
    tasks: list[asyncio.Task[Any]] = []  # known here also when the call that makes it is interrupted
    try:
        engine.call(lambda: tasks.append(engine.spawn(batch.run(), name="nbchat-map")))
        task = tasks[0]
        while None in results:
            inbox.wait()
            over = task.done()  # looked at before the inbox: what is over has put all its answers there
            inbox.empty(take)
            if over:
                break
    except BaseException as error:
        engine.post(lambda: [task.cancel() for task in tasks])
        inbox.empty(take)  # what was answered in the meantime was paid for
        done = sum(result is not None for result in results)
        error.add_note(f"nbchat.map: {done:,} of {len(results):,} were answered; journal=… keeps them.")
        raise
    if None in results and (crash := task.exception()) is not None:
        raise crash


def _check_numbers(concurrency: object, rpm: object, attempts: object) -> None:
    for name, value, most in (("concurrency", concurrency, MAX_CONCURRENCY), ("attempts", attempts, 100)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be a whole number, not {value!r}.")
        if not 1 <= value <= most:
            raise ValueError(f"{name} must be from 1 to {most}, not {value}.")
    if rpm is not None:
        if isinstance(rpm, bool) or not isinstance(rpm, int | float):
            raise TypeError(f"rpm must be a number of requests per minute, not {rpm!r}.")
        if not 0 < rpm < math.inf:
            raise ValueError(f"rpm must be positive and finite, not {rpm!r}.")


def _settings(
    model: str | None,
    instructions: str | None,
    params: Mapping[str, Any] | None,
    provider: str | Provider | None,
) -> dict[str, Any]:
    return session_settings(
        {
            "model": model,
            "instructions": instructions,
            "params": params,
            "provider": provider if isinstance(provider, str) else None,
        }
    )


def _keys(asked: Sequence[tuple[int, str]], chosen: Mapping[str, Any]) -> list[str]:
    # A model or instructions that come from the configuration make another answer, too.
    defaults = the_registry().sources.defaults
    settings = {
        **chosen,
        "params": without_references(chosen["params"]),
        "model": chosen["model"] or defaults.model,
        "instructions": chosen["instructions"] or defaults.instructions,
    }
    return keys([text for _, text in asked], settings)


def _result(answer: Answer, prompt: str, *, restored: bool = False) -> Result:
    return Result(
        index=answer.index,
        prompt=prompt,
        text=answer.text,
        error=answer.error,
        state=answer.state,
        model=answer.model,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        time_to_first_token_s=answer.time_to_first_token_s,
        duration_s=answer.duration_s,
        attempts=answer.attempts,
        restored=restored,
    )


# Prompts


class Row(dict[Any, Any]):
    """One row of a data frame: its values by column, and as attributes where a column's name allows it."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a value of the frame
        try:
            return self[name]
        except KeyError:
            columns = [str(column) for column in self]
            raise AttributeError(
                f"the frame has no column {name!r}{suggestion(name, columns)}. It has {', '.join(columns)}."
            ) from None


def _prompts(given: Iterable[Any], template: str | Callable[[Any], str] | None) -> list[str | NbchatError]:
    """Return the prompts; in the place of one that cannot be made, why."""
    if template is not None and not callable(template) and not isinstance(template, str):
        raise TypeError(f"the template must be a string or a function, not {type(template).__name__}.")
    if isinstance(given, str | bytes | Mapping) or not (isinstance(given, Iterable) or is_frame(given)):
        raise TypeError(f"prompts must be a list of prompts, not one {type(given).__name__}.")
    items: list[Any]
    if is_frame(given):
        columns, rows = rows_of(given)
        if template is None:
            column = _only_column(columns)
            return [_of_column(at, column, row[column]) for at, row in enumerate(rows)]
        if isinstance(template, str):
            _check_fields(template, [str(column) for column in columns], "the frame")
        items = [Row(row) for row in rows]
    else:
        items = list(given)
    return [_prompt(at, item, template) for at, item in enumerate(items)]


def _only_column(columns: Sequence[Any]) -> Any:  # noqa: ANN401 - whatever the frame calls it
    if "prompt" in columns:
        return "prompt"
    if len(columns) != 1:
        raise ValueError(
            "the frame has several columns and none is called 'prompt'; give a template such as "
            f"'{{{columns[0]}}}'."
            if columns
            else "the frame has no columns."
        )
    return columns[0]


def _of_column(at: int, column: object, value: object) -> str | NbchatError:
    if _is_missing(value):
        return _nothing(at, f"has no value for {column!r}")
    return _prompt(at, str(value), None)


def _check_fields(template: str, names: Sequence[str], where: str) -> None:
    fields = field_names(template)
    if not fields:
        example = names[0] if names else "prompt"
        raise ValueError(f"the template has no field; name a value in it, as {{{example}}}.")
    for name in fields:
        if name not in names and name != "row":
            raise ValueError(
                f"the template names {name!r}, which {where} does not have{suggestion(name, names)}. "
                f"It has {', '.join(names)}. Braces that are meant as text are written twice: {{{{{name}}}}}."
            )


def _prompt(at: int, item: object, template: str | Callable[[Any], str] | None) -> str | NbchatError:
    if template is None:
        if _is_missing(item) or (isinstance(item, str) and not item.strip()):
            return _nothing(at, "is empty")
        if not isinstance(item, str):
            raise TypeError(
                f"prompt {at} is of type {type(item).__name__}; give strings, or a template to make them."
            )
        return item
    if callable(template):
        made = template(item)
        if not isinstance(made, str):
            raise TypeError(f"the template made {type(made).__name__} of item {at}, not a string.")
        return made if made.strip() else _nothing(at, "is empty")
    fields = {"prompt": item}
    if isinstance(item, Mapping):
        fields = {str(key): value for key, value in item.items()}
    _check_fields(template, list(fields), f"item {at}")
    for name in field_names(template):
        if name in fields and _is_missing(fields[name]):
            return _nothing(at, f"has no value for {name!r}")
    filled = interpolate(template, {"row": item, **fields})
    return filled if filled.strip() else _nothing(at, "is empty")


def _nothing(at: int, why: str) -> NbchatError:
    return RequestRejected(f"prompt {at} {why}; it was not asked.", stage="command", hint="")


def _is_missing(value: object) -> bool:
    """Tell whether a cell of a frame has no value: None, NaN, or a library's own mark."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Number) and bool(value != value)  # noqa: PLR0124


# Progress


class _Tally:
    """Counts results and shows how far they are: every one to a function, now and then to people."""

    def __init__(self, total: int, progress: bool | Callable[[BatchProgress], object]) -> None:
        self._total = total
        self._began = time.monotonic()
        self._done = self._failed = self._restored = 0
        self._usage = Usage()
        self._close: Callable[[], object] | None = None
        self._show: Callable[[BatchProgress], object] | None = None
        self._interval_s = 0.0
        self._shown_at = 0.0
        if callable(progress):
            self._show = progress
        elif progress:
            self._show, self._close = _bar(total)
            self._interval_s = POLL_S

    def add(self, result: Result) -> None:
        """Count one more result."""
        self._done += 1
        self._failed += not result.ok
        self._restored += result.restored
        if result.usage is not None:
            self._usage += result.usage

    def tell(self) -> None:
        """Show how far it is, unless it was shown just now."""
        now = time.monotonic()
        if self._show is not None and now - self._shown_at >= self._interval_s:
            self._shown_at = now
            self._show(self._now())

    def close(self) -> None:
        """Show the end."""
        if self._show is not None and self._close is not None:
            self._show(self._now())
            self._close()

    def _now(self) -> BatchProgress:
        return BatchProgress(
            total=self._total,
            done=self._done,
            failed=self._failed,
            restored=self._restored,
            elapsed_s=time.monotonic() - self._began,
            usage=self._usage,
        )


def _bar(total: int) -> tuple[Callable[[BatchProgress], object] | None, Callable[[], object] | None]:
    """Return a bar's update and its end: in a notebook, in a terminal, or neither."""
    if "IPython" in sys.modules:
        from nbchat.jupyter.progress import bar  # noqa: PLC0415 - widgets only in a kernel

        found = bar(total)
        if found is not None:
            return found
    if sys.stderr is not None and sys.stderr.isatty():
        return _line, lambda: sys.stderr.write("\n")
    return None, None


def _line(now: BatchProgress) -> None:
    width = 24
    filled = width * now.done // max(now.total, 1)
    sys.stderr.write(f"\r\x1b[2K{'█' * filled}{'░' * (width - filled)} {now}")
    sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return cut(line, 40, "…")


__all__ = ["BatchProgress", "Result", "Results", "map"]

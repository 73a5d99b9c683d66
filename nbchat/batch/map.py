"""`run_map`: sends many prompts, several at a time, and resumes from its journal after a stop."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict, replace

from nbchat.batch.prompts import prompts_of
from nbchat.batch.results import BatchProgress, Result, Results
from nbchat.batch.tally import Tally
from nbchat.batch_engine.answer_file import keys as keys_of
from nbchat.batch_engine.places import absolute
from nbchat.batch_engine.reader import Batches, BatchReader, LocalBatches, RunnerBatches
from nbchat.batch_engine.request import BatchRequest
from nbchat.core.cached import CACHE
from nbchat.core.errors import AnswerInvalid, NbchatError
from nbchat.core.events import Settings
from nbchat.core.messages import Attachment, FilePart, Usage
from nbchat.core.redact import without_references
from nbchat.core.settings import patch
from nbchat.core.structured import SCHEMA, schema_text
from nbchat.engine import prices
from nbchat.engine.one_shot import Answer
from nbchat.handles.attachments import estimate_tokens
from nbchat.handles.context import read_context
from nbchat.handles.data_frames import is_frame
from nbchat.handles.structured import Structure

if TYPE_CHECKING:
    from nbchat.engine.config import Defaults
    from nbchat.engine.engine import Engine
    from nbchat.handles.host import Host
    from nbchat.providers.base import Provider

MAX_CONCURRENCY: Final = 1000


def run_map(
    engine: Engine,
    host: Host,
    runner: RunnerBatches | None,
    prompts: Iterable[Any],
    template: str | Callable[[Any], str] | None,
    *,
    context: object,
    schema: object,
    cache: bool,
    model: str | None,
    instructions: str | None,
    params: Mapping[str, Any] | None,
    provider: str | Provider | None,
    concurrency: int,
    rpm: float | None,
    attempts: int,
    journal: str | os.PathLike[str] | None,
    retry_interrupted: bool,
    progress: bool | Callable[[BatchProgress], object],
) -> Results:
    """Send many prompts and return the answers in the order of the prompts; see `nbchat.map`."""
    engine.loop.refuse_to_block("nbchat.map()")
    _check_numbers(concurrency, rpm, attempts)
    texts = prompts_of(prompts, template)
    name = provider if isinstance(provider, str) else None
    structure = None if schema is None else Structure(schema)
    chosen = patch(model=model, instructions=instructions, params=params, provider=name)
    settings = chosen.applied_to(Settings())
    if structure is not None:
        settings = replace(settings, params={**settings.params, SCHEMA: structure.schema})
    if cache:
        settings = replace(settings, params={**settings.params, CACHE: True})
    attachments = read_context(context, engine.providers.defaults.share)
    in_runner = runner is not None and runner.can_run(provider)
    asked = [(at, text) for at, text in enumerate(texts) if isinstance(text, str)]
    keys: tuple[str, ...] = ()
    if in_runner or journal is not None:
        keys = _keys(asked, settings, attachments, engine.providers.defaults)
    request = BatchRequest(
        prompts=tuple(asked),
        keys=keys,
        attachments=attachments,
        settings=settings,
        concurrency=concurrency,
        rpm=rpm,
        attempts=attempts,
        journal=None if journal is None else absolute(journal),
        retry_interrupted=retry_interrupted,
    )
    batches: Batches = LocalBatches(engine, None if isinstance(provider, str) else provider)
    if runner is not None and in_runner:
        batches = runner
    estimate = partial(_estimate, engine, request, None if isinstance(provider, str) else provider)
    continues = None if runner is None else in_runner
    tally = Tally(len(texts), progress, host, estimate=estimate, continues=continues)
    results: list[Result | None] = [None] * len(texts)
    words = dict(asked)

    def put(result: Result) -> None:
        results[result.index] = result
        tally.add(result)

    def take(answer: Answer, is_known: bool) -> bool:
        if results[answer.index] is not None:
            return False
        restored = is_known and answer.error is None
        put(_result(answer, words[answer.index], structure, restored=restored))
        return True

    for at, text in enumerate(texts):
        if isinstance(text, NbchatError):
            put(Result(index=at, prompt="", error=text))
    with contextlib.ExitStack() as stack:
        reader = batches.reader(request)
        later = "the same call asks the rest" if in_runner else "journal=… keeps them"
        _follow(reader, results, _Taker(reader, take, tally.show, later), stack, tally)
    return Results(
        [r for r in results if r is not None],
        prompts if is_frame(prompts) else None,
        structure,
    )


def _estimate(engine: Engine, request: BatchRequest, provider: Provider | None) -> tuple[int, Decimal | None]:
    """Return the estimated tokens of all requests of a batch, and the cost of sending them."""
    settings = request.settings
    common = [settings.instructions or engine.providers.defaults.instructions or ""]
    common += [part.text for part in request.attachments if isinstance(part, FilePart)]
    if (schema := settings.params.get(SCHEMA)) is not None:
        common.append(schema_text(schema))
    count = len(request.prompts)
    tokens = sum(map(estimate_tokens, common)) * count
    tokens += sum(estimate_tokens(text) for _, text in request.prompts)
    model, server = engine.providers.expected(provider, settings)
    usage = Usage(input_tokens=tokens, output_tokens=0)
    return tokens, prices.cost_of(usage, model, server, None, requests=count) if count else None


class _Taker:
    """Takes the answers of a reader in order, and shows the progress after each one.

    Answers that were known at the beginning are shown together.
    """

    def __init__(
        self, reader: BatchReader, take: Callable[[Answer, bool], bool], show: Callable[[], None], later: str
    ) -> None:
        self.later = later
        """The future of the answers after an interrupt."""
        self._reader = reader
        self._take = take
        self._show = show
        self._known = 0
        self._taken = 0

    def begin(self, known: int) -> None:
        """Take the first answers, which were known."""
        self._known = known
        while self._taken < known and not self._reader.is_over:
            self._take_all(known)
            if self._taken < known:
                self._reader.wait()
        self._take_all(known)
        self._show()

    def take_all(self) -> None:
        """Take all answers that have arrived, and show the progress."""
        self._take_all(None)

    def rest(self) -> None:
        """Take all answers that have arrived, after an error: they were paid for."""
        for answer in self._reader.answers[self._taken :]:
            self._take(answer, False)

    def _take_all(self, up_to: int | None) -> None:
        answers = self._reader.answers
        while self._taken < min(len(answers), len(answers) if up_to is None else up_to):
            is_known = self._taken < self._known
            is_new = self._take(answers[self._taken], is_known)
            # Counted after it is taken: after an interrupt it is taken again, and none is lost.
            self._taken += 1
            if is_new and not is_known:
                self._show()


def _follow(
    reader: BatchReader,
    results: Sequence[Result | None],
    taker: _Taker,
    stack: contextlib.ExitStack,
    tally: Tally,
) -> None:
    """Receive the answers of a batch on this thread until all have arrived."""
    is_begun = False
    try:
        known = reader.open()
        stack.callback(tally.close)
        is_begun = True
        taker.begin(known)
        is_over = False
        while not is_over:
            is_over = reader.is_over  # read before the answers, which are complete then
            taker.take_all()
            if not is_over:
                reader.wait()
        if None not in results:
            reader.close()
    except BaseException as error:
        reader.stop(is_interrupt=isinstance(error, KeyboardInterrupt))
        taker.rest()
        if is_begun:
            done = sum(result is not None for result in results)
            error.add_note(f"nbchat.map: {done:,} of {len(results):,} were answered; {taker.later}.")
        raise
    if None in results:
        reader.check()


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


def _keys(
    asked: Sequence[tuple[int, str]],
    settings: Settings,
    attachments: Sequence[Attachment],
    defaults: Defaults,
) -> tuple[str, ...]:
    # The answer also depends on the configured model and instructions.
    chosen: dict[str, Any] = {
        "model": settings.model or defaults.model,
        "instructions": settings.instructions or defaults.instructions,
        # An answer is the same with and without the cache.
        "params": {
            name: value for name, value in without_references(settings.params).items() if name != CACHE
        },
        "provider": settings.provider,
    }
    if attachments:  # only then, so that keys in files written without attachments stay valid
        chosen["context"] = [[part.type, part.name, part.text] for part in attachments]
    return tuple(keys_of([text for _, text in asked], chosen))


def _result(answer: Answer, prompt: str, structure: Structure | None, *, restored: bool = False) -> Result:
    result = Result(prompt=prompt, restored=restored, **asdict(answer))
    if structure is None or result.error is not None:
        return result
    try:
        return replace(result, data=structure.data_of(result.text))
    except AnswerInvalid as error:
        return replace(result, error=error)

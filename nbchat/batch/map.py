"""`run_map`: sends many prompts, several at a time, and resumes from its journal after a stop."""

from __future__ import annotations

import contextlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import asdict, replace

from nbchat.batch.answer_file import AnswerFile, Ledger, keys
from nbchat.batch.prompts import prompts_of
from nbchat.batch.results import BatchProgress, Result, Results
from nbchat.batch.runner import BatchRunner
from nbchat.batch.tally import Tally
from nbchat.core.errors import AnswerInvalid, NbchatError
from nbchat.core.events import Settings
from nbchat.core.messages import Attachment
from nbchat.core.redact import without_references
from nbchat.core.settings import patch
from nbchat.core.structured import SCHEMA
from nbchat.engine.loop_thread import POLL_S
from nbchat.engine.one_shot import Answer
from nbchat.engine.wakeup import Wakeup
from nbchat.handles.context import read_context
from nbchat.handles.data_frames import is_frame
from nbchat.handles.structured import Structure

if TYPE_CHECKING:
    import asyncio

    from nbchat.engine.config import Defaults
    from nbchat.engine.engine import Engine
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.handles.host import Host
    from nbchat.providers.base import Provider

MAX_CONCURRENCY: Final = 1000


def run_map(
    engine: Engine,
    host: Host,
    prompts: Iterable[Any],
    template: str | Callable[[Any], str] | None,
    *,
    context: object,
    schema: object,
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
    attachments = read_context(context, engine.providers.defaults.share)
    results: list[Result | None] = [None] * len(texts)
    tally = Tally(len(texts), progress, host)

    def put(result: Result) -> None:
        results[result.index] = result
        tally.add(result)

    with contextlib.ExitStack() as stack:
        file = None if journal is None else stack.enter_context(AnswerFile(journal))
        asked = [(at, text) for at, text in enumerate(texts) if isinstance(text, str)]
        names = (
            dict(
                zip(
                    [at for at, _ in asked],
                    _keys(asked, settings, attachments, engine.providers.defaults),
                    strict=True,
                )
            )
            if file is not None
            else {}
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
                put(_result(found, text, structure, restored=found.error is None))
        stack.callback(tally.close)
        tally.show()
        inbox = _Inbox()
        batch = BatchRunner(
            engine,
            todo,
            attachments=attachments,
            settings=settings,
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
                put(_result(answer, waiting[answer.index], structure))
                tally.show()

        _drive(engine.loop, batch, inbox, results, take)
    return Results(
        [r for r in results if r is not None],
        prompts if is_frame(prompts) else None,
        structure,
    )


class _Inbox:
    """Queue of answers from the engine's thread to the calling thread."""

    def __init__(self) -> None:
        self._answers: deque[Answer] = deque()
        self._arrived = Wakeup()

    def put(self, answer: Answer) -> None:
        """Add an answer. Called on the engine's thread."""
        self._answers.append(answer)
        self._arrived.set()

    def wait(self) -> None:
        """Wait until an answer arrives, or briefly."""
        self._arrived.wait(POLL_S)

    def empty(self, take: Callable[[Answer], None]) -> None:
        """Pass on all answers. After an interrupt it can be called again, and no answer is lost."""
        while self._answers:
            take(self._answers[0])
            self._answers.popleft()


def _drive(
    loop: LoopThread,
    batch: BatchRunner,
    inbox: _Inbox,
    results: Sequence[Result | None],
    take: Callable[[Answer], None],
) -> None:
    """Run a batch on the engine and receive its answers on this thread until all have arrived."""
    if None not in results:
        return
    tasks: list[asyncio.Task[Any]] = []  # available even if the call that creates it is interrupted
    try:
        loop.call(lambda: tasks.append(loop.spawn(batch.run(), name="nbchat-map")))
        task = tasks[0]
        while None in results:
            inbox.wait()
            over = task.done()  # read before the inbox, which has all answers of a finished task
            inbox.empty(take)
            if over:
                break
    except BaseException as error:
        loop.post(lambda: [task.cancel() for task in tasks])
        inbox.empty(take)  # keep the answers that arrived in the meantime: they were paid for
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


def _keys(
    asked: Sequence[tuple[int, str]],
    settings: Settings,
    attachments: Sequence[Attachment],
    defaults: Defaults,
) -> list[str]:
    # The answer also depends on the configured model and instructions.
    chosen: dict[str, Any] = {
        "model": settings.model or defaults.model,
        "instructions": settings.instructions or defaults.instructions,
        "params": without_references(settings.params),
        "provider": settings.provider,
    }
    if attachments:  # only then, so that keys in files written without attachments stay valid
        chosen["context"] = [[part.type, part.name, part.text] for part in attachments]
    return keys([text for _, text in asked], chosen)


def _result(answer: Answer, prompt: str, structure: Structure | None, *, restored: bool = False) -> Result:
    result = Result(prompt=prompt, restored=restored, **asdict(answer))
    if structure is None or result.error is not None:
        return result
    try:
        return replace(result, data=structure.data_of(result.text))
    except AnswerInvalid as error:
        return replace(result, error=error)

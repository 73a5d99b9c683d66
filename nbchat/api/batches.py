"""Functions of `nbchat` that send many prompts, or one prompt to many models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from nbchat.core.errors import ConfigError
from nbchat.core.request_fields import merged
from nbchat.core.tracebacks import short_traceback
from nbchat.jupyter.process import current

if TYPE_CHECKING:
    from nbchat.batch.compare import Comparison
    from nbchat.batch.results import BatchProgress, Results
    from nbchat.providers.base import Provider


@short_traceback
def map(  # noqa: A001 - `nbchat.map` reads as what it does
    prompts: Iterable[Any],
    template: str | Callable[[Any], str] | None = None,
    *,
    context: object = (),
    schema: object = None,
    cache: bool = False,
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
    runner: str | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Results:
    """Send many prompts concurrently, and return the answers in the order of the prompts.

    Prompts are independent: no request contains another one. They appear neither in tabs nor in saved state.
    A prompt that cannot be answered has its error as its result; the others continue. Only this cell is
    blocked; interrupting it stops the requests in progress. `registry.stop_all()` and similar methods apply
    to sessions and do not affect a batch.

    With a runner (`nbchat.config(runner="local")`), the batch continues when the kernel is restarted. The
    same call attaches to it: same prompts, settings and journal. Interrupting the cell stops it. A batch
    whose provider is a Python object runs in the kernel. All replicas of a service send a batch together.

    Parameters
    ----------
    prompts
        Strings, or with a `template` any other items: numbers, mappings, rows. Or a data frame or series
        (pandas, polars, PyArrow, …), whose rows are mappings of its columns; without a template, its
        only column or the one named `prompt`.
    template
        A format string. Fields are filled from each mapping or row (`"Summarise: {text}"`), or from each
        other item as `{prompt}` (`"Summarise: {prompt}"`). Or a function that returns the prompt of an item;
        a row of a data frame has its columns by name and as attributes:
        `lambda row: f"Summarise: {row.text}"`. Braces are treated as in `%%chat`: `{name}` is a field,
        `{{name}}` is text, and so are all other braces, such as those of JSON and LaTeX.
    context
        As in `Session.send`: values that are sent with every prompt.
    schema
        As in `Session.send`: each `result.data` is an object of this type, and `to_frame()` has one column
        per field. An answer that still does not match after one correction has the error `AnswerInvalid`.
    cache
        As in `Session.send`: answers that this user's cache has are not requested, and are not counted in
        `rpm`. Their results have `from_cache=True`. Equal prompts of one batch may all be sent.
    model, instructions, params, provider, **fields
        As in `nbchat.session`.
    concurrency
        Maximum number of prompts in progress at the same time.
    rpm
        Maximum number of requests per minute, evenly spaced; retries count. `None`: no limit. The delay that
        a server requests with "too many requests" is always respected.
    attempts
        Maximum number of attempts per prompt, when the server fails or an answer is cut off. An error of the
        key, the model or the address is not retried, and the rest of the batch has the same error.
    journal
        A file from which the batch can be resumed. Prompts and answers are written to it as they happen, and
        answers in it are reused for the same prompts with the same settings. Prompts that failed, or were
        stopped with the cell, are sent again. Prompts in progress when the process was killed, or when a
        runner ended, are not, since they may have been answered and charged: the answer is fetched from the
        server if it stored it
        (`nbchat.config(api="responses")`), else the result has the error `KernelGone`. `None`: no file;
        with a runner, one that is deleted when the results are returned. Or a URL of Redis or Valkey with a
        name, `redis://host:6379/0#reviews` (extra `redis`): equal calls in several processes and on several
        machines then share the prompts and the rate, and each returns all answers.
    retry_interrupted
        `True`: prompts in progress at the end of the process, with no stored answer, are sent again.
    progress
        `True`: a bar in a notebook, a line in a terminal. `False`: no output. Or a function, which is called
        with a `BatchProgress` on this thread; an exception in it ends the batch.
    runner
        URL of a service in which this batch runs, also from a script, with the token in the environment
        variable `NBCHAT_RUNNER_TOKEN`. `None`: the runner of `nbchat.config(runner=…)`, if there is one.

    Returns
    -------
    A sequence of `Result`, as long as `prompts`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; nothing is sent.
    ConfigError
        If `runner` is not the URL of a service, there is no token for it, or it cannot use the provider.
    StoreBusy
        If another batch is writing to the journal in a file; nothing is sent.
    StoreError
        If the journal cannot be read or written; requests in progress are stopped.
    WouldDeadlock
        If it is called on the engine's thread.

    Examples
    --------
    >>> results = nbchat.map(["Paris", "Rome"], "Which river crosses {prompt}?", model="nbchat-echo")
    >>> results.texts
    ['Which river crosses Paris?', 'Which river crosses Rome?']
    """
    from nbchat.batch.map import run_map  # noqa: PLC0415 - only when it is used

    process = current()
    linked = process.host.linked
    if linked is not None:
        process.host.restore_once()
    batches = None if linked is None else linked.backend.batches
    if runner is not None:
        process.engine.loop.refuse_to_block("nbchat.map()")
        batches = process.host.batches_of(runner)
        if not batches.can_run(provider):
            raise ConfigError(
                "a runner cannot use this provider, which is an object or a plug-in of this process.",
                hint="Leave out runner=, or give the name of a server that nbchat.provider has defined.",
            )
    return run_map(
        process.engine,
        process.host,
        batches,
        prompts,
        template,
        context=context,
        schema=schema,
        cache=cache,
        model=model,
        instructions=instructions,
        params=merged("map", params, fields),
        provider=provider,
        concurrency=concurrency,
        rpm=rpm,
        attempts=attempts,
        journal=journal,
        retry_interrupted=retry_interrupted,
        progress=progress,
    )


@short_traceback
def compare(
    prompt: str,
    models: Iterable[str | Mapping[str, Any]],
    *,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Comparison:
    """Send a prompt to several models, each in a new session, and return without waiting for the answers.

    Parameters
    ----------
    prompt
        The question; not empty.
    models
        Names of models, or mappings of arguments of `nbchat.session`, such as
        `{"model": "qwen3", "params": {"temperature": 0}}` or `{"model": "…", "provider": …}`.
    instructions, params, **fields
        Defaults for all models; a mapping overrides them.

    Returns
    -------
    A `Comparison`. Its sessions are ordinary ones: they have tabs, and can be continued.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; nothing is sent.

    Examples
    --------
    >>> both = nbchat.compare("Hello", models=["nbchat-echo", "nbchat-tour"])
    >>> both.wait()["nbchat-echo"].messages[-1].text
    'Hello'
    """
    from nbchat.batch.compare import run_compare  # noqa: PLC0415 - only when it is used

    process = current()
    request = merged("compare", params, fields)
    return run_compare(
        process.registry, process.host, prompt, models, instructions=instructions, params=request
    )

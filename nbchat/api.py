"""Public functions of the `nbchat` module."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbchat.core.clock import now
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import CreateSession, DiscardTemporary, GetOrCreateThread
from nbchat.core.messages import Message, TextPart
from nbchat.core.request_fields import merged
from nbchat.core.settings import SettingsPatch, patch, patch_of_given
from nbchat.core.tracebacks import short_traceback
from nbchat.engine.config import Configuration
from nbchat.jupyter.process import current

if TYPE_CHECKING:
    from nbchat.batch.compare import Comparison
    from nbchat.batch.results import BatchProgress, Results
    from nbchat.export.reading import Imported
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.session import Session
    from nbchat.providers.base import Provider
    from nbchat.providers.openai import Api


def the_registry() -> SessionRegistry:
    """Return `nbchat.registry`, the `SessionRegistry` of this process."""
    return current().registry


@short_traceback
def session(
    key: str | None = None,
    *,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Session:
    """Return the session with this id or title, and create it if it does not exist. No widget is needed.

    Parameters
    ----------
    key
        An id or a title. An id takes precedence, then the oldest open session with that title. `None`: a new
        session.
    model
        Model for its runs. `None`: the configured default, else `NBCHAT_MODEL`, else the first model that the
        server lists.
    instructions
        System instructions, sent before the conversation.
    params
        More fields of the request, such as `{"temperature": 0.2}`, named as in the OpenAI API.
    provider
        Name of an entry point in the group `nbchat.providers`, or a provider object.
    **fields
        Fields of the request, such as `temperature=0.2`; added to `params`.

    Returns
    -------
    The session. If it existed, the settings that are given are changed.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    TooManySessions
        If the registry is full.

    Examples
    --------
    >>> geo = nbchat.session("geo", instructions="Answer briefly.")
    >>> geo.send("Which rivers cross Paris?")
    """
    settings: dict[str, Any] = {
        "model": model,
        "instructions": instructions,
        "params": params,
        "provider": provider,
        **fields,
    }
    if key is None:
        return the_registry().create(**settings)
    return the_registry().get_or_create(key, **settings)


@short_traceback
def ask(
    prompt: str,
    *,
    context: object = (),
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    timeout: float | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Message:
    """Ask a one-off question and return the answer. It gets no tab and is not saved.

    Request fields such as `temperature=0` can be given as keyword arguments, named as in the OpenAI API.
    `context` is that of `Session.send`: values that are sent to the model as short texts.
    Interrupting the cell stops the run. Raises the errors of `Session.ask`.

    Examples
    --------
    >>> print(nbchat.ask("What is nbchat?"))
    """
    process = current()
    process.backend.refuse_to_block("ask()")
    process.host.restore_once()
    name = provider if isinstance(provider, str) else None
    request = merged("ask", params, fields)
    settings = patch(model=model, instructions=instructions, params=request, provider=name)
    provider_id = process.registry._offered(provider)  # noqa: SLF001 - as `registry.create`
    # The id is created here because an interrupt may arrive before the session is returned.
    session_id = new_id("s-")
    create = CreateSession(
        id=new_id("c-"),
        session_id=session_id,
        settings=settings,
        provider_id=provider_id,
        temporary=True,
    )
    try:
        process.backend.execute(create)
        return process.registry[session_id].ask(prompt, context=context, timeout=timeout)
    finally:
        process.backend.execute(DiscardTemporary(id=new_id("c-"), session_id=session_id))


@short_traceback
def get_completion(
    prompt: str,
    *,
    thread_id: str | None = None,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    timeout: float | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> str:
    """Return the text of the answer to a prompt, with only the given thread as context.

    Parameters
    ----------
    prompt
        The question.
    thread_id
        Id of the conversation. Each id has its own session, created at its first use, which gets a tab when
        it is shown. `None`: a one-off question.
    model, instructions, params, **fields
        As in `session`.
    timeout
        Seconds after which the run is stopped.

    Raises
    ------
    ProviderError, TimeoutError, WouldDeadlock, TypeError, ValueError
        As in `Session.ask`.

    Notes
    -----
    Can be called from any number of threads and event loops; calls with the same `thread_id` are answered
    in sequence. It blocks: in an event loop use `await session.send(...)`.

    Examples
    --------
    >>> nbchat.get_completion("Hello from one user", thread_id="user-42", model="nbchat-echo")
    'Hello from one user'
    >>> [message.role for message in nbchat.registry["user-42"].messages]
    ['user', 'assistant']
    """
    request = merged("get_completion", params, fields) or None
    if thread_id is None:
        return ask(prompt, model=model, instructions=instructions, params=request, timeout=timeout).text
    process = current()
    process.backend.refuse_to_block("get_completion()")
    if not isinstance(thread_id, str) or not thread_id:
        raise TypeError("thread_id must be a string that is not empty.")
    process.host.restore_once()
    command = GetOrCreateThread(
        id=new_id("c-"),
        session_id=new_id("s-"),
        thread_id=thread_id,
        settings=patch_of_given(model=model, instructions=instructions, params=request),
    )
    thread = process.registry[process.backend.execute(command).session_id or ""]
    return thread.ask(prompt, timeout=timeout).text


@short_traceback
def config(*, journal: bool | None = None, **values: str | None) -> Configuration:
    """Set defaults for all sessions, and return the effective values with their sources.

    In order of precedence: an argument of a call, a value set in this kernel (here or by `%config NbChat`),
    a configuration file (`c.NbChat.model = …` in `ipython_config.py`), the environment.

    Parameters
    ----------
    model
        Model of sessions without a model setting.
    provider
        Name of an entry point in the group `nbchat.providers`.
    base_url
        Address of the OpenAI-compatible server, such as `http://localhost:11434/v1`.
    api
        API of that server. `chat` (the default): Chat Completions, which every server supports.
        `responses`: Responses in the background. The server stores such an answer, so an interrupted one can
        be resumed, also by another kernel.
    instructions
        System instructions of sessions without instructions.
    titles
        Source of the titles of unnamed conversations. `words`: the first words of the first question.
        `model`: a title requested once from the conversation's model, after the first answer; never from the
        demo.
    share
        Level of detail, as in `nbchat.describe`, at which variables are sent with `@name` and `context=`:
        `schema`, `summary` (the default) or `rows`.
    journal
        `False`: private mode, in which nothing is written outside of the notebook. The default is `True`. The
        environment variable `NBCHAT_JOURNAL=0` also selects private mode.

    All other values are strings; `None` removes the value that was set in this kernel.

    Returns
    -------
    A mapping of names to values. Its `sources` maps each name to the source of the value.

    Raises
    ------
    TypeError, ValueError
        If a setting does not exist or its value is invalid; nothing is changed.

    Examples
    --------
    >>> nbchat.config(model="nbchat-echo")["model"]
    'nbchat-echo'
    >>> nbchat.config().sources["model"]
    'set in this kernel'
    >>> nbchat.config(model=None).sources["model"]
    'default'
    """
    if journal is not None and not isinstance(journal, bool):
        raise TypeError(f"journal must be True or False, not {journal!r}.")
    process = current()
    defaults = process.engine.providers.defaults
    if values:
        defaults.set(values)
    if journal is not None:
        process.host.set_journal(on=journal)
    return Configuration(defaults.values())


@short_traceback
def load(path: str | os.PathLike[str]) -> list[Session]:
    """Load the conversations of a saved notebook into this kernel, and return them.

    They are merged with the existing sessions, and nothing is sent. Their models, instructions and
    parameters are shown but not used until `Session.adopt()`, unless this user's journal has the same values.

    Raises
    ------
    OSError
        If the file cannot be read.
    SnapshotError
        If it contains no readable conversations.

    Examples
    --------
    >>> for session in nbchat.load("chat.ipynb"):
    ...     print(session.title)
    """
    from nbchat.export.reading import from_notebook  # noqa: PLC0415 - only when it is used

    return the_registry().restore(from_notebook(Path(path)))


@short_traceback
def import_(path: str | os.PathLike[str]) -> list[Session]:
    """Create sessions from the conversations in a JSONL or Markdown file, and return them.

    Parameters
    ----------
    path
        A `.jsonl` file with `{"messages": [{"role": …, "content": …}, …]}` in each line, a Markdown file with
        headings such as `## User`, or a notebook, as for `load`.

    Raises
    ------
    OSError
        If the file cannot be read.
    SnapshotError
        If its content is not in one of these formats.

    Examples
    --------
    >>> (talk,) = nbchat.import_("talk.md")
    >>> [message.role for message in talk.messages]
    ['user', 'assistant']
    """
    from nbchat.export.reading import from_jsonl, from_markdown  # noqa: PLC0415 - only when it is used

    file = Path(path)
    if file.suffix.lower() == ".ipynb":
        return load(file)
    text = file.read_text(encoding="utf-8-sig", errors="replace")
    read = from_jsonl if file.suffix.lower() in (".jsonl", ".ndjson", ".json") else from_markdown
    return [_imported(found) for found in list(read(text, file.stem))]


def _imported(found: Imported) -> Session:
    """Create a session from a conversation written by another program."""
    process = current()
    process.host.restore_once()
    messages: list[Message] = []
    for role, turn in found.turns:
        parent = messages[-1].id if messages else None
        part = TextPart(text=turn)
        messages.append(
            Message(id=new_id("m-"), role=role, parts=(part,), created_at=now(), parent_id=parent)
        )
    # Instructions from a file are not used until `Session.adopt()`.
    instructions = found.instructions or None
    settings = SettingsPatch(title=found.title, instructions=instructions, from_file=instructions is not None)
    command = CreateSession(
        id=new_id("c-"), session_id=new_id("s-"), settings=settings, messages=tuple(messages)
    )
    return process.registry[process.backend.execute(command).session_id or ""]


@short_traceback
def map(  # noqa: A001 - `nbchat.map` reads as what it does
    prompts: Iterable[Any],
    template: str | Callable[[Any], str] | None = None,
    *,
    context: object = (),
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
    """Send many prompts concurrently, and return the answers in the order of the prompts.

    Prompts are independent: no request contains another one. They appear neither in tabs nor in saved state.
    A prompt that cannot be answered has its error as its result; the others continue. Only this cell is
    blocked; interrupting it stops the requests in progress. `registry.stop_all()` and similar methods apply
    to sessions and do not affect a batch.

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
        stopped with the cell, are sent again. Prompts in progress when the process was killed are not, since
        they may have been answered and charged: the answer is fetched from the server if it stored it
        (`nbchat.config(api="responses")`), else the result has the error `KernelGone`. `None`: no file.
    retry_interrupted
        `True`: prompts in progress when the process was killed, with no stored answer, are sent again.
    progress
        `True`: a bar in a notebook, a line in a terminal. `False`: no output. Or a function, which is called
        with a `BatchProgress` on this thread; an exception in it ends the batch.

    Returns
    -------
    A sequence of `Result`, as long as `prompts`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid; nothing is sent.
    StoreBusy
        If another batch is writing to the journal; nothing is sent.
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
    return run_map(
        process.engine,
        process.host,
        prompts,
        template,
        context=context,
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


def discover() -> list[Any]:
    """Return the OpenAI-compatible servers that listen on this machine's loopback interface.

    Ports are probed only by this call.

    Examples
    --------
    >>> for server in nbchat.discover():
    ...     print(server)
    """
    from nbchat.providers.discover import discover as look  # noqa: PLC0415 - only when asked

    return list(current().engine.loop.run(look()))


@short_traceback
def provider(
    name: str,
    *,
    base_url: str,
    key_env: str | None = None,
    api: Api = "auto",
    headers: Mapping[str, str] | None = None,
) -> Provider:
    """Define a name for an OpenAI-compatible server, so that several can be used in one notebook.

    Parameters
    ----------
    name
        For `nbchat.session(…, provider=name)`, `nbchat.models(name)` and `nbchat.config(provider=name)`.
        Defining a name again replaces its server.
    base_url
        Address of the server; usually ends in `/v1`.
    key_env
        Environment variable with the key, read when a run starts. `None`: no key is sent.
        `OPENAI_API_KEY` is sent only if it is named here.
    api, headers
        As in `OpenAIProvider`.

    Returns
    -------
    The provider, which can also be passed as an object: `nbchat.session(provider=…)`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> local = nbchat.provider("local", base_url="http://localhost:11434/v1")
    >>> nbchat.session("geo", provider="local")
    >>> cloud = nbchat.provider("cloud", base_url="https://api.example.com/v1", key_env="CLOUD_KEY")
    """
    from nbchat.providers.named import named_provider  # noqa: PLC0415 - only when it is used

    made = named_provider(name, base_url, key_env, api=api, headers=headers)
    current().engine.providers.define(name, made)
    return made


@short_traceback
def models(provider: str | None = None) -> list[str]:
    """Return the chat models that the server for new sessions currently lists, in its order.

    Models for embeddings, speech and images are omitted.

    Parameters
    ----------
    provider
        Name of another provider. `None`: the configured provider.

    Raises
    ------
    ProviderError
        If the server cannot be reached or rejects the request.

    Examples
    --------
    >>> nbchat.models()[0]
    'nbchat-tour'
    """
    engine = current().engine
    engine.loop.refuse_to_block("models()")
    return list(engine.loop.run(engine.providers.models(None, provider)))


def sessions() -> list[Session]:
    """Return all sessions of this kernel, oldest first.

    Examples
    --------
    >>> [session.title for session in nbchat.sessions()]
    ['saved', 'geo']
    """
    return list(the_registry().values())


def stop_all() -> int:
    """Stop the runs of all sessions, including queued ones, and return their number.

    Examples
    --------
    >>> run = nbchat.session("slow", model="nbchat-slow").send("Tell me something.")
    >>> nbchat.stop_all()
    1
    """
    return the_registry().stop_all()


def allow_nested_loops() -> None:
    """Allow user code to call `asyncio.run` or `run_until_complete` inside a cell.

    nbchat itself needs no nested loops: its runs have a separate thread with an event loop. This applies
    `nest_asyncio` to the loop of the calling thread, for the whole process, and cannot be undone. It is
    therefore never done automatically.

    Examples
    --------
    >>> nbchat.allow_nested_loops()
    >>> import asyncio
    >>> async def main():
    ...     return (await geo.send("From a loop within a loop.")).text
    >>> async def cell():
    ...     return asyncio.run(main())
    >>> asyncio.run(cell())
    'From a loop within a loop.'
    """
    import nest_asyncio  # noqa: PLC0415 - it patches asyncio, so only when it is asked for

    nest_asyncio.apply()


__all__ = [
    "allow_nested_loops",
    "ask",
    "compare",
    "config",
    "discover",
    "get_completion",
    "import_",
    "load",
    "map",
    "models",
    "new_id",
    "provider",
    "session",
    "sessions",
    "stop_all",
    "the_registry",
]

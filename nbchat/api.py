"""The functions of `nbchat`."""

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
from nbchat.jupyter.host import current

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
    """Return the session of this id or title, made if there is none; no widget is needed.

    Parameters
    ----------
    key
        An id, or a title; an id wins, then the oldest open session of that title. None: a new session.
    model
        What its runs ask for; None: `NBCHAT_MODEL`, the configured default, else the first model that
        the server lists.
    instructions
        What the model is told before the conversation.
    params
        More fields of the request, as `{"temperature": 0.2}`; names as in the OpenAI API.
    provider
        Name of an entry point of the group `nbchat.providers`, or an object with its methods.
    **fields
        Fields of the request, such as `temperature=0.2`; added to `params`.

    Returns
    -------
    The session. Of an existing one, settings that are given are changed.

    Raises
    ------
    TypeError, ValueError
        An argument cannot be used.
    TooManySessions
        The registry is full.

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
    """Ask a one-off question and return the answer: no tab, and not saved.

    Request fields such as `temperature=0` can be given as keyword arguments; names as in the OpenAI API.
    `context` is that of `Session.send`: values that the model reads as short texts.
    Interrupting the cell stops the run. Raises what `Session.ask` raises.

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
    # An interrupt may come before the session is returned, so its id is made here.
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
    """Return the answer's text, in the context of one caller's thread and of no other.

    Parameters
    ----------
    prompt
        What to ask.
    thread_id
        Whose conversation it is. Each has a session of its own, made when it is new, which gets a tab
        when it is shown. None: a one-off question.
    model, instructions, params, **fields
        As `session`.
    timeout
        Seconds; the run is stopped when they are over.

    Raises
    ------
    ProviderError, TimeoutError, WouldDeadlock, TypeError, ValueError
        As `Session.ask`.

    Notes
    -----
    Callers may be on any number of threads and event loops; calls for one thread are answered one
    after the other. It blocks: from an event loop use `await session.send(...)`.

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
    """Set defaults for all sessions, and return those in force with where each came from.

    An argument of a call wins, then what was set in this kernel (here or by `%config NbChat`), then a
    configuration file (`c.NbChat.model = …` in `ipython_config.py`), then the environment.

    Parameters
    ----------
    model
        Model of sessions that name none.
    provider
        Name of an entry point of the group `nbchat.providers`.
    base_url
        Where the OpenAI-compatible server is, as `http://localhost:11434/v1`.
    api
        How that server is asked: `chat` for Chat Completions, which every server has and which is how it
        begins; `responses` for Responses in the background: the server keeps such an answer, so one that
        was interrupted can be resumed, by another kernel too.
    instructions
        What models are told before conversations that have no instructions of their own.
    titles
        What a conversation is called that nobody has named: `words`, the first ones of its first question;
        or `model`, a title that its model is asked for once, after the first answer. Never the demo's.
    share
        How much of a variable is sent with `@name` and `context=`: the level of `nbchat.describe`, `schema`,
        `summary` (the default) or `rows`.
    journal
        False: private mode, nothing is written outside of the notebook; True is how it begins. The
        environment variable `NBCHAT_JOURNAL=0` does the same.

    Each of the others is a string; None takes back what was set in this kernel.

    Returns
    -------
    A mapping of names to values. Its `sources` says, by name, where each value came from.

    Raises
    ------
    TypeError, ValueError
        There is no such setting, or the value cannot be one; nothing was changed.

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
    """Bring the conversations of a saved notebook into this kernel, and return them.

    They are merged with what there is, and nothing is sent. Their models, instructions and parameters
    are shown and not used until `Session.adopt()`, unless this user's journal knows them.

    Raises
    ------
    OSError
        The file cannot be read.
    SnapshotError
        It holds no conversations that can be read.

    Examples
    --------
    >>> for session in nbchat.load("chat.ipynb"):
    ...     print(session.title)
    """
    from nbchat.export.reading import from_notebook  # noqa: PLC0415 - only when it is used

    return the_registry().restore(from_notebook(Path(path)))


@short_traceback
def import_(path: str | os.PathLike[str]) -> list[Session]:
    """Make sessions of the conversations in a JSONL or Markdown file, and return them.

    Parameters
    ----------
    path
        A `.jsonl` file, `{"messages": [{"role": …, "content": …}, …]}` in each line; a Markdown file with
        headings such as `## User`; or a notebook, as `load` takes.

    Raises
    ------
    OSError
        The file cannot be read.
    SnapshotError
        It holds something else.

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
    """Create a session of a conversation that another program wrote."""
    process = current()
    process.host.restore_once()
    messages: list[Message] = []
    for role, turn in found.turns:
        parent = messages[-1].id if messages else None
        part = TextPart(text=turn)
        messages.append(
            Message(id=new_id("m-"), role=role, parts=(part,), created_at=now(), parent_id=parent)
        )
    # Instructions that came with a file wait for `Session.adopt()`.
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
    context
        As `Session.send`: values that every prompt is asked with.
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
    """Ask several models the same, each in a session of its own; return at once, while they stream.

    Parameters
    ----------
    prompt
        What to ask; not empty.
    models
        Models by name; or, for more, mappings of what `nbchat.session` takes, as
        `{"model": "qwen3", "params": {"temperature": 0}}` or `{"model": "…", "provider": …}`.
    instructions, params, **fields
        For all of them, where a mapping does not say otherwise.

    Returns
    -------
    A `Comparison`. Its sessions are ordinary ones: they have tabs, and can be asked on.

    Raises
    ------
    TypeError, ValueError
        An argument cannot be used; nothing was asked.

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
    """Return the OpenAI-compatible servers that listen on this machine's loopback; looks only when called.

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
    """Give an OpenAI-compatible server a name, so that several can be used in one notebook.

    Parameters
    ----------
    name
        For `nbchat.session(…, provider=name)`, `nbchat.models(name)` and `nbchat.config(provider=name)`. A
        name that is defined again gets the new server.
    base_url
        Usually ends in `/v1`.
    key_env
        The environment variable with the key, read when a run starts. `None`: the server gets no key.
        `OPENAI_API_KEY` is sent to it only if it is named here.
    api, headers
        As `OpenAIProvider`.

    Returns
    -------
    The provider, which can also be given as an object: `nbchat.session(provider=…)`.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be used.

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
    """Return the chat models that the server for new sessions lists now, in its order.

    Models for embeddings, speech and pictures are left out.

    Parameters
    ----------
    provider
        Name of a provider, to ask that one. `None`: the configured provider.

    Raises
    ------
    ProviderError
        If the server cannot be asked, or refuses.

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
    """Stop every run in every session, queued ones too, and return how many there were.

    Examples
    --------
    >>> run = nbchat.session("slow", model="nbchat-slow").send("Tell me something.")
    >>> nbchat.stop_all()
    1
    """
    return the_registry().stop_all()


def allow_nested_loops() -> None:
    """Let code of yours call `asyncio.run` or `run_until_complete` inside a cell.

    nbchat itself needs no nesting: its runs live on a loop and thread of their own. This applies
    `nest_asyncio` to the loop of the calling thread, for the whole process, and cannot be taken back;
    so it is never done by itself.

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

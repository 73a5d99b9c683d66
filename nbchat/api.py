"""The functions of `nbchat`: what a cell calls."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbchat.core.ids import new_id
from nbchat.core.request_fields import merged
from nbchat.core.tracebacks import short_traceback
from nbchat.engine.config import Configuration
from nbchat.handles.process import registry as _shared

if TYPE_CHECKING:
    from nbchat.core.messages import Message
    from nbchat.handles.registry import SessionRegistry
    from nbchat.handles.session import Session
    from nbchat.providers.base import Provider


def the_registry() -> SessionRegistry:
    """Return `nbchat.registry`, the kernel's one `SessionRegistry`."""
    found = _shared()
    if found.view_of is None:
        found.view_of = _view_of
        if "IPython" in sys.modules:  # else there is no configuration to read, and no reason to load it
            from nbchat.jupyter.configuration import attach  # noqa: PLC0415
            from nbchat.jupyter.representations import register  # noqa: PLC0415

            attach(found)
            register()
        _look_for_notebook(found)
    return found


def _look_for_notebook(registry: SessionRegistry) -> None:
    """Restore at the first use, where there is a notebook. Scripts restore nothing, and journal nothing."""
    if "ipykernel" not in sys.modules:
        return
    from nbchat.jupyter.notebook import attach  # noqa: PLC0415 - widgets only where there is a notebook

    private = os.environ.get("NBCHAT_JOURNAL", "").lower() in ("0", "false", "no", "off")
    attach(registry, journal=not private)


def _view_of(session: Session) -> Any:  # noqa: ANN401 - a widget
    from nbchat.jupyter.widgets import SessionView  # noqa: PLC0415 - widgets only where they are shown

    return SessionView(session)


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
        Fields of the request, as `temperature=0.2`; added to `params`.

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
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    timeout: float | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Message:
    """Ask a one-off question and return the answer: no tab, and saved nowhere.

    Request fields can be given as keyword arguments too, as `temperature=0`; names as in the OpenAI API.
    Interrupting the cell stops the run. Raises what `Session.ask` raises.

    Examples
    --------
    >>> print(nbchat.ask("What is nbchat?"))
    """
    registry = the_registry()
    registry.engine.refuse_to_block("ask()")
    request = merged("ask", params, fields)
    settings = {"model": model, "instructions": instructions, "params": request}
    session_id = new_id("s-")
    try:
        # An interrupt may come before the session is returned; its id is known all the same.
        once = registry.create_as(session_id, settings, provider, temporary=True)
        return once.ask(prompt, timeout=timeout)
    finally:
        registry.engine.call(registry.discard_temporary, session_id)


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
    registry = the_registry()
    registry.engine.refuse_to_block("get_completion()")
    thread = registry.thread(thread_id, model=model, instructions=instructions, params=request)
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
    registry = the_registry()
    defaults = registry.sources.defaults
    if values:
        defaults.set(values)
    if journal is not None:
        _set_journal(registry, on=journal)
    return Configuration(defaults.values())


def _set_journal(registry: SessionRegistry, *, on: object) -> None:
    if not isinstance(on, bool):
        raise TypeError(f"journal must be True or False, not {on!r}.")
    notebook = registry.__dict__.get("notebook")
    if notebook is not None:
        notebook.set_journal(on=on)


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
    registry = the_registry()
    return [registry.imported(one.title, one.instructions, one.turns) for one in list(read(text, file.stem))]


def discover() -> list[Any]:
    """Return the OpenAI-compatible servers that listen on this machine's loopback; looks only when called.

    Examples
    --------
    >>> for server in nbchat.discover():
    ...     print(server)
    """
    from nbchat.providers.discover import discover as look  # noqa: PLC0415 - only when asked

    return list(the_registry().engine.run(look()))


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
    registry = the_registry()
    registry.engine.refuse_to_block("models()")
    return list(registry.engine.run(registry.sources.models(None, provider)))


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
    "config",
    "discover",
    "get_completion",
    "import_",
    "load",
    "models",
    "new_id",
    "session",
    "sessions",
    "stop_all",
    "the_registry",
]

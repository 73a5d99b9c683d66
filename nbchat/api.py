"""The functions of `nbchat`: what a cell calls."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbchat.core.ids import new_id
from nbchat.runtime.defaults import Configuration
from nbchat.runtime.shared import registry as _shared

if TYPE_CHECKING:
    from nbchat.core.messages import Message
    from nbchat.providers.base import Provider
    from nbchat.runtime.registry import SessionRegistry
    from nbchat.runtime.session import Session


def the_registry() -> SessionRegistry:
    """Return `nbchat.registry`, the kernel's one `SessionRegistry`."""
    found = _shared()
    if found.view_of is None:
        found.view_of = _view_of
        if "IPython" in sys.modules:  # else there is no configuration to read, and no reason to load it
            from nbchat.jupyter.configuration import attach  # noqa: PLC0415

            attach(found)
    return found


def _view_of(session: Session) -> Any:  # noqa: ANN401 - a widget
    from nbchat.jupyter.widgets import SessionView  # noqa: PLC0415 - widgets only where they are shown

    return SessionView(session)


def session(
    key: str | None = None,
    *,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
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
    }
    if key is None:
        return the_registry().create(**settings)
    return the_registry().get_or_create(key, **settings)


def ask(
    prompt: str,
    *,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    timeout: float | None = None,
) -> Message:
    """Ask a one-off question and return the answer: no tab, and saved nowhere.

    Interrupting the cell stops the run. Raises what `Session.ask` raises.

    Examples
    --------
    >>> print(nbchat.ask("What is nbchat?"))
    """
    registry = the_registry()
    registry.engine.refuse_to_block("ask()")
    once = registry.create(
        model=model, instructions=instructions, params=params, provider=provider, temporary=True
    )
    try:
        return once.ask(prompt, timeout=timeout)
    finally:
        registry.engine.call(registry.discard_temporary, once._conversation)  # noqa: SLF001 - made here


def get_completion(
    prompt: str,
    *,
    thread_id: str | None = None,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    timeout: float | None = None,
) -> str:
    """Return the answer's text, in the context of one caller's thread and of no other.

    Parameters
    ----------
    prompt
        What to ask.
    thread_id
        Whose conversation it is. Each has a session of its own, made when it is new, which gets a tab
        when it is shown. None: a one-off question.
    model, instructions, params
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
    if thread_id is None:
        return ask(prompt, model=model, instructions=instructions, params=params, timeout=timeout).text
    registry = the_registry()
    registry.engine.refuse_to_block("get_completion()")
    thread = registry.thread(thread_id, model=model, instructions=instructions, params=params)
    return thread.ask(prompt, timeout=timeout).text


def config(**values: str | None) -> Configuration:
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
    instructions
        What models are told before conversations that have no instructions of their own.

    Each is a string; None takes back what was set in this kernel.

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
    defaults = the_registry().sources.defaults
    if values:
        defaults.set(values)
    return Configuration(defaults.values())


def discover() -> list[Any]:
    """Return the OpenAI-compatible servers that listen on this machine's loopback; looks only when called.

    Examples
    --------
    >>> for server in nbchat.discover():
    ...     print(server)
    """
    from nbchat.providers.discover import discover as look  # noqa: PLC0415 - only when asked

    return list(the_registry().engine.run(look()))


def allow_nested_loops() -> None:
    """Let code of yours call `asyncio.run` or `run_until_complete` inside a cell.

    nbchat itself needs no nesting: its runs live on a loop and thread of their own. This applies
    `nest_asyncio` to the loop of the calling thread, for the whole process, and cannot be taken back;
    so it is never done by itself.
    """
    import nest_asyncio  # noqa: PLC0415 - it patches asyncio, so only when it is asked for

    nest_asyncio.apply()


__all__ = [
    "allow_nested_loops",
    "ask",
    "config",
    "discover",
    "get_completion",
    "new_id",
    "session",
    "the_registry",
]

"""Functions of `nbchat` that find sessions and ask questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nbchat.core.errors import CommandError
from nbchat.core.ids import new_id
from nbchat.core.kernel_commands import CreateSession, DiscardTemporary, GetOrCreateThread
from nbchat.core.messages import Message
from nbchat.core.request_fields import merged
from nbchat.core.settings import patch, patch_of_given
from nbchat.core.tracebacks import short_traceback
from nbchat.jupyter.process import current

if TYPE_CHECKING:
    from nbchat.engine.tools import Tool
    from nbchat.handles.session import Session
    from nbchat.providers.base import Provider


@short_traceback
def session(
    key: str | None = None,
    *,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    tools: Iterable[Tool] | None = None,
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
    tools
        Functions that the model may call, made with `@nbchat.tool`; see `Session.tools`.
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
        return current().registry.create(tools=() if tools is None else tools, **settings)
    settings["tools"] = tools
    return current().registry.get_or_create(key, **settings)


def sessions() -> list[Session]:
    """Return all sessions of this kernel, oldest first.

    Examples
    --------
    >>> [session.title for session in nbchat.sessions()]
    ['saved', 'geo']
    """
    return list(current().registry.values())


def stop_all() -> int:
    """Stop the runs of all sessions, including queued ones, and return their number.

    Examples
    --------
    >>> run = nbchat.session("slow", model="nbchat-slow").send("Tell me something.")
    >>> nbchat.stop_all()
    1
    """
    return current().registry.stop_all()


@short_traceback
def ask(
    prompt: str,
    *,
    context: object = (),
    schema: object = None,
    cache: bool = False,
    model: str | None = None,
    instructions: str | None = None,
    params: Mapping[str, Any] | None = None,
    provider: str | Provider | None = None,
    timeout: float | None = None,
    **fields: Any,  # noqa: ANN401 - fields of the OpenAI API
) -> Message:
    """Ask a one-off question and return the answer. It gets no tab and is not saved.

    Request fields such as `temperature=0` can be given as keyword arguments, named as in the OpenAI API.
    `context`, `schema` and `cache` are those of `Session.send`: values that are sent to the model as short
    texts, the type of the answer's `data`, and whether an earlier answer to an equal request is used.
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
        return process.registry[session_id].ask(
            prompt, context=context, schema=schema, cache=cache, timeout=timeout
        )
    finally:
        with suppress(CommandError):  # an engine that cannot be reached has nothing to discard
            process.backend.execute(DiscardTemporary(id=new_id("c-"), session_id=session_id))


@short_traceback
def get_completion(
    prompt: str,
    *,
    thread_id: str | None = None,
    cache: bool = False,
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
    cache
        As in `Session.send`.
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
        return ask(
            prompt, cache=cache, model=model, instructions=instructions, params=request, timeout=timeout
        ).text
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
    return thread.ask(prompt, cache=cache, timeout=timeout).text

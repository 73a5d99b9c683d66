"""Functions of `nbchat` that configure defaults and servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbchat.core.tracebacks import short_traceback
from nbchat.engine.config import Configuration
from nbchat.jupyter.process import current

if TYPE_CHECKING:
    from nbchat.providers.base import Provider
    from nbchat.providers.openai import Api


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
        Name of a server defined with `nbchat.provider`, or of an entry point in the group `nbchat.providers`.
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
    runner
        `local`: answers are generated in a process beside the kernel, and continue when it is restarted. A
        URL such as `https://hub.example/services/nbchat/`: by a service for many users, with the token in the
        environment variable `NBCHAT_RUNNER_TOKEN`. Set it before the first session. The default is the
        kernel itself.
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
    CommandError
        If a runner is chosen after the first session; the sessions stay where they are.

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
    if "runner" in values:
        try:
            process.choose_backend()
        except BaseException:
            defaults.set({"runner": None})  # it is not in use
            raise
    return Configuration(defaults.values())


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
    from nbchat.providers.named import NamedServer, named_provider  # noqa: PLC0415 - only when it is used

    made = named_provider(name, base_url, key_env, api=api, headers=headers)
    server = NamedServer(base_url, key_env, api, headers or {})
    current().engine.providers.define(name, made, server)
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


def clear_cache() -> int:
    """Remove all answers from this user's cache, and return their number.

    The cache has the answers of requests with `cache=True`, of all notebooks and scripts of this user. With a
    service as runner, it is the cache of the namespace.

    Raises
    ------
    StoreError
        If the file of the cache cannot be written.

    Examples
    --------
    >>> nbchat.clear_cache()
    0
    >>> nbchat.ask("Seine", model="nbchat-echo", cache=True).text
    'Seine'
    >>> nbchat.clear_cache()
    1
    """
    return current().backend.clear_cache()


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

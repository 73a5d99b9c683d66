"""`ServedKernel`: the kernel whose pages a wire server serves, in this process or linked to it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from nbchat.core.secret import referenced
from nbchat.engine.carry_out import execute_once
from nbchat.engine.server_choice import ServerChoice
from nbchat.protocol import Connect, Connected

if TYPE_CHECKING:
    from nbchat.core.kernel_commands import Command, Outcome
    from nbchat.engine.engine import Engine
    from nbchat.engine.provider_resolver import ProviderResolver


@dataclass(slots=True)
class ServedKernel:
    """A kernel: its epoch, its configuration, and how its pages change them. For the engine's loop."""

    epoch: str
    """Pages treat each epoch as another kernel."""
    providers: ProviderResolver
    """The configuration of the kernel."""
    execute: Callable[[Command], Outcome]
    """Executes a command."""
    choose_server: Callable[[Connect], Awaitable[Connected]]
    """Tries a server, or makes it the default of the kernel."""
    has_runner: bool = False
    """Answers are generated beside the kernel, and continue without it."""
    person: str = ""
    """Name of the user, if the runner is a service."""
    can_change: Callable[[], bool] = lambda: True
    """Returns whether the user may change sessions now."""
    typed: Callable[[str], None] = lambda _session_id: None
    """Notes the session in which the user is typing; an empty id: in none."""

    @classmethod
    def of_engine(cls, engine: Engine) -> ServedKernel:
        """Return the kernel whose engine runs in this process."""
        choose = functools.partial(choose_server, engine.providers)
        return cls(engine.epoch, engine.providers, functools.partial(execute_once, engine), choose)


async def choose_server(providers: ProviderResolver, message: Connect) -> Connected:
    """Try a server, or make it the default, as a page asks.

    Raises
    ------
    NbchatError
        As `ServerChoice`.
    """
    choice = ServerChoice(providers)
    answer = Connected(to=message.page, id=message.id)
    key = referenced(message.api_key)
    if message.action == "models":
        return replace(answer, models=await choice.models(message.base_url, key))
    if message.action == "test":
        return replace(answer, text=await choice.test(message.base_url, key, message.model))
    if message.action == "use":
        choice.use(message.base_url, key, message.model)
    else:
        choice.reset()
    return answer

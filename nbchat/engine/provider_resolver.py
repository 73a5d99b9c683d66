"""`ProviderResolver`: selects the provider and the model when a run starts.

The environment is read each time, so a key set in a later cell is used by the next run. With neither a key
nor a base URL, the embedded server answers over HTTP on loopback.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from nbchat.core.errors import AuthenticationFailed, ConfigError, ConnectFailed, ProviderError
from nbchat.core.extras import Find
from nbchat.core.secret import referenced
from nbchat.engine.config import Defaults
from nbchat.providers.base import server_of
from nbchat.providers.endpoint import OPENAI_URL, host_of, public_host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nbchat.core.events import Settings
    from nbchat.core.secret import Secret
    from nbchat.providers.base import Provider, Request
    from nbchat.providers.named import NamedServer
    from nbchat.server import DemoServer

logger = logging.getLogger("nbchat")

CLIENT: Final = (
    "nbchat.providers.transport",
    "nbchat.providers.openai",
    "httpcore2",
    "anyio.streams.tls",
    "anyio._backends._asyncio",
)
"""Modules needed for the first answer of the openai client; its HTTP client imports the last three."""

DEMO = "demo"
"""Provider name of the embedded server."""


class ProviderResolver:
    """Finds providers and models. Methods that wait are for the engine's loop."""

    def __init__(self, environment: Mapping[str, str] = os.environ, credential: Find = referenced) -> None:
        # A closure, since the environment contains keys.
        self._environment: Callable[[], Mapping[str, str]] = lambda: environment
        self.credential: Find = credential
        """Returns the credential of a reference in a request's params."""
        self.defaults: Defaults = Defaults(environment)
        self.typed_keys: dict[str, Secret] = {}
        """Keys that the user typed into a page, by the base URL that each is for; empty: no key is sent."""
        self._providers: dict[tuple[str, str | None, str | None, bool], Provider] = {}
        self._server: DemoServer | None = None
        self._server_url: str | None = None
        self._starting = asyncio.Lock()
        self._warmed_up = False
        self._named: dict[str, Provider] = {}
        self.named_servers: dict[str, NamedServer] = {}
        """The servers behind named providers, for an engine in another process."""
        self._replaced: list[Provider] = []
        self._models: dict[tuple[str, str | None], tuple[str, ...]] = {}
        self._own_models: WeakKeyDictionary[Provider, tuple[str, ...]] = WeakKeyDictionary()

    @property
    def is_demo(self) -> bool:
        """True if the embedded server would answer the next run."""
        return not (
            self.defaults.provider or self.defaults.base_url or self._environment().get("OPENAI_API_KEY")
        )

    @property
    def name(self) -> str:
        """The source of the next run's answer, for display."""
        if self.is_demo:
            return DEMO
        if self.defaults.provider and self.defaults.provider != "openai":
            return self.defaults.provider
        return host_of(self.defaults.base_url or OPENAI_URL)

    @property
    def model(self) -> str | None:
        """The model for sessions without one, if it is known without asking a server."""
        listed = self.known_models
        return self.defaults.model or (listed[0] if listed else None)

    @property
    def known_models(self) -> tuple[str, ...]:
        """Models that the server for new runs has listed so far, without a request."""
        return self._models.get(self._place(None), ())

    def _place(self, name: str | None) -> tuple[str, str | None]:
        """Return the server's key in `_models`, for this provider name or the configured one."""
        name = name or self.defaults.provider
        if name == DEMO or (not name and self.is_demo):
            return DEMO, None
        return name or "openai", self.defaults.base_url

    def _known(self, own: Provider | None, name: str | None) -> tuple[str, ...]:
        if own is None:
            return self._models.get(self._place(name), ())
        # The models of an object without weak references are requested each time.
        with suppress(TypeError):
            return self._own_models.get(own, ())
        return ()

    def _keep(self, own: Provider | None, name: str | None, models: tuple[str, ...]) -> None:
        if own is None:
            self._models[self._place(name)] = models
            return
        with suppress(TypeError):
            self._own_models[own] = models

    def expected(self, own: Provider | None, settings: Settings) -> tuple[str | None, str | None]:
        """Return the model of the next run and its server's host, as far as known without a request."""
        name = settings.provider
        model = settings.model or self.defaults.model or next(iter(self._known(own, name)), None)
        provider = own or self._named.get(name or self.defaults.provider or "")
        if provider is not None:
            return model, server_of(provider)
        is_openai = self._place(name)[0] == "openai"
        return model, public_host(self.defaults.base_url or OPENAI_URL) if is_openai else None

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider to use, and the request with the model in it.

        Raises
        ------
        ConfigError
            If the provider is unknown, or no model is set and the server lists none.
        ProviderError
            If the server's models could not be listed.
        """
        provider = own or await self.provider(settings.provider)
        prepare = getattr(provider, "prepare", None)
        if prepare is not None:
            await prepare()
        if request.model is None:
            model = self.defaults.model
            if model is None:
                model = (self._known(own, settings.provider) or await self._listed(own, settings.provider))[0]
            request = replace(request, model=model)
        if request.instructions is None and self.defaults.instructions:
            request = replace(request, instructions=self.defaults.instructions)
        return provider, request

    async def _listed(self, own: Provider | None, name: str | None) -> Sequence[str]:
        provider = own or await self.provider(name)
        hint = "Set NBCHAT_MODEL, or give a session one: nbchat.session(..., model='...')."
        try:
            models = await self.models(own, name)
        except (ConfigError, ConnectFailed, AuthenticationFailed):
            raise
        except ProviderError as error:
            raise ConfigError(
                f"no model is set, and {provider.name} does not list its models.", hint=hint
            ) from error
        if not models:
            raise ConfigError(f"no model is set, and {provider.name} lists none.", hint=hint)
        return models

    def warm_up(self, name: str | None) -> None:
        """Import the openai client on a daemon thread, once, if the provider with this name needs it.

        The thread keeps the priority of the process. It holds the GIL while it imports, so at a lower
        priority the kernel waits for it whenever the machine is busy: with `nice 19` and two busy cores
        the import took 30 s instead of 2 s, and a cell that was running lost 20 s of them.
        """
        name = name or self.defaults.provider or "openai"
        if self._warmed_up or name not in ("openai", DEMO, *self._named):
            return
        self._warmed_up = True
        with suppress(RuntimeError):  # no thread can be started; the first run imports the client itself
            modules = (*CLIENT, "nbchat.server") if self.is_demo else CLIENT
            threading.Thread(target=_import, args=(modules,), name="nbchat-warm-up", daemon=True).start()

    async def models(self, own: Provider | None = None, name: str | None = None) -> tuple[str, ...]:
        """Request and return the models of a session's provider; by default, that of new sessions."""
        provider = own or await self.provider(name)
        models = tuple(await provider.models())
        if models:
            self._keep(own, name, models)
        return models

    def define(self, name: str, provider: Provider, server: NamedServer | None = None) -> None:
        """Register this provider under its name, replacing an earlier one."""
        self.named_servers.pop(name, None)
        if server is not None:
            self.named_servers[name] = server
        replaced = self._named.get(name)
        if replaced is not None:
            self._replaced.append(replaced)  # a run may still read from it: closed at the end
        self._named[name] = provider
        self._models = {place: models for place, models in self._models.items() if place[0] != name}

    async def provider(self, name: str | None) -> Provider:
        """Return the provider with this name, or the configured one."""
        if self._place(name)[0] == DEMO:
            return await self._demo()
        name = name or self.defaults.provider
        if name in self._named:
            return self._named[name]
        from nbchat.providers.plugins import load  # noqa: PLC0415 - only when the first run starts

        # The URL that the environment names is read by the provider itself, at each run.
        url = self.defaults.configured("base_url")
        is_typed = url in self.typed_keys
        key = (name or "openai", url, self.defaults.api, is_typed)
        provider = self._providers.get(key)
        if provider is None:
            given: dict[str, object] = {}
            if key[0] == "openai":
                typed = partial(self._typed_key, url) if is_typed else None
                given = {"base_url": url, "api": key[2], "api_key": typed}
                if self._environment() is not os.environ:
                    given |= {"environment": self._environment(), "credential": self.credential}
            options = {option: value for option, value in given.items() if value is not None}
            provider = self._providers[key] = load(key[0], **options)
        return provider

    def _typed_key(self, url: str | None) -> str:
        """Return the key that was typed for a server last; empty if none is to be sent."""
        secret = self.typed_keys.get(url or "")
        return "" if secret is None else secret.reveal()

    async def demo_url(self) -> str:
        """Return the URL of the embedded server, which is started if necessary."""
        async with self._starting:
            if self._server is None or self._server_url is None:
                from nbchat.server import DemoServer  # noqa: PLC0415 - only when it is needed

                self._server = DemoServer()
                self._server_url = await self._server.start()
            return self._server_url

    async def _demo(self) -> Provider:
        url = await self.demo_url()
        key = (DEMO, url, None, False)
        provider = self._providers.get(key)
        if provider is None:
            # Uses the chat API: the server ends with this kernel, so kept responses could not be resumed
            # later.
            from nbchat.providers.openai import OpenAIProvider  # noqa: PLC0415 - only when it is needed

            provider = self._providers[key] = OpenAIProvider(
                base_url=url,
                api_key=DEMO,
                name=DEMO,
                can_prefill=True,
                cache_scope=DEMO,  # its port is another one in each kernel
                credential=self.credential,
            )
        return provider

    async def aclose(self) -> None:
        """Close connections that are kept open, and the embedded server."""
        for provider in (*self._providers.values(), *self._named.values(), *self._replaced):
            await provider.aclose()
        self._providers.clear()
        if self._server is not None:
            await self._server.close()
            self._server = None


def _import(modules: Sequence[str]) -> None:
    try:
        for module in modules:
            importlib.import_module(module)
    except Exception:  # the first run imports it again, and ends with this error
        logger.debug("a module of the openai client cannot be imported", exc_info=True)

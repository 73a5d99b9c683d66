"""Where answers come from: which provider and which model, decided when a run starts.

The environment is read each time, so a key that is set in a later cell is used by the next run. With
neither a key nor a base URL the embedded server answers, over real HTTP on loopback.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from nbchat.core.errors import AuthenticationFailed, ConfigError, ConnectFailed, ProviderError
from nbchat.runtime.defaults import Defaults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nbchat.core.events import Settings
    from nbchat.providers.base import Provider, Request
    from nbchat.server import DemoServer

DEMO = "demo"
"""Name of the embedded server's provider."""


class Sources:
    """Finds providers and models. Methods that wait are for the engine's loop."""

    def __init__(self) -> None:
        self.defaults: Defaults = Defaults()
        self._providers: dict[tuple[str, str | None, str | None], Provider] = {}
        self._server: DemoServer | None = None
        self._server_url: str | None = None
        self._starting = asyncio.Lock()
        self._models: dict[str, tuple[str, ...]] = {}

    @property
    def is_demo(self) -> bool:
        """The next run would be answered by the embedded server."""
        return not (self.defaults.provider or self.defaults.base_url or os.environ.get("OPENAI_API_KEY"))

    @property
    def name(self) -> str:
        """Where the next run's answer would come from, for people."""
        if self.is_demo:
            return DEMO
        if self.defaults.provider and self.defaults.provider != "openai":
            return self.defaults.provider
        url = self.defaults.base_url or "https://api.openai.com/v1"
        return url.split("//", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]

    @property
    def model(self) -> str | None:
        """The model for sessions that name none, as far as it is known without asking a server."""
        listed = self.known_models
        return self.defaults.model or (listed[0] if listed else None)

    @property
    def known_models(self) -> tuple[str, ...]:
        """What the server for new runs has listed so far, without asking it."""
        return self._models.get(self._key, ())

    @property
    def _key(self) -> str:
        return f"{self.defaults.provider}|{DEMO if self.is_demo else self.defaults.base_url}"

    async def choose(
        self, own: Provider | None, settings: Settings, request: Request
    ) -> tuple[Provider, Request]:
        """Return the provider to ask, and the request with the model to ask for.

        Raises
        ------
        ConfigError
            The provider is unknown, or no model is set and the server lists none.
        ProviderError
            The server could not be asked for its models.
        """
        provider = own or await self.provider(settings.provider)
        prepare = getattr(provider, "prepare", None)
        if prepare is not None:
            await prepare()
        if request.model is None:
            model = self.defaults.model
            if model is None:
                key = f"{id(own)}" if own is not None else f"{settings.provider}|{self._key}"
                model = (await self._listed(key, provider))[0]
            request = replace(request, model=model)
        if request.instructions is None and self.defaults.instructions:
            request = replace(request, instructions=self.defaults.instructions)
        return provider, request

    async def _listed(self, key: str, provider: Provider) -> Sequence[str]:
        known = self._models.get(key)
        if known:
            return known
        hint = "Set NBCHAT_MODEL, or give a session one: nbchat.session(..., model='...')."
        try:
            models = tuple(await provider.models())
        except (ConnectFailed, AuthenticationFailed):
            raise
        except ProviderError as error:
            raise ConfigError(
                f"no model is set, and {provider.name} does not list its models.", hint=hint
            ) from error
        if not models:
            raise ConfigError(f"no model is set, and {provider.name} lists none.", hint=hint)
        if self.is_demo:
            self._models[self._key] = models
        self._models[key] = models
        return models

    async def warm_up(self) -> None:
        """Load the client, off the loop: the user is about to ask, and it takes most of a second."""
        await asyncio.to_thread(importlib.import_module, "nbchat.providers.transport")

    async def models(self, own: Provider | None = None, name: str | None = None) -> tuple[str, ...]:
        """Return the models that a session's provider lists, asked anew; by default, that of new sessions."""
        provider = own or await self.provider(name)
        models = tuple(await provider.models())
        if models and own is None and name is None:
            self._models[self._key] = self._models[f"None|{self._key}"] = models
        return models

    async def provider(self, name: str | None) -> Provider:
        """Return the provider of that name, or the configured one."""
        name = name or self.defaults.provider
        if name in (None, "", DEMO) and (name == DEMO or self.is_demo):
            return await self._demo()
        from nbchat.providers.plugins import load  # noqa: PLC0415 - only when the first run starts

        # The URL that the environment names is read by the provider itself, at each run.
        key = (name or "openai", self.defaults.configured("base_url"), self.defaults.api)
        provider = self._providers.get(key)
        if provider is None:
            given = {"base_url": key[1], "api": key[2]} if key[0] == "openai" else {}
            options = {option: value for option, value in given.items() if value is not None}
            provider = self._providers[key] = load(key[0], **options)
        return provider

    async def _demo(self) -> Provider:
        async with self._starting:
            if self._server is None or self._server_url is None:
                from nbchat.server import DemoServer  # noqa: PLC0415 - only when it is needed

                self._server = DemoServer()
                self._server_url = await self._server.start()
        key = (DEMO, self._server_url, None)
        provider = self._providers.get(key)
        if provider is None:
            # By chat: what it keeps ends with this kernel, so nothing could be resumed that cannot be
            # continued as well.
            from nbchat.providers.openai import OpenAIProvider  # noqa: PLC0415 - only when it is needed

            provider = self._providers[key] = OpenAIProvider(
                base_url=self._server_url, api_key=DEMO, name=DEMO, can_prefill=True
            )
        return provider

    async def aclose(self) -> None:
        """Close connections that are kept open, and the embedded server."""
        for provider in self._providers.values():
            await provider.aclose()
        self._providers.clear()
        if self._server is not None:
            await self._server.close()
            self._server = None

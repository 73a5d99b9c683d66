"""`ServerChoice`: the server that the user chooses in a page, with a key that is kept in memory only.

A page can name any URL. A credential that was given for one server is therefore never sent to another one:
a key goes to the URL that it was typed for, and the environment's key and headers only to the server that
they already go to.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from nbchat.core.errors import ConfigError, ProviderUnavailable
from nbchat.core.ids import new_id
from nbchat.core.messages import Message, TextPart
from nbchat.core.secret import Secret
from nbchat.providers.base import Request, TextDelta
from nbchat.providers.endpoint import OPENAI_URL, check_url

if TYPE_CHECKING:
    from nbchat.engine.provider_resolver import ProviderResolver
    from nbchat.providers.openai import OpenAIProvider

TEST_S: Final = 60.0
"""Limit for a test: a server on this machine may have to load the model first."""

TEST_CHARS: Final = 80
"""Characters of the test's answer that are read."""

MAX_KEY: Final = 8192
"""Characters of a key, at most."""


class ServerChoice:
    """Tries servers, and makes one the default of the kernel. Methods are for the engine's loop.

    All methods raise `ConfigError` if the URL cannot be one, if the key is too long, or if headers of the
    environment would be sent to a server that they were not set for.
    """

    def __init__(self, sources: ProviderResolver) -> None:
        self._sources = sources

    async def models(self, base_url: str, key: Secret | None) -> tuple[str, ...]:
        """Return the models that the server lists.

        Raises
        ------
        ProviderError
            If the server gives no list.
        """
        provider = self._candidate(base_url, key)
        try:
            return tuple(await provider.models())
        finally:
            await provider.aclose()

    async def test(self, base_url: str, key: Secret | None, model: str) -> str:
        """Return the beginning of the model's answer to a short question.

        Raises
        ------
        ProviderError
            If there is no answer within `TEST_S`.
        """
        provider = self._candidate(base_url, key)
        prompt = Message(id=new_id("msg_"), role="user", parts=(TextPart(text="Reply with one word: OK"),))
        request = Request(messages=(prompt,), model=model or None)
        text = ""
        try:
            async with asyncio.timeout(TEST_S), aclosing(provider.stream(request)) as deltas:
                async for delta in deltas:
                    if isinstance(delta, TextDelta):
                        text += delta.text
                    if len(text) >= TEST_CHARS:
                        break
        except TimeoutError:
            raise ProviderUnavailable(
                f"{provider.name} gave no answer within {TEST_S:.0f} s.",
                hint="Check the model, or test again once the server has loaded it.",
                stage="first_byte",
            ) from None
        finally:
            await provider.aclose()
        return text.strip()[:TEST_CHARS]

    def use(self, base_url: str, key: Secret | None, model: str) -> None:
        """Make the server the default of this kernel, as `nbchat.config(base_url=…, model=…)` does."""
        url, secret = self._resolve(base_url, key)
        if secret is not None:
            self._sources.typed_keys[url] = secret
        self._sources.defaults.set({"provider": "openai", "base_url": url, "model": model or None})

    def reset(self) -> None:
        """Return to what files and the environment configure, and forget all keys that were typed."""
        self._sources.typed_keys.clear()
        self._sources.defaults.set({"provider": None, "base_url": None, "model": None})

    def _candidate(self, base_url: str, key: Secret | None) -> OpenAIProvider:
        from nbchat.providers.openai import OpenAIProvider  # noqa: PLC0415 - only when it is needed

        url, secret = self._resolve(base_url, key)
        by_responses = self._sources.defaults.api == "responses"
        return OpenAIProvider(url, secret, api="responses" if by_responses else "auto")

    def _resolve(self, base_url: str, key: Secret | None) -> tuple[str, Secret | None]:
        """Return the URL as it is kept, and the key to be sent there; `None` for the environment's."""
        url = check_url(base_url.strip())
        in_force = check_url(self._sources.defaults.base_url or OPENAI_URL)
        if url != in_force and os.environ.get("OPENAI_CUSTOM_HEADERS", "").strip():
            raise ConfigError(
                "OPENAI_CUSTOM_HEADERS is set, and its headers would be sent to this server too.",
                hint="Choose the server in a cell, by nbchat.config(base_url=…).",
            )
        if key is not None:
            if len(key.reveal()) > MAX_KEY:
                raise ConfigError(f"the key has more than {MAX_KEY} characters.", hint="Copy it again.")
            return url, key
        typed = self._sources.typed_keys.get(url)
        if typed is None and url != in_force:
            typed = Secret("")
        return url, typed

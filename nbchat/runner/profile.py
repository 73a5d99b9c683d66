"""`profile_of` collects the configuration of this kernel for a runner."""

from __future__ import annotations

import os
from collections.abc import Container
from typing import TYPE_CHECKING, Final

from nbchat.core.secret import references
from nbchat.engine.config import VARIABLES
from nbchat.engine.provider_resolver import DEMO
from nbchat.runner.messages import HIDDEN, Profile, Server

if TYPE_CHECKING:
    from nbchat.engine.provider_resolver import ProviderResolver

OPENAI: Final = "OPENAI_"
"""Beginning of the variables that the openai client reads."""


def profile_of(providers: ProviderResolver, *, whole: bool) -> Profile:
    """Return the configuration of this kernel.

    Parameters
    ----------
    whole
        With keys, for a run. Otherwise `HIDDEN` replaces every value that may be or contain one.
    """
    servers = {
        name: Server(
            base_url=one.base_url if whole else HIDDEN_URL,
            key_env=one.key_env,
            api=one.api,
            headers=one.headers if whole else {},
        )
        for name, one in list(providers.named_servers.items())
    }
    names = {name for name in os.environ if name.startswith(OPENAI)} | set(VARIABLES.values())
    names |= {one.key_env for one in servers.values() if one.key_env}
    names |= {name for name in os.environ if name.lower().endswith("_proxy")}
    environment = {name: os.environ[name] for name in sorted(names) if name in os.environ}
    layers = providers.defaults.layers()
    keys = {url: secret.reveal() for url, secret in list(providers.typed_keys.items())}
    if not whole:
        environment = {name: _shown(name, value) for name, value in environment.items()}
        layers = {
            layer: {n: _url(v) if n == "base_url" else v for n, v in values.items()}
            for layer, values in layers.items()
        }
        keys = {}
    return Profile(
        layers=layers,
        environment=environment,
        servers=servers,
        keys=keys,
        secrets=references() if whole else {},
        whole=whole,
    )


def travels(provider: str | None, servers: Container[str]) -> bool:
    """Return whether a runner can use a provider; one that a package brings is used in the kernel.

    Parameters
    ----------
    provider
        The name that was chosen, if any.
    servers
        Names of the kernel's named servers.
    """
    return provider in (None, "", "openai", DEMO) or provider in servers


HIDDEN_URL: Final = "http://localhost/hidden"


def _shown(name: str, value: str) -> str:
    """Return a variable's value if it cannot contain a key."""
    if name == VARIABLES["base_url"]:
        return _url(value)
    return value if name in VARIABLES.values() else HIDDEN


def _url(value: str) -> str:
    """Return a URL without what may be a credential: user, password and query."""
    before, _, _ = value.partition("?")
    scheme, separator, rest = before.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"

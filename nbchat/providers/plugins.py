"""`load` creates providers by name, from the entry points of the group `nbchat.providers`.

A package registers a provider class, or a function that returns a provider, in its metadata::

    [project.entry-points."nbchat.providers"]
    mine = "my_package:MyProvider"

It is then available as `nbchat.session(..., provider="mine")`. A provider is imported on first use.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from nbchat.core.errors import ConfigError, NbchatError
from nbchat.core.redact import redact
from nbchat.providers.base import Provider

GROUP: Final = "nbchat.providers"
"""The entry point group."""

_BUILT_IN: Final = {"openai": EntryPoint("openai", "nbchat.providers.openai:OpenAIProvider", GROUP)}


def names() -> tuple[str, ...]:
    """Return the names of the installed providers, sorted."""
    return tuple(sorted(_found()))


def load(name: str, **options: object) -> Provider:
    """Create the provider with the given name.

    Parameters
    ----------
    options
        Keyword arguments of the class or function that the entry point refers to.

    Raises
    ------
    ConfigError
        If no provider has that name, or it cannot be imported or created, or is not a provider.
    """
    found = _found().get(name)
    if found is None and ("://" in name or ":" in name or "/" in name):
        url = redact(name)
        raise ConfigError(
            f"provider must be a name, not a URL: {url!r}.",
            hint=f"Give the URL to nbchat.config(base_url='{url if '://' in name else 'http://' + url}').",
        )
    if found is None:
        raise ConfigError(
            f"there is no provider {name!r}; there is {', '.join(names())}.",
            hint=f"Define it by nbchat.provider({name!r}, base_url=…, key_env=…), or install the package "
            f"that brings it (an entry point of the group {GROUP}).",
        )
    try:
        made = found.load()(**options)
    except NbchatError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the provider {name!r} ({found.value}) cannot be used: "
            f"{type(error).__name__}: {redact(str(error))[:200]}.",
            hint="Report this to the package that provides it.",
        ) from error
    if not isinstance(made, Provider):
        missing = [part for part in _members() if not hasattr(made, part)]
        raise ConfigError(
            f"the provider {name!r} ({found.value}) is not a provider: it has no {', '.join(missing)}.",
            hint="nbchat.providers.Provider lists the members of a provider.",
        )
    return made


def _found() -> dict[str, EntryPoint]:
    # The first of two with one name wins, as on the import path. Built-in providers cannot be replaced.
    points = list(entry_points(group=GROUP))  # the result itself is not reversible since Python 3.12
    found = {point.name: point for point in reversed(points)}
    return {**found, **_BUILT_IN}


def _members() -> tuple[str, ...]:
    return ("name", "can_prefill", "can_resume", "stream", "models", "aclose")

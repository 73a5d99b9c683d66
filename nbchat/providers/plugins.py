"""Providers by name: the entry points of the group `nbchat.providers`.

A package that brings a provider names its class, or a function that makes one, in its own metadata::

    [project.entry-points."nbchat.providers"]
    mine = "my_package:MyProvider"

and it is used by `nbchat.session(..., provider="mine")`. Nothing is imported before it is asked for.
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
    """Return the names of the providers that are installed, sorted."""
    return tuple(sorted(_found()))


def load(name: str, **options: object) -> Provider:
    """Make the provider of that name.

    Parameters
    ----------
    options
        Given to the class or function that the entry point names.

    Raises
    ------
    ConfigError
        There is none of that name, it cannot be imported or made, or it is no provider.
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
            hint="This is for the package that brings it to mend.",
        ) from error
    if not isinstance(made, Provider):
        missing = [part for part in _members() if not hasattr(made, part)]
        raise ConfigError(
            f"the provider {name!r} ({found.value}) is none: it lacks {', '.join(missing)}.",
            hint="nbchat.providers.Provider says what a provider has.",
        )
    return made


def _found() -> dict[str, EntryPoint]:
    # The first of two of one name wins, as on the import path; and nothing takes the place of nbchat's own.
    points = list(entry_points(group=GROUP))  # from Python 3.12 on they are found by name, and not reversible
    found = {point.name: point for point in reversed(points)}
    return {**found, **_BUILT_IN}


def _members() -> tuple[str, ...]:
    return ("name", "can_prefill", "can_resume", "stream", "models", "aclose")

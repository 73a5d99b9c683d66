"""`named_provider` creates a provider from a name, an OpenAI-compatible server and a key variable."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, get_args

from nbchat.core.errors import AuthenticationFailed
from nbchat.core.extras import Find
from nbchat.core.secret import referenced
from nbchat.core.text import suggestion
from nbchat.providers.openai import Api, OpenAIProvider

RESERVED: Final = ("openai", "demo")


@dataclass(frozen=True, slots=True)
class NamedServer:
    """The arguments of a named provider, from which an engine in another process makes it again."""

    base_url: str = field(repr=False)
    key_env: str | None = None
    api: Api = "auto"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """May contain credentials."""

    @classmethod
    def of(cls, given: object) -> NamedServer:
        """Return the server that a mapping in a configuration file describes.

        Raises
        ------
        TypeError
            If it is not a mapping, has an unknown field or has no `base_url`.
        """
        names = [one.name for one in fields(cls)]
        if not isinstance(given, Mapping):
            raise TypeError(f"it must be a mapping of {', '.join(names)}, not {type(given).__name__}.")
        for name in given:
            if name not in names:
                guess = suggestion(str(name), names)
                raise TypeError(f"it has no field {name!r}{guess}; expected some of: {', '.join(names)}.")
        if "base_url" not in given:
            raise TypeError("it has no base_url.")
        return cls(**given)


def named_provider(
    name: str,
    base_url: str,
    key_env: str | None = None,
    *,
    api: Api = "auto",
    headers: Mapping[str, str] | None = None,
    environment: Mapping[str, str] = os.environ,
    credential: Find = referenced,
) -> OpenAIProvider:
    """Return a provider for a server; its key is read from the variable `key_env` at each run.

    Without `key_env`, no key is sent: `OPENAI_API_KEY` is meant for another server.

    Raises
    ------
    TypeError, ValueError
        If an argument has a wrong type, or the name or the URL is invalid.
    """
    for argument, value in (("name", name), ("base_url", base_url), ("key_env", key_env)):
        if not isinstance(value, str) and (argument != "key_env" or value is not None):
            raise TypeError(f"{argument} must be a string, not {type(value).__name__}.")
    if not name.isprintable() or not name.strip() or name in RESERVED or {":", "/"} & set(name):
        raise ValueError(f"{name!r} cannot be the name of a provider; choose a word such as 'local'.")
    if "://" not in base_url:
        raise ValueError(f"base_url must be a URL such as http://localhost:11434/v1, not {base_url!r}.")
    if api not in get_args(Api):
        raise ValueError(f"api must be one of {', '.join(get_args(Api))}, not {api!r}.")
    if headers is not None and not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping, not {type(headers).__name__}.")
    key = _key(name, key_env, environment)
    return OpenAIProvider(
        base_url, key, api=api, headers=headers, name=name, environment=environment, credential=credential
    )


def _key(name: str, variable: str | None, environment: Mapping[str, str]) -> Callable[[], str]:
    def read() -> str:
        key = environment.get(variable, "").strip() if variable is not None else ""
        if variable is not None and not key:
            raise AuthenticationFailed(
                f"the environment variable {variable} of the provider {name!r} is not set.",
                hint=f"In a cell: os.environ[{variable!r}] = getpass.getpass().",
                stage="connect",
            )
        return key

    return read

"""`ServerSettings`: the address or command of an MCP server, and its limits."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from nbchat.core.errors import ConfigError
from nbchat.core.extras import check_headers, is_secret_header, is_secret_query
from nbchat.core.secret import Secret
from nbchat.providers.endpoint import Endpoint, check_url

MAX_MESSAGE: Final = 8_000_000
"""Maximum bytes of one message of a server."""

MAX_TOOLS: Final = 256
"""Maximum tools of one server."""

MAX_DEFINITION: Final = 100_000
"""Maximum characters of the schema of one tool, as JSON."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")


@dataclass(frozen=True)
class ServerSettings:
    """The settings of a server. Credentials are not shown by `repr` and `vars`."""

    name: str
    url: Secret | None
    """Its query may contain a key."""
    command: tuple[str, ...]
    headers: Mapping[str, Secret] = field(repr=False)
    variables: Mapping[str, Secret] = field(repr=False)

    @property
    def place(self) -> str:
        """The address without its query, or the program, for messages."""
        if self.url is None:
            return self.command[0]
        return self.endpoint.url

    @property
    def endpoint(self) -> Endpoint:
        """The server, for the choice of a proxy and of certificates."""
        url = "" if self.url is None else self.url.reveal()
        return Endpoint(urlsplit(url)._replace(query="").geturl(), Secret(""))

    def secrets(self) -> tuple[str, ...]:
        """Return the values that no message may contain. They must not be stored."""
        hidden = [
            secret
            for values, is_secret in ((self.headers, is_secret_header), (self.variables, is_secret_query))
            for name, secret in values.items()
            if is_secret(name)
        ]
        values = [text for secret in hidden for text in (secret.reveal(), secret.reveal().split(" ")[-1])]
        if self.url is not None:
            query = parse_qsl(urlsplit(self.url.reveal()).query)
            values += [value for name, value in query if is_secret_query(name)]
        return tuple(value for value in values if value)


def settings_of(
    name: str,
    url: str | None,
    command: Sequence[str] | None,
    headers: Mapping[str, str] | None,
    env: Mapping[str, str] | None,
) -> ServerSettings:
    """Return the settings of a server.

    Raises
    ------
    TypeError, ValueError, ConfigError
        If an argument is invalid.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise ValueError(f"the name of an MCP server has 1 to 32 of a-z, A-Z, 0-9, _ and -, not {name!r}.")
    if (url is None) == (command is None):
        raise TypeError("an MCP server has either a url or a command.")
    if url is None:
        if headers is not None:
            raise TypeError("headers are for a server with a url; a command takes env.")
        return ServerSettings(name, None, _checked_command(command), {}, _hidden(env, "env"))
    if env is not None:
        raise TypeError("env is for a server with a command; a url takes headers.")
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, not {type(url).__name__}.")
    check_url(url, "url")
    if "@" in urlsplit(url).netloc:
        raise ConfigError(
            "the URL of an MCP server must not contain a user or a password.",
            hint='Give them as headers={"Authorization": …}.',
        )
    hidden = _hidden(headers, "headers")
    try:
        check_headers({} if headers is None else headers, "headers")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    return ServerSettings(name, Secret(url), (), hidden, {})


def _checked_command(command: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(command, str | bytes) or not isinstance(command, Sequence) or not command:
        raise TypeError(
            f'command must be a list such as ["python", "server.py"], not {type(command).__name__}.'
        )
    found = tuple(os.fspath(part) for part in command)
    if not all(isinstance(part, str) and "\0" not in part for part in found):
        raise TypeError("the parts of a command must be strings without NUL.")
    return found


def _hidden(given: Mapping[str, str] | None, what: str) -> dict[str, Secret]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a mapping, not {type(given).__name__}.")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{what} must contain strings: {name!r} is not one, or its value.")
    return {name: Secret(value) for name, value in given.items()}

"""`ServerSettings`: the address or command of an MCP server, and its limits."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

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


_LONG: Final = re.compile(r"(?=.*[0-9]).{10,}|.{16,}", re.DOTALL)
"""A value that may be a key, and that ordinary text is unlikely to contain by chance."""


@dataclass(frozen=True)
class ServerSettings:
    """The settings of a server. Credentials are not shown by `repr` and `vars`."""

    name: str
    url: Secret | None
    """Its path and its query may contain a key."""
    command: tuple[str, ...]
    headers: Mapping[str, Secret] = field(repr=False)
    variables: Mapping[str, Secret] = field(repr=False)
    hidden: tuple[Secret, ...] = field(repr=False)
    """The values that no message may contain."""

    @property
    def place(self) -> str:
        """Scheme, host and port of the address, or the program, for messages."""
        if self.url is None:
            return self.command[0]
        return self.endpoint.url

    @property
    def endpoint(self) -> Endpoint:
        """The server, for the choice of a proxy and of certificates."""
        if self.url is None:
            return Endpoint("", Secret(""))
        parts = urlsplit(self.url.reveal())
        return Endpoint(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", Secret(""))

    def secrets(self) -> tuple[str, ...]:
        """Return the values that no message may contain. They must not be stored."""
        return tuple(secret.reveal() for secret in self.hidden)


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
        variables = _as_secrets(env, "env")
        hidden = _secrets(_hidden_values(variables, is_secret_query))
        return ServerSettings(name, None, _checked_command(command), {}, variables, hidden)
    if env is not None:
        raise TypeError("env is for a server with a command; a url takes headers.")
    if not isinstance(url, str):
        raise TypeError(f"url must be a string, not {type(url).__name__}.")
    try:
        check_url(url, "url")
    except ConfigError:
        # The message of that error has the path.
        raise ConfigError(
            "the URL of an MCP server must be such as http://localhost:8000/mcp, without a fragment.",
            hint="Check url; it is not shown here, since it may contain a key.",
        ) from None
    if "@" in urlsplit(url).netloc:
        raise ConfigError(
            "the URL of an MCP server must not contain a user or a password.",
            hint='Give them as headers={"Authorization": …}.',
        )
    sent = _as_secrets(headers, "headers")
    try:
        check_headers({} if headers is None else headers, "headers")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    hidden = _secrets([*_hidden_values(sent, is_secret_header), *_hidden_in_url(url)])
    return ServerSettings(name, Secret(url), (), sent, {}, hidden)


def _checked_command(command: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(command, str | bytes) or not isinstance(command, Sequence) or not command:
        raise TypeError(
            f'command must be a list such as ["python", "server.py"], not {type(command).__name__}.'
        )
    found = tuple(os.fspath(part) for part in command)
    if not all(isinstance(part, str) and "\0" not in part for part in found):
        raise TypeError("the parts of a command must be strings without NUL.")
    return found


def _as_secrets(given: Mapping[str, str] | None, what: str) -> dict[str, Secret]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{what} must be a mapping, not {type(given).__name__}.")
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{what} must contain strings: {name!r} is not one, or its value.")
    return {name: Secret(value) for name, value in given.items()}


def _hidden_values(given: Mapping[str, Secret], is_secret: Callable[[str], bool]) -> list[str]:
    """Return what no message may contain of the values of headers or variables.

    Names alone do not show which values are credentials: one that looks like a credential is hidden under
    any name. Results need the paths of this machine and the hosts of addresses.
    """
    found: list[str] = []
    for name, secret in given.items():
        text = secret.reveal()
        if is_secret(name):
            found += [text, text.split(" ")[-1]]
        elif text.startswith(("http://", "https://")):
            found += _hidden_in_url(text)
        elif _LONG.fullmatch(text) and not _is_path(text):
            found.append(text)
    return found


def _is_path(text: str) -> bool:
    try:
        return Path(text).is_absolute() and Path(text).exists()
    except (OSError, ValueError):
        return False


def _hidden_in_url(url: str) -> list[str]:
    """Return the parts of an address that no message may contain."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return [url]
    segments = parts.path.split("/")
    query = parse_qsl(parts.query, keep_blank_values=True)
    found = [value for name, value in query if is_secret_query(name)]
    found += [part for part in (parts.username, parts.password) if part]
    rest = [parts._replace(scheme="", netloc="").geturl(), *segments, *map(unquote, segments)]
    rest += [value or name for name, value in query]
    return found + [part for part in rest if _LONG.fullmatch(part)]


def _secrets(values: Iterable[str]) -> tuple[Secret, ...]:
    return tuple(Secret(value) for value in dict.fromkeys(values) if value)

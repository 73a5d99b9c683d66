"""Where a request goes and with which key: read from the arguments and the environment at every run."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from nbchat.core.errors import AuthenticationFailed, ConfigError
from nbchat.providers.errors import Said, said
from nbchat.providers.secret import Secret

OPENAI_URL: Final = "https://api.openai.com/v1"

PLACEHOLDER_KEY: Final = "none"
"""Sent where no key is set: local servers take any, others say clearly that they want one."""

ApiKey = str | Callable[[], str] | Secret | None

# What an open client has read for good. When one of these changes, the next run gets a new client.
_READ_BY_CLIENTS: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"),
)

_OPENING: Final = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True)
class Endpoint:
    """A server and the key for it."""

    url: str
    """The base URL, without a slash at its end and without user and password."""
    authorization: Secret
    """Value of the header that opens the server."""
    _secrets: tuple[Secret, ...] = ()

    @cached_property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The server as people know it: the host, and the port where it is not the usual one."""
        return host_of(self.url)

    @property
    def is_loopback(self) -> bool:
        """The server is on this machine."""
        return is_loopback(self._parts.hostname or "")

    @property
    def quote(self) -> Said:
        """Makes this server's words fit to be shown: the key is not among them."""
        return lambda text: said(text, self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """Return the values that nobody may see. Keep them nowhere."""
        return tuple(secret.reveal() for secret in self._secrets)

    @property
    def proxy_variable(self) -> str | None:
        """Name of the environment's variable that sends these requests through a proxy; None for none."""
        host, scheme = self._parts.hostname or "", self._parts.scheme
        proxies = getproxies_environment()
        if not host or proxy_bypass_environment(host, proxies):
            return None
        for name in (scheme, "all"):
            if proxies.get(name):
                variable = f"{name}_proxy"
                return variable if os.environ.get(variable) else variable.upper()
        return None

    @property
    def settings(self) -> int:
        """Stands for all that an open client has read for good, of which some may be secret."""
        return hash((self.url, *(os.environ.get(name) for name in _READ_BY_CLIENTS)))


def find_endpoint(base_url: str | None, api_key: ApiKey, headers: Mapping[str, str]) -> Endpoint:
    """Return where the next request goes, from the arguments where they are given, else the environment.

    Parameters
    ----------
    headers
        Sent with every request. With an `Authorization` among them no key is needed.

    Raises
    ------
    ConfigError
        The URL cannot be one.
    AuthenticationFailed
        There is no key for a server that is known to want one, or it cannot be sent.
    """
    url = _checked_url(base_url or os.environ.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL)
    key = _read_key(api_key)
    has_own = any(name.lower() == "authorization" for name in headers)
    if not key and not has_own and urlsplit(url).hostname == urlsplit(OPENAI_URL).hostname:
        raise AuthenticationFailed(
            "no key is set for api.openai.com.",
            hint="Set OPENAI_API_KEY (in a cell: os.environ['OPENAI_API_KEY'] = getpass.getpass()), or "
            "OPENAI_BASE_URL for another server. It is read when a run starts.",
            stage="connect",
        )
    if key and not _SENDABLE.fullmatch(key):
        raise AuthenticationFailed(
            "the key holds a space, a line break or a character that no key has.",
            hint="Copy it again; OPENAI_API_KEY is read when a run starts.",
            stage="connect",
        )
    # What a header says that opens something is a secret, and its last word by itself is one.
    opening = [value for name, value in headers.items() if _OPENING.search(name)]
    secrets = [Secret(text) for value in opening for text in (value, value.split(" ")[-1])]
    bearer = Secret(f"Bearer {key or PLACEHOLDER_KEY}")
    parts = urlsplit(url)
    if parts.username is None:
        return Endpoint(url, bearer, (Secret(key), *secrets))
    # They go where a key goes, and are no part of a URL that a library may log.
    user, password = unquote(parts.username), unquote(parts.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Endpoint(plain, Secret(f"Basic {basic}"), (Secret(password or user), Secret(basic), *secrets))


def _read_key(api_key: ApiKey) -> str:
    if api_key is None:
        api_key = os.environ.get("OPENAI_API_KEY")
    elif isinstance(api_key, Secret):
        api_key = api_key.reveal()
    elif callable(api_key):
        try:
            api_key = api_key()
        except Exception as error:
            raise AuthenticationFailed(
                f"the function that gives the key raised {type(error).__name__}.",
                hint="Check the provider's api_key argument.",
                stage="connect",
            ) from error
    if api_key is None:
        return ""
    if not isinstance(api_key, str):
        raise ConfigError(
            f"the key has to be a string, not {type(api_key).__name__}.",
            hint="Check the provider's api_key argument.",
        )
    return api_key.strip()


def _checked_url(url: str) -> str:
    hint = "It looks like http://localhost:8000/v1 (argument base_url, or OPENAI_BASE_URL)."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError("the base URL is not a URL.", hint=hint) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ConfigError(f"the base URL is not a web address: {said(url)!r}.", hint=hint)
    if parts.query or parts.fragment:
        raise ConfigError("the base URL has a query or a fragment, which nothing can be added to.", hint=hint)
    return url.rstrip("/")


def host_of(url: str) -> str:
    """Return a URL's host, with its port where it is not the usual one and without user and password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "?"
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if port in {None, usual} else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine, without asking anybody."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

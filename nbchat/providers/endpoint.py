"""`find_endpoint` reads a server's URL and key from arguments and environment, at every run."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from nbchat.core.errors import AuthenticationFailed, ConfigError
from nbchat.core.extras import check_headers, is_secret_header, is_secret_query
from nbchat.core.redact import REDACTED
from nbchat.core.secret import Secret
from nbchat.providers.errors import Said, said

OPENAI_URL: Final = "https://api.openai.com/v1"

PLACEHOLDER_KEY: Final = "none"
"""Sent if no key is set: local servers accept any key, and others return a clear error."""

ApiKey = str | Callable[[], str] | Secret | None

# Variables that a client reads only once. When one of them changes, the next run gets a new client.
_READ_BY_CLIENTS: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"),
)

_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
_USER: Final = re.compile(r"(?<![^/])[^/]*@")
_VERSION: Final = re.compile(r"v\d\w*")
_HTTPS_PORT: Final = 443
_PRIVATE: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test", ".invalid")
"""Ends of host names that are not public."""


@dataclass(frozen=True)
class Proxy:
    """The proxy for requests to one server."""

    url: str = field(repr=False)
    """May contain a user and a password."""
    variable: str | None
    """The environment variable that sets it; `None` if the system settings do."""

    @property
    def source(self) -> str:
        """The variable or setting to correct, for messages."""
        return self.variable or "the system's proxy settings"


@dataclass(frozen=True)
class Endpoint:
    """A server and its key."""

    url: str
    """The base URL, without trailing slash, user, password and query."""
    authorization: Secret
    """Value of the `Authorization` header."""
    _secrets: tuple[Secret, ...] = ()
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The query of the base URL, sent with every request."""
    api_key: Secret | None = None
    """Value of the `api-key` header for Azure; `None` for other servers."""
    environment: Callable[[], Mapping[str, str]] = field(
        default=lambda: os.environ, repr=False, compare=False
    )
    """Returns the environment, which may contain the password of a proxy."""

    @cached_property
    def _parts(self) -> SplitResult:
        return urlsplit(self.url)

    @property
    def host(self) -> str:
        """The host, with the port unless it is the default one."""
        return host_of(self.url)

    @property
    def is_loopback(self) -> bool:
        """`True` if the server is on this machine."""
        return is_loopback(self._parts.hostname or "")

    @property
    def is_https(self) -> bool:
        """`True` if the connection to the server is encrypted."""
        return self._parts.scheme == "https"

    @property
    def missing_version(self) -> str | None:
        """A hint that `/v1` is missing from the URL; `None` if the URL has a version."""
        segments = self._parts.path.split("/")
        if self.query or "deployments" in segments or any(_VERSION.fullmatch(part) for part in segments):
            return None
        return f"The base URL usually ends in /v1: try {said(self.url)}/v1."

    @property
    def quote(self) -> Said:
        """A function that sanitizes text from this server for display and removes its secrets."""
        return lambda text: said(text, self.secrets())

    def secrets(self) -> tuple[str, ...]:
        """Return the secret values. They must not be stored."""
        return tuple(secret.reveal() for secret in self._secrets)

    @cached_property
    def proxy(self) -> Proxy | None:
        """The proxy for requests to this server; `None` for a direct connection.

        Requests to this machine never use a proxy: it would see the conversation and could not reach the
        server.
        """
        host, scheme = self._parts.hostname or "", self._parts.scheme
        if not host or self.is_loopback:
            return None
        environment = self.environment()
        proxies, is_bypassed = _proxies(environment, self._parts.netloc)
        if is_bypassed or _in_networks(host, proxies.get("no", "")):
            return None
        for name in (scheme, "all"):
            if url := proxies.get(name):
                named = f"{name}_proxy"
                variable = next((v for v in (named, named.upper()) if environment.get(v)), None)
                return Proxy(url if "://" in url else f"http://{url}", variable)
        return None

    @property
    def settings(self) -> int:
        """A hash of the settings that a client reads only once; some may be secret."""
        environment = self.environment()
        return hash((self.url, *(environment.get(name) for name in _READ_BY_CLIENTS)))


def find_endpoint(
    base_url: str | None,
    api_key: ApiKey,
    headers: Mapping[str, str],
    extra_query: Mapping[str, Any] = MappingProxyType({}),
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """Return the endpoint of the next request, from the arguments or else from the environment.

    Parameters
    ----------
    headers
        Sent with every request. With an `Authorization` header no key is required.
    extra_query
        Added by the request to the URL's query. Credentials in it become secrets of the endpoint.
    environment
        The environment of the kernel that asks: this process's own, or that of a runner's kernel.

    Raises
    ------
    ConfigError
        If the URL is invalid or a header cannot be sent.
    AuthenticationFailed
        If the key is missing for a server that requires one, or cannot be sent.
    """
    from_environment = environment.get("OPENAI_BASE_URL", "").strip() or OPENAI_URL
    url, query = _split_query(
        check_url(base_url) if base_url else check_url(from_environment, "OPENAI_BASE_URL")
    )
    _check_variables(environment)
    try:
        check_headers(headers, "the provider's headers")
    except ValueError as error:
        raise ConfigError(str(error)) from None
    key = _read_key(api_key, environment)
    has_own = any(name.lower() in {"authorization", "api-key"} for name in headers)
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
    values = [
        value for name, value in {**custom_headers(environment), **headers}.items() if is_secret_header(name)
    ]
    values += [str(value) for name, value in (*query, *extra_query.items()) if is_secret_query(name)]
    # The last word of a value is also a secret, as in `Bearer KEY`.
    secrets = [Secret(text) for value in values for text in (value, value.split(" ")[-1])]
    bearer = Secret(f"Bearer {key or PLACEHOLDER_KEY}")
    # Azure reads keys from the `api-key` header; it is recognized by the `api-version` parameter.
    azure_key = Secret(key) if key and any(name == "api-version" for name, _ in query) else None
    parts = urlsplit(url)
    if parts.username is None:
        return Endpoint(url, bearer, (Secret(key), *secrets), query, azure_key, lambda: environment)
    # User and password are sent in a header, since a library may log the URL.
    user, password = unquote(parts.username), unquote(parts.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    hidden = (Secret(password or user), Secret(basic), *secrets)
    return Endpoint(plain, Secret(f"Basic {basic}"), hidden, query, azure_key, lambda: environment)


def _check_variables(environment: Mapping[str, str]) -> None:
    """Check the variables that the openai client copies into the headers of each request."""
    for variable in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        value = environment.get(variable, "")
        if value and not _SENDABLE.fullmatch(value):
            raise ConfigError(
                f"{variable} has a line break, a space or another character that an id cannot have.",
                hint=f"Set {variable} again, or delete it from os.environ.",
            )
    try:
        check_headers(custom_headers(environment), "OPENAI_CUSTOM_HEADERS")
    except ValueError as error:
        raise ConfigError(str(error), hint="Each of its lines is a header, as `Name: value`.") from None


def custom_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers in `OPENAI_CUSTOM_HEADERS`, parsed as by the openai client."""
    lines = environment.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    found = [line.partition(":") for line in lines if ":" in line]
    return {name.strip(): value.strip() for name, _, value in found}


def _read_key(api_key: ApiKey, environment: Mapping[str, str]) -> str:
    if api_key is None:
        api_key = environment.get("OPENAI_API_KEY")
    elif isinstance(api_key, Secret):
        api_key = api_key.reveal()
    elif callable(api_key):
        try:
            api_key = api_key()
        except AuthenticationFailed:
            raise
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


def check_url(url: str, source: str = "base_url") -> str:
    """Return a base URL without the trailing slash of its path.

    Parameters
    ----------
    source
        The argument or variable that contains it, for the message.

    Raises
    ------
    ConfigError
        If it is not an `http` or `https` URL. If only the scheme is missing, the hint has the full URL.
    """
    shown = said(url.split("?", 1)[0])
    if "://" not in shown:  # there may be a password before an `@` here, too
        shown = _USER.sub(f"{REDACTED}@", shown)
    message = f"{source} must be a URL such as http://localhost:11434/v1, not {shown!r}."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(message, hint=f"Check {source}.") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        hint = f"Check {source}."
        if scheme := _missing_scheme(url):
            rest = shown.lstrip("/")
            hint = f"Set {source} to {scheme}://{rest if '/' in rest else rest + '/v1'}."
        raise ConfigError(message, hint=hint)
    if parts.fragment:
        raise ConfigError(f"{source} has a fragment (#...): {shown!r}.", hint="Remove it.")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def _missing_scheme(url: str) -> str | None:
    """Return the scheme to prepend to `url`; `None` if it is invalid for another reason."""
    if "://" in url or any(character.isspace() for character in url):
        return None
    try:
        parts = urlsplit(f"//{url.lstrip('/')}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if is_loopback(host) or (port and port != _HTTPS_PORT):
        return "http"
    return "https" if port or "." in host else None


def _split_query(url: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    parts = urlsplit(url)
    query = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return parts._replace(query="").geturl(), query


def host_of(url: str) -> str:
    """Return the host of a URL, with the port unless it is the default one, without user and password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "?", parts.port
    except ValueError:
        return "?"
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if port in {None, usual} else f"{host}:{port}"


def public_host(url: str) -> str | None:
    """Return the host of a URL; `None` if it is an address, on this machine, or in a private network."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return None
    if "." not in host or host.endswith(_PRIVATE) or host.rpartition(".")[2].isdigit():
        return None
    return None if ":" in host else host


def public_url(url: str) -> str | None:
    """Return a URL without user, password and credentials in its query; `None` if it is invalid."""
    try:
        parts = urlsplit(url.strip())
        query = [
            (name, value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
            if not is_secret_query(name)
        ]
    except ValueError:
        return None
    host = parts.netloc.rpartition("@")[2].lower()
    return parts._replace(netloc=host, path=parts.path.rstrip("/"), query=urlencode(query)).geturl()


def is_loopback(host: str) -> bool:
    """Return `True` if `host` is this machine, without a DNS lookup.

    All spellings of this machine are recognized, including `127.1`, `0.0.0.0` and `::ffff:127.0.0.1`.
    """
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))
        except (OSError, ValueError):
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _proxies(environment: Mapping[str, str], netloc: str) -> tuple[Mapping[str, str], bool]:
    """Return the proxies by scheme, and whether requests to this server bypass them."""
    from urllib import request  # noqa: PLC0415 - loads an HTTP client

    if environment is not os.environ:
        # As `urllib` reads them: lower case has precedence, and an empty variable counts as not set.
        names = sorted(name for name in environment if name.lower().endswith("_proxy"))
        proxies = {name.lower().removesuffix("_proxy"): environment[name] for name in names}
        proxies = {scheme: url for scheme, url in proxies.items() if url}
        if proxies:
            bypass = request.proxy_bypass_environment  # type: ignore[attr-defined,unused-ignore]
            return proxies, bool(bypass(netloc, proxies))
    return request.getproxies(), bool(request.proxy_bypass(netloc))


def _in_networks(host: str, no_proxy: str) -> bool:
    """Return `True` if `host` is in a network listed in `NO_PROXY`, such as `10.0.0.0/8` or `fd00::1`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    for entry in no_proxy.split(","):
        try:
            if address in ipaddress.ip_network(entry.strip().strip("[]"), strict=False):
                return True
        except ValueError:
            continue
    return False

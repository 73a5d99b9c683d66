"""`ServiceAddress`: connects a kernel with a runner that is a service, over a WebSocket."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from nbchat.core.errors import CommandError, ConfigError, NbchatError
from nbchat.core.secret import Secret
from nbchat.core.version import VERSION
from nbchat.runner.frames import MAX_FRAME, encode_frame
from nbchat.runner.messages import LINK_VERSION, Greeting, Hello

if TYPE_CHECKING:
    from websockets.http11 import Response

    from nbchat.service.websocket import WebSocketTransport

CONNECT_S: Final = 30.0
"""Longest wait for the service to accept a connection."""

GREETING_S: Final = 40.0
"""Longest wait for the greeting: a service that starts waits for the lease of one that was killed."""

RETRY_S: Final = 60.0
"""Time for which a kernel that was linked tries to reach a service that is being restarted."""

RETRY_EVERY_S: Final = 0.5

TOKENS: Final = ("NBCHAT_RUNNER_TOKEN", "JUPYTERHUB_API_TOKEN")
"""Variables that may have the token, in order of precedence."""

MAX_REASON: Final = 200
"""Characters of a refusal's text, beyond which it is not shown."""

PATH: Final = "link"
"""Path of links, below the service's address."""

_ENDED: Final = frozenset({429, 500, 502, 503, 504})
"""Statuses of a service, or of a proxy in front of it, that will be back."""


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> SplitResult:
    """Return the parts of the address of a service.

    Raises
    ------
    ConfigError
        If it is no such address, or would send the token without encryption to another machine.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"the runner's address is not valid: {error}.") from None
    if parts.username or parts.password:
        raise ConfigError(
            "the runner's address must not contain a user or a password.",
            hint=f"Set {TOKENS[0]} to the token.",
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.fragment:
        raise ConfigError("the runner's address must be a URL such as https://hub.example/services/nbchat/.")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ConfigError(
            f"the runner at {parts.hostname} must be reached with https, since a token is sent to it."
        )
    return parts


class ServiceAddress:
    """The address of a service. Implements `RunnerAddress`.

    Parameters
    ----------
    url
        The address, such as `https://hub.example/services/nbchat/`; with `?namespace=geo`, for a team.
    environment
        Has the token.

    Raises
    ------
    ConfigError
        If the address is not valid, or there is no token.
    """

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        parts = checked_url(url)
        token = next((environment[name] for name in TOKENS if environment.get(name)), None)
        if token is None:
            raise ConfigError(
                "the runner needs a token.", hint=f"Set {TOKENS[0]} in the kernel's environment."
            )
        self.url = url
        scheme = "wss" if parts.scheme == "https" else "ws"
        path = f"{parts.path.rstrip('/')}/{PATH}"
        self._link_url: str = urlunsplit((scheme, parts.netloc, path, parts.query, ""))
        self._token = Secret(token)
        self._is_loopback = is_loopback(parts.hostname)
        self._was_linked = False

    def __repr__(self) -> str:
        """Return the address."""
        return f"<ServiceAddress {self.url}>"

    @property
    def hint(self) -> str:
        """The address."""
        return f"Its address: {self.url}."

    def connect(self) -> tuple[WebSocketTransport, Greeting]:
        """Return a connection to the service, and its greeting.

        A kernel that was linked before waits for a service that is being restarted.

        Raises
        ------
        CommandError
            If the service cannot be reached, or refuses the link.
        """
        until = time.monotonic() + (RETRY_S if self._was_linked else 0.0)
        while True:
            try:
                found = self._connect()
            except (OSError, EOFError) as error:
                if time.monotonic() >= until:
                    raise CommandError(f"the runner at {self.url} cannot be reached: {error}.") from error
                time.sleep(RETRY_EVERY_S)
            else:
                self._was_linked = True
                return found

    def _connect(self) -> tuple[WebSocketTransport, Greeting]:
        """Connect once.

        Raises
        ------
        OSError, EOFError
            If another attempt may succeed.
        CommandError
            If no other attempt can.
        """
        try:
            from websockets.exceptions import (  # noqa: PLC0415 - an extra
                ConnectionClosed,
                InvalidHandshake,
                InvalidStatus,
            )
            from websockets.sync.client import connect  # noqa: PLC0415

            from nbchat.service.websocket import WebSocketTransport, quiet  # noqa: PLC0415
        except ImportError as error:
            raise CommandError(
                "a runner that is a service needs the package websockets.",
                hint='Install it with: pip install "jupyter-nbchat[service]"',
            ) from error
        try:
            opened = connect(
                self._link_url,
                additional_headers={"Authorization": f"Bearer {self._token.reveal()}"},
                compression=None,  # what a model writes must not show by its length what a key is
                proxy=None if self._is_loopback else True,
                open_timeout=CONNECT_S,
                ping_interval=None,  # `Link` notices a service that does not answer
                max_size=MAX_FRAME,
                logger=quiet,
            )
            connection = ExitStack().enter_context(opened)  # closed by the transport
        except InvalidStatus as error:
            raise self._refused(error.response.status_code, reason_in(error.response)) from None
        except ConnectionClosed as error:
            raise ConnectionError("the connection was closed") from error
        except InvalidHandshake as error:
            if isinstance(error.__cause__, EOFError | OSError):  # a proxy closed it: the service has ended
                raise ConnectionError("the connection was closed") from error
            raise CommandError(f"what answers at {self.url} is no runner: {error}.") from None
        transport = WebSocketTransport(connection)
        try:
            transport.write(encode_frame(Hello(link=LINK_VERSION, version=VERSION)))
            greeting, _ = transport.read(GREETING_S)
            if not isinstance(greeting, Greeting):
                raise CommandError(f"what answers at {self.url} is no runner.")  # noqa: TRY301 - closed below
            if greeting.link != LINK_VERSION:
                raise CommandError(  # noqa: TRY301 - closed below
                    f"the runner at {self.url} has nbchat {greeting.version}, and this kernel {VERSION}.",
                    hint="Install the same version in both.",
                )
        except BaseException:
            transport.abort()
            transport.close()
            raise
        return transport, greeting

    def _refused(self, status: int, reason: str) -> NbchatError | OSError:
        if status in _ENDED:
            return ConnectionError(f"it answers with status {status}{reason and f' ({reason})'}")
        if status in (401, 403):
            return CommandError(
                f"the runner at {self.url} refuses the token.", hint=f"Set {TOKENS[0]} to a valid token."
            )
        if status == 404:  # noqa: PLR2004 - the status of HTTP
            return CommandError(f"there is no runner, or no such namespace, at {self.url}.")
        return CommandError(f"the runner at {self.url} answers with status {status}.")


def reason_in(response: Response) -> str:
    """Return the text of a refusal; empty if it is a page, as from a proxy, or too long for a message."""
    text = (response.body or b"").decode("utf-8", "replace").strip()
    is_text = response.headers.get("Content-Type", "").startswith("text/plain")
    return text if is_text and len(text) <= MAX_REASON and text.isprintable() else ""

"""`run`: the process of a service, from its start to its end."""

from __future__ import annotations

import logging
import os
import signal
import ssl
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from nbchat.core.errors import ConfigError
from nbchat.engine.logs import Redacting
from nbchat.engine.loop_thread import LoopThread
from nbchat.service.access import Teams, TokenFile
from nbchat.service.address import is_loopback
from nbchat.service.quotas import DEFAULTS, Quotas
from nbchat.service.storage import RedisStorage, storage_at

if TYPE_CHECKING:
    from nbchat.service.access import Authority
    from nbchat.service.metrics import Metrics

logger = logging.getLogger("nbchat")

CLOSE_S: Final = 60.0
"""Longest time for the end of the service."""

LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a service."""

    listen: str
    """Address and port."""
    store: str
    """URL of the stores."""
    auth: Literal["token", "hub"] = "token"
    """How people are identified: by a file of tokens, or by JupyterHub."""
    tokens: Path | None = None
    """File of tokens; for `token` only."""
    teams: Path | None = None
    """File of teams."""
    prefix: str | None = None
    """Path below which the service is reached; `None`: that in the environment if JupyterHub has set it."""
    certificate: Path | None = None
    """Certificate for TLS, with its chain."""
    key: Path | None = None
    """Private key of the certificate; `None`: in the same file."""
    tls_by_proxy: bool = False
    """A proxy in front of the service encrypts the connections."""
    quotas: Quotas = DEFAULTS
    """Limits of each namespace."""
    metrics: str | None = None
    """Address and port at which the measurements are read."""
    advertise: str | None = None
    """URL at which other replicas reach this one; `None`: from `listen`."""


def address_in(listen: str) -> tuple[str, int]:
    """Return the host and the port of an address such as `127.0.0.1:8800`.

    Raises
    ------
    ConfigError
        If it is not such an address.
    """
    host, separator, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or int(port) > LAST_PORT:
        raise ConfigError(f"{listen!r} is not an address and a port, such as 127.0.0.1:8800.")
    return host, int(port)


def url_of(host: str, port: int, options: Options) -> str:
    """Return the URL of this replica."""
    scheme = "http" if options.certificate is None else "https"
    name = f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{port}/{_prefix(options).strip('/')}".rstrip("/") + "/"


def checked_advertise(options: Options, host: str) -> None:
    """Check that other replicas can reach this one, and that tokens are encrypted on the way.

    Raises
    ------
    ConfigError
        If they cannot, or tokens would not be encrypted.
    """
    if options.advertise is None:
        if host in ("0.0.0.0", "::"):  # noqa: S104 - it is not bound here
            raise ConfigError(
                f"other replicas cannot reach {host}.",
                hint="Give --advertise and the URL of this replica, such as http://10.0.0.5:8800/.",
            )
        return
    parts = urlsplit(options.advertise)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise ConfigError(f"{options.advertise!r} is not a URL such as https://10.0.0.5:8800/.")
    if parts.scheme == "http" and not options.tls_by_proxy and not is_loopback(parts.hostname):
        raise ConfigError(
            f"links to {parts.hostname} must be encrypted.",
            hint="Use https, or give --tls-by-proxy if the network between the replicas is private.",
        )


def _others(options: Options) -> ssl.SSLContext:
    """Return what checks the certificates of other replicas; they may have the same self-signed one."""
    context = ssl.create_default_context()
    if options.certificate is not None:
        context.load_verify_locations(options.certificate)
    return context


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT; live answers have some seconds to finish.

    Raises
    ------
    ConfigError
        If an option is invalid, or links from other machines would not be encrypted.
    OSError
        If a file cannot be read or the address cannot be used.
    """
    try:
        from nbchat.service.replicas import Replicas  # noqa: PLC0415 - needs an extra
        from nbchat.service.server import Service  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError(
            "the service needs the package websockets.",
            hint='Install it with: pip install "jupyter-nbchat[service]"',
        ) from error
    host, port = address_in(options.listen)
    if options.certificate is None and not options.tls_by_proxy and not is_loopback(host):
        raise ConfigError(
            f"links to {host} must be encrypted.",
            hint="Give --certificate, or --tls-by-proxy if a proxy in front of the service encrypts them.",
        )
    os.umask(0o077)
    tls = None
    if options.certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.certificate, options.key)
    storage, authority, teams = storage_at(options.store), _authority(options), Teams(options.teams)
    if isinstance(storage, RedisStorage):
        checked_advertise(options, host)
    _log_to_stderr()

    def join(bound: int) -> Replicas | None:
        address = options.advertise or url_of(host, bound, options)
        directory = storage.join(address)
        return None if directory is None else Replicas(directory, address, loop, _others(options))

    ending = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    loop = LoopThread()
    metrics, metrics_at = _metrics(options)
    service = loop.call(
        lambda: Service(
            loop,
            storage,
            authority,
            teams,
            prefix=_prefix(options),
            quotas=options.quotas,
            metrics=metrics,
        )
    )
    try:
        if metrics is not None:
            read_at = metrics.serve(*metrics_at)
            logger.info("metrics are read at %s:%d", metrics_at[0], read_at)
        bound = loop.run(service.start(host, port, tls, join))
        logger.info("service %d listens at %s, port %d", os.getpid(), host, bound)
        while not ending.wait(1.0):  # in steps, so that signals are handled on every platform
            pass
        logger.info("service %d finishes its answers", os.getpid())
        loop.run(service.drain(), CLOSE_S)
    finally:
        if metrics is not None:
            metrics.close()
        loop.run(service.close(), CLOSE_S)
        loop.close(CLOSE_S)
    logger.info("service %d ended", os.getpid())


def _authority(options: Options) -> Authority:
    if options.auth == "hub":
        from nbchat.service.hub import HubAuthority  # noqa: PLC0415 - only when it is used

        return HubAuthority()
    if options.tokens is None:
        raise ConfigError(
            "people are identified by tokens, and there is no file of them.", hint="Give --tokens."
        )
    return TokenFile(options.tokens)


def _metrics(options: Options) -> tuple[Metrics | None, tuple[str, int]]:
    if options.metrics is None:
        return None, ("", 0)
    try:
        from nbchat.service.metrics import Metrics  # noqa: PLC0415 - needs an extra
    except ImportError as error:
        raise ConfigError(
            "the metrics of a service need the package prometheus-client.",
            hint='Install it with: pip install "jupyter-nbchat[service]"',
        ) from error
    return Metrics(), address_in(options.metrics)


def _prefix(options: Options) -> str:
    of_hub = os.environ.get("JUPYTERHUB_SERVICE_PREFIX") if options.auth == "hub" else None
    return options.prefix or of_hub or "/"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(Redacting())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

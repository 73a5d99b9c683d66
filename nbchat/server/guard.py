"""`check` rejects requests from foreign web pages and accepts programs on this machine.

Any web page can make a visitor's browser send requests to 127.0.0.1. Two headers that a page cannot forge
identify such requests: `Origin` and, if the attacker's domain resolves to 127.0.0.1 (DNS rebinding),
`Host`.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from nbchat.server.connection import HttpRequest
from nbchat.server.errors import ApiError

_OWN_SITE = ("same-origin", "none")


def check(request: HttpRequest, *, allowed_hosts: Collection[str], is_public: bool) -> None:
    """Raise an error if the request came from a foreign web page.

    Parameters
    ----------
    allowed_hosts
        Host names to accept in addition to loopback names.
    is_public
        The server listens beyond loopback, so any IP address is accepted as host: DNS rebinding requires
        a domain name.

    Raises
    ------
    ApiError
        403 if host or origin is foreign, 400 if there is not exactly one `Host` header.
    """
    if len(request.hosts) != 1:
        raise ApiError(400, "The request must have exactly one Host header.", code="bad_request")
    host = request.hosts[0].lower()
    if not _is_ours(_name(host), allowed_hosts, is_public=is_public):
        message = (
            f"The host {host[:200]!r} is not one of this server's names. Call it by 127.0.0.1 or localhost."
        )
        raise ApiError(403, message, code="foreign_host")
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    if (origin is not None and origin.lower() != f"http://{host}") or site not in _OWN_SITE:
        message = "Web pages may not use this server. Call it from a program, or from Python in a notebook."
        raise ApiError(403, message, code="foreign_origin")


def _name(host: str) -> str:
    """Return the host in a `Host` header, without port; empty if the header is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return parts.hostname or "" if parts.netloc == host and parts.username is None and not parts.path else ""


def is_loopback(name: str) -> bool:
    """Return `True` if a host name or address is loopback, without a DNS lookup."""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _is_ours(name: str, allowed_hosts: Collection[str], *, is_public: bool) -> bool:
    if is_loopback(name) or name in allowed_hosts:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return is_public

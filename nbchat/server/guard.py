"""Who may talk to the server: programs of this machine, and no web page of somebody else.

A page from anywhere can make its visitor's browser send requests to 127.0.0.1. Two headers, which a page
cannot forge, tell such requests: `Origin`, and, where the attacker has pointed a name of his own at
127.0.0.1 (DNS rebinding), `Host`.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from nbchat.server.connection import HttpRequest
from nbchat.server.errors import ApiError

_OWN_SITE = ("same-origin", "none")


def check(request: HttpRequest, *, allowed_hosts: Collection[str], is_public: bool) -> None:
    """Pass a request that did not come from a foreign web page.

    Parameters
    ----------
    allowed_hosts
        Names besides the loopback ones that the server may be called by.
    is_public
        The server listens beyond loopback, so any IP address is a good name for it: rebinding needs a
        name from the DNS.

    Raises
    ------
    ApiError
        403, or 400 where there is not exactly one `Host`.
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
    """Return a `Host` header without its port; empty if it is not well formed."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return ""
    return parts.hostname or "" if parts.netloc == host and parts.username is None and not parts.path else ""


def is_loopback(name: str) -> bool:
    """Tell whether a host's name or address means this machine, whatever the DNS says."""
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

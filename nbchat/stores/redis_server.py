"""Connection of `RedisStore` with its server: the client, the checks at the start, and the errors."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from nbchat.core.errors import ConfigError, StoreBusy, StoreError, StoreFull, StoreReadOnly
from nbchat.core.redact import redact

if TYPE_CHECKING:
    from redis import Redis

INSTALL: Final = "Install it with: pip install 'jupyter-nbchat[redis]'"

OLDEST: Final = (6, 2)
"""The first version with `XTRIM MINID` and `ZMSCORE`. Every version of Valkey has them."""

MAX_SHOWN: Final = 200
"""Characters of a server's message that are shown."""

SCHEMES: Final = ("redis", "rediss", "unix")
"""Schemes of the URLs of servers."""

_KEPT: Final = "Everything is kept in memory until it can."


def shown(url: str) -> str:
    """Return the URL of a server without user, password and options."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def secrets_in(url: str) -> tuple[str, ...]:
    """Return the passwords in a URL."""
    parts = urlsplit(url)
    options = [value for _, _, value in (one.partition("=") for one in parts.query.split("&")) if value]
    found = (parts.password, unquote(parts.password or ""), *options)
    return tuple(one for one in found if one)


def connect(url: str, timeout_s: float) -> Redis:
    """Return a client; it connects when it is used.

    It never repeats a command by itself: a repeated command that is not fenced would be executed twice.

    Raises
    ------
    ConfigError
        If the library is not installed, or the URL is not valid.
    """
    try:
        # Imported here, because it is an extra.
        from redis import Redis  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("a store on Redis or Valkey needs the library redis.", hint=INSTALL) from error
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ConfigError(
            f"{redact(shown(url))!r} is not the URL of a Redis or Valkey server.",
            hint="Such a URL begins with redis://, rediss:// (TLS) or unix://.",
        )
    try:
        client: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            **({} if scheme == "unix" else {"socket_keepalive": True}),
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            decode_responses=False,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"the URL {shown(url)!r} is not valid: {redact(str(error), secrets_in(url))}."
        ) from None
    return client


def check(info: dict[str, Any], where: str, *, safe: bool) -> None:
    """Check that a server can keep sessions.

    Parameters
    ----------
    info
        Result of `INFO`.
    safe
        Refuse a server that may drop entries.

    Raises
    ------
    StoreBusy, StoreReadOnly, StoreError
        If it cannot. The hint has the remedy.
    """
    version = tuple(int(part) for part in re.findall(r"\d+", str(info.get("redis_version", "")))[:2])
    if version < OLDEST and "valkey_version" not in info:
        raise StoreError(
            f"{where} is Redis {info.get('redis_version')}, which is too old.",
            hint="nbchat needs Redis 6.2 or newer, or Valkey.",
        )
    if info.get("loading"):
        raise StoreBusy(f"{where} is loading its data.", hint=_KEPT)
    if info.get("role") in ("slave", "replica"):
        raise StoreReadOnly(f"{where} is a replica.", hint="Use the address of the primary.")
    if not safe:
        return
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        raise StoreError(
            f"{where} may delete sessions when its memory is full (maxmemory-policy is {policy}).",
            hint="Set `maxmemory-policy noeviction` in its configuration, or by CONFIG SET.",
        )
    if not info.get("aof_enabled"):
        raise StoreError(
            f"{where} loses sessions when it restarts (appendonly is off).",
            hint="Set `appendonly yes` in its configuration, or by CONFIG SET.",
        )


_FULL: Final = "Delete sessions or raise its maxmemory; nothing is lost until then."
_DISK: Final = "Free some space; nothing is lost until then."
_USER: Final = "Check the user and the password in the address of the store."

_ERRORS: Final[dict[str, tuple[type[StoreError], str, str]]] = {
    "OOM": (StoreFull, "has no memory left", _FULL),
    "MISCONF": (StoreFull, "cannot write to its disk", _DISK),
    **dict.fromkeys(("NOAUTH", "WRONGPASS", "NOPERM"), (StoreReadOnly, "refuses the user", _USER)),
    "READONLY": (StoreReadOnly, "is a replica", "Use the address of the primary."),
    **dict.fromkeys(
        ("LOADING", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "NOREPLICAS"),
        (StoreBusy, "is busy", _KEPT),
    ),
    "MOVED": (
        StoreError,
        "does not have these keys, since it is one server of a cluster",
        "Use the address of the server that has the slot of the namespace, or of a proxy.",
    ),
}
"""The error for each code of a server, what it is, and the hint."""

_CODE: Final = re.compile(rf"\b({'|'.join(_ERRORS)})\b")
"""Code in the message of a server, also within that of a script."""

_CODES: Final = {
    "AuthenticationError": "NOAUTH",
    "AuthenticationWrongNumberOfArgsError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "ClusterDownError": "CLUSTERDOWN",
    "MasterDownError": "MASTERDOWN",
    "MovedError": "MOVED",
    "NoPermissionError": "NOPERM",
    "OutOfMemoryError": "OOM",
    "ReadOnlyError": "READONLY",
    "TryAgainError": "TRYAGAIN",
}
"""Codes that the library removes from the message, by the class that it raises for each."""


@contextlib.contextmanager
def translated(where: str, secrets: tuple[str, ...]) -> Iterator[None]:
    """Convert errors of the server and of its connection to nbchat's errors, chained to the original."""
    import redis  # noqa: PLC0415 - an extra

    try:
        yield
    except redis.RedisError as error:
        raise _error(error, where, secrets) from error
    except OSError as error:  # of the connection, in some versions of the library
        raise _unreachable(where, error.strerror or type(error).__name__) from error


def _error(error: Exception, where: str, secrets: tuple[str, ...]) -> StoreError:
    import redis  # noqa: PLC0415 - an extra

    text = redact(str(error), secrets)[:MAX_SHOWN].rstrip(".")
    found = _CODE.search(text)
    code = _CODES.get(type(error).__name__) or (found[1] if found else "")
    if code:
        kind, what, hint = _ERRORS[code]
        return kind(f"{where} {what}: {text}.", hint=hint)
    if isinstance(error, redis.TimeoutError):
        return _unreachable(where, "no answer in time")
    if isinstance(error, redis.ConnectionError):
        return _unreachable(where, text)
    return StoreError(f"{where} refused a command: {text}.", hint=_KEPT)


def _unreachable(where: str, text: str) -> StoreError:
    return StoreError(f"{where} cannot be reached: {text}.", hint=_KEPT)

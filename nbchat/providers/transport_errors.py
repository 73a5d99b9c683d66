"""`map_errors` translates exceptions of the openai client and of httpx2 to errors of nbchat."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx2
import msgspec
import openai

from nbchat.core.errors import (
    ConfigError,
    ConnectFailed,
    NbchatError,
    ProviderError,
    RequestRejected,
    Stage,
    StreamBroken,
)
from nbchat.core.redact import redact
from nbchat.providers.endpoint import Endpoint
from nbchat.providers.errors import from_status

_NO_SUCH_PATH: Final = frozenset({404, 405})
_PROXY_AUTHENTICATION: Final = 407


def unreadable(response: httpx2.Response, body: bytes) -> str:
    """Return why a body is not text, as the end of a sentence; empty if it may be text.

    Some servers declare encodings that they did not use, and others use encodings without declaring them,
    so the first bytes of the body decide.

    Parameters
    ----------
    body
        The first bytes of the body, without the encodings that were requested and declared.
    """
    begin = body.lstrip()
    for signature, name in SIGNATURES.items():
        if begin.startswith(signature):
            return f"is in the encoding {name}, which its headers do not declare"
    requested = response.request.headers.get("accept-encoding", "").lower().split(",")
    known = {*(name.strip() for name in requested), "", "identity"}
    codings = [name.strip() for name in response.headers.get("content-encoding", "").lower().split(",")]
    other = next((name for name in codings if name not in known), "")
    if not other or _TEXTUAL.match(body.removeprefix(b"\xef\xbb\xbf")):
        return ""
    return f"is in the encoding {other[:40]!r}, which was not requested"


SIGNATURES: Final[Mapping[bytes, str]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    **dict.fromkeys((b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), "deflate"),
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""First bytes of bodies that are not text in UTF-8, and the names of their encodings."""


_TEXTUAL: Final = re.compile(rb"\s*(?:$|[{\[<:]|d(?:$|a)|e(?:$|v)|i(?:$|d)|r(?:$|e)|[A-Z][a-z])")
"""The beginning of JSON, HTML, an event stream, or a sentence."""


@contextmanager
def map_errors(endpoint: Endpoint, *, stage: Stage, model: str | None = None) -> Iterator[None]:
    """Translate exceptions of the client to `ProviderError`; the cause is kept with its text redacted.

    Parameters
    ----------
    stage
        `connect` until the response headers have arrived, then `stream`.
    """
    try:
        yield
    except NbchatError:
        raise
    except Exception as error:
        known = translate(error, endpoint, stage=stage, model=model)
        if known is None:
            raise
        raise known from error


def translate(
    error: Exception, endpoint: Endpoint, *, stage: Stage, model: str | None = None
) -> ProviderError | None:
    """Return the `ProviderError` for `error`; `None` if it can only be caused by a bug in nbchat.

    Secrets are also removed from `error` and its causes, since a traceback prints them.
    """
    _scrub(error, endpoint)
    if isinstance(error, openai.APIStatusError):
        known = from_status(
            error.status_code,
            host=endpoint.host,
            body=_body(error.response),
            headers=error.response.headers,
            quote=endpoint.quote,
            model=model,
        )
        if error.status_code in _NO_SUCH_PATH and endpoint.missing_version:
            known.hint = endpoint.missing_version
        elif error.status_code == _PROXY_AUTHENTICATION and endpoint.proxy is not None:
            known.hint = f"Check the user and the password in {endpoint.proxy.source}."
        return known
    if isinstance(error, openai.APIConnectionError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    refused = next((e for e in _chain(error) if isinstance(e, httpx2.HTTPStatusError)), None)
    if refused is not None:  # the body could not be read, but the status was
        return from_status(
            refused.response.status_code,
            host=endpoint.host,
            body="",
            headers=refused.response.headers,
            quote=endpoint.quote,
            model=model,
        )
    meaning = next((meaning for classes, meaning in _MEANINGS if isinstance(error, classes)), None)
    if meaning is not None:
        return meaning(error, endpoint, stage)
    if stage == "connect" and isinstance(error, TypeError | ValueError | RecursionError):
        return RequestRejected(
            f"the request cannot be written as JSON: {endpoint.quote(str(error))}",
            hint="Check the session's params.",
            stage="command",
        )
    return None


def _no_connection(error: Exception, endpoint: Endpoint, _stage: Stage) -> ConnectFailed:
    host, proxy = endpoint.host, endpoint.proxy
    causes = list(_chain(error))
    hint: str | None = None
    retryable = True
    if isinstance(error, httpx2.ProxyError) or (
        proxy is not None and not any(isinstance(cause, ssl.SSLError) for cause in causes)
    ):
        source = proxy.source if proxy is not None else "the environment"
        text = f"no connection to {host} through the proxy that {source} names."
        hint = f"Check {source}, or add the host to NO_PROXY."
        retryable = False
    elif any(isinstance(cause, socket.gaierror) for cause in causes):
        text = f"the name {host} is not known to the name service (DNS)."
        hint = "Check the host in OPENAI_BASE_URL, and the network."
    elif (tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)) is not None:
        text = f"no secure connection (TLS) to {host}: {_tls_reason(tls)}."
        named = [name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        trusted = f"They are checked against {named[0]}" if named else "For one of your own set SSL_CERT_FILE"
        hint = f"Certificates are always checked. {trusted}. A server without TLS has an http:// URL."
        retryable = False
    elif isinstance(error, httpx2.ConnectTimeout):
        text = f"no connection to {host} within the time limit."
        hint = "Check the network and OPENAI_BASE_URL, or raise registry.limits.connect_s."
    elif any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        text = f"{host} refused the connection: nothing listens there."
        hint = "Start the server, or check OPENAI_BASE_URL."
    else:
        reason = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), "")
        text = f"no connection to {host}{': ' + endpoint.quote(reason) if reason else ''}."
    return ConnectFailed(text, hint=hint, retryable=retryable)


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "the server does not speak it"
    return (error.reason or "it failed").replace("_", " ").lower()


def broken(error: Exception, endpoint: Endpoint, stage: Stage) -> StreamBroken:
    """Return the error for an established connection that was lost.

    Before the headers, no output can be lost. A retry is then appropriate if the server closed the
    connection (for instance a kept-alive connection that it had just closed), but not if the server
    does not use HTTP.
    """
    what = endpoint.quote(str(error)) or type(error).__name__
    text = f"the connection to {endpoint.host} broke: {what.rstrip('.')}."
    if stage != "connect":
        return StreamBroken(text, stage="stream")
    if isinstance(error, httpx2.NetworkError) or "disconnected without" in str(error):
        hint = "The server hung up before it answered; retry."
        return StreamBroken(text, stage="first_byte", retryable=True, hint=hint)
    hint = "Check that OPENAI_BASE_URL names an OpenAI-compatible server."
    return StreamBroken(text, stage="first_byte", hint=hint)


def _unusable_url(error: Exception, endpoint: Endpoint, _stage: Stage) -> ConfigError:
    return ConfigError(
        f"the base URL cannot be used: {endpoint.quote(str(error))}", hint="Check OPENAI_BASE_URL."
    )


def _unusable_request(_error: Exception, endpoint: Endpoint, _stage: Stage) -> ConfigError:
    return ConfigError(
        f"the request to {endpoint.host} cannot be sent as it is.", hint="Check the headers that were set."
    )


def _refused(error: Exception, endpoint: Endpoint, _stage: Stage) -> ConfigError:
    return ConfigError(f"the openai client refused: {endpoint.quote(str(error))}")


# Subclasses first.
_MEANINGS: Final[
    tuple[tuple[tuple[type[Exception], ...], Callable[[Exception, Endpoint, Stage], ProviderError]], ...]
] = (
    ((httpx2.InvalidURL, httpx2.UnsupportedProtocol), _unusable_url),
    ((httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError), _no_connection),
    ((httpx2.LocalProtocolError,), _unusable_request),
    ((httpx2.HTTPError, httpx2.StreamError, openai.APIConnectionError), broken),
    ((openai.OpenAIError,), _refused),
)


def _body(response: httpx2.Response) -> object:
    try:
        content = response.content
    except httpx2.HTTPError:
        return ""
    if reason := unreadable(response, content):
        return f"the body {reason}"
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError):
        return content.decode("utf-8", "replace")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):
            # IPv4 and IPv6 were both tried; each attempt has its own cause.
            for inner in error.exceptions:
                yield from _chain(inner)
        error = error.__cause__ or error.__context__


def _scrub(error: Exception, endpoint: Endpoint) -> None:
    secrets = endpoint.secrets()
    for cause in _chain(error):
        cause.args = tuple(redact(a, secrets) if isinstance(a, str) else a for a in cause.args)
        if isinstance(cause, openai.APIError):
            cause.message = redact(cause.message, secrets)

"""`Server` sends requests through the openai client, which `open_client` makes.

Only this module and `transport_errors` import the openai client. That import is slow: import this module in
a thread, at first use.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import httpx2
import openai

from nbchat.core.errors import ConfigError, ConnectFailed, ProtocolError, ProviderError
from nbchat.core.extras import Extras
from nbchat.core.redact import redact
from nbchat.core.secret import in_use
from nbchat.providers.endpoint import Endpoint
from nbchat.providers.prompts import Body
from nbchat.providers.transport_errors import SIGNATURES, broken, map_errors, translate, unreadable

MAX_ERROR_BYTES: Final = 64 * 1024
"""Number of bytes read from a response that is not 2xx."""

Response = httpx2.Response
Client = openai.AsyncOpenAI


def open_client(endpoint: Endpoint) -> Client:
    """Return a client for `endpoint` without retries, redirects and key.

    The key is sent with each request and not stored in the client, so it can change between two runs and
    is not exposed there.

    Raises
    ------
    ConfigError, ConnectFailed
        If the environment is invalid: a proxy is not a URL, or a certificate file is missing.
    """
    return Client(
        base_url=endpoint.url,
        api_key="sent with each request",
        max_retries=0,
        http_client=open_http_client(endpoint),
    )


def open_http_client(endpoint: Endpoint) -> httpx2.AsyncClient:
    """Return an HTTP client for the server of `endpoint`, with its proxy, without redirects.

    Raises
    ------
    ConfigError, ConnectFailed
        As `open_client`.
    """
    proxy = endpoint.proxy
    needs_tls = endpoint.is_https or (proxy is not None and _is_https(proxy.url))
    tls = _certificates(endpoint) if needs_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return _HttpClient(
            verify=tls,
            # The proxy, if any, is chosen for this server. Errors in variables for other schemes or hosts
            # have no effect, and the variable that caused an error is known.
            trust_env=False,
            proxy=None if proxy is None else _proxy(proxy.url, tls),
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=30),
            timeout=None,  # set per request
        )
    except ImportError:
        raise ConnectFailed(
            f"{proxy.source if proxy else 'the proxy'} names a SOCKS proxy, for which a package is missing.",
            hint="Install it (pip install socksio), or set the variable to an http:// proxy.",
            retryable=False,
        ) from None
    except (ValueError, TypeError, httpx2.HTTPError, httpx2.InvalidURL):
        # The cause would print the variable's value, which may contain a password.
        raise ConnectFailed(
            f"{proxy.source if proxy else 'the proxy'} is not the URL of a proxy.",
            hint="It looks like http://proxy.example:3128; http, https, socks5 and socks5h are supported.",
            retryable=False,
        ) from None


def _proxy(url: str, tls: ssl.SSLContext) -> httpx2.Proxy:
    proxy = httpx2.Proxy(url, ssl_context=tls if _is_https(url) else None)
    if not proxy.url.host:
        raise ValueError("no host")
    return proxy


def _is_https(url: str) -> bool:
    return url[:6].lower() == "https:"


_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""Variables read by TLS, in order of precedence."""


def _certificates(endpoint: Endpoint) -> ssl.SSLContext:
    values = {name: os.environ.get(name) for name in _CERTIFICATES}
    try:
        return _tls(*values.values())
    except OSError as error:  # includes ssl.SSLError
        is_log = error.filename is not None and error.filename == values["SSLKEYLOGFILE"]
        named = [name for name, value in values.items() if value]
        source = "SSLKEYLOGFILE" if is_log else named[0] if named else "the system"
        reason = "no such file" if isinstance(error, FileNotFoundError) else endpoint.quote(str(error))
        raise ConfigError(
            f"the certificates for {endpoint.host} could not be loaded from {source}: {reason}.",
            hint=f"Set {source} to a file that exists, or delete it from os.environ." if named else None,
        ) from error


@lru_cache(maxsize=4)
def _tls(*_environment: str | None) -> ssl.SSLContext:
    """Return the SSL context, cached by environment since loading is slow."""
    return httpx2.create_ssl_context()


class _WithoutCredentials(logging.Filter):
    """Removes credentials from URLs logged by the HTTP client; a query can contain them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                redact(str(part), in_use()) if isinstance(part, httpx2.URL) else part for part in record.args
            )
        return True


logging.getLogger("httpx2").addFilter(_WithoutCredentials())


class _HttpClient(httpx2.AsyncClient):
    """An HTTP client that limits the size of error responses, which may be endless."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:  # noqa: ANN401 - the base's own
        response = await super().send(request, **options)
        if "x-gzip" in response.headers.get("content-encoding", "").lower():  # RFC 9110, section 8.4.1.3
            codings = response.headers["content-encoding"].lower().replace("x-gzip", "gzip")
            response.headers["content-encoding"] = codings
        if not response.is_success and not response.is_stream_consumed:
            response.stream = _Limited(cast("httpx2.AsyncByteStream", response.stream))
        return response


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_ERROR_BYTES
        # The status identifies the error, so a truncated body is sufficient.
        with suppress(httpx2.TransportError):
            async for data in self._stream:
                yield data[:left]
                left -= len(data)
                if left <= 0:
                    return

    async def aclose(self) -> None:
        await self._stream.aclose()


def _headers(endpoint: Endpoint, *given: Mapping[str, str | None]) -> dict[str, str | openai.Omit]:
    """Return the headers of each request; later ones win. Names are case-insensitive."""
    named: dict[str, tuple[str, str | None]] = {
        "authorization": ("Authorization", endpoint.authorization.reveal())
    }
    if endpoint.api_key is not None:
        named["api-key"] = ("api-key", endpoint.api_key.reveal())
    for headers in given:
        named.update({name.lower(): (name, value) for name, value in headers.items()})
    return {name: openai.Omit() if value is None else value for name, value in named.values()}


class Server:
    """Sends requests to one server. Each request is a context manager that yields the unread response.

    Leaving it closes the connection immediately, unless the response was read to its end.

    Parameters
    ----------
    headers
        Headers of the user, which override those of the key; headers of `extras` override both.
    """

    def __init__(
        self, endpoint: Endpoint, client: Client, headers: Mapping[str, str], extras: Extras
    ) -> None:
        self.endpoint = endpoint
        self.host = endpoint.host
        """Host of the server, for messages."""
        self._client = client
        self._headers = _headers(endpoint, headers, extras.headers)
        self._query = extras.query

    def chat(self, body: Body, connect_s: float) -> AbstractAsyncContextManager[httpx2.Response]:
        """Send `POST /chat/completions`."""
        return self._open("/chat/completions", connect_s, body=body, query=self._query)

    def respond(self, body: Body, connect_s: float) -> AbstractAsyncContextManager[httpx2.Response]:
        """Send `POST /responses`."""
        return self._open("/responses", connect_s, body=body, query=self._query)

    def resume(
        self, response_id: str, after: int, connect_s: float
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        """Send `GET /responses/{id}` for the events after sequence number `after`."""
        path = f"/responses/{quote(response_id, safe='')}"
        return self._open(path, connect_s, query={**self._query, "stream": True, "starting_after": after})

    def cancel(self, response_id: str, connect_s: float) -> AbstractAsyncContextManager[httpx2.Response]:
        """Send `POST /responses/{id}/cancel`."""
        return self._open(f"/responses/{quote(response_id, safe='')}/cancel", connect_s, body={})

    def models(self, connect_s: float) -> AbstractAsyncContextManager[httpx2.Response]:
        """Send `GET /models`."""
        return self._open("/models", connect_s)

    @staticmethod
    def reads(response: httpx2.Response) -> AsyncGenerator[bytes]:
        """Return the bytes of the body as they arrive, decompressed if necessary."""
        if response.headers.get("content-encoding", "identity").strip().lower() in {"", "identity"}:
            # `aiter_raw` adds as much overhead as decoding, for features not used here.
            return cast("AsyncGenerator[bytes]", aiter(cast("AsyncIterable[bytes]", response.stream)))
        return response.aiter_bytes()

    @staticmethod
    def is_undecided(begin: bytes) -> bool:
        """Return whether `check_encoding` needs more bytes of a body that begins with these."""
        return any(len(begin) < len(one) and one.startswith(begin) for one in SIGNATURES)

    def check_encoding(self, response: httpx2.Response, begin: bytes) -> None:
        """Check that a body has no encoding that was not requested or not declared.

        Raises
        ------
        ProtocolError
            If only the decoder of such an encoding can read its first bytes.
        """
        if reason := unreadable(response, begin):
            raise ProtocolError(
                f"the response of {self.host} {reason}.",
                hint="Have the server, or the proxy in front of it, send UTF-8 without compression.",
                http_status=response.status_code,
            )

    def broken(self, error: Exception) -> ProviderError:
        """Return the `ProviderError` for an error raised while a response was read."""
        return translate(error, self.endpoint, stage="stream") or broken(error, self.endpoint, "stream")

    def reading(self) -> AbstractContextManager[None]:
        """Return a context manager that translates errors while a response is read."""
        return map_errors(self.endpoint, stage="stream")

    @asynccontextmanager
    async def _open(
        self,
        path: str,
        connect_s: float,
        *,
        body: Body | None = None,
        query: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[httpx2.Response]:
        if self.endpoint.query:
            path = f"{path}?{urlencode(self.endpoint.query)}"
        # The client's generic methods: those for one resource accept only the fields of their own release,
        # search every message for files, and take a quarter of a second to build models.
        arguments: Any = {
            "cast_to": httpx2.Response,
            "stream": True,
            "stream_cls": openai.AsyncStream[object],
        }
        options: Any = {
            "headers": self._headers,
            # Limits only connecting; the run enforces the limits for content.
            "timeout": httpx2.Timeout(None, connect=connect_s),
        }
        if query:
            options["params"] = dict(query)
        with map_errors(self.endpoint, stage="connect", model=None if body is None else body.get("model")):
            if body is None:
                opened = await self._client.get(path, **arguments, options=options)
            else:
                opened = await self._client.post(path, **arguments, body=body, options=options)
            response = cast("httpx2.Response", opened)
        try:
            yield response
        finally:
            await response.aclose()

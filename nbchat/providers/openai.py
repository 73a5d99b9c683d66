"""`OpenAIProvider` streams answers from any OpenAI-compatible server through the openai client.

The client handles authentication, URLs and errors. nbchat decodes the stream itself: the client's typed
stream takes ten times as long, ends without an error on a truncated answer, and does not check types.

The openai package takes half a second to import. It is imported only by `transport`, in a thread, when
the first run starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Literal, Never

import msgspec

from nbchat.core.errors import (
    ConfigError,
    ModelNotFound,
    PicklingRefused,
    ProtocolError,
    ProviderError,
    ProviderErrorEvent,
    ProviderUnavailable,
    RequestRejected,
)
from nbchat.core.extras import Extras, Find, is_credential, read
from nbchat.core.secret import referenced
from nbchat.providers.base import Answering, Delta, Notice, Request
from nbchat.providers.chat import ChatDecoder
from nbchat.providers.chat_models import chat_models
from nbchat.providers.decoder import Decoder
from nbchat.providers.endpoint import (
    OPENAI_URL,
    ApiKey,
    Endpoint,
    custom_headers,
    find_endpoint,
    host_of,
    public_host,
    public_url,
)
from nbchat.providers.errors import named_hint
from nbchat.providers.quirks import Quirk
from nbchat.providers.request_attempt import RequestAttempt
from nbchat.providers.responses import ResponsesDecoder

if TYPE_CHECKING:
    from nbchat.providers.transport import Client, Response, Server

__all__ = ["OpenAIProvider"]

Api = Literal["auto", "chat", "responses"]

MAX_WHOLE_BYTES: Final = 64 * 1024 * 1024
"""Size limit of an answer sent as one JSON object."""

LIST_S: Final = 15.0
"""Time limit for listing models."""

DRAIN_S: Final = 0.05
"""Time to wait after `[DONE]` for the end of the response, so that the connection can be reused."""

_TRANSPORT: Final = "nbchat.providers.transport"

NO_EXTRAS: Final = Extras()


class OpenAIProvider:
    """Streams answers from an OpenAI-compatible server. It keeps no request state and never shows a key.

    Parameters
    ----------
    base_url
        Usually ends in `/v1`. `None`: `OPENAI_BASE_URL`, else the URL of OpenAI.
    api_key
        The key, or a function that returns it, called in a thread at every run. `None`:
        `OPENAI_API_KEY`. It is required only for OpenAI.
    api
        `chat`: Chat Completions, which every server supports. `responses`: background Responses, which the
        server stores, so that a run can resume after a lost connection. `auto`: same as `chat`.
    headers
        Sent with every request; an `Authorization` header replaces the key.
    name
        Name shown on the page. `None`: the server's host.
    can_prefill
        The server continues a partial answer in the last message. Most servers start a new answer instead.
    environment
        Where URL, key and headers are read at every run. A runner passes the variables of a kernel.
    cache_scope
        Identifies the server in the cache of answers. `None`: its URL.
    credential
        Returns the credential of a reference in a request's params. A runner passes those of a kernel.
    """

    protocol: Final = "openai"
    """Name of the API, in OpenTelemetry spans."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: ApiKey = None,
        *,
        api: Api = "auto",
        headers: Mapping[str, str] | None = None,
        name: str | None = None,
        can_prefill: bool = False,
        environment: Mapping[str, str] = os.environ,
        cache_scope: str | None = None,
        credential: Find = referenced,
    ) -> None:
        if api not in {"auto", "chat", "responses"}:
            raise ConfigError(
                f"api has to be 'auto', 'chat' or 'responses', not {api!r}.",
                hint="Check NBCHAT_API, and what nbchat.config() shows.",
            )
        self.api: Api = api
        self.can_prefill = can_prefill
        self.can_resume = api == "responses"
        self._name = name
        own = {**_client_headers(environment), **(headers or {})}
        # URL, key and headers may contain secrets, so they are kept in closures, not in attributes.
        self._find: Callable[[Extras], Endpoint] = lambda extras: find_endpoint(
            base_url,
            api_key,
            {**own, **{name: value or "" for name, value in extras.headers.items()}},
            extras.query,
            environment,
        )
        self._url: Callable[[], str] = lambda: base_url or environment.get("OPENAI_BASE_URL") or OPENAI_URL
        self._headers: Callable[[], dict[str, str]] = lambda: own
        self._cache_scope = cache_scope
        self._credential = credential
        self._key_may_wait = callable(api_key)
        self._lock = threading.Lock()
        self._clients: dict[tuple[asyncio.AbstractEventLoop, int], Client] = {}
        self._quirks: dict[tuple[int, str, bool], tuple[Quirk, ...]] = {}

    @property
    def name(self) -> str:
        """Name shown on the page: the given name, else the server's host."""
        return self._name or host_of(self._url())

    @property
    def server(self) -> str | None:
        """The server's host; `None` if it is on this machine or in a private network."""
        return public_host(self._url())

    @property
    def cache_scope(self) -> str | None:
        """Identity of the server in the cache of answers: a hash of API, URL and headers, no credentials."""
        if self._cache_scope is not None:
            return self._cache_scope
        headers = {name: value for name, value in self._headers().items() if not is_credential(name)}
        url = public_url(self._url())
        if url is None:
            return None
        return hashlib.sha256(msgspec.json.encode([self.api, url, headers], order="sorted")).hexdigest()

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.name}, {self.api}>"

    def __reduce_ex__(self, protocol: object) -> Never:
        """Raise `PicklingRefused`: a provider holds connections and possibly a key."""
        raise PicklingRefused("a provider is not pickled.", hint="Create it again where it is needed.")

    async def prepare(self) -> None:
        """Import the openai client in a thread, since the first import is slow and would block the loop.

        A run calls this itself. Call it earlier when measuring the time to the first piece of text.
        """
        if _TRANSPORT not in sys.modules:
            await asyncio.to_thread(importlib.import_module, _TRANSPORT)

    async def stream(self, request: Request) -> AsyncGenerator[Delta]:  # noqa: C901 - one loop, every way out of it
        """Send the request and yield deltas. The first step reads the environment and connects.

        Raises
        ------
        ProviderError
            As for `Provider.stream`.
        """
        with self._hints():
            server = await self._server(read(request.params, self._credential))
            model = request.model or ""
            if not model and request.resume_id is None:
                model = await _first_model(server)
                yield Answering(model)
            async with AsyncExitStack() as stack:
                response, decoder, notices = await self._ask(stack, server, request, model)
                for notice in notices:
                    yield notice
                pieces = await stack.enter_async_context(aclosing(server.reads(response)))
                data, is_whole = await _begin(server, response, pieces)
                if is_whole:
                    if request.resume_id is not None:
                        # Appending the whole answer would duplicate the text already read.
                        raise ProtocolError(f"{server.host} does not let a response be read on.")
                    with _whole_hint(server, decoder):
                        for delta in decoder.whole(await _rest(server, pieces, data)):
                            yield delta
                    return
                while True:
                    for delta in decoder.feed(data):
                        yield delta
                    if decoder.done:
                        break
                    try:
                        data = await anext(pieces)
                    except StopAsyncIteration:
                        break
                    except Exception as error:
                        if decoder.finished:
                            yield Notice("the connection broke after the finish reason")
                            break
                        raise server.broken(error) from error
                for delta in decoder.end():
                    yield delta
                await _drain(pieces)

    async def models(self) -> Sequence[str]:
        """Return the ids of the chat models that the server lists, in its order.

        Raises
        ------
        ProviderError
            If the server cannot be reached, or its answer is not a list of models.
        """
        with self._hints():
            return await _list(await self._server())

    @contextmanager
    def _hints(self) -> Iterator[None]:
        """Have hints name this provider instead of variables that it does not use."""
        try:
            yield
        except ProviderError as error:
            if self._name is not None:
                error.hint = named_hint(error.hint, self._name)
            raise

    async def cancel(self, response_id: str) -> None:
        """Cancel a response that the server generates in the background, so that it costs no more.

        Raises
        ------
        ProviderError
            If the server cannot be reached or rejects the request.
        """
        server = await self._server()
        async with server.cancel(response_id, LIST_S):
            pass

    async def aclose(self) -> None:
        """Close the connections of the running loop. The provider can be used again, in any loop."""
        here = asyncio.get_running_loop()
        with self._lock:
            clients = [self._clients.pop(key) for key in list(self._clients) if key[0] is here]
        for client in clients:
            await client.close()

    async def _ask(
        self, stack: AsyncExitStack, server: Server, request: Request, model: str
    ) -> tuple[Response, Decoder, Sequence[Notice]]:
        """Send the request; retry it without a field that the server rejects, if it is optional.

        Images of earlier messages are optional, since the question may not depend on them. They are
        replaced by their names. Tools are optional too. Notices report both.
        """
        connect_s, quote = request.timeouts.connect_s, server.endpoint.quote
        if request.resume_id is not None:
            response = await _resume(stack, server, request)
            rest = ResponsesDecoder(
                quote=quote, resumable=True, response_id=request.resume_id, read=request.resume_after
            )
            return response, rest, ()
        # Responses does not support prefill.
        is_chat = self.api != "responses" or request.prefill
        known = (server.endpoint.settings, model, is_chat)
        attempt = RequestAttempt(request, model, is_chat, self._quirks.get(known, ()))
        ask = server.chat if is_chat else server.respond
        body = attempt.body()
        opened: Response | None = None
        while opened is None:
            try:
                opened = await stack.enter_async_context(ask(body, connect_s))
            except ProviderError as error:
                attempt.learn(error, body)
                body = attempt.body()
        if attempt.quirks:
            self._quirks[known] = attempt.quirks
        if is_chat:
            return opened, ChatDecoder(quote=quote), attempt.notices
        decoder = ResponsesDecoder(quote=quote, resumable=bool(body.get("background")))
        return opened, decoder, attempt.notices

    async def _server(self, extras: Extras = NO_EXTRAS) -> Server:
        """Return the server of the current settings and environment, with the client of this loop."""
        await self.prepare()
        from nbchat.providers import transport  # noqa: PLC0415 - the openai client, imported just now

        # A function that returns the key may block, for instance on a keyring that prompts the user.
        endpoint = await asyncio.to_thread(self._find, extras) if self._key_may_wait else self._find(extras)
        loop = asyncio.get_running_loop()
        key = (loop, endpoint.settings)
        with self._lock:
            # Connections cannot move between loops, so clients of closed loops are dropped.
            for other in [other for other in self._clients if other[0].is_closed()]:
                del self._clients[other]
            client = self._clients.get(key)
        if client is None:
            # Loading the certificates takes tens of milliseconds.
            opened = await asyncio.to_thread(transport.open_client, endpoint)
            with self._lock:
                client = self._clients.setdefault(key, opened)
        return transport.Server(endpoint, client, self._headers(), extras)


def _client_headers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that the openai client would read from an environment, if it is not its own."""
    if environment is os.environ:
        return {}
    named = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    found = {header: environment.get(variable, "") for header, variable in named.items()}
    return {**{header: value for header, value in found.items() if value}, **custom_headers(environment)}


async def _resume(stack: AsyncExitStack, server: Server, request: Request) -> Response:
    opening = server.resume(request.resume_id or "", request.resume_after, request.timeouts.connect_s)
    try:
        return await stack.enter_async_context(opening)
    except ModelNotFound as error:
        raise RequestRejected(
            f"{server.host} does not have this response any more.",
            hint="Continue or regenerate.",
            http_status=error.http_status,
            request_id=error.request_id,
        ) from error


async def _begin(server: Server, response: Response, pieces: AsyncGenerator[bytes]) -> tuple[bytes, bool]:
    """Return the first bytes, and `True` if they begin a JSON object instead of a stream of events.

    The first bytes decide, since the `Content-Type` header of servers is often wrong.

    Raises
    ------
    ProtocolError
        If they begin an HTML page.
    """
    kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
    first = b""
    with server.reading():
        while server.is_undecided(seen := first.removeprefix(b"\xef\xbb\xbf").lstrip()):
            try:
                first += await anext(pieces)
            except StopAsyncIteration:
                break
    server.check_encoding(response, first)
    if seen[:1] == b"<" or kind in {"text/html", "application/xhtml+xml"}:
        words = server.endpoint.quote(seen.decode("utf-8", "replace"))
        raise ProtocolError(
            f"{server.host} answered with a page instead of a stream: {words or 'without words'}",
            http_status=response.status_code,
            hint=server.endpoint.missing_version,
        )
    return first, seen[:1] in {b"{", b"["}


@contextmanager
def _whole_hint(server: Server, decoder: Decoder) -> Iterator[None]:
    """Give the hint about `/v1` with an error in place of an answer: LM Studio sends it with status 200."""
    try:
        yield
    except (ProtocolError, ProviderErrorEvent) as error:
        error.hint = (not decoder.began and server.endpoint.missing_version) or error.hint
        raise


async def _rest(server: Server, pieces: AsyncGenerator[bytes], first: bytes = b"") -> bytes:
    """Return the whole body.

    Raises
    ------
    ProtocolError
        If the body is larger than `MAX_WHOLE_BYTES`.
    """
    body = [first]
    size = len(first)
    with server.reading():
        async for data in pieces:
            body.append(data)
            size += len(data)
            if size > MAX_WHOLE_BYTES:
                raise ProtocolError(f"{server.host} sends JSON that does not end.")
    return b"".join(body)


async def _drain(pieces: AsyncGenerator[bytes]) -> None:
    """Read the rest of a finished response, so that its connection can be reused."""
    with suppress(Exception):
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass


async def _first_model(server: Server) -> str:
    models = await _list(server)
    if not models:
        raise ConfigError(f"no model is set, and {server.host} lists none.", hint="Give the session a model.")
    return models[0]


async def _list(server: Server) -> tuple[str, ...]:
    try:
        async with (
            asyncio.timeout(LIST_S),
            server.models(LIST_S) as response,
            aclosing(server.reads(response)) as pieces,
        ):
            body = await _rest(server, pieces)
            server.check_encoding(response, body)
    except TimeoutError:
        raise ProviderUnavailable(
            f"{server.host} did not list its models within {LIST_S:g} s.", stage="first_byte"
        ) from None
    except (ModelNotFound, RequestRejected) as error:
        if error.hint != server.endpoint.missing_version:
            raise
        raise ConfigError(
            f"{server.endpoint.url}/models does not list models.",
            hint=error.hint,
            http_status=error.http_status,
            request_id=error.request_id,
        ) from error
    try:
        return read_models(body, server.host)
    except ProtocolError as error:
        if server.endpoint.missing_version is None:
            raise
        raise ConfigError(str(error.args[0]), hint=server.endpoint.missing_version) from None


def read_models(body: bytes, host: str) -> tuple[str, ...]:
    """Return the ids of the chat models in the response of `/models`.

    Raises
    ------
    ProtocolError
        If the body is not a list of models.
    """
    try:
        listed = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        listed = None
    data = listed.get("data") if isinstance(listed, dict) else None
    if not isinstance(data, list):
        raise ProtocolError(f"{host} answered something else than a list of models.")
    return chat_models(data)

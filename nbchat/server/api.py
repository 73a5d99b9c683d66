"""`Api` routes requests to the endpoints of the demo server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from nbchat.server import guard
from nbchat.server.activity import Activity
from nbchat.server.chat import ChatWriter, read_chat
from nbchat.server.connection import Exchange, HttpRequest
from nbchat.server.conversation import Turn
from nbchat.server.errors import ApiError, invalid, model_not_found
from nbchat.server.generation import text_of
from nbchat.server.models import MODELS, DemoModel
from nbchat.server.pace import Clock, play
from nbchat.server.responses import read_response
from nbchat.server.store import ResponseStore, StoredResponse

_CREATED: Final = 1_780_000_000
_Endpoint = Callable[[HttpRequest, Exchange, str], Awaitable[None]]


class Api:
    """Handles the requests of all endpoints.

    Parameters
    ----------
    pace
        Factor on every delay; a request can override it.
    allowed_hosts
        Host names to accept in addition to loopback names.
    """

    def __init__(self, clock: Clock, pace: float, allowed_hosts: Collection[str] = ()) -> None:
        self.activity: Activity = Activity()
        self.is_public = False
        """`True` if the server listens beyond loopback."""
        self._clock = clock
        self._pace = pace
        self._allowed_hosts = frozenset([host.lower() for host in allowed_hosts])
        self._store = ResponseStore(clock)
        # `*` matches one segment, which is passed to the endpoint.
        self._routes: dict[tuple[str, ...], dict[str, _Endpoint]] = {
            (): {"GET": self._welcome},
            ("v1", "models"): {"GET": self._list_models},
            ("v1", "models", "*"): {"GET": self._show_model},
            ("v1", "chat", "completions"): {"POST": self._chat},
            ("v1", "responses"): {"POST": self._create_response},
            ("v1", "responses", "*"): {"GET": self._show_response, "DELETE": self._delete_response},
            ("v1", "responses", "*", "cancel"): {"POST": self._cancel_response},
        }

    async def __call__(self, request: HttpRequest, exchange: Exchange) -> None:
        """Handle one request.

        Raises
        ------
        ApiError
            If the request is rejected before any part of a response was sent.
        """
        guard.check(request, allowed_hosts=self._allowed_hosts, is_public=self.is_public)
        methods, name = self._route(request)
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is not None:
            await endpoint(request, exchange, name)
            return
        allow = ("allow", ", ".join(sorted({*methods, "OPTIONS", *(("HEAD",) if "GET" in methods else ())})))
        if request.method == "OPTIONS":
            await exchange.respond(204, None, (allow,))
            return
        message = f"{request.method} is not allowed at {request.path}; allowed is {allow[1]}."
        raise ApiError(405, message, code="method_not_allowed", headers=(allow,))

    async def close(self) -> None:
        """Cancel all background responses."""
        await self._store.close()

    def _route(self, request: HttpRequest) -> tuple[dict[str, _Endpoint], str]:
        segments = tuple(request.path.strip("/").split("/")) if request.path.strip("/") else ()
        if segments in self._routes:
            return self._routes[segments], ""
        if len(segments) > 2:  # noqa: PLR2004 - where the name stands
            wild = (*segments[:2], "*", *segments[3:])
            if wild in self._routes:
                return self._routes[wild], segments[2]
        raise ApiError(
            404, f"Unknown path {request.path[:200]!r}. The API is under /v1.", code="unknown_path"
        )

    async def _welcome(self, request: HttpRequest, exchange: Exchange, _: str) -> None:
        base_url = f"http://{request.hosts[0]}/v1"
        await exchange.respond(
            200, {"service": "nbchat demo server", "base_url": base_url, "models": list(MODELS)}
        )

    async def _list_models(self, _: HttpRequest, exchange: Exchange, __: str) -> None:
        await exchange.respond(
            200, {"object": "list", "data": [_model_json(model) for model in MODELS.values()]}
        )

    async def _show_model(self, _: HttpRequest, exchange: Exchange, name: str) -> None:
        if name not in MODELS:
            raise model_not_found(name, tuple(MODELS))
        await exchange.respond(200, _model_json(MODELS[name]))

    async def _chat(self, request: HttpRequest, exchange: Exchange, _: str) -> None:
        asked = read_chat(_json_body(request), request.headers)
        generation = asked.ask.generation()
        writer = ChatWriter(generation, include_usage=asked.include_usage)
        pace = self._pace if asked.ask.pace is None else asked.ask.pace
        with self.activity.one():
            if not asked.stream:
                pieces = [piece async for batch in play(generation, self._clock, pace) for piece in batch]
                await exchange.respond(200, writer.whole(*text_of(pieces)))
                return
            exchange.start_stream()
            await exchange.send(writer.begin())
            async for batch in play(generation, self._clock, pace):
                await exchange.send(b"".join([writer.chunk(piece) for piece in batch]))
            await exchange.send(writer.end())
            exchange.finish()

    async def _create_response(self, request: HttpRequest, exchange: Exchange, _: str) -> None:
        asked = read_response(_json_body(request), request.headers, self._turns_before)
        pace = self._pace if asked.ask.pace is None else asked.ask.pace
        self._store.make_room()
        response = StoredResponse(asked, self._clock, pace, self.activity)
        self._store.add(response)
        if asked.background and not asked.stream:
            await exchange.respond(200, response.first_json)
            return
        try:
            if asked.stream:
                await _send_events(response, exchange)
            else:
                await response.finished()
                await exchange.respond(200, response.json)
        finally:
            # A foreground response belongs to this client only, and is removed if the client disconnects.
            if not asked.background and not (response.is_over and asked.store):
                self._store.remove(response.id)

    def _turns_before(self, response_id: str) -> tuple[Turn, ...]:
        try:
            response = self._store.get(response_id)
        except ApiError as error:
            raise ApiError(
                400, error.message, param="previous_response_id", code="previous_response_not_found"
            ) from None
        if not response.is_over:
            raise invalid(
                "previous_response_id",
                f"Response {response.id!r} is not over; wait for its end or cancel it.",
            )
        return response.turns

    async def _show_response(self, request: HttpRequest, exchange: Exchange, name: str) -> None:
        response = self._store.get(name)
        stream = request.query.get("stream", "false").lower()
        if stream not in {"true", "false"}:
            raise invalid("stream", f"Invalid 'stream': it must be true or false, and is {stream[:100]!r}.")
        after = _cursor(request)
        if stream == "false" or request.method == "HEAD":
            if after is not None:
                raise invalid(
                    "starting_after", "Invalid 'starting_after': it is only allowed with stream=true."
                )
            await exchange.respond(200, response.json)
            return
        if not response.ask.background:
            message = "This response cannot be streamed again: it was not created with background=true."
            raise invalid("stream", message)
        response.check_cursor(-1 if after is None else after)
        await _send_events(response, exchange, -1 if after is None else after)

    async def _delete_response(self, _: HttpRequest, exchange: Exchange, name: str) -> None:
        response = self._store.get(name)
        self._store.remove(name)
        await exchange.respond(200, {"id": response.id, "object": "response", "deleted": True})

    async def _cancel_response(self, _: HttpRequest, exchange: Exchange, name: str) -> None:
        response = self._store.get(name)
        if not response.ask.background:
            message = "Only a response in the background can be cancelled; for another close the connection."
            raise invalid("response_id", message)
        response.cancel()
        await exchange.respond(200, response.json)


async def _send_events(response: StoredResponse, exchange: Exchange, after: int = -1) -> None:
    exchange.start_stream()
    async for events in response.follow(after):
        await exchange.send(events)
    exchange.finish()


def _cursor(request: HttpRequest) -> int | None:
    """Return the number of the last event that the client received; `None` if not given."""
    value = request.query.get("starting_after")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 16):  # noqa: PLR2004 - int() takes long for long ones
        raise invalid(
            "starting_after", f"Invalid 'starting_after': {value[:100]!r} is not a whole number from 0 on."
        )
    return int(value)


def _json_body(request: HttpRequest) -> bytes:
    # Browsers send other content types cross-site without a preflight request.
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json":
        message = (
            f"The body must be JSON with the header 'Content-Type: application/json', and is {kind[:100]!r}."
        )
        raise ApiError(415, message, code="unsupported_media_type")
    return request.body


def _model_json(model: DemoModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": _CREATED,
        "owned_by": "nbchat-demo",
        "description": model.description,
    }

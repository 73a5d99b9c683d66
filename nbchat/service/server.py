"""`Service`: accepts WebSockets, identifies people, and connects each with a namespace."""

from __future__ import annotations

import asyncio
import json
import logging
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from msgspec.structs import replace
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.protocol import State

from nbchat.core.errors import CommandError, NbchatError, StoreBusy, WireError
from nbchat.core.secret import Secret
from nbchat.core.text import distinct_name
from nbchat.core.version import VERSION
from nbchat.engine.leased_store import LEASE_S
from nbchat.runner.frames import MAX_FROM_KERNEL, encode_frame
from nbchat.runner.messages import LINK_VERSION, Hello
from nbchat.service.access import AuthorityUnavailable, Role
from nbchat.service.address import PATH
from nbchat.service.namespaces import Namespaces
from nbchat.service.permissions import MemberPermissions
from nbchat.service.quotas import DEFAULTS, Quotas
from nbchat.service.replicas import FORWARDED, PROOF, TAKE_PART, NotServedError
from nbchat.service.websocket import AsyncWebSocketTransport, quiet

if TYPE_CHECKING:
    import ssl

    from websockets.http11 import Request, Response

    from nbchat.engine.loop_thread import LoopThread
    from nbchat.service.access import Authority, Teams
    from nbchat.service.metrics import Metrics
    from nbchat.service.namespace import Namespace
    from nbchat.service.replicas import Replicas
    from nbchat.service.storage import Storage

logger = logging.getLogger("nbchat")

HELLO_S: Final = 10.0
"""Longest wait for the first message of a link."""

MAX_HELLO: Final = 64 * 1024
"""Maximum bytes of that message."""

MAX_QUEUE: Final = 4
"""Frames of a link that were received and not read yet, beyond which no more are received."""

RECHECK_S: Final = 15.0
"""Interval at which the token of a link is checked again. Answers of JupyterHub can be `hub.KEEP_S` old."""

FIND_S: Final = 30.0
"""Longest time to find a replica that serves a namespace."""

MARGIN_S: Final = 1.5
"""Time after the end of a lease within which one of the replicas that claim it gets it."""

LOOK_S: Final = 0.05
"""Interval of the attempts to find that replica."""

ARRIVING: Final = 5
"""Passes of the event loop after which a connection that asyncio has accepted has its task."""

PING_S: Final = 20.0
"""Interval of pings, so that proxies do not end links on which nothing is sent."""

LOST_S: Final = 120.0
"""Longest wait for the answer to a ping. A kernel in which a cell holds the interpreter is late."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A person who may open a link to a namespace."""

    person: str
    team: str | None
    """`None`: the person's own namespace."""
    token: Secret
    is_forwarded: bool = False
    """Another replica forwarded the link."""

    @property
    def query(self) -> str:
        """The query of the link's URL."""
        return "" if self.team is None else urlencode({"namespace": self.team})

    @property
    def namespace(self) -> str:
        """The name of the namespace in the storage."""
        return f"person-{self.person}" if self.team is None else f"team-{self.team}"


class Service:
    """Serves the namespaces of all people and teams. Only for the loop.

    Parameters
    ----------
    loop
        The loop of all namespaces.
    storage
        Their stores.
    authority
        Identifies people.
    teams
        The teams and their members.
    prefix
        Path below which the service is reached.
    quotas
        Limits of each namespace.
    metrics
        Measures the service.
    """

    def __init__(
        self,
        loop: LoopThread,
        storage: Storage,
        authority: Authority,
        teams: Teams,
        *,
        prefix: str = "/",
        quotas: Quotas = DEFAULTS,
        metrics: Metrics | None = None,
    ) -> None:
        self._loop = loop
        self._authority = authority
        self._teams = teams
        self._prefix = f"/{prefix.strip('/')}/".replace("//", "/")
        self._quotas = quotas
        self._namespaces = Namespaces(loop, storage, quotas, lambda name: self._links_of(name) > 0, metrics)
        if metrics is not None:
            metrics.watch(loop, lambda: self._namespaces.loaded)
        self._server: Server | None = None
        self._replicas: Replicas | None = None
        self._connections: weakref.WeakSet[ServerConnection] = weakref.WeakSet()
        self._admitted: weakref.WeakKeyDictionary[ServerConnection, Admitted] = weakref.WeakKeyDictionary()

    def __repr__(self) -> str:
        """Return the number of open namespaces."""
        return f"<Service, {len(self._namespaces)} namespaces>"

    # Listening

    async def start(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        join: Callable[[int], Replicas | None] = lambda _port: None,
    ) -> int:
        """Accept links; return the port.

        Parameters
        ----------
        host, port
            The address; port 0: a free one.
        tls
            Encrypts the links.
        join
            Takes the port, and returns the replicas if there can be others.
        """
        made = self._connections

        class Connection(ServerConnection):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                made.add(self)

        self._server = await serve(
            self._serve,
            host,
            port,
            ssl=tls,
            create_connection=Connection,
            process_request=self._admit,
            origins=[None],  # browsers set one: no page of any site may open a link
            ping_interval=PING_S,
            ping_timeout=LOST_S,
            compression=None,  # as in `ServiceAddress`
            max_size=MAX_HELLO,
            max_queue=MAX_QUEUE,
            server_header=None,
            logger=quiet,
            start_serving=False,
        )
        found: int = next(iter(self._server.sockets)).getsockname()[1]
        self._replicas = join(found)
        if self._replicas is not None:
            self._namespaces.claim_s = LEASE_S + MARGIN_S
            self._namespaces.divided.replicas = self._replicas
            await self._replicas.start()
        await self._server.start_serving()
        self._loop.spawn(self._namespaces.unload_idle(), name="nbchat-unload-idle")
        return found

    async def _stop_listening(self) -> None:
        """Close the server and all connections."""
        if self._server is None:
            return
        # asyncio loses a connection that it accepts while its server closes: first accept no more.
        for listening in self._server.sockets:
            with suppress(NotImplementedError):  # on Windows
                self._loop.aio.remove_reader(listening)
        for _ in range(ARRIVING):
            await asyncio.sleep(0)
        self._server.close()
        for connection in self._connections:
            if connection.state is State.CONNECTING:
                connection.transport.abort()  # its request may never arrive
        await self._server.wait_closed()

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a request that does not open a link, or may not."""
        try:
            parts = urlsplit(request.path)
        except ValueError:  # such as an address with a bracket
            return connection.respond(HTTPStatus.NOT_FOUND, f"{HTTPStatus.NOT_FOUND.phrase}\n")
        if parts.path == f"{self._prefix}healthz":
            return self._health(connection)
        path, is_draining = parts.path.removeprefix(self._prefix), self._namespaces.is_draining
        if self._replicas is not None and path in (PROOF, TAKE_PART):
            return self._replicas.admit(connection, request, path, parts.query, is_draining=is_draining)
        try:
            found = await self._identified(request, parts)
        except AuthorityUnavailable as error:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n")
        if isinstance(found, Admitted):
            self._admitted[connection] = found
            return None
        text = found.phrase
        if found is HTTPStatus.TOO_MANY_REQUESTS:
            text = f"there are {self._quotas.links} kernels linked, and the service allows no more"
        response = connection.respond(found, f"{text}\n")
        if found is HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _identified(self, request: Request, parts: SplitResult) -> Admitted | HTTPStatus:
        """Return the person who may open a link, or the status that refuses it."""
        if parts.path != f"{self._prefix}{PATH}":
            return HTTPStatus.NOT_FOUND
        token = _bearer(request.headers.get_all("Authorization"))
        person = None if token is None else await self._authority.person(token)
        if token is None or person is None:
            return HTTPStatus.UNAUTHORIZED
        query = parse_qsl(parts.query, keep_blank_values=True)
        team = query[0][1] if query else None
        admitted = Admitted(person, team, Secret(token), FORWARDED in request.headers)
        if [name for name, _ in query] not in ([], ["namespace"]) or self._role(admitted) is None:
            return HTTPStatus.NOT_FOUND  # a foreign namespace looks like one that does not exist
        if self._namespaces.is_draining:
            return HTTPStatus.SERVICE_UNAVAILABLE
        is_allowed = self._links_of(admitted.namespace) < self._quotas.links
        return admitted if is_allowed else HTTPStatus.TOO_MANY_REQUESTS

    def _links_of(self, namespace: str) -> int:
        """Return how many links to a namespace were accepted and have not ended."""
        return sum(
            admitted.namespace == namespace and connection.state is not State.CLOSED
            for connection, admitted in self._admitted.items()
        )

    def _health(self, connection: ServerConnection) -> Response:
        status = HTTPStatus.SERVICE_UNAVAILABLE if self._namespaces.is_draining else HTTPStatus.OK
        state = "draining" if self._namespaces.is_draining else "ok"
        response = connection.respond(status, json.dumps({"state": state, "version": VERSION}) + "\n")
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response

    def _role(self, admitted: Admitted) -> Role | None:
        if admitted.team is None:
            return Role.OWNER
        return self._teams.role(admitted.team, admitted.person, self._authority.groups(admitted.person))

    # Links

    async def _serve(self, connection: ServerConnection) -> None:
        admitted = self._admitted.get(connection)
        if admitted is None:  # another replica
            await self._namespaces.divided.take_part(connection)
            return
        transport = AsyncWebSocketTransport(connection, self._loop)
        recheck = self._loop.spawn(self._recheck(transport, admitted), name="nbchat-link-recheck")
        try:
            await self._serve_link(connection, transport, admitted)
        except (EOFError, OSError, NbchatError) as error:
            logger.warning("a link of %r to %r was refused: %s", admitted.person, admitted.namespace, error)
            if isinstance(error, CommandError):  # the others may name addresses of the service
                transport.close(str(error))
        finally:
            self._admitted.pop(connection, None)
            recheck.cancel()
            transport.close()
            await transport.wait_closed()

    async def _serve_link(
        self, connection: ServerConnection, transport: AsyncWebSocketTransport, admitted: Admitted
    ) -> None:
        async with asyncio.timeout(HELLO_S):
            hello, _ = await transport.read()
        if not isinstance(hello, Hello):
            raise WireError("it did not begin with a hello.")
        connection.protocol.max_message_size = MAX_FROM_KERNEL  # the kernel waits for the greeting
        namespace = await self._found(connection, admitted, hello)
        if namespace is None:
            return
        if hello.link != LINK_VERSION:
            transport.write(encode_frame(namespace.greeting()))  # the kernel reports the versions
            raise WireError(f"it has version {hello.link} of the link, and this service {LINK_VERSION}.")
        permissions = MemberPermissions(lambda: self._role(admitted), namespace.backend.find, namespace.quota)
        author = distinct_name(admitted.person)
        hello = replace(hello, is_kernel=True)  # a client cannot leave itself out of the metrics
        await namespace.serve(transport, hello, namespace.greeting(), permissions, author)

    async def _recheck(self, transport: AsyncWebSocketTransport, admitted: Admitted) -> None:
        """End a link when its token was revoked, or its person is no longer in the team."""
        while True:
            await asyncio.sleep(RECHECK_S)
            try:
                person = await self._authority.person(admitted.token.reveal())
            except AuthorityUnavailable:
                continue  # links outlive an interruption of the authority
            if person != admitted.person or self._role(admitted) is None:
                logger.warning("the access of %r to %r has ended", admitted.person, admitted.namespace)
                transport.close()
                return

    # Namespaces

    async def _found(
        self, connection: ServerConnection, admitted: Admitted, hello: Hello
    ) -> Namespace | None:
        """Return a namespace; `None` after the end of a link that was forwarded to another replica.

        Raises
        ------
        NbchatError
            If no replica can serve it.
        """
        name, replicas = admitted.namespace, self._replicas
        if replicas is None or admitted.is_forwarded:
            return await self._get(admitted)
        without: set[str] = set()
        until = self._loop.aio.time() + FIND_S
        while name not in self._namespaces:
            address = await replicas.find(name, without)
            try:
                if address == replicas.address:
                    return await self._get(admitted)
                await replicas.forward(
                    connection, encode_frame(hello), address, admitted.query, admitted.token
                )
            except (StoreBusy, NotServedError) as error:
                if self._namespaces.is_draining or self._loop.aio.time() > until:
                    raise StoreBusy(f"no replica serves {name!r}: {error}") from error
                logger.info("%r is not served yet: %s", name, error)
                # The holder is asked again after each attempt to claim: it may have been slow only.
                without = set() if address == replicas.address else {*without, address}
                await asyncio.sleep(LOOK_S)
            else:
                return None
        return await self._get(admitted)

    async def _get(self, admitted: Admitted) -> Namespace:
        return await self._namespaces.get(admitted.namespace, is_personal=admitted.team is None)

    # The end

    async def drain(self) -> None:
        """Accept no new links and no new runs, and let live runs finish."""
        self._namespaces.is_draining = True
        if self._replicas is not None:
            await self._replicas.leave()
        await self._namespaces.drain(hand_over=self._replicas is not None)

    async def close(self) -> None:
        """End all runs and links, write what is left, and release the stores."""
        await self._namespaces.finish()
        await self._stop_listening()
        await self._namespaces.close()
        if self._replicas is not None:
            await self._replicas.close()
        await self._authority.close()


def _bearer(headers: Sequence[str]) -> str | None:
    """Return the token of a request, which has one header of authorization."""
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    return token.strip() or None if scheme.lower() == "bearer" else None

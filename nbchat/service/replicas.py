"""`Replicas`: finds the replica of a service that serves a namespace, and forwards links to it.

A namespace is served by the replica that holds the lease of its store, whose address is stored with the
lease. Any replica accepts a link. One that does not hold the namespace forwards the frames of the link to the
holder, with the token of the person, so that the holder identifies the person itself. A namespace that is not
held is claimed by one of the announced replicas, which all of them choose by the same hash.

The address is used also after the lease has expired: a holder that could not reach the store for a while has
answers that are not stored yet, and keeps the lease if it still runs. A holder that was killed leaves its
address behind, which may belong to another program later. A token is therefore sent only after the program at
the address has proved that it is the replica with this address: with an HMAC of a nonce and of its address.
The key is a random secret on the server of the stores, which only replicas can read. The proof of another
replica is for another address, so that it is of no use to that program.

Replicas also open links of their own, on which both ends have proved that they are replicas.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

import httpx2
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from nbchat.core.errors import CommandError, StoreError
from nbchat.runner.frames import MAX_FRAME, MAX_FROM_KERNEL
from nbchat.service.address import PATH, reason_in
from nbchat.service.websocket import GOING_AWAY, quiet

if TYPE_CHECKING:
    import ssl

    from websockets.asyncio.client import ClientConnection
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

    from nbchat.core.secret import Secret
    from nbchat.engine.loop_thread import LoopThread
    from nbchat.service.storage import Directory

logger = logging.getLogger("nbchat")

T = TypeVar("T")

ANNOUNCE_S: Final = 2.0
"""Interval at which a replica is announced."""

ANNOUNCED_S: Final = 6.0
"""Time after which a replica that is not announced again is not chosen."""

CONNECT_S: Final = 5.0
"""Longest wait for another replica to accept a link."""

PING_S: Final = 3.0
"""Interval of the pings of a forwarded link."""

LOST_S: Final = 10.0
"""Longest wait for the answer to such a ping."""

FORWARDED: Final = "X-Nbchat-Forwarded"
"""Header of a forwarded link, which is not forwarded again. It gives no rights."""

PROOF: Final = "replica"
"""Path at which a replica proves that it is one; the nonce is the query."""

PROOF_HEADER: Final = "X-Nbchat-Proof"
"""Header of the answer, and of the request for a link of a replica."""

TAKE_PART: Final = "batch"
"""Path of links of replicas, whose batches are divided."""


class NotServedError(Exception):
    """The other replica does not serve the namespace."""


class Replicas:
    """The replicas of a service, as one of them sees the others. Only for the loop.

    Parameters
    ----------
    directory
        Has the replicas and the holders.
    address
        The URL at which the other replicas reach this one.
    loop
        The loop of the service.
    tls
        Checks the certificates of the other replicas.
    """

    def __init__(
        self, directory: Directory, address: str, loop: LoopThread, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address: str = address
        self._directory = directory
        self._loop = loop
        self._tls = tls
        self._threads = ThreadPoolExecutor(4, "nbchat-replicas")
        self._holders: dict[str, str] = {}
        """The last known holders, for the time in which the store cannot be reached."""
        self._secret = b""
        """Known to all replicas; another one after the store has lost it."""
        self._client: httpx2.AsyncClient | None = None
        self._announcing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Return the address."""
        return f"<Replicas, {self.address}>"

    # This replica

    async def start(self) -> None:
        """Announce this replica from now on. Raises `StoreError` if the store cannot be reached."""
        await self._announce_once()
        self._announcing = self._loop.spawn(self._announce(), name="nbchat-announce")

    async def _announce_once(self) -> None:
        secret = await self._in_thread(lambda: self._directory.announce(self.address, ANNOUNCED_S))
        self._secret = secret.encode()

    async def _announce(self) -> None:
        while True:
            await asyncio.sleep(ANNOUNCE_S)
            try:
                await self._announce_once()
            except StoreError as error:
                logger.warning("this replica could not be announced: %s", error)

    async def leave(self) -> None:
        """Announce this replica no longer, so that it is not chosen."""
        announcing, self._announcing = self._announcing, None
        if announcing is not None:
            announcing.cancel()
            await asyncio.wait([announcing])
            with suppress(StoreError):  # the announcement expires
                await self._in_thread(lambda: self._directory.leave(self.address))

    async def close(self) -> None:
        """Leave, and close the connections."""
        await self.leave()
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        await self._in_thread(self._directory.close)
        self._threads.shutdown(wait=False)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await self._loop.aio.run_in_executor(self._threads, work)

    # Finding

    async def find(self, namespace: str, without: Collection[str]) -> str:
        """Return the address of the replica that serves a namespace, or is to claim it.

        Parameters
        ----------
        namespace
            Its name in the storage.
        without
            Replicas that do not serve it.

        Raises
        ------
        StoreError
            If the store cannot be reached, and the holder is not known.
        """
        try:
            holder = await self._in_thread(lambda: self._directory.holder(namespace))
            if holder is not None and (holder not in without or holder == self.address):
                self._holders[namespace] = holder
                return holder
            announced = await self._in_thread(self._directory.announced)
        except StoreError:
            known = self._holders.get(namespace)
            if known is None or known in without:
                raise
            return known
        self._holders.pop(namespace, None)
        return chosen(namespace, {*announced, self.address} - set(without) or {self.address})

    # Forwarding

    async def forward(
        self, connection: ServerConnection, first: bytes, address: str, query: str, token: Secret
    ) -> None:
        """Pass on the frames of a link until it ends.

        Parameters
        ----------
        connection
            The link.
        first
            The frame that was read from it.
        address
            Address of the replica that serves it.
        query
            Query of the link's URL.
        token
            Token of the person.

        Raises
        ------
        NotServedError
            If that replica cannot be reached, does not prove that it is one, or ends the link before it sent
            anything. The link can be served by another one.
        CommandError
            If that replica refuses the person.
        """
        await self._check(address)
        headers = {"Authorization": f"Bearer {token.reveal()}", FORWARDED: "1"}
        other = await self._connected(address, PATH, query, headers)
        try:
            try:
                await other.send(first)
                greeting = await other.recv()
            except ConnectionClosed as error:
                raise NotServedError(f"{address} does not serve it") from error
            with suppress(ConnectionClosed):
                await connection.send(greeting)
                await self._exchange(connection, other)
        finally:
            await other.close(GOING_AWAY)

    async def others(self) -> set[str]:
        """Return the addresses of the other replicas. Raises `StoreError` if the store cannot be reached."""
        return {*await self._in_thread(self._directory.announced)} - {self.address}

    async def connect(self, address: str) -> ClientConnection:
        """Return a link of this replica to another one; both have proved that they are replicas.

        Raises
        ------
        NotServedError
            If that replica cannot be reached, or does not prove that it is one.
        CommandError
            If it accepts no such links.
        """
        await self._check(address)
        return await self._connected(address, TAKE_PART, "", {PROOF_HEADER: self._proof_to(address)})

    def admit(
        self, connection: ServerConnection, request: Request, path: str, query: str, *, is_draining: bool
    ) -> Response | None:
        """Answer a replica that asks for a proof of this one, or for a link; `None` admits the link."""
        if path == PROOF:
            response = connection.respond(HTTPStatus.OK, "")
            response.headers[PROOF_HEADER] = self._proof_of(self.address, query)
            return response
        proof = "".join(request.headers.get_all(PROOF_HEADER))  # `get` raises an error if there are two
        status = HTTPStatus.SERVICE_UNAVAILABLE
        if not hmac.compare_digest(proof.encode(), self._proof_to(self.address).encode()):
            status = HTTPStatus.NOT_FOUND
        elif not is_draining:
            connection.protocol.max_message_size = MAX_FROM_KERNEL
            return None
        return connection.respond(status, f"{status.phrase}\n")

    def _proof_of(self, address: str, nonce: str) -> str:
        return self._signed(f"{nonce} {address}")

    def _proof_to(self, address: str) -> str:
        # Anyone can choose a nonce. No nonce gives this text, since it does not end with an address.
        return self._signed(f"{address} {TAKE_PART}")

    def _signed(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    async def _check(self, address: str) -> None:
        """Raise `NotServedError` unless the replica with this address is there."""
        if self._client is None:
            verify = httpx2.create_ssl_context() if self._tls is None else self._tls
            self._client = httpx2.AsyncClient(verify=verify, trust_env=False, timeout=CONNECT_S)
        nonce = secrets.token_hex(32)
        try:
            async with (
                asyncio.timeout(CONNECT_S),
                self._client.stream("GET", f"{address.rstrip('/')}/{PROOF}?{nonce}") as response,
            ):
                found = response.headers.get(PROOF_HEADER, "")
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise NotServedError(f"{address} cannot be reached: {type(error).__name__}") from error
        if not hmac.compare_digest(found.encode(), self._proof_of(address, nonce).encode()):
            raise NotServedError(f"{address} does not prove that it is a replica of this service")

    async def _connected(
        self, address: str, path: str, query: str, headers: Mapping[str, str]
    ) -> ClientConnection:
        parts = urlsplit(address)
        scheme = "wss" if parts.scheme == "https" else "ws"
        url = urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", query, ""))
        try:
            return await connect(
                url,
                additional_headers=headers,
                ssl=self._tls if scheme == "wss" else None,
                proxy=None,
                compression=None,
                open_timeout=CONNECT_S,
                close_timeout=CONNECT_S,
                ping_interval=PING_S,
                ping_timeout=LOST_S,
                max_size=MAX_FRAME,
                logger=quiet,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise NotServedError(f"{address} answers with status {status}") from None
            reason = reason_in(error.response)
            raise CommandError(f"it answers with status {status}{reason and f' ({reason})'}") from None
        except (OSError, InvalidHandshake, ConnectionClosed) as error:  # a timeout too is an `OSError`
            raise NotServedError(f"{address} cannot be reached: {type(error).__name__}") from error

    async def _exchange(self, one: ServerConnection, other: ClientConnection) -> None:
        """Pass on frames in both directions until either link ends."""
        passing = [
            self._loop.spawn(_passed(source, target), name="nbchat-forward")
            for source, target in ((one, other), (other, one))
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            await asyncio.wait(passing)


async def _passed(
    source: ServerConnection | ClientConnection, target: ServerConnection | ClientConnection
) -> None:
    with suppress(ConnectionClosed):
        while True:
            await target.send(await source.recv())


def chosen(namespace: str, addresses: Iterable[str]) -> str:
    """Return the replica that claims a namespace: each replica chooses the same one.

    When a replica joins or leaves, only the choices of and for that replica change (rendezvous hashing).
    """
    return max(addresses, key=lambda one: hashlib.sha256(f"{one} {namespace}".encode()).digest())

"""`DividedBatches`: lets all replicas of a service send the prompts of one batch.

The replica that holds the namespace of a batch asks the others to take part. Each of them runs the same batch
on the same record in the store, where a prompt is claimed before it is sent, and where all requests have one
rate. The holder decides how many prompts are in progress: the others borrow a slot from it for each prompt.

The others receive the configuration of the kernel, with its keys, over a link on which both ends have proved
that they are replicas (see `Replicas`). They keep it in memory until their part of the batch has ended. When
the link is lost, a replica finishes its prompts in progress and sends no more.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from nbchat.batch_engine.batch import Batch, End, Journal
from nbchat.batch_engine.request import BatchRequest
from nbchat.core.errors import CommandError, ConfigError, NbchatError, StoreError, WireError
from nbchat.core.values import Value, convert
from nbchat.core.version import VERSION
from nbchat.engine.base import EngineBase
from nbchat.runner.engine import Origin
from nbchat.runner.frames import check_for_service, encode_frame
from nbchat.runner.messages import Call, Profile, Reply
from nbchat.runner.profile import travels
from nbchat.service.replicas import NotServedError
from nbchat.service.websocket import AsyncWebSocketTransport

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from nbchat.engine.loop_thread import LoopThread
    from nbchat.service.replicas import Replicas
    from nbchat.service.storage import Storage

logger = logging.getLogger("nbchat")

LOOK_S: Final = 2.0
"""Interval at which other replicas are asked that have joined meanwhile."""

END_S: Final = 3.0
"""Longest wait for the other replicas after the end of a batch."""

INVITED_S: Final = 10.0
"""Longest wait for the first message of a link."""


class Invitation(Value, frozen=True, kw_only=True):
    """A batch in which a replica is to take part."""

    namespace: str
    request: BatchRequest
    profile: Profile
    """The configuration of the kernel that started it, with its keys."""


class DividedBatches:
    """Asks other replicas to take part in batches, and takes part in theirs. Only for the loop.

    Parameters
    ----------
    loop
        The loop of the service.
    storage
        Has the records of batches.
    """

    def __init__(self, loop: LoopThread, storage: Storage) -> None:
        self.replicas: Replicas | None = None
        """The replicas of the service; `None` if there can be no others."""
        self._loop = loop
        self._storage = storage
        self._parts: set[Batch] = set()
        """Batches of other replicas."""
        self._is_draining = False

    def __repr__(self) -> str:
        """Return the number of batches of other replicas."""
        return f"<DividedBatches, takes part in {len(self._parts)}>"

    # Batches of this replica

    async def divide(self, namespace: str, batch: Batch, origin: Origin) -> None:
        """Let other replicas send prompts of a batch until it has ended.

        A replica whose part ends early because every prompt would fail there is not asked again.
        """
        replicas = self.replicas
        await batch.is_ready.wait()
        invitation = _invitation(namespace, batch, origin)
        if replicas is None or invitation is None:
            return
        parts: dict[str, asyncio.Task[bool]] = {}
        try:
            while not batch.end:
                with suppress(StoreError):
                    for address in () if batch.is_draining else await replicas.others():
                        part = parts.get(address)
                        if part is None or (part.done() and part.result()):
                            parts[address] = self._loop.spawn(
                                self._lend(replicas, address, batch, invitation),
                                name="nbchat-batch-lend",
                            )
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await batch.wait()
            if parts:
                await asyncio.wait(parts.values(), timeout=END_S)
        finally:
            for part in parts.values():
                part.cancel()
            if parts:
                await asyncio.wait(parts.values())

    async def _lend(self, replicas: Replicas, address: str, batch: Batch, invitation: bytes) -> bool:
        """Lend slots of a batch to another replica until its part ends; return whether to ask it again."""
        try:
            connection = await replicas.connect(address)
        except (NotServedError, CommandError) as error:
            logger.debug("a replica takes no part in a batch: %s", error)
            return isinstance(error, NotServedError)
        transport = AsyncWebSocketTransport(connection, self._loop)
        transport.write(invitation)
        steering = self._loop.spawn(_steer(transport, batch), name="nbchat-batch-steer")
        lent: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                message, _ = await transport.read()
                if not isinstance(message, Call):
                    raise WireError("a replica sent something else than a call.")
                if message.name == "take_slot":
                    lending = _lend_slot(transport, batch, message.id)
                    lent[message.id] = self._loop.spawn(lending, name="nbchat-batch-slot")
                elif message.name == "free_slot":
                    lent.pop(message.args["slot"]).cancel()
                else:
                    return bool(message.args["end"] == "drained")
        except EOFError:
            return True
        except NbchatError as error:
            logger.warning("%s no longer takes part in a batch: %s", address, error)
            return False
        finally:
            for task in (steering, *lent.values()):
                task.cancel()
            transport.close()
            await transport.wait_closed()

    # Batches of other replicas

    @property
    def is_busy(self) -> bool:
        """True if this replica sends prompts of a batch of another one."""
        return bool(self._parts)

    async def take_part(self, connection: ServerConnection) -> None:
        """Send prompts of a batch of the replica at the other end until it ends the batch or the link."""
        transport = AsyncWebSocketTransport(connection, self._loop)
        end: End = "failed"
        try:
            async with asyncio.timeout(INVITED_S):
                message, _ = await transport.read()
            if not isinstance(message, Call) or message.args.get("version") != VERSION:
                raise WireError("the other replica has another version of nbchat.")
            end = await self._take_part(transport, convert(Invitation, message.args["invitation"]))
        except (EOFError, OSError, NbchatError) as error:
            logger.warning("this replica takes no part in a batch: %s", error)
        finally:
            transport.write(encode_frame(Call(id=0, name="ended", args={"end": end})))
            transport.close()
            await transport.wait_closed()

    async def _take_part(self, transport: AsyncWebSocketTransport, invitation: Invitation) -> End:
        engine = EngineBase(None, self._loop)
        engine.cache_path = self._storage.cache(invitation.namespace)
        demo, request = engine.providers, invitation.request
        origin = Origin(invitation.profile, demo.demo_url, _in_kernel, {})
        slots = BorrowedSlots(transport)

        def journal() -> Journal:
            return Journal(place=self._storage.batch(invitation.namespace, request.id, joins=True))

        batch = Batch(engine, request, journal, providers=origin, slots=slots)
        self._parts.add(batch)
        if self._is_draining:
            batch.drain()
        obeying = self._loop.spawn(_obey(transport, batch, slots), name="nbchat-batch-obey")
        try:
            await batch.wait()
        finally:
            self._parts.discard(batch)
            obeying.cancel()
            await origin.aclose()
            await demo.aclose()
        if batch.error is not None:
            logger.warning("this replica sends no more prompts of a batch: %s", batch.error)
        return batch.end

    def drain(self) -> None:
        """Let the prompts of other replicas' batches that are in progress end, and send no more."""
        self._is_draining = True
        for batch in self._parts:
            batch.drain()

    async def close(self) -> None:
        """End the parts in other replicas' batches, and wait until their records are closed."""
        self._is_draining = True
        parts = list(self._parts)
        for batch in parts:
            batch.abandon()
        for batch in parts:
            await batch.wait()


def _invitation(namespace: str, batch: Batch, origin: Origin) -> bytes | None:
    """Return the first message to the other replicas; `None` if there is nothing that they can do."""
    request, profile = batch.request, origin.profile()
    pending = len(request.prompts) - (batch.known or 0)
    provider = request.settings.provider or origin.defaults.provider
    if batch.journal is None or min(pending, request.concurrency) <= 1:
        return None
    if not travels(provider, profile.servers):
        return None  # it is used in the kernel
    invitation = Invitation(namespace=namespace, request=request, profile=profile)
    args = {"version": VERSION, "invitation": invitation}
    frame = encode_frame(Call(id=0, name="take_part", args=args))
    try:
        check_for_service(frame)
    except CommandError:
        return None
    return frame


async def _steer(transport: AsyncWebSocketTransport, batch: Batch) -> None:
    """Pass on the pauses of a batch, and its end."""
    changed = asyncio.Event()
    batch.readers.add(changed.set)
    last = "resume"
    try:
        while last not in ("stop", "end"):
            name = "pause" if batch.is_paused else "resume"
            if batch.is_draining:
                name = "drain"
            if batch.end:
                name = "stop" if batch.end == "stopped" else "end"
            if name != last:
                transport.write(encode_frame(Call(id=0, name=name)))
                last = name
            else:
                await changed.wait()
                changed.clear()
    finally:
        batch.readers.discard(changed.set)


async def _lend_slot(transport: AsyncWebSocketTransport, batch: Batch, number: int) -> None:
    """Lend a slot, as soon as there is one, until this is cancelled."""
    async with batch.slots:
        if not (batch.is_stopping or batch.is_draining):  # else the prompts that are ending have freed it
            transport.write(encode_frame(Reply(id=number)))
        await asyncio.Event().wait()


async def _obey(transport: AsyncWebSocketTransport, batch: Batch, slots: BorrowedSlots) -> None:
    """Handle the messages of the replica that has divided a batch, and after its last one send no prompts."""
    try:
        while True:
            message, _ = await transport.read()
            if isinstance(message, Reply):
                slots.lent(message.id)
            elif isinstance(message, Call) and message.name == "pause":
                batch.pause(transport)
            elif isinstance(message, Call) and message.name == "resume":
                batch.resume(transport)
            elif isinstance(message, Call) and message.name == "stop":
                batch.stop()
            else:
                batch.drain()
    except EOFError:
        pass
    finally:
        batch.drain()


def _in_kernel(name: str) -> NoReturn:
    raise ConfigError(f"the provider {name!r} can only be used in the kernel.")


class BorrowedSlots:
    """Slots of a batch that another replica lends. A context that is entered for each prompt.

    After the end of the link, entering it waits until it is cancelled.
    """

    def __init__(self, transport: AsyncWebSocketTransport) -> None:
        self._transport = transport
        self._numbers = itertools.count(1)
        self._wanted: dict[int, asyncio.Future[None]] = {}
        self._held: list[int] = []

    def __repr__(self) -> str:
        """Return the number of slots."""
        return f"<BorrowedSlots, {len(self._held)} held>"

    async def __aenter__(self) -> None:
        """Wait for a slot."""
        number = next(self._numbers)
        wanted = self._wanted[number] = asyncio.get_running_loop().create_future()
        self._transport.write(encode_frame(Call(id=number, name="take_slot")))
        try:
            await wanted
        except asyncio.CancelledError:
            self._free(number)
            raise
        finally:
            del self._wanted[number]
        self._held.append(number)

    async def __aexit__(self, *_error: object) -> None:
        """Return a slot; all are alike."""
        self._free(self._held.pop())

    def _free(self, number: int) -> None:
        self._transport.write(encode_frame(Call(id=0, name="free_slot", args={"slot": number})))

    def lent(self, number: int) -> None:
        """Note that a slot was lent."""
        wanted = self._wanted.get(number)
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

"""Provider objects, which cannot travel: they stay in their kernel, and the runner reads them over the link.

Such a session ends with its kernel. `KernelProvider` is the runner's side and `ProviderObjects` the kernel's.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, get_args

import msgspec

from nbchat.core.errors import NbchatError, RunCrashed
from nbchat.core.redact import redact
from nbchat.core.values import convert
from nbchat.providers import base
from nbchat.providers.base import Delta, Provider, Request, cache_scope_of, protocol_of, server_of
from nbchat.runner.messages import More, Piece

WINDOW: Final = 64
"""Deltas that are under way at the same time. A paused run stops reading, and so stops the object."""

_KINDS: Final = {kind.__name__: kind for kind in get_args(base.Delta)}

_numbers: Final = itertools.count(1)
"""Numbers of streams. None is used again: pieces of an ended stream may still arrive."""

Ask = Callable[..., Awaitable[Any]]
"""Calls a function of the kernel: its name and arguments."""


class KernelProvider:
    """Streams from a provider object of a kernel. Implements `Provider`, in the runner.

    Parameters
    ----------
    ask
        Calls the kernel.
    streams
        Receives the queue of each open stream, by its number.
    more
        Tells the kernel that a delta was read.
    person
        The person whose kernel it is, in a service.
    """

    def __init__(
        self,
        provider_id: str,
        traits: Mapping[str, Any],
        ask: Ask,
        streams: dict[int, asyncio.Queue[Piece | None]],
        more: Callable[[More], None],
        *,
        person: str = "",
    ) -> None:
        self.person = person
        self._id = provider_id
        self._ask = ask
        self._streams = streams
        self._more = more
        self.name: str = str(traits.get("name", "provider"))
        self.can_prefill: bool = bool(traits.get("can_prefill"))
        self.can_resume: bool = bool(traits.get("can_resume"))
        self.protocol: str | None = traits.get("protocol")
        self.server: str | None = traits.get("server")
        self.cache_scope: str | None = traits.get("cache_scope")

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Yield the deltas of the object in the kernel."""
        number = next(_numbers)
        queue = self._streams[number] = asyncio.Queue()
        task = asyncio.ensure_future(
            self._ask("stream", provider=self._id, stream=number, request=msgspec.to_builtins(request))
        )

        def over(task: asyncio.Future[Any]) -> None:
            if not task.cancelled():
                task.exception()  # raised below, unless the run was ended from outside
            queue.put_nowait(None)

        task.add_done_callback(over)
        try:
            while (piece := await queue.get()) is not None:
                self._more(More(stream=number))
                yield convert(_KINDS[piece.kind], _unpacked(piece.delta))
            await task  # raises the provider's error
        finally:
            self._streams.pop(number, None)
            if not task.done():
                task.cancel()
                with suppress(Exception):
                    await self._ask("end_stream", stream=number)

    async def models(self) -> Sequence[str]:
        """Return the models that the object lists."""
        return tuple(await self._ask("provider_models", provider=self._id))

    async def cancel(self, response_id: str) -> None:
        """Cancel a response, if the object can."""
        await self._ask("cancel_response", provider=self._id, response_id=response_id)

    async def aclose(self) -> None:
        """Do nothing: the object belongs to its kernel."""


class ProviderObjects:
    """The provider objects of this kernel. Coroutines run on the loop of the kernel's own engine.

    Parameters
    ----------
    load
        Returns the provider that a package brings under a name.
    send
        Sends a delta to the runner.
    """

    def __init__(self, load: Callable[[str], Awaitable[Provider]], send: Callable[[Piece], None]) -> None:
        self._load = load
        self._send = send
        self._objects: dict[str, Provider] = {}
        self._streams: dict[int, tuple[asyncio.Task[None], asyncio.Semaphore]] = {}
        self.causes: dict[str, BaseException] = {}
        """The exceptions that objects raised, by run."""

    def keep(self, provider_id: str, provider: Provider) -> dict[str, Any]:
        """Keep an object under an id; return what the runner has to know of it."""
        self._objects[provider_id] = provider
        return {
            "name": str(provider.name),
            "can_prefill": bool(provider.can_prefill),
            "can_resume": bool(provider.can_resume),
            "protocol": protocol_of(provider),
            "server": server_of(provider),
            "cache_scope": cache_scope_of(provider),
        }

    async def _provider(self, provider_id: str) -> Provider:
        found = self._objects.get(provider_id)
        return found if found is not None else await self._load(provider_id)

    async def stream(self, provider: str, stream: int, request: Mapping[str, Any]) -> None:
        """Send the deltas of an object until it has finished."""
        asked: Request = convert(Request, request)
        window = asyncio.Semaphore(WINDOW)
        task = asyncio.ensure_future(self._read(await self._provider(provider), stream, asked, window))
        self._streams[stream] = (task, window)
        try:
            await task
        except NbchatError as error:
            self._remember(asked.run_id, error.__cause__)
            raise
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._remember(asked.run_id, error)
            text = redact(f"the provider raised {type(error).__name__}: {error}")[:300]
            raise RunCrashed(f"{text}.") from error
        finally:
            self._streams.pop(stream, None)

    def _remember(self, run_id: str, cause: BaseException | None) -> None:
        if cause is not None:
            self.causes[run_id] = cause
            while len(self.causes) > WINDOW:
                del self.causes[next(iter(self.causes))]

    async def _read(
        self, provider: Provider, stream: int, request: Request, window: asyncio.Semaphore
    ) -> None:
        prepare = getattr(provider, "prepare", None)
        if prepare is not None:
            await prepare()
        deltas = provider.stream(request)
        try:
            async for delta in deltas:
                await window.acquire()
                plain = _packed(msgspec.to_builtins(delta))
                self._send(Piece(stream=stream, kind=type(delta).__name__, delta=plain))
        finally:
            close = getattr(deltas, "aclose", None)
            if close is not None:
                await close()

    def more(self, stream: int) -> None:
        """Let a stream send another delta."""
        if (found := self._streams.get(stream)) is not None:
            found[1].release()

    async def end_stream(self, stream: int) -> None:
        """Close a stream whose run is over."""
        if (found := self._streams.get(stream)) is not None:
            found[0].cancel()

    async def provider_models(self, provider: str) -> Sequence[str]:
        """Return the models of an object."""
        return list(await (await self._provider(provider)).models())

    async def cancel_response(self, provider: str, response_id: str) -> None:
        """Cancel a response on its server."""
        found = await self._provider(provider)
        if isinstance(found, base.Cancels):
            await found.cancel(response_id)

    def end(self) -> None:
        """End all streams: the link is lost."""
        for task, _window in list(self._streams.values()):
            task.cancel()


_HALVES: Final = "utf-16-le"
"""Key of a text with half a surrogate pair, which JSON in UTF-8 cannot represent: its other half follows."""


def _packed(delta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {_HALVES: value.encode(_HALVES, "surrogatepass").hex()}
        if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)
        else value
        for name, value in delta.items()
    }


def _unpacked(delta: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: bytes.fromhex(value[_HALVES]).decode(_HALVES, "surrogatepass")
        if isinstance(value, dict) and _HALVES in value
        else value
        for name, value in delta.items()
    }

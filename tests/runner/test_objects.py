"""Streams of provider objects over the link."""

import asyncio
from typing import Any

from nbchat.providers.base import Delta, Finish, Request, TextDelta
from nbchat.runner.messages import Piece
from nbchat.runner.objects import KernelProvider


class PlayedKernel:
    """The kernel's end of a link, whose pieces the test sends."""

    def __init__(self) -> None:
        self.streams: dict[int, asyncio.Queue[Piece | None]] = {}
        self.started: asyncio.Queue[int] = asyncio.Queue()
        self.ended: list[int] = []
        self._over = asyncio.Event()

    async def ask(self, name: str, **args: Any) -> None:
        """Stream until `end`."""
        if name == "stream":
            self.started.put_nowait(args["stream"])
            await self._over.wait()
        else:
            self.ended.append(args["stream"])

    def provider(self) -> KernelProvider:
        """Return a provider as each run gets it."""
        return KernelProvider("o-1", {}, self.ask, self.streams, lambda _more: None)

    def send(self, number: int, text: str) -> None:
        """Send a piece, which is dropped if no stream has this number."""
        if (queue := self.streams.get(number)) is not None:
            queue.put_nowait(Piece(stream=number, kind="TextDelta", delta={"text": text}))

    def end(self, number: int) -> None:
        """End the stream as the object does."""
        self.streams[number].put_nowait(Piece(stream=number, kind="Finish", delta={"reason": "stop"}))
        self._over.set()


async def test_a_late_piece_of_an_ended_stream_is_dropped() -> None:
    """A run that starts after another one was stopped gets none of its deltas, although they arrive later."""
    kernel = PlayedKernel()
    first = kernel.provider().stream(Request(messages=()))
    reading: asyncio.Future[Delta] = asyncio.ensure_future(anext(first))
    one = await kernel.started.get()
    kernel.send(one, "of the first")
    assert await reading == TextDelta("of the first")
    await first.aclose()  # type: ignore[attr-defined]
    assert kernel.ended == [one]

    second = kernel.provider().stream(Request(messages=()))
    reading = asyncio.ensure_future(anext(second))
    two = await kernel.started.get()
    kernel.send(one, "too late")
    kernel.send(two, "of the second")
    kernel.end(two)
    assert [await reading, *[delta async for delta in second]] == [
        TextDelta("of the second"),
        Finish("stop"),
    ]

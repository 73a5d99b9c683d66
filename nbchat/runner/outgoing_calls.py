"""`OutgoingCalls`: calls that a runner makes to one kernel, and their replies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nbchat.core.errors import KernelGone, from_info
from nbchat.runner.messages import Call, Reply

if TYPE_CHECKING:
    from nbchat.engine.loop_thread import LoopThread


class OutgoingCalls:
    """Calls functions of a kernel and returns their values. Only for the engine's loop.

    Parameters
    ----------
    loop
        The engine's loop.
    send
        Sends a call.
    """

    def __init__(self, loop: LoopThread, send: Callable[[Call], None]) -> None:
        self._loop = loop
        self._send = send
        self._futures: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._has_ended = False

    def __repr__(self) -> str:
        """Return the number of calls that are not answered yet."""
        return f"<OutgoingCalls, {len(self._futures)} pending>"

    async def ask(self, name: str, /, **args: Any) -> Any:  # noqa: ANN401 - the function's value
        """Call a function of the kernel.

        Raises
        ------
        NbchatError
            If it raised, or the kernel is gone.
        """
        if self._has_ended:
            raise _gone()
        self._number += 1
        number = self._number
        future = self._futures[number] = self._loop.aio.create_future()
        self._send(Call(id=number, name=name, args=args))
        try:
            return await future
        finally:
            self._futures.pop(number, None)

    def notify(self, name: str, /, **args: Any) -> None:  # noqa: ANN401 - JSON values
        """Call a function of the kernel without waiting for it."""
        self._number += 1
        self._send(Call(id=self._number, name=name, args=args))

    def receive(self, reply: Reply) -> None:
        """Complete a call; a reply without a pending call is ignored."""
        future = self._futures.get(reply.id)
        if future is not None and not future.done():
            if reply.error is None:
                future.set_result(reply.value)
            else:
                future.set_exception(from_info(reply.error))

    def close(self) -> None:
        """End all calls, since the kernel is gone."""
        self._has_ended = True
        for future in self._futures.values():
            if not future.done():
                future.set_exception(_gone())
        self._futures.clear()


def _gone() -> KernelGone:
    return KernelGone("the kernel that held this session's provider is gone.")

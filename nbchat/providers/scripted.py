"""`ScriptedProvider` streams a prepared script, for tests of nbchat and of code that uses it.

::

    provider = ScriptedProvider("Paris", " is", PAUSE, " nice.")
    run = nbchat.session("geo", provider=provider).send("Capital of France?")
    provider.wait_paused()      # "Paris is" was streamed
    provider.go()
    run.result()
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from nbchat.providers.base import Answering, Delta, Finish, Request, TextDelta

__all__ = ["HANG", "PAUSE", "ScriptedProvider"]


class _Pause:
    """The type of `PAUSE`."""

    def __repr__(self) -> str:
        return "PAUSE"


PAUSE: Final = _Pause()
"""Script step: wait until `go()` is called."""

HANG: Final = _Pause()
"""Script step: wait forever; only a stop, a time limit or the end of the process ends the stream."""

Step = str | Delta | _Pause | BaseException
Script = Sequence[Step]


class ScriptedProvider:
    """Streams the steps of a script, the same for each request.

    Parameters
    ----------
    steps
        Text, other deltas, `PAUSE`, `HANG`, and exceptions, which are raised. Alternatively one function
        that takes the request and returns the steps.
    finish
        The finish reason after the last step. `None`: the stream ends without a finish reason.
    models
        The ids that `models()` returns.
    """

    def __init__(
        self,
        *steps: Step | Callable[[Request], Script],
        finish: str | None = "stop",
        models: Sequence[str] = ("scripted",),
        can_prefill: bool = True,
        can_resume: bool = False,
    ) -> None:
        self.name = "scripted"
        self.can_prefill = can_prefill
        self.can_resume = can_resume
        self.requests: list[Request] = []
        """All requests, in order of arrival."""
        self.closed: int = 0
        """Number of streams that ended or were closed."""
        self._steps = steps
        self._finish = finish
        self._models = tuple(models)
        self._lock = threading.Condition()
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __repr__(self) -> str:
        """Return a description with the number of requests."""
        return f"<ScriptedProvider, {len(self.requests)} requests>"

    def _script(self, request: Request) -> Script:
        first = self._steps[0] if len(self._steps) == 1 else None
        if callable(first):
            return first(request)
        return [step for step in self._steps if not callable(step)]

    async def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Yield the steps of the script."""
        with self._lock:
            self.requests.append(request)
            self._lock.notify_all()
        try:
            yield Answering(model=request.model)
            for step in self._script(request):
                if isinstance(step, str):
                    yield TextDelta(step)
                elif step is HANG:
                    await asyncio.Event().wait()
                elif isinstance(step, _Pause):
                    await self._hold()
                elif isinstance(step, BaseException):
                    raise step
                else:
                    yield step
                # Like a real stream, let other tasks run between two pieces.
                await asyncio.sleep(0)
            if self._finish is not None:
                yield Finish(self._finish)
        finally:
            with self._lock:
                self.closed += 1
                self._lock.notify_all()

    async def _hold(self) -> None:
        gate = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._held.append(gate)
            self._lock.notify_all()
        try:
            await gate[1].wait()
        finally:
            with self._lock:
                if gate in self._held:
                    self._held.remove(gate)

    async def models(self) -> Sequence[str]:
        """Return the `models` given at construction."""
        return self._models

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""

    # Methods for tests

    def wait_until(self, condition: Callable[[ScriptedProvider], object], timeout_s: float = 30.0) -> None:
        """Wait until `condition(self)` is true; it is evaluated after each change of the provider.

        Raises
        ------
        TimeoutError
            If it is not true within `timeout_s`.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: bool(condition(self)), timeout_s):
                raise TimeoutError(f"{self!r} did not come to what was waited for")

    def wait_paused(self, streams: int = 1) -> None:
        """Wait until `streams` streams are waiting at a `PAUSE`."""
        self.wait_until(lambda _self: len(self._held) >= streams)

    async def paused(self, streams: int = 1) -> None:
        """Wait, in any event loop, until `streams` streams are waiting at a `PAUSE`."""
        await asyncio.to_thread(self.wait_paused, streams)

    def go(self) -> None:
        """Resume all streams that are waiting at a `PAUSE`."""
        with self._lock:
            held, self._held = self._held, []
        for loop, gate in held:
            loop.call_soon_threadsafe(gate.set)

"""`Batches` and `BatchReader`: how a caller's thread starts a batch and reads its answers.

`LocalBatches` runs batches on the engine of this process. A link to a runner has its own implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from nbchat.batch_engine.batch import Batch, Journal
from nbchat.batch_engine.places import place_of
from nbchat.core.errors import CommandError
from nbchat.engine.loop_thread import POLL_S
from nbchat.engine.wakeup import Wakeup

if TYPE_CHECKING:
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.engine.engine import Engine
    from nbchat.engine.one_shot import Answer
    from nbchat.providers.base import Provider


class BatchReader(Protocol):
    """One caller's view of a batch. Methods are for the caller's thread."""

    def open(self) -> int:
        """Start the batch or attach to it; return the number of answers of earlier calls, which come first.

        Raises
        ------
        ValueError, StoreError
            If the journal cannot be used; nothing was sent.
        """
        ...

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers so far. It only grows; an answer may be repeated."""
        ...

    @property
    def is_over(self) -> bool:
        """True if there will be no more answers. Read it before `answers`."""
        ...

    def wait(self) -> None:
        """Wait until there is something new, or briefly.

        Raises
        ------
        NbchatError
            If the batch can no longer be followed.
        """
        ...

    def check(self) -> None:
        """Raise the error because of which a batch that is over is not complete, if there is one."""
        ...

    def stop(self, *, is_interrupt: bool) -> None:
        """Stop the batch.

        Parameters
        ----------
        is_interrupt
            An interrupt is the cause. It may be the first step of a restart of the kernel.
        """
        ...

    def close(self) -> None:
        """Report that the caller has all answers."""
        ...


class Batches(Protocol):
    """An engine that runs batches."""

    def reader(self, request: BatchRequest) -> BatchReader:
        """Return a reader for a batch, which its `open` starts."""
        ...


class RunnerBatches(Batches, Protocol):
    """The runner of this kernel, which runs batches that contain no Python object of the kernel."""

    def can_run(self, provider: str | Provider | None) -> bool:
        """Return whether a batch with this provider can run outside the kernel."""
        ...


class LocalBatches:
    """The engine of this process. Implements `Batches`.

    Parameters
    ----------
    engine
        The engine.
    provider
        The provider object of all prompts, if the caller gave one.
    """

    def __init__(self, engine: Engine, provider: Provider | None) -> None:
        self._engine = engine
        self._provider = provider

    def reader(self, request: BatchRequest) -> BatchReader:
        """Return a reader for a batch, which its `open` starts."""
        place = None if request.journal is None else Journal(place=place_of(request.journal))

        def start() -> Batch:
            return Batch(self._engine, request, lambda: place, provider=self._provider, is_held=True)

        return LocalReader(self._engine, start)


class LocalReader:
    """Reads a batch of this process. Implements `BatchReader`."""

    def __init__(self, engine: Engine, start: Callable[[], Batch]) -> None:
        self._loop = engine.loop
        self._start = start
        self._changed = Wakeup()
        self._batches: list[Batch] = []  # filled even if the call that creates the batch is interrupted

    def open(self) -> int:
        """Start the batch; return the number of answers in its journal."""
        self._loop.call(self._begin)
        batch = self._batches[0]
        while batch.known is None and not batch.end:
            self.wait()
        self.check()
        return batch.known or 0

    def _begin(self) -> None:
        batch = self._start()
        self._batches.append(batch)
        batch.readers.add(self._changed.set)

    def _stop(self) -> None:
        for batch in self._batches:
            batch.stop()

    @property
    def answers(self) -> Sequence[Answer]:
        """The answers so far."""
        return self._batches[0].answers if self._batches else ()

    @property
    def is_over(self) -> bool:
        """True if all prompts have ended."""
        return any(batch.end or len(batch.answers) == len(batch.request.prompts) for batch in self._batches)

    def wait(self) -> None:
        """Wait until there is something new, or briefly."""
        self._changed.wait(POLL_S)

    def check(self) -> None:
        """Raise the error that ended the batch, if there is one."""
        error = self._batches[0].error
        if error is not None:
            raise error

    def stop(self, *, is_interrupt: bool) -> None:  # noqa: ARG002 - this engine ends with its kernel
        """Stop the batch, and wait until its journal is closed."""
        with suppress(CommandError):  # an engine that cannot be reached runs no batch
            self._loop.call(self._stop)
            self._wait_for_end()

    def _wait_for_end(self) -> None:
        while not all(batch.end for batch in self._batches):
            self.wait()

    def close(self) -> None:
        """Wait until the journal is closed."""
        self._loop.call(self._batches[0].release)
        self._wait_for_end()

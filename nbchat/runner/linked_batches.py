"""`LinkedBatches`: the batches of this kernel that run in its runner."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from nbchat.core.errors import CommandError, KernelGone, NbchatError, from_info
from nbchat.core.run import RunState
from nbchat.engine.loop_thread import POLL_S
from nbchat.engine.one_shot import Answer
from nbchat.engine.wakeup import Wakeup
from nbchat.runner.profile import travels

if TYPE_CHECKING:
    import asyncio

    from nbchat.batch_engine.reader import BatchReader
    from nbchat.batch_engine.request import BatchRequest
    from nbchat.engine.engine import Engine
    from nbchat.providers.base import Provider
    from nbchat.runner.messages import BatchNews

RESTART_S: Final = 2.0
"""Seconds between an interrupt and the stop of a batch. Jupyter interrupts a kernel before it restarts it: if
the kernel ends within this time, its batch continues."""

STOP_S: Final = 10.0
"""Longest wait until a stopped batch has closed its journal."""


class Call(Protocol):
    """Calls a function of the runner, also of one that replaces a killed one."""

    def __call__(self, name: str, timeout_s: float | None = None, /, **args: Any) -> Any:  # noqa: ANN401
        """Return the function's value, or raise its error."""
        ...


class LinkedBatches:
    """Starts batches in the runner, or attaches to them. Implements `RunnerBatches`.

    Parameters
    ----------
    engine
        The engine of this kernel, with the configuration.
    call
        Calls the runner.
    post
        Calls the runner without waiting; returns False if there is no link.
    """

    def __init__(self, engine: Engine, call: Call, post: Callable[..., bool]) -> None:
        self.call = call
        self.post = post
        self._engine = engine
        self._views = itertools.count(1)
        self._readers: dict[int, LinkedReader] = {}
        self._stops: dict[str, asyncio.TimerHandle] = {}
        """Batches that are stopped if the kernel does not end, by id."""

    def __repr__(self) -> str:
        """Return the number of batches that are read."""
        return f"<LinkedBatches, {len(self._readers)}>"

    def can_run(self, provider: str | Provider | None) -> bool:
        """Return whether a batch with this provider can run outside the kernel."""
        if provider is not None and not isinstance(provider, str):
            return False
        providers = self._engine.providers
        return travels(provider or providers.defaults.provider, providers.named_servers)

    def reader(self, request: BatchRequest) -> BatchReader:
        """Return a reader for a batch, which its `open` starts or attaches to."""
        return LinkedReader(self, request)

    def add(self, reader: LinkedReader) -> int:
        """Return a number under which the reader receives answers."""
        view = next(self._views)
        self._readers[view] = reader
        return view

    def remove(self, view: int) -> None:
        """Receive nothing more under this number."""
        self._readers.pop(view, None)

    def received(self, message: BatchNews) -> None:
        """Give answers to their reader. On the link's reading thread."""
        reader = self._readers.get(message.view)
        if reader is not None:
            reader.received(message)

    def lost(self) -> None:
        """Let all readers attach again: the link is lost. On the link's reading thread."""
        for view in list(self._readers):
            reader = self._readers.pop(view, None)
            if reader is not None:
                reader.lost()

    # Interrupts

    def stop_later(self, batch_id: str) -> None:
        """Stop a batch after `RESTART_S`, unless the kernel ends or `keep` is called. Does not block."""
        self.post("pause_batch", batch=batch_id)
        self._engine.loop.post(self._schedule, batch_id)

    def keep(self, batch_id: str) -> None:
        """Do not stop a batch that was interrupted: it is followed again."""
        self._engine.loop.call(self._cancel, batch_id)

    def _schedule(self, batch_id: str) -> None:
        self._cancel(batch_id)
        self._stops[batch_id] = self._engine.loop.aio.call_later(RESTART_S, self._stop, batch_id)

    def _cancel(self, batch_id: str) -> None:
        timer = self._stops.pop(batch_id, None)
        if timer is not None:
            timer.cancel()

    def _stop(self, batch_id: str) -> None:
        self._stops.pop(batch_id, None)
        # Sent from the loop, so that it cannot overtake a call that follows the batch again after `keep`.
        if not self.post("stop_batch", batch=batch_id):
            self._engine.loop.aio.run_in_executor(None, self.stop, batch_id)

    def stop(self, batch_id: str) -> None:
        """Stop a batch, and wait until its journal is closed."""
        with suppress(NbchatError, OSError, TimeoutError):
            self.call("stop_batch", STOP_S, batch=batch_id)


class LinkedReader:
    """Reads one batch of the runner. Implements `BatchReader`."""

    def __init__(self, batches: LinkedBatches, request: BatchRequest) -> None:
        self.answers: list[Answer] = []
        self._batches = batches
        self._request = request
        self._id = request.id
        self._changed = Wakeup()
        self._view = 0
        self._end = ""
        self._error: NbchatError | None = None
        self._is_lost = False
        self._is_kept = False
        """The runner keeps a journal of this batch."""

    def open(self) -> int:
        """Attach to the batch, or start it; return the number of answers so far."""
        self._batches.keep(self._id)
        found = self._attached() or self._started()
        return int(found["known"])

    def _attached(self) -> dict[str, Any] | None:
        self._follow_as_new()
        found: dict[str, Any] | None = self._batches.call("attach_batch", batch=self._id, view=self._view)
        if found is not None:
            self._is_kept = bool(found["is_kept"])
        return found

    def _started(self) -> dict[str, Any]:
        self._follow_as_new()
        found: dict[str, Any] = self._batches.call("start_batch", request=self._request, view=self._view)
        if found["value_error"]:
            raise ValueError(found["value_error"])
        self._is_kept = bool(found["is_kept"])
        return found

    def _follow_as_new(self) -> None:
        self._batches.remove(self._view)
        self._is_lost = False
        self._view = self._batches.add(self)

    @property
    def is_over(self) -> bool:
        """True if the batch has ended for this caller."""
        return self._end not in ("", "drained") and not self._is_lost

    def wait(self) -> None:
        """Wait until there is something new, or briefly; attach again if the runner was replaced."""
        if self._end != "drained" and not self._is_lost:
            self._changed.wait(POLL_S)
            return
        self._end = ""
        if self._attached() is None:
            if self._is_kept:
                self._started()
            else:
                self._give_up()

    def _give_up(self) -> None:
        """End the prompts of a runner that was killed and kept no journal: they may have been answered."""
        self._batches.remove(self._view)
        answered = {answer.index for answer in self.answers}
        for index, _ in self._request.prompts:
            if index not in answered:
                error = KernelGone(
                    "the runner was killed before this prompt was answered; it may have been asked.",
                    hint="Call nbchat.map again with the failed prompts, or with journal=….",
                )
                self.answers.append(Answer(index=index, state=RunState.INTERRUPTED, error=error))
        self._end = "complete"

    def check(self) -> None:
        """Raise the error because of which the batch is not complete."""
        if self._error is not None:
            raise self._error
        if self._end == "stopped":
            raise CommandError(
                f"the batch was stopped elsewhere; {len({a.index for a in self.answers}):,} of "
                f"{len(self._request.prompts):,} prompts were answered.",
                hint="The same call asks the rest.",
            )

    def stop(self, *, is_interrupt: bool) -> None:
        """Stop the batch. After an interrupt, it is stopped when the kernel has not ended for a while."""
        self._batches.remove(self._view)
        if self._end not in ("", "drained"):
            return
        if is_interrupt:
            self._batches.stop_later(self._id)
        elif self._is_lost:
            self._batches.post("stop_batch", batch=self._id)
        else:
            self._batches.stop(self._id)

    def close(self) -> None:
        """Let the runner forget the batch: all answers are here.

        Its journal is kept for `retry_interrupted` if prompts without an answer may have been answered.
        """
        self._batches.remove(self._view)
        keep = any(isinstance(answer.error, KernelGone) for answer in self.answers)
        with suppress(NbchatError, OSError, TimeoutError):
            self._batches.call("forget_batch", STOP_S, batch=self._id, keep_journal=keep)

    # On the link's reading thread

    def received(self, message: BatchNews) -> None:
        """Add answers, and the end after them."""
        self.answers.extend(row.answer() for row in message.answers)
        if message.end:
            self._error = None if message.error is None else from_info(message.error)
            self._end = message.end
        self._changed.set()

    def lost(self) -> None:
        """Attach again at the next `wait`: the link is lost."""
        if self._end in ("", "drained"):
            self._is_lost = True
        self._changed.set()

"""`MainThread`: executes jobs on the main thread of the process, between cells or inside a cell that waits.

1. A job is executed at most once. It can be cancelled until it starts.
2. While the main thread waits in nbchat (`ask`, `wait`, iteration, `await`), that wait executes the jobs.
   Otherwise the kernel gets a request for each, which runs after the cells that were queued before.
3. A job that is cancelled while it runs is interrupted, as the Interrupt button does. The interrupt cannot
   reach code after the job.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import FrameType
from typing import Final, Literal, Protocol, Self

from msgspec import Struct

from nbchat.core.ids import new_id


class CodeOutput(Struct, frozen=True, kw_only=True):
    """The outcome of code that was run as a cell is."""

    text: str = ""
    """Printed and displayed text, and the value of the last expression."""
    error: BaseException | None = None
    """The error that ended the code."""
    pictures: tuple[bytes, ...] = ()
    """Displayed pictures."""
    names: tuple[str, ...] = ()
    """Names that the code bound."""


def bound_names(before: Mapping[str, object], namespace: Mapping[str, object]) -> tuple[str, ...]:
    """Return the public names that were bound, or bound to another value, since the copy `before`."""
    return tuple(
        name
        for name, value in list(namespace.items())
        if not name.startswith("_") and (name not in before or before[name] is not value)
    )


class Shell(Protocol):
    """The shell of the process, such as IPython's in a kernel."""

    def request(self, job: Job) -> bool:
        """Have the main thread call `main_thread.run(job.id)` after the queued cells, if it can.

        Returns False if it cannot: the job then waits until the main thread waits in nbchat.
        """
        ...

    def run_code(self, code: str) -> CodeOutput:
        """Run code as a cell is run, with its outputs captured. On the main thread."""
        ...

    def namespace(self) -> dict[str, object]:
        """Return the user's variables."""
        ...


REPEAT_S: Final = 0.05
"""Seconds after which an interrupt is repeated if it has not arrived."""


class _Guard:
    """Delays interrupts of the main thread, so that they cut nothing off, except in the context `opened`.

    In that context they raise `KeyboardInterrupt`. The handler that was installed before is not called: it
    may be one of an event loop, which can do nothing while the main thread is in the guard.
    """

    innermost: _Guard | None = None

    def __init__(self) -> None:
        self.arrived: int = 0
        """Number of interrupts. A `KeyboardInterrupt` that code raises itself is not counted."""
        self.is_waiting: bool = False
        """True if an interrupt was delayed and has not been raised yet."""
        self.is_open: bool = False
        """True while interrupts are raised."""
        self._outer: _Guard | None = None
        self._before: Callable[[int, FrameType | None], object] | int | None = None

    def __enter__(self) -> Self:
        self._outer, _Guard.innermost = _Guard.innermost, self
        before = signal.getsignal(signal.SIGINT)
        # A handler of another library, which is `None` here, could not be restored.
        if before is not None and threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGINT, self._arrived)
        return self

    @property
    def is_installed(self) -> bool:
        """True if interrupts arrive here."""
        return self._before is not None

    @property
    def was_ignored(self) -> bool:
        """True if the process ignores interrupts, as an idle kernel does, except in this guard."""
        return self._before == signal.SIG_IGN

    def __exit__(self, *_error: object) -> None:
        _Guard.innermost = self._outer
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _arrived(self, _number: int, _frame: FrameType | None) -> None:
        self.arrived += 1
        if not self.is_open:
            self.is_waiting = True
        else:
            raise KeyboardInterrupt

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Raise interrupts in this context, also one that was delayed before it."""
        self.is_open = True
        try:
            if self.is_waiting:
                self.is_waiting = False
                raise KeyboardInterrupt
            yield
        finally:
            self.is_open = False


@contextmanager
def delayed_interrupts() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Delay interrupts of a job in this context, except in the contexts of the function that it yields."""
    guard = _Guard.innermost
    if guard is None or threading.current_thread() is not threading.main_thread():
        yield nullcontext
        return
    was_open, guard.is_open = guard.is_open, False
    try:
        yield guard.opened
    finally:
        guard.is_open = was_open


JobState = Literal["waiting", "running", "over", "cancelled"]


class Job:
    """Work for the main thread.

    Parameters
    ----------
    work
        Called on the main thread. It must not raise, and returns whether it ended with `KeyboardInterrupt`.
    started, ended
        Called when it starts, on the main thread, and when it is over.
    """

    def __init__(
        self, work: Callable[[], bool], started: Callable[[], object], ended: Callable[[str], object]
    ) -> None:
        self.id: str = new_id("j-")
        self._work = work
        self._started = started
        self._ended = ended
        self._lock = threading.Lock()
        self._state: JobState = "waiting"
        self._is_cancelled = False
        self._guard = _Guard()
        self.is_queued: bool = False
        """The kernel has a request for it."""

    @property
    def state(self) -> JobState:
        """State of the job."""
        return self._state

    def run(self) -> bool:
        """Execute the job, unless it was started or cancelled; return whether the user interrupted it."""
        if self._state != "waiting":  # a job that waits in nbchat meets itself; its guard is entered once
            return False
        with self._guard as guard:
            with self._lock:
                if self._state != "waiting":
                    return False
                self._state = "running"
            self._started()
            interrupted = True
            try:
                with guard.opened():
                    interrupted = self._work()
            except KeyboardInterrupt:  # it came between two lines of the job's own code
                pass
            guard.is_open = False
            with self._lock:  # `cancel` sends its interrupt while it holds the lock
                self._state = "over"
            self._ended("")
        if self._is_cancelled or guard.was_ignored:
            return False
        return guard.arrived > 0 and (interrupted or guard.is_waiting)

    def cancel(self) -> None:
        """Prevent the job from starting, or interrupt it. From any thread."""
        with self._lock:
            if self._state == "waiting":
                self._state = "cancelled"
            elif self._state == "running":
                self._is_cancelled = True
                if not self._guard.is_installed:
                    return
                arrived = self._guard.arrived
                _interrupt()
                repeat = threading.Thread(target=self._interrupt_again, args=(arrived,), daemon=True)
                repeat.start()

    def _interrupt_again(self, arrived: int) -> None:
        """Repeat an interrupt that came just before a system call, which then blocks all the same."""
        while True:
            time.sleep(REPEAT_S)
            with self._lock:
                if self._state != "running" or self._guard.arrived > arrived:
                    return
                _interrupt()

    def fail(self, reason: str) -> None:
        """End a job that cannot be executed any more."""
        with self._lock:
            if self._state != "waiting":
                return
            self._state = "cancelled"
        self._ended(reason)


def _interrupt() -> None:
    """Interrupt the main thread as the Interrupt button does, also in a blocking system call."""
    main = threading.main_thread()
    if main is threading.current_thread() or main.ident is None:
        return
    if signal.getsignal(signal.SIGINT) == signal.SIG_DFL:
        return  # code in the job restored it: an interrupt would end the process
    if hasattr(signal, "pthread_kill"):
        with suppress(ProcessLookupError, OSError):
            signal.pthread_kill(main.ident, signal.SIGINT)
    else:
        import _thread  # noqa: PLC0415 - Windows

        _thread.interrupt_main()


class MainThread:
    """The jobs of the process's main thread. All methods may be called from any thread.

    There is no lock: an interrupt of the main thread could leave it taken, and the engine would wait for it
    forever. Each step on the two dictionaries is a single one of the interpreter.
    """

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._waits: dict[object, Callable[[], object]] = {}
        self._shell: Shell | None = None

    def __repr__(self) -> str:
        """Return the number of jobs."""
        return f"<MainThread, {len(self._jobs)} jobs waiting>"

    @property
    def shell(self) -> Shell | None:
        """The shell that executes code; `None` in a script."""
        return self._shell

    def attach(self, shell: Shell | None) -> None:
        """Use a shell from now on."""
        self._shell = shell

    def submit(self, job: Job) -> None:
        """Execute a job as soon as the main thread is free or waits in nbchat."""
        self._jobs[job.id] = job  # first: a wait that ends now requests it
        waits = list(self._waits.values())
        if waits:
            for wake in waits:
                wake()
        else:
            self._request(job)

    def _request(self, job: Job) -> None:
        if self._shell is not None:
            job.is_queued = self._shell.request(job)

    def will_run(self, job: Job) -> bool:
        """Return whether the job is in the kernel's queue, or the main thread waits in nbchat."""
        return job.is_queued or bool(self._waits)

    def run(self, job_id: str) -> None:
        """Execute a job. On the main thread."""
        job = self._jobs.get(job_id)
        if job is not None:
            job.run()
            self._jobs.pop(job_id, None)

    def run_pending(self) -> None:
        """Execute all jobs if this is the main thread.

        Raises
        ------
        KeyboardInterrupt
            If the user interrupted a job: the interrupt was meant for the cell that waits, too.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        while self._jobs:
            for job in list(self._jobs.values()):
                interrupted = job.run()
                self._jobs.pop(job.id, None)  # not before: an interrupt until it starts would lose it
                if interrupted:
                    if _Guard.innermost is not None:  # a job waits here; the interrupt is one of it, too
                        _Guard.innermost.arrived += 1
                    raise KeyboardInterrupt

    @contextmanager
    def waiting(self, wake: Callable[[], object]) -> Iterator[None]:
        """Call `wake` when there is a job, for as long as the main thread waits in this context.

        It must not be held across a `yield` to code of the user, which may never resume.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        key = object()
        try:
            self._waits[key] = wake  # in the block, so that an interrupt does not leave it there
            yield
        finally:
            self._waits.pop(key, None)  # first: no interrupt is raised before it
            if not self._waits:
                for job in list(self._jobs.values()):
                    if not job.is_queued and job.state == "waiting":
                        self._request(job)


main_thread: Final = MainThread()
"""The main thread of this process."""

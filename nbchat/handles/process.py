"""`Process`: the one engine and registry of a process, shared by all copies of nbchat in it.

A module that is reloaded, or imported a second time under another path, gets the same objects. They are kept
in `sys.modules` under a separate name, which a reload does not replace.
"""

from __future__ import annotations

import atexit
import sys
import threading
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from nbchat.core.errors import CommandError
from nbchat.engine.backend import Backend
from nbchat.engine.engine import Engine
from nbchat.engine.local_backend import LocalBackend
from nbchat.handles.host import Host
from nbchat.handles.registry import SessionRegistry

H = TypeVar("H", bound=Host)

KEY: Final = "_nbchat_of_this_process"
LAYOUT: Final = 3
"""Version of the objects; increased when they become incompatible with other versions of the code."""

_lock = threading.Lock()


@dataclass(slots=True)
class Process(Generic[H]):
    """The objects of nbchat in this process."""

    engine: Engine
    """The engine of this process. With a runner it has the configuration, but no sessions."""
    backend: Backend
    host: H
    registry: SessionRegistry

    @classmethod
    def create(cls, make_host: Callable[[Engine], H]) -> Process[H]:
        """Connect a new engine with its host."""
        engine = Engine()
        host = make_host(engine)
        backend = host.connect() or LocalBackend(engine)
        return cls(engine, backend, host, SessionRegistry(backend=backend, host=host))

    def choose_backend(self) -> None:
        """Connect to the runner if one is configured now and none is in use.

        Raises
        ------
        CommandError
            If the engine of this process has sessions, or the host has restored or shown some.
        """
        if not self.host.wants_runner or not isinstance(self.backend, LocalBackend):
            return
        if len(self.engine.sessions) or self.host.is_used:
            raise CommandError(
                "the runner can only be chosen before the first session of a kernel.",
                hint="Restart the kernel, and choose it in the first cell or by NBCHAT_RUNNER=local.",
            )
        backend = self.host.connect()
        if backend is None:
            return
        self.backend = backend
        self.registry._use(backend)  # noqa: SLF001 - they belong together

    def shutdown(self) -> None:
        """End what this process runs."""
        self.backend.shutdown(2.0)
        self.engine.shutdown()


def shared(make_host: Callable[[Engine], H]) -> Process[H]:
    """Return the objects of this process, created by the first call.

    Raises
    ------
    CommandError
        If another version of nbchat, which this one cannot work with, has created them.
    """
    holder: Any = sys.modules.get(KEY)
    if holder is None:
        with _lock:
            holder = sys.modules.get(KEY)
            if holder is None:
                holder = types.ModuleType(KEY, "Keeps the objects of nbchat over reloads.")
                process = Process.create(make_host)
                holder.__dict__.update(process=process, layout=LAYOUT)
                sys.modules[KEY] = holder
                atexit.register(process.shutdown)
    if holder.layout != LAYOUT:
        raise CommandError(
            "another version of nbchat is in use in this kernel.",
            hint="Restart the kernel to use the version that is installed now.",
        )
    found: Process[H] = holder.process
    return found
